//go:build process

package process

import (
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
)

// Load produces numbered records with an idempotent producer and writes down what became of them.
type Load struct {
	Size int           // bytes of a value; 8 at least
	Pace time.Duration // between two records; 0: as fast as it goes
	Stop int64         // Run ends before the record of this number; 0: it does not

	topic  string
	next   int64 // number of the next record; Run's
	record *recorder.Recorder
	acked  atomic.Int64
	failed atomic.Int64
}

// The processes of a load's history.
const (
	producer = iota
	reader
)

// NewLoad starts counting from the beginning.
func NewLoad(topic string) *Load { return &Load{Size: 128, topic: topic, record: recorder.New()} }

// Run produces until ctx ends; another Run goes on with the next number. The client's buffer bounds what is under way.
func (l *Load) Run(ctx context.Context, cl *kgo.Client) {
	var due <-chan time.Time
	if l.Pace > 0 {
		t := time.NewTicker(l.Pace)
		defer t.Stop()
		due = t.C
	}
	for ; ctx.Err() == nil && (l.Stop == 0 || l.next < l.Stop); l.next++ {
		if due != nil {
			select {
			case <-due:
			case <-ctx.Done():
				return
			}
		}
		n := l.next
		sent := recorder.Sent(check.KeyOf(l.topic, 0), n)
		op := l.record.Invoke(check.Op{Process: producer, Do: check.Send, Steps: []check.Step{sent}})
		value := make([]byte, l.Size)
		binary.BigEndian.PutUint64(value, uint64(n))
		cl.Produce(context.Background(), &kgo.Record{Topic: l.topic, Value: value}, func(r *kgo.Record, err error) {
			if err != nil {
				l.failed.Add(1)
				op.Info()
				return
			}
			sent.Offset = r.Offset
			op.OK(sent)
			l.acked.Add(1)
		})
	}
}

// Acked is how many records were acknowledged so far, and how many were given up.
func (l *Load) Acked() (acked, failed int64) { return l.acked.Load(), l.failed.Load() }

// Check reads the topic, of one partition, from its start to its end and judges what producer and reader saw: every
// acknowledged record must be at its offset, once, in the order in which they were sent.
func (l *Load) Check(t testing.TB, n *Node) *check.Report {
	t.Helper()
	n.ReadAll(l.record, reader, l.topic, 1)
	return check.Check(l.record.History())
}

// Value is a record's number, its first eight bytes.
func Value(r *kgo.Record) int64 { return int64(binary.BigEndian.Uint64(r.Value)) }

// ReadAll reads a topic from its start to its end, as one process of a history: with it everything has been read.
func (n *Node) ReadAll(record *recorder.Recorder, process int, topic string, partitions int32) {
	n.t.Helper()
	left := map[int32]int64{} // partition -> its end, until it is reached
	start := map[int32]kgo.Offset{}
	for p := range partitions {
		asked := record.Invoke(check.Op{Process: process, Do: check.End})
		end := n.end(topic, p)
		asked.OK(check.Step{Key: check.KeyOf(topic, p), Offset: end})
		if start[p] = kgo.NewOffset().AtStart(); end > 0 {
			left[p] = end
		}
	}
	cl := n.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}))
	defer cl.Close()
	for len(left) > 0 {
		poll := record.Invoke(check.Op{Process: process, Do: check.Poll})
		fetches := cl.PollFetches(Context(n.t, 20*time.Second))
		if err := fetches.Err(); err != nil {
			n.t.Fatalf("reading %s, still up to %v: %v", topic, left, err)
		}
		poll.OK(Polled(fetches)...)
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
}

// Polled is what a poll brought, for a history.
func Polled(fetches kgo.Fetches) []check.Step {
	steps := make([]check.Step, 0, fetches.NumRecords())
	fetches.EachRecord(func(r *kgo.Record) {
		steps = append(steps, check.Step{Key: check.KeyOf(r.Topic, r.Partition), Read: true, Value: Value(r), Offset: r.Offset})
	})
	return steps
}

// end is the end of a partition.
func (n *Node) end(topic string, partition int32) int64 {
	n.t.Helper()
	admin := n.Admin()
	defer admin.Close()
	for ctx := Context(n.t, 20*time.Second); ; {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			n.t.Fatal(err)
		}
		o, ok := offsets.Lookup(topic, partition)
		switch {
		case ok && o.Err == nil:
			return o.Offset
		case !errors.Is(o.Err, kerr.OffsetNotAvailable): // not known yet, right after an election (trap 36)
			n.t.Fatalf("end of %s-%d: %v", topic, partition, o.Err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// LoadOptions make a producer that never gives up while a broker comes back.
func LoadOptions() []kgo.Opt {
	return []kgo.Opt{
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2000), kgo.RecordDeliveryTimeout(time.Minute),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
	}
}
