package segment

import (
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"cordwood/protocol/record"
)

// A copy that is cut to what Follows says, whenever it is looked at, never holds what its original does not: through truncations,
// new epochs with and without records, moved starts and restarts.
func TestACopyFollowsWhatItsOriginalKept(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		m := newMem(t)
		l := open(t, options(m))
		o := options(m)
		o.Dir, o.Name = filepath.Join(filepath.Dir(logDir), FutureName(l.Name(), [16]byte{7})), l.Name()
		c := open(t, o)
		epoch, written := int32(0), 0
		for range 60 {
			switch rng.IntN(8) {
			case 0, 1, 2: // of records nobody else ever wrote at these offsets
				written++
				b := batchAt(t, l.End(), epoch, 1+rng.IntN(3), 20+written)
				must(t, l.Append([]record.Batch{b}, epoch))
			case 3: // another leader's history: what was cut comes again in another epoch only
				must(t, l.Truncate(l.Start()+rng.Int64N(l.End()-l.Start()+1)))
				epoch++
			case 4:
				epoch++
				must(t, l.BeginEpoch(epoch))
			case 5:
				if rng.IntN(4) == 0 {
					must(t, l.Trim(l.Start()+rng.Int64N(l.End()-l.Start()+1)))
				}
			default:
				follow(t, c, l, rng.IntN(4))
			}
		}
		follow(t, c, l, 1000)
		if c.End() != l.End() || c.Start() != l.Start() {
			t.Fatalf("seed %d: %d to %d, the original %d to %d", seed, c.Start(), c.End(), l.Start(), l.End())
		}
		c.WriteState(c.TakeState(l))
		sameBatches(t, contents(t, c, 1<<20), contents(t, l, 1<<20))
		if got, want := c.EpochEntries(), l.EpochEntries(); len(got) != len(want) || len(got) > 0 && got[len(got)-1] != want[len(want)-1] {
			t.Fatalf("seed %d: epochs %v, the original's %v", seed, got, want)
		}
	}
}

// follow brings the copy up to date, some batches further.
func follow(t *testing.T, c, l *Log, batches int) {
	t.Helper()
	for to := c.Follows(l); to < c.End(); to = c.Follows(l) {
		must(t, c.Truncate(to))
	}
	if l.Start() > c.End() {
		must(t, c.Reset(l.Start()))
	} else if l.Start() > c.Start() {
		must(t, c.Trim(l.Start()))
	}
	for ; batches > 0 && c.End() < l.End(); batches-- {
		x, err := l.View().Slice(c.End(), l.End(), 1, true)
		must(t, err)
		b := make(record.Batch, x.Len())
		_, err = x.ReadAt(b, 0)
		x.Release()
		must(t, err)
		if c.Start() == c.End() && b.BaseOffset() < c.End() {
			must(t, c.Reset(b.BaseOffset()))
		}
		must(t, c.Append([]record.Batch{b}, b.LeaderEpoch()))
	}
	if c.Start() < l.Start() && l.Start() <= c.End() {
		must(t, c.Trim(l.Start()))
	}
}

// Readers who open files while the directory gets another name find them.
func TestReadersDoNotNoticeARename(t *testing.T) {
	m := newMem(t)
	o := options(m)
	o.Files = NewFiles(m, 1) // every read opens files
	l := open(t, o)
	batches := fill(t, l, 40, 3)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				sameBatches(t, contents(t, l, 1<<20), batches)
				if t.Failed() {
					return
				}
			}
		})
	}
	home := l.Dir()
	for range 50 {
		must(t, l.Rename(home+".x"))
		must(t, l.Rename(home))
	}
	close(stop)
	wg.Wait()
	must(t, l.Close(false))
	l = open(t, o)
	sameBatches(t, contents(t, l, 1<<20), batches)
}

func TestNamesOfMovesAreReadBack(t *testing.T) {
	id := [16]byte{1, 0xab, 15: 0xff}
	const hex = "01ab00000000000000000000000000ff"
	if got := FutureName("a.b-7", id); got != "a.b-7."+hex+"-future" {
		t.Error(got)
	}
	for dir, want := range map[string][2]bool{
		"a.b-7." + hex + "-future": {true, false}, "a.b-7." + hex + "-moved": {false, true}, "a.b-7." + hex + "-delete": {}, "a.b-7-future": {},
		"a.b-x." + hex + "-future": {}, "a.b-7.01AB00000000000000000000000000fg-future": {}, "." + hex + "-future": {}, "-moved": {},
	} {
		name, got, future, moved := Moving(dir)
		if future != want[0] || moved != want[1] || (future || moved) && (name != "a.b-7" || got != id) {
			t.Errorf("%s: %q %x %v %v", dir, name, got, future, moved)
		}
	}
}
