package vfs

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryFailingOperationLeavesOldOrNew(t *testing.T) {
	replace := func(fsys FS) error { return WriteFileAtomic(fsys, "/d/f", []byte("new")) }
	clean := NewFault(newMem(t), func(Op) Verdict { return Verdict{} })
	must(t, replace(clean))
	if clean.Count() != 5 {
		t.Fatalf("%d operations, want open, write, sync, rename, syncdir", clean.Count())
	}
	for n := range clean.Count() {
		m := newMem(t)
		must(t, WriteFileAtomic(m, "/d/f", []byte("old")))
		err := replace(NewFault(m, FailAt(n, syscall.EIO)))
		wantErr(t, err, syscall.EIO)
		want := "old"
		if n == 4 { // the rename has happened; only its durability is in doubt
			want = "new"
		}
		wantFile(t, m, "/d/f", want)
		wantNone(t, m, "/d/f.tmp")
	}
}

func TestEachKindFails(t *testing.T) {
	m := newMem(t)
	put(t, m, "/d/f", "abc")
	var kinds []Kind
	f := NewFault(m, func(op Op) Verdict {
		kinds = append(kinds, op.Kind)
		if op.Kind == OpOpen {
			return Verdict{}
		}
		return Verdict{Err: syscall.EIO}
	})
	file := open(t, f, "/d/f", os.O_RDWR)
	_, readDirErr := f.ReadDir("/d")
	_, statErr := f.Stat("/d/f")
	_, lockErr := f.Lock("/d/l")
	_, _, spaceErr := f.Space("/d")
	_, readErr := file.ReadAt(make([]byte, 1), 0)
	_, onceErr := file.ReadOnce(make([]byte, 1), 0)
	_, writeErr := file.WriteAt([]byte("x"), 0)
	_, sizeErr := file.Size()
	_, sendErr := file.SendTo(nil, 0, 1)
	errs := []error{f.MkdirAll("/d/a", 0o700), f.Remove("/d/f"), f.RemoveAll("/d"), f.Rename("/d/f", "/d/g"),
		readDirErr, statErr, f.SyncDir("/d"), lockErr, spaceErr, readErr, onceErr, writeErr, file.Truncate(0), file.Sync(),
		file.Datasync(), file.Preallocate(0, 1), sizeErr, sendErr}
	for i, err := range errs {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: error %v, want EIO", i, err)
		}
	}
	seen := map[Kind]bool{}
	for _, k := range kinds {
		seen[k] = true
	}
	if len(seen) != len(kindNames) {
		t.Errorf("saw kinds %v", kinds)
	}
	if dump(t, m) != "/d/f=abc" {
		t.Errorf("a failed operation changed something: %s", dump(t, m))
	}
}

func TestShortWriteLeavesItsFirstBytes(t *testing.T) {
	m := newMem(t)
	f := NewFault(m, func(op Op) Verdict {
		if op.Kind == OpWrite {
			return Verdict{Err: syscall.ENOSPC, Short: 4}
		}
		return Verdict{}
	})
	file := open(t, f, "/d/f", os.O_RDWR|os.O_CREATE)
	n, err := file.Writev([][]byte{[]byte("abc"), []byte("def")}, 0)
	if n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v; want 4, ENOSPC", n, err)
	}
	wantFile(t, m, "/d/f", "abcd")
}

func TestLyingSyncLosesData(t *testing.T) {
	for _, kind := range []Kind{OpSync, OpSyncDir} {
		m := newMem(t)
		f := NewFault(m, func(op Op) Verdict { return Verdict{Lie: op.Kind == kind} })
		must(t, WriteFileAtomic(f, "/d/f", []byte("x")))
		wantFile(t, m, "/d/f", "x")
		if got := dump(t, m.CrashClone(nil)); got == "/d/f=x" {
			t.Errorf("%v lied and nothing was lost", kind)
		}
	}
}

// TestStuckAndSlowDiskInABubble proves that an operation that waits holds nothing up: virtual time goes on and the
// other file stays usable.
func TestStuckAndSlowDiskInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		f := NewFault(newMem(t), func(op Op) Verdict {
			switch {
			case op.Kind == OpSync && op.Name == "/d/stuck":
				return Verdict{Stuck: free}
			case op.Kind == OpSync:
				return Verdict{Delay: time.Minute}
			}
			return Verdict{}
		})
		stuck, slow := open(t, f, "/d/stuck", os.O_RDWR|os.O_CREATE), open(t, f, "/d/slow", os.O_RDWR|os.O_CREATE)
		done := make(chan error)
		go func() { done <- stuck.Sync() }()
		start := time.Now()
		must(t, slow.Sync())
		if took := time.Since(start); took != time.Minute {
			t.Errorf("slow sync took %v", took)
		}
		_, err := stuck.WriteAt([]byte("x"), 0)
		must(t, err)
		synctest.Wait()
		select {
		case <-done:
			t.Error("the stuck sync returned")
		default:
		}
		close(free)
		must(t, <-done)
	})
}
