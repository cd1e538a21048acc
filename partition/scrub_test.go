package partition

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/segment/vfs"
)

// rolled is a partition with a few sealed segments.
func (w *world) rolled() *Partition {
	w.t.Helper()
	p := w.one()
	w.config("t", "segment.bytes", "1048576")
	w.config("t", "retention.ms", "-1")
	for range 100 {
		w.acked(p, sized(50_000))
	}
	return p
}

func (w *world) seals(dir string) int {
	return len(slices.DeleteFunc(w.list(dir), func(n string) bool { return !strings.HasSuffix(n, ".seal") }))
}

func TestScrubFindsAFlippedBitAndTheRestIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := newWorld(t, mem, func(c *Config) { c.ScrubInterval = time.Hour }).run()
		p := w.rolled()
		time.Sleep(2 * time.Minute)
		if n, want := w.seals("/data/t-0"), p.Describe(); n < 4 {
			t.Fatalf("%d seals of %+v", n, want)
		}
		if err := mem.Corrupt("/data/t-0/00000000000000000000.log", 5*50_000+500, 4); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			var out ReadResult
			p.Read(ReadRequest{Offset: 5, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Whole: true}, &out)
			if !errors.Is(out.Err, kerr.CorruptMessage) {
				t.Errorf("the damaged offset answers %v", out.Err)
			}
			out.Slice.Release()
			if got := w.read(p, 6); len(got) != 94 || p.End() != 100 {
				t.Errorf("%d records are served, end %d", len(got), p.End())
			}
		}
		time.Sleep(70 * time.Minute)
		st := w.set.Stats().Dirs[0]
		if st.ScrubFaults != 1 || st.ScrubMismatches != 0 || st.ScrubPasses != 2 || !st.Online {
			t.Errorf("after a pass before and one behind the damage: %+v", st)
		}
		check()
		w.close(7)
		w.reopen(mem)
		p = w.get("t", 0)
		w.settle()
		check()
		w.crash()
		w.reopen(mem.KillClone())
		p = w.get("t", 0)
		w.settle()
		check()
		w.crash()
	})
}

func TestScrubGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := newWorld(t, mem, func(c *Config) { c.ScrubInterval = time.Hour }).run()
		p := w.rolled()
		for range 30 { // each life long enough for a piece of the pass only
			w.halt()
			w.run()
			time.Sleep(32 * time.Second)
		}
		st := w.set.Stats().Dirs[0]
		if st.ScrubPasses != 1 || st.Scrubbed > 2*p.Describe().Size {
			t.Errorf("%d passes, %d bytes read of %d", st.ScrubPasses, st.Scrubbed, p.Describe().Size)
		}
		w.close(7)
		w.reopen(mem)
		w.run()
		time.Sleep(30 * time.Minute)
		if st := w.set.Stats().Dirs[0]; st.ScrubPasses != 0 || st.Scrubbed != 0 {
			t.Errorf("half an hour after the pass, in the next life: %d bytes", st.Scrubbed)
		}
		time.Sleep(time.Hour)
		if st := w.set.Stats().Dirs[0]; st.ScrubPasses != 1 {
			t.Errorf("%d passes in the hour after", st.ScrubPasses)
		}
		w.crash()
	})
}

func TestScrubCanBeSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewMem(), func(c *Config) { c.ScrubInterval = -1 }).run()
		w.rolled()
		time.Sleep(2 * time.Hour)
		if st := w.set.Stats().Dirs[0]; st.Scrubbed != 0 || w.seals("/data/t-0") == 0 {
			t.Errorf("%d bytes, %d seals", st.Scrubbed, w.seals("/data/t-0"))
		}
		if err := w.set.Close(context.Background(), 1); err == nil {
			t.Error("closed while running")
		}
		w.crash()
	})
}

func TestScrubRate(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for _, c := range []struct {
		left  int64
		since time.Duration
		want  int64
	}{
		{100 << 20, 0, minScrubRate},
		{10 << 40, 0, 10 << 40 / (7 * 24 * 3600 * 2 / 3)},
		{10 << 40, 4 * 24 * time.Hour, 64 << 20}, // was stopped for days
		{1 << 40, 6 * 24 * time.Hour, maxScrubRate},
		{1 << 50, 0, maxScrubRate},
		{0, 0, minScrubRate},
	} {
		if got := scrubRate(c.left, c.since, week); got != c.want {
			t.Errorf("%d bytes left after %s: %d bytes/s, want %d", c.left, c.since, got, c.want)
		}
	}
}
