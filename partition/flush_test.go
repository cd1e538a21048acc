package partition

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// slowDisk is a disk whose syncs of .log files take a time each, and counts them.
type slowDisk struct {
	*vfs.Fault
	mem   *vfs.Mem
	delay func(name string) time.Duration
	syncs atomic.Int64
}

func newSlowDisk(delay func(name string) time.Duration) *slowDisk {
	d := &slowDisk{delay: delay, mem: vfs.NewMem()}
	d.Fault = vfs.NewFault(d.mem, func(op vfs.Op) vfs.Verdict {
		if op.Kind != vfs.OpSync || !strings.HasSuffix(op.Name, ".log") {
			return vfs.Verdict{}
		}
		d.syncs.Add(1)
		return vfs.Verdict{Delay: d.delay(op.Name)}
	})
	return d
}

func every(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

func TestOneSyncCommitsAllThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(10 * time.Millisecond))
		w := newWorld(t, disk).run()
		p := w.one()
		w.acked(p, batch(1, "x")) // creation and epoch are over
		before, start := disk.syncs.Load(), time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { w.acked(p, batch(1, "x")) })
		}
		wg.Wait()
		if n := disk.syncs.Load() - before; n > 2 {
			t.Errorf("%d syncs for 100 appends", n)
		}
		if d := time.Since(start); d > 20*time.Millisecond {
			t.Errorf("took %s, two syncs take 20 ms", d)
		}
		w.crash()
	})
}

func TestOneAppendWaitsForOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(10 * time.Millisecond))
		w := newWorld(t, disk).run()
		p := w.one()
		w.acked(p, batch(1, "x"))
		for range 5 {
			before, start := disk.syncs.Load(), time.Now()
			w.acked(p, batch(1, "x"))
			if d, n := time.Since(start), disk.syncs.Load()-before; d != 10*time.Millisecond || n != 1 {
				t.Errorf("%d syncs, %s", n, d)
			}
			time.Sleep(time.Second)
		}
		w.crash()
	})
}

func TestLogsDoNotWaitForASlowOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(func(name string) time.Duration {
			if strings.Contains(name, "t-0/") {
				return time.Second
			}
			return time.Millisecond
		})
		w := newWorld(t, disk).run()
		w.topic(topicID(1), "t", 15, alone())
		slow := produce(w.get("t", 0), -1, batch(1, "x"))
		time.Sleep(10 * time.Millisecond)
		start := time.Now()
		for i := int32(1); i < 15; i++ {
			for range 3 {
				w.acked(w.get("t", i), batch(1, "x"))
			}
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("the others waited %s", d)
		}
		if err := wait(w.get("t", 0), slow); err != nil {
			t.Error(err)
		}
		w.crash()
	})
}

func TestSyncsRunInParallelUpToTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(100 * time.Millisecond))
		w := newWorld(t, disk, func(c *Config) { c.JournalLimit = -1 }).run()
		w.topic(topicID(1), "t", 2*maxSyncs, alone())
		for i := range int32(2 * maxSyncs) {
			w.acked(w.get("t", i), batch(1, "x"))
		}
		start := time.Now()
		var wg sync.WaitGroup
		for i := range int32(2 * maxSyncs) {
			wg.Go(func() { w.acked(w.get("t", i), batch(1, "x")) })
		}
		wg.Wait()
		if d := time.Since(start); d != 200*time.Millisecond {
			t.Errorf("%d syncs of 100 ms took %s, %d at once take 200 ms", 2*maxSyncs, d, maxSyncs)
		}
		w.crash()
	})
}

func TestHotLogIsNeverSyncedByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(time.Millisecond))
		w := newWorld(t, disk).run()
		p := w.pageCache()
		for range 600 { // ten minutes, an append a second
			produce(p, 1, batch(1, "x"))
			time.Sleep(time.Second)
		}
		if n := disk.syncs.Load(); n > 1 { // its creation may cost one
			t.Errorf("%d syncs of a log that is being written", n)
		}
		before := disk.syncs.Load()
		time.Sleep(3 * time.Minute)
		if n := disk.syncs.Load() - before; n != 1 {
			t.Errorf("%d syncs once it is cold, want 1", n)
		}
		if d := p.Describe(); d.DurableEnd != 600 {
			t.Errorf("durable end %d", d.DurableEnd)
		}
		w.crash()
	})
}

func TestManyLogsAreCommittedByTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(time.Millisecond))
		w := newWorld(t, disk, func(c *Config) { c.JournalLimit = 64 << 20; c.Log = nil })
		const logs = 300
		w.topic(topicID(1), "t", logs, alone())
		w.run()
		for round := range 5 {
			var wg sync.WaitGroup
			for i := range int32(logs) {
				wg.Go(func() { w.acked(w.get("t", i), batch(1, number(round))) })
			}
			wg.Wait()
		}
		w.halt()
		st := w.set.Stats().Dirs[0]
		if st.JournalRounds == 0 || st.JournalLogs <= 10*st.JournalRounds {
			t.Errorf("%d rounds for %d logs", st.JournalRounds, st.JournalLogs)
		}
		w.reopen(disk.mem.CrashClone(nil))
		w.settle()
		for i := range int32(logs) {
			if got := w.read(w.get("t", i), 0); len(got) != 5 {
				t.Fatalf("partition %d has %d of 5 acked records", i, len(got))
			}
		}
		w.acked(w.get("t", 3), batch(1, "after"))
		w.close(1)
		w.reopen(w.fs)
		if got := w.read(w.get("t", 3), 0); len(got) != 6 {
			t.Errorf("%d records", len(got))
		}
		w.crash()
	})
}

// A journal that is full in the middle of a round: the logs already in the round are done with by their own sync, and
// must be taken again at their next append.
func TestJournalFullInTheMiddleOfARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(time.Millisecond))
		w := newWorld(t, disk, func(c *Config) { c.JournalLimit = 30 << 10; c.Log = nil })
		const logs = 300
		w.topic(topicID(1), "t", logs, alone())
		w.run()
		for round := range 8 {
			var wg sync.WaitGroup
			for i := range int32(logs) {
				wg.Go(func() { w.acked(w.get("t", i), batch(1, number(round))) })
			}
			wg.Wait()
		}
		if st := w.set.Stats().Dirs[0]; st.JournalRounds == 0 {
			t.Error("the journal was not used")
		}
		w.crash()
	})
}

func TestSwitchToDurableModeSyncsWhatIsThere(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.pageCache()
	produce(p, 1, batch(3, "x"))
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.Durable = true })
	a := produce(p, -1, batch(1, "y"))
	if err := wait(p, a); err != nil {
		t.Fatal(err)
	}
	if d := p.Describe(); d.DurableEnd != 4 || d.HighWatermark != 4 {
		t.Errorf("%+v", d)
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.Durable = false })
	a = produce(p, -1, batch(1, "z"))
	if done, err := p.Acked(a.Last, a.Epoch); !done || err != nil {
		t.Errorf("page-cache mode again: %v, %v", done, err)
	}
}

func TestRequestsBeforeRunAreServed(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	w.topic(topicID(1), "t", 40, alone())
	var all []*Append
	for i := range int32(40) {
		all = append(all, produce(w.get("t", i), -1, batch(1, "x")))
	}
	w.run()
	for i, a := range all {
		if err := wait(w.get("t", int32(i)), a); err != nil {
			t.Error(err)
		}
	}
}

func TestHaltSyncsWhatWasAskedFor(t *testing.T) {
	w := newWorld(t, newSlowDisk(every(time.Millisecond))).run()
	w.topic(topicID(1), "t", 40, alone())
	var all []*Append
	for i := range int32(40) {
		all = append(all, produce(w.get("t", i), -1, batch(1, "x")))
	}
	w.halt()
	for i, a := range all {
		if done, err := w.get("t", int32(i)).Acked(a.Last, a.Epoch); !done || err != nil {
			t.Errorf("partition %d: %v, %v", i, done, err)
		}
	}
	w.crash()
	if a := all[0]; !errors.Is(second(w.set.Lookup([]byte("t"), 0).Acked(a.Last, a.Epoch)), kerr.NotLeaderForPartition) {
		t.Error("an abandoned set still acks")
	}
}

func second(_ bool, err error) error { return err }
