package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// within is the batches of a range.
func within(batches []record.Batch, f Fault) (in []record.Batch) {
	for _, b := range batches {
		if b.BaseOffset() >= f.From && b.NextOffset() <= f.To {
			in = append(in, b)
		}
	}
	return in
}

// mendAll puts everything right, `piece` batches at a time.
func mendAll(t testing.TB, l *Log, batches []record.Batch, piece int) {
	t.Helper()
	for _, f := range l.Faults() {
		for f.From < f.To {
			good := within(batches, f)
			rest, err := l.Mend(f, good[:min(piece, len(good))])
			must(t, err)
			if rest.From <= f.From || rest.To != f.To {
				t.Fatalf("of %+v is left %+v", f, rest)
			}
			f = rest
		}
	}
	if left := l.Faults(); len(left) > 0 {
		t.Fatalf("left: %+v", left)
	}
}

// wantWhole: nothing is missing, nothing is wrong, by every way to look at it.
func wantWhole(t *testing.T, l *Log, batches []record.Batch) {
	t.Helper()
	sameBatches(t, contents(t, l, 1<<20), batches)
	checkIndexes(t, l)
	size := int64(0)
	for _, b := range batches {
		size += int64(len(b))
	}
	if l.Size() != size {
		t.Errorf("%d bytes, want %d", l.Size(), size)
	}
}

func TestMendPutsEveryDamageRight(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 60 {
		m := newMem(t)
		l, batches := sealedLog(t, m)
		for _, i := range rng.Perm(l.Segments() - 1)[:1+rng.IntN(2)] { // two flips side by side may look like a batch that is good
			s := l.View().segments[i]
			must(t, m.Corrupt(s.log.name(), rng.Int64N(s.tail.size.Load()), 1<<rng.IntN(8)))
		}
		scrub(t, l)
		faults := l.Faults()
		for _, f := range faults {
			if !l.IsDamaged(f.From) || !l.IsDamaged(f.To-1) || l.IsDamaged(f.To) && !slices.ContainsFunc(faults, func(o Fault) bool { return o.From == f.To }) {
				t.Errorf("%+v is not what IsDamaged says", f)
			}
		}
		mendAll(t, l, batches, 1+rng.IntN(3))
		if _, mismatches, _ := scrub(t, l); mismatches > 0 {
			continue // a flipped bit that only the seal knows of, and no range was damaged by it
		}
		wantWhole(t, l, batches)
		wantClean(t, l)
		if round%2 == 0 {
			l = reopenClean(t, l)
		} else {
			must(t, l.Close(false))
			o := options(m)
			o.RecoveryPoint = l.End()
			l = open(t, o)
		}
		wantWhole(t, l, batches)
		if left := l.Faults(); len(left) > 0 {
			t.Fatalf("after a restart: %+v", left)
		}
	}
}

// What recovery misses at the end of a segment is mended too: the file grows, or gets shorter than what was damaged.
func TestMendRestoresTheEndOfASegment(t *testing.T) {
	for name, change := range map[string]func(f vfs.File, size int64) error{
		"a batch and a half are gone": func(f vfs.File, size int64) error { return f.Truncate(size * 3 / 5) },
		"all is gone":                 func(f vfs.File, _ int64) error { return f.Truncate(0) },
		"something is behind it": func(f vfs.File, size int64) error {
			_, err := f.WriteAt(make([]byte, 5000), size-10)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMem(t)
			l, batches := sealedLog(t, m)
			s := l.View().segments[1]
			file := s.log.name()
			must(t, l.Close(false))
			f, err := m.Open(file, os.O_RDWR, 0)
			must(t, err)
			size, err := f.Size()
			must(t, err)
			must(t, errors.Join(change(f, size), f.Sync(), f.Close()))
			o := options(m)
			o.RecoveryPoint = l.End()
			l = open(t, o)
			if len(l.Faults()) == 0 {
				t.Fatal("nothing is damaged")
			}
			mendAll(t, l, batches, 2)
			wantWhole(t, l, batches)
			must(t, l.Close(false))
			l = open(t, o)
			wantWhole(t, l, batches)
			wantClean(t, l)
		})
	}
}

// A power cut at any moment of a Mend leaves each batch good or damaged and known to be, never wrong.
func TestACrashDuringAMendLeavesNothingWrong(t *testing.T) {
	for _, piece := range []int{1, 100} {
		for _, cut := range []bool{false, true} {
			m := newMem(t)
			l, batches := sealedLog(t, m)
			o := options(m)
			o.RecoveryPoint = l.End()
			name := l.View().segments[1].log.name()
			if cut {
				must(t, l.Close(false))
				f, err := m.Open(name, os.O_RDWR, 0)
				must(t, err)
				must(t, errors.Join(f.Truncate(100), f.Sync(), f.Close()))
				l = open(t, o)
			} else {
				must(t, m.Corrupt(name, 30, 1))
				must(t, m.Corrupt(name, l.View().segments[1].tail.size.Load()/2, 1))
				scrub(t, l)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			var disks []*vfs.Mem
			m.OnSync = func(vfs.SyncPoint) { disks = append(disks, m.CrashClone(nil), m.CrashClone(rng)) }
			mendAll(t, l, batches, piece)
			m.OnSync = nil
			if len(disks) < 10 {
				t.Fatalf("only %d moments", len(disks))
			}
			for i, disk := range disks {
				what := fmt.Sprintf("pieces of %d, cut %v, disk %d", piece, cut, i)
				o.FS, o.Files = disk, nil
				after := open(t, o)
				scrub(t, after)
				served := 0
				for _, b := range batches {
					x, err := after.View().Slice(b.BaseOffset(), b.NextOffset(), 1, true)
					if errors.Is(err, ErrCorrupt) {
						continue
					}
					must(t, err)
					raw := make([]byte, x.Len())
					_, err = x.ReadAt(raw, 0)
					x.Release()
					if err != nil || !slices.Equal(raw, b) {
						t.Fatalf("%s: offset %d is wrong: %v", what, b.BaseOffset(), err)
					}
					served++
				}
				if served < len(batches)/2 {
					t.Fatalf("%s: only %d of %d batches are served", what, served, len(batches))
				}
				mendAll(t, after, batches, 100)
				wantWhole(t, after, batches)
			}
		}
	}
}

func TestMendRefusesWhatDoesNotFit(t *testing.T) {
	m := newMem(t)
	l, batches := sealedLog(t, m)
	s := l.View().segments[1]
	must(t, m.Corrupt(s.log.name(), 100, 1))
	scrub(t, l)
	f := l.Faults()[0]
	good := within(batches, f)[0]
	for name, b := range map[string][]record.Batch{
		"nothing":         nil,
		"another offset":  {batches[0]},
		"beyond it":       {good, batches[slices.IndexFunc(batches, func(b record.Batch) bool { return b.BaseOffset() == f.To })]},
		"another epoch":   {batchAt(t, f.From, 9, int(f.To-f.From), 20)},
		"another size":    {batchAt(t, f.From, 3, int(f.To-f.From), 1)},
		"a piece":         {good[:50]},
		"less than a one": {good[:len(good)-1]},
	} {
		if rest, err := l.Mend(f, b); !errors.Is(err, ErrMisfit) || rest != f {
			t.Errorf("%s: %+v, %v", name, rest, err)
		}
	}
	if _, err := l.Mend(Fault{From: 0, To: 1}, []record.Batch{good}); !errors.Is(err, ErrOutOfRange) {
		t.Errorf("no damage there: %v", err)
	}
	wantServed(t, l, "refused", batches, good)
	mendAll(t, l, batches, 1)
	wantWhole(t, l, batches)
}
