//go:build process

package failover

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	kills  = flag.Int("kills", 2, "rounds of each test that kills nodes")
	groups = flag.Int("groups", 1, "rounds of each test that kills the coordinator of a group")
	faults = flag.Int("faults", 1, "rounds of each test that pauses nodes or cuts links")
	limits = flag.Bool("limits", false, "fail when a figure misses its limit")
)

// figure is how long something took in each round, and how long it may take; a limit of 0 is none.
type figure struct {
	name               string
	times              []time.Duration
	median, p99, worst time.Duration
}

// figures are those of all tests, in the order in which they were measured.
var figures []*figure

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if len(figures) > 0 {
		fmt.Print(table(figures))
	}
	os.Exit(code)
}

// measured prints a figure with its limits and holds it to them.
func measured(t *testing.T, f *figure) {
	t.Helper()
	if len(f.times) == 0 {
		t.Errorf("%s: nothing was measured", f.name)
		return
	}
	figures = append(figures, f)
	t.Logf("%s: median %s, p99 %s, worst %s of %d", f.name, round(f.at(50)), round(f.at(99)), round(f.at(100)), len(f.times))
	for _, l := range []struct {
		percent int
		most    time.Duration
	}{{50, f.median}, {99, f.p99}, {100, f.worst}} {
		if got := f.at(l.percent); *limits && l.most > 0 && got > l.most {
			t.Errorf("%s: %s at %d %%, at most %s is allowed", f.name, round(got), l.percent, l.most)
		}
	}
}

// at is the smallest time that is not exceeded by percent of all times.
func (f *figure) at(percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(f.times))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

func table(all []*figure) string {
	var b strings.Builder
	b.WriteString("| | rounds | median | p99 | worst | limits: median, p99, worst |\n|---|---|---|---|---|---|\n")
	for _, f := range all {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s, %s, %s |\n", f.name, len(f.times), round(f.at(50)), round(f.at(99)), round(f.at(100)),
			limit(f.median), limit(f.p99), limit(f.worst))
	}
	return b.String()
}

func round(d time.Duration) time.Duration {
	if d < 10*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

func limit(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return d.String()
}

func TestFiguresCountAsTheirNamesSay(t *testing.T) {
	f := &figure{name: "f"}
	for i := 200; i > 0; i-- {
		f.times = append(f.times, time.Duration(i)*time.Second)
	}
	for percent, want := range map[int]time.Duration{50: 100 * time.Second, 99: 198 * time.Second, 100: 200 * time.Second} {
		if got := f.at(percent); got != want {
			t.Errorf("%d %%: %s, want %s", percent, got, want)
		}
	}
	few := &figure{times: []time.Duration{3, 1, 2}}
	if few.at(50) != 2 || few.at(99) != 3 || few.at(100) != 3 {
		t.Error("of three times:", few.at(50), few.at(99), few.at(100))
	}
}
