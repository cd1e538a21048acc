//go:build process

package failover

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// quick makes a client look for a leader as soon as it misses one; all else is as franz-go has it.
var quick = kgo.MetadataMinAge(10 * time.Millisecond)

func TestAKilledLeaderIsSucceeded(t *testing.T) {
	killLeaders(t, false, &figure{name: "kill -9 of a leader", median: 500 * time.Millisecond, worst: time.Second})
}

func TestAKilledLeaderIsSucceededThoughTheControllerDiedWithIt(t *testing.T) {
	killLeaders(t, true, &figure{name: "kill -9 of a leader that is the active controller", worst: 2 * time.Second})
}

// killLeaders measures the gap between the last acknowledgement before a kill and the first after it.
func killLeaders(t *testing.T, controller bool, gap *figure) {
	f := newField(t, nil, 1)
	s := f.produce(0, quick)
	for i := range *kills {
		victim := f.controller()
		if !controller {
			victim = victim%3 + 1
		}
		f.c.Lead(f.within(time.Minute), f.adm, topic, 0, victim)
		s.resumed(time.Now())
		time.Sleep(200 * time.Millisecond) // of ordinary load
		killed := time.Now()
		f.c.Node(victim).Kill()
		s.resumed(killed)
		time.Sleep(300 * time.Millisecond) // a second silence would count, too
		gap.times = append(gap.times, s.silence(killed.Add(-50*time.Millisecond)))
		t.Logf("round %d: node %d was killed, %s", i+1, victim, round(gap.times[i]))
		f.c.Node(victim).Start()
		f.settle()
		f.rest(killed)
	}
	s.stop()
	if failed := s.failures(); len(failed) > 0 {
		t.Errorf("%d records failed, the first: %v", len(failed), failed[0])
	}
	measured(t, gap)
	f.judge()
}
