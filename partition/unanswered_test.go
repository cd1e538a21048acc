package partition

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// deaf is a leader that never answers; a fetch is given up as late as a broker does.
type deaf struct {
	script
	fetches chan int // partitions of each session
}

func (d *deaf) Fetch(ctx context.Context, _ metadata.NodeID, r *FetchRequest) (*FetchResponse, error) {
	d.fetches <- r.Partitions
	ctx, cancel := context.WithTimeout(ctx, r.MaxWait+10*time.Second)
	defer cancel()
	<-ctx.Done()
	return nil, ctx.Err()
}

// A leader whose disk hangs under one partition answers for none. When that one has another leader, the others are asked for
// again, and do not wait until the fetch is given up.
func TestAPartitionThatLeavesTakesItsUnansweredFetchAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := &deaf{fetches: make(chan int, 100)}
		w := newWorld(t, vfs.NewMem(), func(c *Config) { c.Log, c.Link = nil, link })
		w.register(self)
		w.register(other)
		w.topic(topicID(1), "t", 2, twoReplicas(other))
		w.run()
		for n := range link.fetches {
			if n == 2 {
				break
			}
		}
		began := time.Now()
		w.elect(self) // leads t-0
		if n := <-link.fetches; n != 1 {
			t.Errorf("%d partitions in the next session", n)
		}
		if took := time.Since(began); took < w.set.cfg.FetchWait || took > 3*time.Second {
			t.Errorf("asked again after %s", took)
		}
		w.halt()
	})
}

// The loop had made its request when it was told.
func TestAPartitionThatLeavesEndsAFetchThatIsAboutToBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewMem(), func(c *Config) { c.Log, c.Link = nil, &deaf{fetches: make(chan int, 1)} })
		p := w.one()
		f := newFetcher(w.set, lane{leader: other}, 0)
		f.tell(p, false)
		began := time.Now()
		if _, _, interrupted := f.fetch(t.Context(), &FetchRequest{MaxWait: w.set.cfg.FetchWait}); !interrupted {
			t.Error("it was waited for")
		}
		if took := time.Since(began); took < w.set.cfg.FetchWait || took > 3*time.Second {
			t.Errorf("given up after %s", took)
		}
	})
}
