//go:build process

package failover

import (
	"slices"
	"testing"
	"time"
)

// slow is how many times its latency in quiet a producer may see for a while when nodes are restarted.
const slow = 3

// A producer with franz-go's defaults, whose partition is led by each node that is restarted, fails nothing and waits
// little longer than usual.
func TestCleanRestartsInTurnFailNoProduce(t *testing.T) {
	silent := &figure{name: "clean restarts in turn, franz-go's defaults: longest silence"}
	slowed := &figure{name: "the same: seconds with a p99 of more than 3 times that before", worst: 5 * time.Second}
	f := newField(t, nil, 1)
	for range *kills {
		for n := range int32(3) {
			f.c.Lead(f.within(time.Minute), f.adm, topic, 0, n+1) // else there is nothing to notice
			s := f.produce(0)                                     // it has just asked for metadata, and will not ask again before its MetadataMinAge is over
			s.resumed(time.Now())
			quiet := time.Now()
			time.Sleep(time.Second) // the measure of quiet
			began := time.Now()
			if code := f.c.Node(n + 1).Stop(); code != 0 {
				t.Errorf("exit code %d\n%s", code, f.c.Node(n+1).Log())
			}
			f.c.Node(n + 1).Start()
			s.resumed(time.Now())
			f.settle()
			silent.times = append(silent.times, s.silence(began))
			slowed.times = append(slowed.times, s.slowed(quiet, began))
			s.stop()
			if failed := s.failures(); len(failed) > 0 {
				t.Errorf("%d records failed, the first: %v", len(failed), failed[0])
			}
		}
	}
	measured(t, silent)
	measured(t, slowed)
	f.judge()
}

// slowed is how many seconds since a moment had a p99 of more than slow times that between quiet and the moment.
func (s *stream) slowed(quiet, since time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, seconds := &figure{}, map[int64]*figure{}
	for _, a := range slices.Backward(s.acks) {
		if a.sent.Before(quiet) {
			break
		}
		if a.sent.Before(since) {
			before.times = append(before.times, a.acked.Sub(a.sent))
			continue
		}
		second := int64(a.sent.Sub(since) / time.Second)
		if seconds[second] == nil {
			seconds[second] = &figure{}
		}
		seconds[second].times = append(seconds[second].times, a.acked.Sub(a.sent))
	}
	total := time.Duration(0)
	for _, f := range seconds {
		if f.at(99) > slow*before.at(99) {
			total += time.Second
		}
	}
	return total
}
