package segment

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cordwood/protocol/record"
)

func TestRetention(t *testing.T) {
	for _, c := range []struct {
		name   string
		config func(*Config)
		now    time.Time
		hw     int64
		start  int64 // afterwards; segments begin at 0, 27, 54, 81, 108; the log ends at 120
	}{
		{"nothing is old", func(c *Config) {}, clock, 120, 0},
		{"by age", func(c *Config) { c.RetentionAge = time.Second }, time.UnixMilli(stampOf(60)).Add(time.Second), 120, 54},
		{"by age, the active segment too", func(c *Config) { c.RetentionAge = time.Second }, clock.Add(time.Hour), 120, 120},
		{"never above the high watermark", func(c *Config) { c.RetentionAge = time.Second }, clock.Add(time.Hour), 80, 54},
		{"by size", func(c *Config) { c.RetentionBytes = 4500 }, clock, 120, 54},
		{"by size, up to the high watermark", func(c *Config) { c.RetentionBytes = 100 }, clock, 54, 54},
		{"by size, not below the bound", func(c *Config) { c.RetentionBytes = 8500 }, clock, 120, 0},
		{"compacted", func(c *Config) { c.RetentionAge, c.Delete, c.Compact = time.Second, false, true }, clock.Add(time.Hour), 120, 0},
		{"for ever", func(c *Config) { c.RetentionAge = -1 }, clock.Add(1e6 * time.Hour), 120, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			o := options(m)
			c.config(&o.Config)
			l := open(t, o)
			want := fill(t, l, 40, 0)
			_, err := l.Retain(c.now, c.hw)
			must(t, err)
			if l.Start() != c.start || l.End() != 120 {
				t.Fatalf("log [%d, %d), want [%d, 120)", l.Start(), l.End(), c.start)
			}
			sameBatches(t, contents(t, l, 1000), from(want, c.start))
			if e := l.EpochEntries(); c.start < 120 && e[0].Start != c.start {
				t.Fatalf("epochs %v", e)
			}
		})
	}
}

func TestPurgeRenamesAtOnceAndRemovesLater(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 40, 0)
	_, err := l.Sync()
	must(t, err)
	must(t, l.Trim(60))
	count := func(suffix string) int {
		n := 0
		for _, name := range names(t, m, logDir) {
			if strings.HasSuffix(name, suffix) {
				n++
			}
		}
		return n
	}
	must(t, l.Purge(clock))
	if got := count(deletedSuffix); got != 7 { // two of .log, .index, .timeindex, one .snapshot
		t.Fatalf("%d files are renamed: %v", got, names(t, m, logDir))
	}
	must(t, l.Purge(clock.Add(59*time.Second)))
	if got := count(deletedSuffix); got != 7 {
		t.Fatalf("%d files are left before the delay is over", got)
	}
	must(t, l.Purge(clock.Add(time.Minute)))
	if got := count(deletedSuffix); got != 0 {
		t.Fatalf("%d files are left", got)
	}
	if again := open(t, options(m.KillClone())); again.Start() != 54 {
		t.Fatalf("start %d", again.Start())
	}
}

func TestTrimRules(t *testing.T) {
	l := open(t, options(newMem(t)))
	fill(t, l, 40, 0)
	if err := l.Trim(121); err == nil {
		t.Fatal("trimmed above the end")
	}
	must(t, l.Trim(30))
	must(t, l.Trim(10)) // never back
	if l.Start() != 30 || l.View().segments[0].base != 27 {
		t.Fatalf("start %d in %d", l.Start(), l.View().segments[0].base)
	}
	if _, err := l.View().Slice(29, 120, 100, true); err != ErrOutOfRange {
		t.Fatalf("below the start: %v", err)
	}
}

func TestLookupByTime(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 40, 2)
	closed := reopenClean(t, l)
	for i, l := range []*Log{l, closed, open(t, options(m.KillClone()))} {
		if i == 0 {
			continue // closed by reopenClean; its image is what the others read
		}
		for _, start := range []int64{0, 50} {
			must(t, l.Trim(start))
			checkTimes(t, l)
		}
	}
}

func reopenClean(t *testing.T, l *Log) *Log {
	t.Helper()
	must(t, l.Close(true))
	o := options(l.fs)
	c := l.Manifest()
	o.Clean = &c
	return open(t, o)
}

// checkTimes compares lookups with a walk over all records (trap 35).
func checkTimes(t *testing.T, l *Log) {
	t.Helper()
	first := func(ok func(ts int64) bool) (int64, bool) {
		for at := l.Start(); at < l.End(); at++ {
			if ok(stampOf(at)) {
				return at, true
			}
		}
		return 0, false
	}
	newest := int64(0)
	for at := l.Start(); at < l.End(); at++ {
		newest = max(newest, stampOf(at))
	}
	for ts := stampOf(0) - 600; ts <= newest+1; ts += 5 {
		want, found := first(func(s int64) bool { return s >= ts })
		offset, timestamp, epoch, ok, err := l.OffsetForTime(ts)
		must(t, err)
		if ok != found || ok && (offset != want || timestamp != stampOf(want) || epoch != 2) {
			t.Fatalf("time %d: %d %d %d %v, want %d %v", ts, offset, timestamp, epoch, ok, want, found)
		}
	}
	want, _ := first(func(s int64) bool { return s == newest })
	offset, timestamp, _, ok, err := l.MaxTimestamp()
	if err != nil || !ok || offset != want || timestamp != newest {
		t.Fatalf("newest: %d %d %v %v, want %d %d", offset, timestamp, ok, err, want, newest)
	}
}

func TestEmptyLogHasNoTimes(t *testing.T) {
	l := open(t, options(newMem(t)))
	if _, _, _, ok, err := l.OffsetForTime(0); ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, _, _, ok, err := l.MaxTimestamp(); ok || err != nil {
		t.Fatal(ok, err)
	}
}

func TestEpochEnds(t *testing.T) {
	l := open(t, options(newMem(t)))
	check := func(asked, epoch int32, end int64) {
		t.Helper()
		if e, o := l.EndOffsetFor(asked); e != epoch || o != end {
			t.Errorf("epoch %d: (%d, %d), want (%d, %d); cache %v", asked, e, o, epoch, end, l.EpochEntries())
		}
	}
	check(0, -1, -1)
	must(t, l.BeginEpoch(2))
	check(2, 2, 0)
	fill(t, l, 10, 2)
	must(t, l.BeginEpoch(5))
	must(t, l.BeginEpoch(5))
	must(t, l.BeginEpoch(6)) // nothing was written in 5
	fill(t, l, 10, 7)
	must(t, l.BeginEpoch(9))
	check(-1, -1, -1)
	check(1, 1, 0)
	check(2, 2, 30)
	check(4, 2, 30)
	check(6, 2, 30)
	check(7, 7, 60)
	check(8, 7, 60)
	check(9, 9, 60)
	check(10, -1, -1)
	must(t, l.Trim(33))
	check(2, 2, 33)
	check(7, 7, 60)
	must(t, l.Truncate(50))
	check(7, 7, 48)
	check(9, -1, -1)
}

// Z4: the epoch of a leader that never wrote a record must survive a crash.
func TestEmptyEpochSurvives(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 3, 1)
	_, err := l.Sync()
	must(t, err)
	must(t, l.BeginEpoch(4))
	again := open(t, options(m.CrashClone(nil)))
	if e, end := again.EndOffsetFor(1); e != 1 || end != 9 || again.LastEpoch() != 4 {
		t.Fatalf("epochs %v", again.EpochEntries())
	}
	closed := reopenClean(t, again)
	must(t, closed.BeginEpoch(6))
	if closed = reopenClean(t, closed); closed.LastEpoch() != 6 {
		t.Fatalf("epochs %v", closed.EpochEntries())
	}
}

func TestAbortedTransactionsAreFound(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	txn := func(id int64, n int, end *record.ControlType) {
		t.Helper()
		for i := range n {
			b := stamped(t, l.End(), 0, record.BuilderOptions{Transactional: true, Producer: &record.Producer{ID: id, Sequence: int32(3 * i)}}, 3, 40)
			must(t, l.Append([]record.Batch{b}, 0))
		}
		if end != nil {
			b := record.BuildControl(record.Control{Type: *end}, id, 0, clock.UnixMilli())
			b.Stamp(l.End(), 0)
			must(t, l.Append([]record.Batch{b}, 0))
		}
	}
	abort, commit := record.Abort, record.Commit
	txn(1, 1, &abort)   // [0,4)
	txn(2, 15, &commit) // [4,50)
	txn(3, 12, &abort)  // [50,87), over a roll
	txn(4, 2, nil)      // [87,93) open
	want := []AbortedTxn{{1, 0, 3, 4}, {3, 50, 86, 87}}
	image := m.KillClone()
	for name, l := range map[string]*Log{"live": l, "recovered": open(t, options(image))} {
		for _, c := range []struct {
			from, to int64
			want     []AbortedTxn
		}{
			{0, 93, want}, {0, 4, want[:1]}, {4, 50, nil}, {4, 51, want[1:]}, {60, 61, want[1:]}, {87, 93, nil}, {3, 4, want[:1]},
		} {
			got, err := l.AbortedIn(c.from, c.to)
			must(t, err)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: in [%d, %d): %v, want %v", name, c.from, c.to, got, c.want)
			}
		}
		if got := l.LastStable(l.End()); got != 87 {
			t.Errorf("%s: last stable offset %d", name, got)
		}
	}
	closed := reopenClean(t, l)
	if got, err := closed.AbortedIn(0, 93); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("after a clean stop: %v, %v", got, err)
	}
	must(t, closed.Truncate(60))
	if got, err := closed.AbortedIn(0, 93); err != nil || len(got) != 1 {
		t.Fatalf("after a truncation: %v, %v", got, err)
	}
}
