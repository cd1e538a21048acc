package check

import (
	"math"
	"strconv"
	"time"
)

// Key names a partition of a topic.
type Key string

// KeyOf names a partition as Kafka's directories do.
func KeyOf(topic string, partition int32) Key {
	return Key(topic + "-" + strconv.Itoa(int(partition)))
}

// Do is what an operation does.
type Do string

const (
	Send      Do = "send"      // steps: what is sent
	Poll      Do = "poll"      // steps: what was read; Keys: partitions that came or went meanwhile
	Txn       Do = "txn"       // steps: reads and sends of one transaction, in order
	Assign    Do = "assign"    // Keys: the partitions read from now on; forgets where the process was
	Subscribe Do = "subscribe" // the same, but partitions come and go as the group decides
	Crash     Do = "crash"     // the client is thrown away; the process goes on with a new one
	End       Do = "end"       // steps: a key and its end, as ListOffsets (latest) tells it
	Commit    Do = "commit"    // steps: offsets that Group commits
	Committed Do = "committed" // steps: committed offsets of Group as told; none: Unknown
)

// Outcome is what became of an operation.
type Outcome string

const (
	OK   Outcome = "ok"
	Fail Outcome = "fail" // it certainly did not happen
	Info Outcome = "info" // it may have happened, or happen yet
)

// Unknown stands for an offset that nobody told.
const Unknown = -1

// Never is the completion of an operation that is still under way at the end.
const Never = math.MaxInt

// Step is a record sent or read, or an offset asked for.
type Step struct {
	Key    Key   `json:"key"`
	Read   bool  `json:"read,omitempty"`
	Value  int64 `json:"value"`
	Offset int64 `json:"offset"`
}

// Op is one operation of one process.
type Op struct {
	Process int
	Do      Do
	Group   string
	Keys    []Key
	Steps   []Step // as completed; as invoked, if it never was
	Outcome Outcome

	// Places among all invocations and completions of the history, no two alike.
	Invoked, Completed int
	// Times since the history began, for figures only.
	Began, Ended time.Duration
}

// before says that a had certainly happened when b was invoked.
func (a *Op) before(b *Op) bool { return a.Outcome == OK && a.Completed < b.Invoked }

// History is operations in the order of their invocations.
type History []Op
