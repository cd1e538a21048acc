package partition

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
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

// TestAwaitRacesWithTheWatermark lets a registration and a publication meet as closely as two processors can: whichever
// comes first, the one who registered is woken (P5).
func TestAwaitRacesWithTheWatermark(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), func(c *Config) { c.Log = nil })
	defer w.crash()
	p := w.pageCache()
	_, epoch := p.Role()
	const rounds = 50_000
	var turn, published atomic.Int64
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for n := int64(1); n <= rounds; n++ {
			for turn.Load() < n {
				runtime.Gosched()
			}
			for range n % 64 { // a little later each time
				published.Load()
			}
			p.hw.Store(n)
			p.waiters.wake(n)
			published.Store(n)
		}
	})
	waiter, woken := newWaiter()
	for n := int64(1); n <= rounds; n++ {
		turn.Store(n)
		for range (n / 64) % 64 {
			turn.Load()
		}
		parked := false
		if n%2 == 0 {
			parked = p.Await(waiter, n, epoch)
		} else {
			parked = p.AwaitAck(waiter, n-1, epoch)
		}
		if parked {
			select {
			case <-woken:
			case <-time.After(time.Minute):
				t.Fatalf("round %d: published %d, and nobody woke the waiter", n, published.Load())
			}
		}
		for published.Load() < n {
			runtime.Gosched()
		}
		select { // a wake that lost the race to the look
		case <-woken:
		default:
		}
	}
	publisher.Wait()
}

// TestMetadataPassesAHotPartition changes a partition again and again while producers never let go of its lock.
func TestMetadataPassesAHotPartition(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), func(c *Config) { c.Log = nil }).run()
	defer w.crash()
	p := w.pageCache()
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b := sized(200)
			for !stop.Load() {
				produce(p, 1, b)
			}
		})
	}
	for epoch := int32(1); epoch <= 50; epoch++ {
		w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = epoch })
		w.config("t", "retention.ms", strconv.Itoa(int(epoch)*1000))
	}
	stop.Store(true)
	wg.Wait()
	if _, epoch := p.Role(); epoch != 50 {
		t.Errorf("epoch %d", epoch)
	}
}

// TestEverythingAtOnce is for the race detector: appends, reads, elections, retention, deletion and look-ups together.
func TestEverythingAtOnce(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), func(c *Config) {
		c.Log, c.RetentionInterval, c.InitialDelay = nil, time.Millisecond, time.Millisecond
		c.HighWatermarkInterval, c.CheckpointInterval, c.ProducerInterval = time.Millisecond, time.Millisecond, time.Millisecond
	}).run()
	w.topic(topicID(1), "t", 4, alone())
	w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "segment.bytes", Value: "1048576"},
		metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "retention.bytes", Value: "2000000"})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range int32(4) {
		wg.Go(func() {
			for n := int32(0); !stop.Load(); n++ {
				if p := w.set.Lookup([]byte("t"), i); p != nil {
					_ = wait(p, produce(p, -1, sized(50_000)))
				}
			}
		})
		wg.Go(func() {
			for !stop.Load() {
				p := w.set.ByID(topicID(1), i)
				if p == nil {
					continue
				}
				var out ReadResult
				p.Read(ReadRequest{Offset: p.Start(), LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Whole: true}, &out)
				out.Slice.Release()
				_, _ = p.ListOffset(LatestOffset, true, -1)
				_, _ = p.ListOffset(1, false, -1)
				_, _, _ = p.EpochEnd(-1, 0)
				_, _ = p.Producers()
				p.Describe()
				w.set.Stats()
			}
		})
	}
	for n := range int32(60) {
		w.alter(topicID(1), n%4, func(p *metadata.Partition) { p.LeaderEpoch++; p.Durable = n%3 > 0 })
		if p := w.set.Lookup([]byte("t"), n%4); p != nil {
			_, _ = p.DeleteRecords(-1)
			_ = wait(p, produce(p, -1, sized(100)))
		}
	}
	w.change(metadata.TopicDeleted{ID: topicID(1)})
	stop.Store(true)
	wg.Wait()
	w.close(1)
}
