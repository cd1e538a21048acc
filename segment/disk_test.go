package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

func TestFullDiskRefusesAppendsAndGoesOn(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpWrite, vfs.OpOpen} { // in a segment, and at a roll
		t.Run(kind.String(), func(t *testing.T) {
			m := newMem(t)
			full := false
			l := open(t, options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
				if full && op.Kind == kind {
					return vfs.Verdict{Err: syscall.ENOSPC, Short: 100}
				}
				return vfs.Verdict{}
			})))
			want := fill(t, l, 7, 0)
			full = true
			for range 5 {
				b := batchAt(t, l.End(), 0, 3, 300)
				if err := l.Append([]record.Batch{b}, 0); !errors.Is(err, ErrNoSpace) {
					t.Fatalf("append to a full disk: %v", err)
				}
			}
			sameBatches(t, contents(t, l, 1000), want)
			full = false
			want = append(want, fill(t, l, 20, 0)...)
			_, err := l.Sync()
			must(t, err)
			sameBatches(t, contents(t, l, 1000), want)
			sameBatches(t, contents(t, open(t, options(m.CrashClone(nil))), 1000), want)
		})
	}
}

func TestFullDiskWhileEpochsAreWritten(t *testing.T) {
	m := newMem(t)
	full := false
	l := open(t, options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
		if full && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpOpen) {
			return vfs.Verdict{Err: syscall.ENOSPC}
		}
		return vfs.Verdict{}
	})))
	fill(t, l, 1, 4)
	full = true
	if end, err := l.Sync(); err != nil || end != 3 || l.RecoveryPoint() != 0 {
		t.Fatalf("sync to %d, recovery point %d: %v", end, l.RecoveryPoint(), err)
	}
	if again := open(t, options(m.CrashClone(nil))); again.End() != 3 || again.LastEpoch() != 4 {
		t.Fatalf("end %d, epoch %d", again.End(), again.LastEpoch())
	}
	full = false
	if end, err := l.Sync(); err != nil || end != 3 {
		t.Fatalf("sync to %d: %v", end, err)
	}
	if again := open(t, options(m.CrashClone(nil))); again.End() != 3 || again.LastEpoch() != 4 {
		t.Fatalf("end %d, epoch %d", again.End(), again.LastEpoch())
	}
}

func TestFailedWriteTakesTheLogOffline(t *testing.T) {
	m := newMem(t)
	broken := false
	l := open(t, options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
		if broken && op.Kind == vfs.OpWrite {
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	})))
	want := fill(t, l, 3, 0)
	broken = true
	b := []record.Batch{batchAt(t, l.End(), 0, 1, 1)}
	if err := l.Append(b, 0); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("append: %v", err)
	}
	broken = false
	if err := l.Append(b, 0); !errors.Is(err, ErrFailed) {
		t.Fatalf("append after it: %v", err)
	}
	if err := l.Close(true); !errors.Is(err, ErrFailed) {
		t.Fatalf("a log that failed was closed clean: %v", err)
	}
	_ = want
}

func TestLackOfDescriptorsPasses(t *testing.T) {
	m := newMem(t)
	none := false
	o := options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
		if none && op.Kind == vfs.OpOpen {
			return vfs.Verdict{Err: syscall.EMFILE}
		}
		return vfs.Verdict{}
	}))
	l := open(t, o)
	want := fill(t, l, 30, 0)
	none = true
	if _, err := l.Sync(); !errors.Is(err, syscall.EMFILE) || l.Err() != nil {
		t.Fatalf("sync: %v, log: %v", err, l.Err())
	}
	none = false
	end, err := l.Sync()
	if err != nil || end != 90 {
		t.Fatalf("sync to %d: %v", end, err)
	}
	sameBatches(t, contents(t, open(t, options(m.CrashClone(nil))), 1000), want)
}

// An append that fills three segments fails in the third: nothing of it may stay.
func TestAppendIsAllOrNothingOverSegments(t *testing.T) {
	m := newMem(t)
	writes, fail := 0, false
	l := open(t, options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
		if fail && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, logSuffix) {
			if writes++; writes == 3 {
				return vfs.Verdict{Err: syscall.ENOSPC, Short: 7}
			}
		}
		return vfs.Verdict{}
	})))
	want := []record.Batch{idempotent(t, l, 5, 0)}
	must(t, l.BeginEpoch(4))
	var burst []record.Batch
	next := l.End()
	for i := range 20 {
		b := stamped(t, next, 4, record.BuilderOptions{Producer: &record.Producer{ID: 5, Epoch: 0, Sequence: int32(3 + 3*i)}}, 3, 100)
		burst, next = append(burst, b), b.NextOffset()
	}
	fail = true
	if err := l.Append(burst, 4); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	fail = false
	sameBatches(t, contents(t, l, 1000), want)
	if p := l.Producers().Producers(); len(p) != 1 || p[0].LastSequence != 2 {
		t.Fatalf("producers %+v", p)
	}
	if l.LastEpoch() != 4 {
		t.Fatalf("epochs %v", l.EpochEntries())
	}
	must(t, l.Append(burst, 4))
	_, err := l.Sync()
	must(t, err)
	want = append(want, burst...)
	sameBatches(t, contents(t, l, 1000), want)
	sameBatches(t, contents(t, open(t, options(m.CrashClone(nil))), 1000), want)
}

// script is a fixed run of everything that touches the disk; it stops at the first error.
func script(fsys vfs.FS) (durable int64, err error) {
	c, err := OpenCheckpoints(fsys, dataDir, nil)
	if err != nil {
		return 0, err
	}
	j, err := OpenJournal(fsys, dataDir, 1<<20, nil)
	if err != nil {
		return 0, err
	}
	o := options(fsys)
	o.Checkpoints, o.Journal = c, j
	l, err := Open(o)
	if err != nil {
		return 0, err
	}
	defer func() {
		durable = l.Durable()
		_ = l.Close(false)
	}()
	t := new(testing.T)
	steps := []func() error{
		func() error { return j.Reset() },
		func() error { return l.BeginEpoch(1) },
		func() error { return l.Append([]record.Batch{batchAt(t, l.End(), 1, 3, 100)}, 1) },
		func() error { _, err := l.Sync(); return err },
		func() error {
			for range 8 {
				if err := l.Append([]record.Batch{batchAt(t, l.End(), 1, 3, 100)}, 1); err != nil {
					return err
				}
			}
			return nil
		},
		func() error {
			e, _, ok, err := l.Unsynced(nil, 1<<20)
			if err != nil || !ok {
				return err
			}
			if err := j.Append(l, e); err != nil {
				return err
			}
			if err := j.Commit(); err != nil {
				return err
			}
			l.MarkDurable(e)
			return nil
		},
		func() error { return l.Truncate(20) },
		func() error { return l.Append([]record.Batch{batchAt(t, l.End(), 1, 3, 100)}, 1) },
		func() error { _, err := l.Sync(); return err },
		func() error { return c.Write(func(yield func(*Log) bool) { yield(l) }) },
		func() error { return j.Reset() },
		func() error { return l.Trim(13) },
		func() error { return l.Purge(clock) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// Every operation of the script fails once, in every way; what was durable before must be there afterwards.
func TestEverySingleFault(t *testing.T) {
	clean := vfs.NewFault(newMem(t), func(vfs.Op) vfs.Verdict { return vfs.Verdict{} })
	if _, err := script(clean); err != nil {
		t.Fatal(err)
	}
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := range clean.Count() {
			m := newMem(t)
			durable, err := script(vfs.NewFault(m, vfs.FailAt(n, cause)))
			for i, image := range []*vfs.Mem{m.CrashClone(nil), m.CrashClone(rand.New(rand.NewPCG(uint64(n), 1))), m.KillClone()} {
				at := fmt.Sprintf("operation %d, %v (script: %v), image %d", n, cause, err, i)
				if err := reopen(image, durable); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
	}
}

func reopen(m *vfs.Mem, durable int64) error {
	c, err := OpenCheckpoints(m, dataDir, nil)
	if err != nil {
		return err
	}
	j, err := OpenJournal(m, dataDir, 1<<20, nil)
	if err != nil {
		return err
	}
	o := options(m)
	o.Checkpoints, o.Journal = c, j
	l, err := Open(o)
	if err != nil {
		return err
	}
	defer l.Close(false)
	if _, err := j.Replay(l); err != nil {
		return err
	}
	if f := l.Recovery().Faults; len(f) > 0 {
		return fmt.Errorf("faults %+v", f)
	}
	if l.End() < durable {
		return fmt.Errorf("end %d, %d was durable", l.End(), durable)
	}
	_, err = readAllBatches(l, l.Start(), l.End(), 500)
	return err
}
