package partition

import (
	"context"
	"errors"
	"time"

	"cordwood/isr"
	"cordwood/metadata"
)

// Link is the way to the other brokers. It adds who asks: this broker's id, and the epoch of its present registration,
// never that of an earlier life (Z8). Before there is one, every call is an error.
type Link interface {
	// Fetch asks a leader for records. The leader may keep it for MaxWait when there are none. The fetcher decides what is
	// new in its session, the Link keeps only the session's id and epoch; an error, also that the leader has forgotten the
	// session, makes the next request a Full one. When ctx ends, the request and its connection are given up at once: the
	// fetcher has something else to ask, and must not wait behind what is parked.
	Fetch(ctx context.Context, leader metadata.NodeID, r *FetchRequest) (*FetchResponse, error)

	// ReadRange asks another replica for batches beside all fetches. It does not wait for records. ErrNotServed: that broker
	// does not know the request.
	ReadRange(ctx context.Context, from metadata.NodeID, r *RangeRequest) (*Range, error)

	// AlterPartition asks the controller for changes of ISRs and returns one answer for each, in order. An error of the call
	// is "nobody knows": the same is asked again (Z12).
	AlterPartition(ctx context.Context, changes []Alteration) ([]Altered, error)
}

// PartitionID names a partition on the wire.
type PartitionID struct {
	Topic metadata.TopicID
	Index int32
}

// FetchRequest is one fetch of one fetcher: what changed in its session since the fetch before.
type FetchRequest struct {
	Lane     int           // which of this broker's log directories asks: each has a session and a connection of its own
	MaxWait  time.Duration // how long the leader may wait for MinBytes
	MinBytes int
	MaxBytes int // of all records together; the first batch comes whole

	Full       bool            // a new session: Positions is all of it
	Positions  []FetchPosition // new in the session, or changed
	Forgotten  []PartitionID   // no longer in the session
	Partitions int             // in the session after this
}

// FetchPosition is where a follower stands in one partition (R3).
type FetchPosition struct {
	PartitionID
	LeaderEpoch   int32 // that the follower follows
	Offset        int64 // its log end
	LastEpoch     int32 // epoch of its last record; -1: it has none
	LogStart      int64
	HighWatermark int64 // as it knows it; -1: not told
	Durable       bool  // everything below Offset is on its disk
	MaxBytes      int
}

// FetchResponse has the partitions that have news, in any order.
type FetchResponse struct{ Partitions []Fetched }

// Fetched is the leader's answer for one partition.
type Fetched struct {
	PartitionID
	Err            error  // a kerr code, or nil
	HighWatermark  int64  // -1 with an error
	LogStart       int64  // also with OFFSET_OUT_OF_RANGE
	DivergingEpoch int32  // the follower's last epoch ended earlier in the leader's log: this epoch there ...
	DivergingEnd   int64  // ... ended here; -1: nothing diverges
	Records        []byte // whole batches; valid until the next Fetch of the same leader and Lane
}

// ErrNotServed is the answer of Link.ReadRange about a broker of a version that lacks it.
var ErrNotServed = errors.New("not served by that broker")

// RangeRequest asks for whole batches from Offset on, out of one segment.
type RangeRequest struct {
	PartitionID
	Lane        int
	LeaderEpoch int32 // that both must be in
	Offset      int64
	// Until below 0 is a replica that catches up: it asks its leader for what sealed segments hold from its log end on.
	// Else it is one that mends its log: it asks any replica for what is committed below Until.
	Until     int64
	LastEpoch int32 // of the last record below Offset; -1: there is none. Only of a replica that catches up
	MaxBytes  int   // the first batch comes whole
}

// Range is the answer. Without Records and Err there is nothing to be had from there, or not before Delay.
type Range struct {
	Err           error // a kerr code, or nil
	HighWatermark int64
	LogStart      int64
	Delay         time.Duration // the leader's throttle: not before then
	Sum           uint32        // segment.HeaderSum of Records
	Records       []byte        // whole batches; the caller's
}

// Alteration asks for a new ISR (R6). The member with broker epoch -1 is this broker itself.
type Alteration struct {
	PartitionID
	isr.Proposal
}

// Altered is the controller's answer to one Alteration: without an error what was committed.
type Altered struct {
	Err            error // a kerr code, or nil
	LeaderEpoch    int32
	PartitionEpoch int32
	ISR            []metadata.NodeID
}
