package partition

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// raceAcks lets producers, consumers and elections work on one partition. Every append gets an outcome, every reader
// sees a gapless log and P3, and what was acked is there at the end.
func raceAcks(t *testing.T, every int) {
	w := newWorld(t, vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpSync {
			return vfs.Verdict{Delay: time.Millisecond}
		}
		return vfs.Verdict{}
	}), func(c *Config) { c.Log = nil })
	w.run()
	p := w.one()
	const producers, each = 4, 60
	var wg sync.WaitGroup
	var mu sync.Mutex
	acked := map[string]bool{}
	for i := range producers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 5))
			for n := 0; n < each; {
				v := number(i*each + n)
				a := produce(p, -1, batch(1, v))
				switch err := wait(p, a); {
				case err == nil:
					mu.Lock()
					acked[v] = true
					mu.Unlock()
					n++
				case !errors.Is(err, kerr.NotLeaderForPartition):
					t.Errorf("append: %v", err)
					return
				}
				if r.IntN(every) == 0 {
					time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond)
				}
			}
		})
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { follow(t, p, stop) })
	readers.Go(func() { elect(w, stop) })
	wg.Wait()
	close(stop)
	p.waiters.wakeAll()
	readers.Wait()
	for _, v := range w.read(p, 0) {
		delete(acked, v)
	}
	if len(acked) > 0 {
		t.Errorf("%d acked records are missing", len(acked))
	}
	w.crash()
}

// elect has the broker elected again and again.
func elect(w *world, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(7 * time.Millisecond):
			w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch++ })
		}
	}
}

// follow is a consumer that parks at the end.
func follow(t *testing.T, p *Partition, stop chan struct{}) {
	w, woken := newWaiter()
	offset, seen := int64(0), int64(0)
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-stop:
			w.Cancel()
			return
		default:
		}
		var out ReadResult
		p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: len(buf), Whole: true}, &out)
		if out.Err != nil {
			t.Errorf("read: %v", out.Err)
			return
		}
		if out.HighWatermark < seen || out.LastStable > out.HighWatermark || out.HighWatermark > p.End() {
			t.Errorf("high watermark %d after %d, last stable %d, end %d", out.HighWatermark, seen, out.LastStable, p.End())
		}
		seen = out.HighWatermark
		if n := out.Slice.Len(); n > 0 {
			if _, err := out.Slice.ReadAt(buf[:n], 0); err != nil {
				t.Error(err)
			}
			out.Slice.Release()
			offset, _ = collect(t, buf[:n], offset, nil)
			continue
		}
		if p.Await(w, out.HighWatermark+1, out.Epoch) {
			<-woken
		}
	}
}
