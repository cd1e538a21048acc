package partition

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// moody is a disk whose behaviour can be changed while it runs. inner is what it does to the bytes.
type moody struct {
	*vfs.Fault
	mem    *vfs.Mem
	decide atomic.Pointer[func(vfs.Op) vfs.Verdict]
}

func newMoody() *moody {
	m := &moody{mem: vfs.NewMem()}
	m.Fault = vfs.NewFault(m.mem, func(op vfs.Op) vfs.Verdict {
		if f := m.decide.Load(); f != nil {
			return (*f)(op)
		}
		return vfs.Verdict{}
	})
	return m
}

func (m *moody) become(f func(vfs.Op) vfs.Verdict) { m.decide.Store(&f) }
func (m *moody) heal()                             { m.decide.Store(nil) }

// Z26: after a failed fsync the kernel says yes to the next one, and the bytes are lost. In the model of the disk the
// first sync fails and later ones lie.
func TestZ26FailedSyncIsNotTriedAgain(t *testing.T) {
	disk := newMoody()
	var failed []string
	w := newWorld(t, disk, func(c *Config) {
		c.DirFailed = func(path string, _ metadata.DirID, err error) { failed = append(failed, path+": "+err.Error()) }
	})
	w.run()
	p := w.one()
	w.acked(p, batch(1, "x"))
	var syncs atomic.Int64
	disk.become(func(op vfs.Op) vfs.Verdict {
		switch {
		case op.Kind != vfs.OpSync:
			return vfs.Verdict{}
		case syncs.Add(1) == 1:
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{Lie: true}
	})
	a := produce(p, -1, batch(1, "y"))
	if err := wait(p, a); !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("the append whose sync failed: %v", err)
	}
	if b := produce(p, 1, batch(1, "z")); !errors.Is(b.Err, kerr.KafkaStorageError) {
		t.Errorf("the next append: %v", b.Err)
	}
	var out ReadResult
	if p.Read(ReadRequest{LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20}, &out); !errors.Is(out.Err, kerr.KafkaStorageError) {
		t.Errorf("read: %v", out.Err)
	}
	if role, _ := p.Role(); role != Offline {
		t.Errorf("role %s", role)
	}
	w.halt()
	if n := syncs.Load(); n != 1 {
		t.Errorf("%d syncs after the failure", n-1)
	}
	if len(failed) != 1 || w.set.Directories()[0].Err == nil {
		t.Errorf("told %q", failed)
	}
	if err := w.set.Close(t.Context(), 9); err == nil {
		t.Error("an offline directory closes cleanly")
	}
	if w.exists("/data/cordwood-clean") || w.exists("/data/.kafka_cleanshutdown") {
		t.Error("clean-shutdown files on an offline directory")
	}
}

func TestOfflineDirectoryLeavesTheOthersAlone(t *testing.T) {
	disk := newMoody()
	w := newWorld(t, disk, func(c *Config) { c.Dirs = []string{"/one", "/two"} }).run()
	defer w.crash()
	w.topic(topicID(1), "t", 2, alone())
	bad, good := w.get("t", 0), w.get("t", 1)
	w.acked(bad, batch(1, "x"))
	w.acked(good, batch(1, "x"))
	ack, woken := newWaiter()
	if !bad.Await(ack, 2, 0) {
		t.Fatal("does not park")
	}
	disk.become(func(op vfs.Op) vfs.Verdict {
		if strings.HasPrefix(op.Name, bad.Describe().Dir) && op.Kind == vfs.OpWrite {
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	})
	if a := produce(bad, 1, batch(1, "y")); !errors.Is(a.Err, kerr.KafkaStorageError) {
		t.Errorf("append: %v", a.Err)
	}
	<-woken
	w.acked(good, batch(1, "y"))
	w.topic(topicID(2), "new", 2, alone()) // metadata goes on, and new replicas go where they can
	w.acked(w.get("new", 0), batch(1, "x"))
	w.acked(w.get("new", 1), batch(1, "x"))
	w.change(metadata.TopicDeleted{ID: topicID(1)})
}

func TestFullDiskRefusesAppendsAndRecoversByItself(t *testing.T) {
	disk := newMoody()
	w := newWorld(t, disk).run()
	defer w.crash()
	p := w.one()
	w.acked(p, sequenced(7, 0, 0, 2))
	disk.become(func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpWrite || op.Kind == vfs.OpPreallocate {
			return vfs.Verdict{Err: syscall.ENOSPC, Short: 10}
		}
		return vfs.Verdict{}
	})
	for range 3 {
		items := []*Append{{Batch: sequenced(7, 0, 2, 1), Acks: -1}, {Batch: sequenced(7, 0, 3, 1), Acks: 1}, {Batch: batch(1, "x")}}
		p.Append(items)
		for i, a := range items {
			if !errors.Is(a.Err, kerr.KafkaStorageError) {
				t.Errorf("item %d on a full disk: %v", i, a.Err)
			}
		}
		if dup := produce(p, -1, sequenced(7, 0, 0, 2)); dup.Err != nil || !dup.Duplicate {
			t.Errorf("a duplicate needs no space: %+v", dup)
		}
	}
	if got := w.read(p, 0); len(got) != 2 {
		t.Errorf("reads go on: %q", got)
	}
	if role, _ := p.Role(); role != Leader {
		t.Errorf("role %s", role)
	}
	disk.heal()
	if a := w.acked(p, sequenced(7, 0, 2, 1)); a.Base != 2 || a.Duplicate {
		t.Errorf("with space again: %+v", a)
	}
	if st := w.set.Stats().Dirs[0]; st.Refused == 0 || !st.Online {
		t.Errorf("%+v", st)
	}
}

func TestFullDiskAtTheFirstAppendOfATopic(t *testing.T) {
	disk := newMoody()
	w := newWorld(t, disk).run()
	defer w.crash()
	p := w.one()
	for _, kind := range []vfs.Kind{vfs.OpMkdirAll, vfs.OpOpen, vfs.OpWrite, vfs.OpPreallocate} {
		disk.become(func(op vfs.Op) vfs.Verdict {
			if op.Kind == kind {
				return vfs.Verdict{Err: syscall.ENOSPC}
			}
			return vfs.Verdict{}
		})
		if a := produce(p, -1, batch(1, "x")); a.Err != nil && !errors.Is(a.Err, kerr.KafkaStorageError) {
			t.Errorf("full at %s: %v", kind, a.Err)
		}
		if role, _ := p.Role(); role != Leader {
			t.Fatalf("full at %s: role %s", kind, role)
		}
		disk.heal()
	}
	end := p.End()
	if a := w.acked(p, batch(1, "x")); a.Base != end {
		t.Errorf("base %d", a.Base)
	}
}

func TestSyncWaitsForADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMoody()
		w := newWorld(t, disk, func(c *Config) { c.MaxOpenFiles = 1 }).run()
		w.topic(topicID(1), "t", 2, alone())
		p, other := w.get("t", 0), w.get("t", 1)
		w.acked(p, batch(1, "x"))
		w.acked(other, batch(1, "x"))
		w.halt()
		a := produce(p, -1, batch(1, "y"))
		b := produce(other, -1, batch(1, "y")) // takes the one descriptor
		disk.become(func(op vfs.Op) vfs.Verdict {
			if op.Kind == vfs.OpOpen {
				return vfs.Verdict{Err: syscall.EMFILE}
			}
			return vfs.Verdict{}
		})
		w.run()
		time.Sleep(time.Second)
		if done, err := p.Acked(a.Last, a.Epoch); done {
			t.Errorf("acked without a sync: %v", err)
		}
		disk.heal()
		if err := errors.Join(wait(p, a), wait(other, b)); err != nil {
			t.Errorf("ack: %v", err)
		}
		if err := w.set.Directories()[0].Err; err != nil {
			t.Errorf("offline: %v", err)
		}
		w.crash()
	})
}

func TestStuckSyncTakesTheDirectoryOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMoody()
		w := newWorld(t, disk).run()
		p := w.one()
		w.acked(p, batch(1, "x"))
		release := make(chan struct{})
		disk.become(func(op vfs.Op) vfs.Verdict {
			if op.Kind == vfs.OpSync {
				return vfs.Verdict{Stuck: release}
			}
			return vfs.Verdict{}
		})
		start := time.Now()
		a := produce(p, -1, batch(1, "y"))
		if err := wait(p, a); !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d < 5*time.Second || d > 7*time.Second {
			t.Errorf("after %s", d)
		}
		close(release)
		synctest.Wait()
		if done, err := p.Acked(a.Last, a.Epoch); !done || !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("once it moves again: %v, %v", done, err)
		}
		w.crash()
	})
}

func TestStuckWriteDoesNotStopMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMoody()
		w := newWorld(t, disk, func(c *Config) { c.Dirs = []string{"/one", "/two"} }).run()
		w.topic(topicID(1), "t", 2, alone())
		stuck, other := w.get("t", 0), w.get("t", 1)
		w.acked(stuck, batch(1, "x"))
		w.acked(other, batch(1, "x"))
		release := make(chan struct{})
		disk.become(func(op vfs.Op) vfs.Verdict {
			if op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, stuck.Describe().Dir) {
				return vfs.Verdict{Stuck: release}
			}
			return vfs.Verdict{}
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := produce(stuck, 1, batch(1, "y")); a.Err == nil {
				t.Log("the write came through in the end")
			}
		})
		synctest.Wait()
		start := time.Now()
		w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 1 })
		w.alter(topicID(1), 1, func(p *metadata.Partition) { p.LeaderEpoch = 1 })
		if d := time.Since(start); d > 7*time.Second {
			t.Errorf("metadata waited %s", d)
		}
		if a := w.acked(other, batch(1, "z")); a.Epoch != 1 {
			t.Errorf("epoch %d", a.Epoch)
		}
		if b := produce(other, 1, batch(1, "z")); b.Err != nil {
			t.Error(b.Err)
		}
		close(release)
		wg.Wait()
		w.crash()
	})
}

// What waits for the disk with the log to itself, here the making of the log, lets go of mu; metadata must not wait for it either.
func TestAStuckDiskDoesNotStopMetadataWhateverItDoes(t *testing.T) {
	for name, change := range map[string]metadata.Change{
		"deletion": metadata.TopicDeleted{ID: topicID(1)},
		"config":   metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "retention.ms", Value: "1000"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newMoody()
				w := newWorld(t, disk, func(c *Config) { c.Dirs = []string{"/one", "/two"} }).run()
				stuck := w.one()
				release := make(chan struct{})
				disk.become(func(op vfs.Op) vfs.Verdict {
					if strings.HasPrefix(op.Name, stuck.Describe().Dir) {
						return vfs.Verdict{Stuck: release}
					}
					return vfs.Verdict{}
				})
				var wg sync.WaitGroup
				wg.Go(func() { produce(stuck, 1, batch(1, "x")) })
				synctest.Wait()
				applied := make(chan struct{})
				wg.Go(func() { w.change(change); close(applied) })
				select {
				case <-applied:
				case <-time.After(7 * time.Second):
					t.Error("metadata waits for the disk")
				}
				close(release)
				wg.Wait()
				w.crash()
			})
		})
	}
}

// TestEverySingleFault fails each operation of a run once, with each error: nothing acked is lost, nothing panics, and
// a clean restart on the healed disk works.
func TestEverySingleFault(t *testing.T) {
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE} {
		count := faultRun(t, -1, errno)
		for n := int64(0); n < count; n++ {
			faultRun(t, n, errno)
			if t.Failed() {
				t.Fatalf("operation %d of %d fails with %v", n, count, errno)
			}
		}
	}
}

// faultRun appends to a few partitions with operation n failing, and checks what is left after a power cut.
func faultRun(t *testing.T, n int64, errno error) int64 {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem, vfs.FailAt(n, errno))
	w := &world{t: t, fs: fault, img: metadata.Empty()}
	w.cfg = Config{Self: self, Dirs: []string{"/data"}, FS: fault}
	var err error
	if w.set, err = Open(w.cfg); err != nil {
		return fault.Count()
	}
	w.run()
	w.topic(topicID(1), "t", 2, alone())
	want := map[int32][]string{}
	for i := range 12 {
		index := int32(i % 2)
		p := w.get("t", index)
		if err := wait(p, produce(p, -1, batch(1, number(i)))); err == nil {
			want[index] = append(want[index], number(i))
		}
	}
	w.halt()
	_ = w.set.Close(t.Context(), 7) // fails where the directory is offline
	for _, after := range []*vfs.Mem{mem.CrashClone(nil), mem.KillClone()} {
		w.reopen(after)
		w.settle()
		for index, values := range want {
			got := w.read(w.get("t", index), 0)
			for _, v := range values {
				if !slices.Contains(got, v) {
					t.Errorf("partition %d: an acked record is lost", index)
				}
			}
		}
		w.crash()
	}
	return fault.Count()
}

func TestStuckCheckpointTakesTheDirectoryOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newMoody()
		w := newWorld(t, disk).run()
		p := w.pageCache()
		produce(p, 1, batch(1, "x"))
		release := make(chan struct{})
		disk.become(func(op vfs.Op) vfs.Verdict {
			if strings.Contains(op.Name, "checkpoint") {
				return vfs.Verdict{Stuck: release}
			}
			return vfs.Verdict{}
		})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if w.set.Directories()[0].Err == nil {
			t.Error("still online")
		}
		close(release)
		w.crash()
	})
}

// A full disk and a thousand producers: the log gets a line a second, not one an append.
func TestComplaintsAreRateLimited(t *testing.T) {
	core, lines := observer.New(zap.WarnLevel)
	synctest.Test(t, func(t *testing.T) {
		disk := newMoody()
		w := newWorld(t, disk, func(c *Config) { c.Log = zap.New(core) }).run()
		p := w.pageCache()
		produce(p, 1, batch(1, "x"))
		disk.become(func(op vfs.Op) vfs.Verdict {
			if op.Kind == vfs.OpWrite {
				return vfs.Verdict{Err: syscall.ENOSPC}
			}
			return vfs.Verdict{}
		})
		for range 3 {
			for range 1000 {
				produce(p, 1, batch(1, "y"))
			}
			time.Sleep(time.Second)
		}
		w.crash()
	})
	full := lines.FilterMessage("disk is full, append refused").All()
	if len(full) != 3 || full[1].ContextMap()["silenced"] != int64(999) {
		t.Errorf("%d lines: %v", len(full), full)
	}
}

func TestReadErrorConcernsTheRangeOnly(t *testing.T) {
	disk := newMoody()
	w := newWorld(t, disk).run()
	defer w.crash()
	p := w.one()
	for range 200 {
		w.acked(p, sized(1000))
	}
	disk.become(func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, ".log") {
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	})
	damaged := func(err error) bool {
		return errors.Is(err, kerr.KafkaStorageError) || errors.Is(err, kerr.CorruptMessage)
	}
	if _, err := p.ListOffset(MaxTimestampOffset, false, -1); !damaged(err) {
		t.Errorf("look-up by time: %v", err)
	}
	var out ReadResult
	p.Read(ReadRequest{Offset: 77, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1, Whole: true}, &out)
	if out.Err != nil && !damaged(out.Err) {
		t.Errorf("read: %v", out.Err)
	}
	out.Slice.Release()
	if n := w.set.Stats().Dirs[0].ReadErrors; n == 0 {
		t.Error("not counted")
	}
	if role, _ := p.Role(); role != Leader {
		t.Errorf("role %s", role)
	}
	disk.heal()
	w.acked(p, batch(1, "x"))
	if got := w.read(p, 0); len(got) != 201 {
		t.Errorf("%d records", len(got))
	}
}

// Z38: nothing is written when the disk begins to hang, and the followers and the controller hear that all is well.
func TestZ38AnIdleDiskThatHangsTakesItsDirectoryOffline(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpSync, vfs.OpWrite, vfs.OpOpen} {
		synctest.Test(t, func(t *testing.T) { hangIdle(t, kind) })
	}
}

func hangIdle(t *testing.T, kind vfs.Kind) {
	disk := newMoody()
	w := newWorld(t, disk, func(c *Config) { c.Dirs, c.ProbeInterval = []string{"/one", "/two"}, 1500*time.Millisecond }).run()
	offline := func(i int) bool { return w.set.Directories()[i].Err != nil }
	time.Sleep(time.Minute)
	if offline(1) {
		t.Fatal("a disk that works is taken offline")
	}
	release, began := make(chan struct{}), time.Now()
	disk.become(func(op vfs.Op) vfs.Verdict {
		if op.Kind == kind && strings.HasPrefix(op.Name, "/two/") {
			return vfs.Verdict{Stuck: release}
		}
		return vfs.Verdict{}
	})
	for !offline(1) && time.Since(began) < time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("%s hangs: told after %s", kind, took)
	}
	close(release)
	synctest.Wait()
	if offline(0) {
		t.Error("the other directory is offline, too")
	}
	w.crash()
}

func TestAProbeThatFailsIsJudgedAsAnyWrite(t *testing.T) {
	for _, c := range []struct {
		kind    vfs.Kind
		err     error
		offline bool
	}{
		{vfs.OpWrite, syscall.EIO, true},
		{vfs.OpSync, syscall.EIO, true},
		{vfs.OpSync, syscall.ENOSPC, true}, // what was written may be lost
		{vfs.OpWrite, syscall.ENOSPC, false},
		{vfs.OpOpen, syscall.EMFILE, false},
		{vfs.OpOpen, syscall.EROFS, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := newMoody()
			w := newWorld(t, disk, func(c *Config) { c.ProbeInterval = time.Second }).run()
			disk.become(func(op vfs.Op) vfs.Verdict {
				if op.Kind == c.kind && strings.HasSuffix(op.Name, probeFile) {
					return vfs.Verdict{Err: c.err}
				}
				return vfs.Verdict{}
			})
			time.Sleep(3 * time.Second)
			if got := w.set.Directories()[0].Err != nil; got != c.offline {
				t.Errorf("%s fails with %v: offline %t", c.kind, c.err, got)
			}
			w.crash()
		})
	}
}

func TestABusyDiskIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, newMoody(), func(c *Config) { c.ProbeInterval = time.Second }).run()
		p := w.one()
		for range 100 {
			w.acked(p, batch(1, "x"))
			time.Sleep(100 * time.Millisecond)
		}
		if w.exists("/data/" + probeFile) {
			t.Error("probed")
		}
		w.crash()
	})
}
