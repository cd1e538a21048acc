//go:build process

package process

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Load produces numbered records with an idempotent producer and remembers which ones were acknowledged, and where.
type Load struct {
	mu     sync.Mutex
	acked  map[uint64]int64 // number -> offset
	failed int
	next   uint64
}

// NewLoad starts counting from the beginning.
func NewLoad() *Load { return &Load{acked: map[uint64]int64{}} }

// Run produces until ctx ends. The client's buffer bounds what is under way.
func (l *Load) Run(ctx context.Context, cl *kgo.Client) {
	for ctx.Err() == nil {
		l.mu.Lock()
		n := l.next
		l.next++
		l.mu.Unlock()
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 128), n)
		cl.Produce(context.Background(), &kgo.Record{Value: value[:128]}, func(r *kgo.Record, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if err != nil {
				l.failed++
				return
			}
			l.acked[binary.BigEndian.Uint64(r.Value)] = r.Offset
		})
	}
}

// Acked is how many records were acknowledged so far, and how many were given up.
func (l *Load) Acked() (acked, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked), l.failed
}

// Verdict is what a reading of the whole topic shows.
type Verdict struct {
	Acked, Read                        int
	Lost, Moved, Doubled, OutOfOrder   int
	FirstLost, FirstDoubled, FirstSwap uint64
}

func (v Verdict) String() string {
	return fmt.Sprintf("%d acknowledged, %d read: %d lost (first %d), %d at another offset, %d twice (first %d), %d out of order (first %d)",
		v.Acked, v.Read, v.Lost, v.FirstLost, v.Moved, v.Doubled, v.FirstDoubled, v.OutOfOrder, v.FirstSwap)
}

// Clean says that nothing is wrong.
func (v Verdict) Clean() bool { return v.Lost+v.Moved+v.Doubled+v.OutOfOrder == 0 }

// Check reads a topic of one partition from its start to its end: every acknowledged record must be at its offset,
// once, in the order in which they were sent.
func (l *Load) Check(t testing.TB, n *Node, topic string) Verdict {
	t.Helper()
	end := n.end(t, topic)
	reader := n.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer reader.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Acked: len(l.acked)}
	seen := map[uint64]int64{}
	last := int64(-1)
	for at := int64(0); at < end; {
		fetches := reader.PollFetches(Context(t, 20*time.Second))
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s at %d of %d: %v", topic, at, end, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			v.Read++
			number := binary.BigEndian.Uint64(r.Value)
			if _, twice := seen[number]; twice {
				if v.Doubled++; v.Doubled == 1 {
					v.FirstDoubled = number
				}
				return
			}
			if int64(number) < last {
				if v.OutOfOrder++; v.OutOfOrder == 1 {
					v.FirstSwap = number
				}
			}
			seen[number], last = r.Offset, max(last, int64(number))
		})
	}
	for number, offset := range l.acked {
		switch at, there := seen[number]; {
		case !there:
			if v.Lost++; v.Lost == 1 || number < v.FirstLost {
				v.FirstLost = number
			}
		case at != offset:
			v.Moved++
		}
	}
	return v
}

// end is the end of a topic's only partition.
func (n *Node) end(t testing.TB, topic string) int64 {
	t.Helper()
	admin := n.Admin()
	defer admin.Close()
	for ctx := Context(t, 20*time.Second); ; {
		offsets, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		o, ok := offsets.Lookup(topic, 0)
		switch {
		case ok && o.Err == nil:
			return o.Offset
		case !errors.Is(o.Err, kerr.OffsetNotAvailable): // not known yet, right after an election (trap 36)
			t.Fatalf("end of %s: %v", topic, o.Err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// LoadOptions make a producer that never gives up while a broker comes back.
func LoadOptions(topic string) []kgo.Opt {
	return []kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2000), kgo.RecordDeliveryTimeout(time.Minute),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
	}
}
