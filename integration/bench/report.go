package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// subjectLimit is the machine itself, beside the targets.
const subjectLimit = "limit"

// report collects one value per round, scenario, metric and subject.
type report struct {
	rows []*row
}

// row is one metric of one scenario.
type row struct {
	scenario     *scenario
	metric, unit string
	values       map[string][]float64 // by subject
}

func newReport() *report { return &report{} }

func (r *report) add(s *scenario, metric, unit, subject string, value float64) {
	for _, x := range r.rows {
		if x.scenario == s && x.metric == metric {
			x.values[subject] = append(x.values[subject], value)
			return
		}
	}
	r.rows = append(r.rows, &row{s, metric, unit, map[string][]float64{subject: {value}}})
}

// spread is the median of the rounds and their range.
type spread struct{ median, least, most float64 }

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{m, v[0], v[len(v)-1]}
}

// ratio divides round by round where both have the same rounds, else the medians.
func ratio(a, b []float64) (spread, bool) {
	if len(a) == 0 || len(b) == 0 {
		return spread{}, false
	}
	if len(a) != len(b) {
		x := spreadOf(a).median / spreadOf(b).median
		return spread{x, x, x}, true
	}
	q := make([]float64, len(a))
	for i := range a {
		if b[i] == 0 {
			return spread{}, false
		}
		q[i] = a[i] / b[i]
	}
	return spreadOf(q), true
}

func number(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x >= 1000:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	case x >= 1:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

func cell(v []float64) string {
	if len(v) == 0 {
		return ""
	}
	s := spreadOf(v)
	if len(v) == 1 {
		return number(s.median)
	}
	return fmt.Sprintf("%s (%s-%s)", number(s.median), number(s.least), number(s.most))
}

func ratioCell(a, b []float64) string {
	s, ok := ratio(a, b)
	if !ok {
		return ""
	}
	if s.least == s.most {
		return number(s.median) + " x"
	}
	return fmt.Sprintf("%s x (%s-%s)", number(s.median), number(s.least), number(s.most))
}

var columns = []string{"metric", "unit", "Cordwood", "Kafka", "Cordwood / Kafka", "limit", "Cordwood / limit"}

func (x *row) cells() []string {
	c, k, l := x.values["Cordwood"], x.values["Kafka"], x.values[subjectLimit]
	return []string{x.metric, x.unit, cell(c), cell(k), ratioCell(c, k), cell(l), ratioCell(c, l)}
}

func (r *report) of(s *scenario) (rows []*row) {
	for _, x := range r.rows {
		if x.scenario == s {
			rows = append(rows, x)
		}
	}
	return rows
}

// printScenario writes one scenario's table for a terminal.
func (r *report) printScenario(w io.Writer, s *scenario) {
	rows := r.of(s)
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %s\n", s.name, s.what)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(columns, "\t"))
	for _, x := range rows {
		fmt.Fprintln(t, strings.Join(x.cells(), "\t"))
	}
	_ = t.Flush() // a terminal that is gone reads nothing
}

// writeMarkdown writes everything measured, with what is needed to judge it.
func (r *report) writeMarkdown(name string, b *bench) error {
	var w strings.Builder
	fmt.Fprintf(&w, "Measured %s on %s, %d cores, %s, %s. %d rounds, in turn; at most %s of records or %v per round. "+
		"Median (least-most) of the rounds; ratios are taken within a round.\n", time.Now().Format("2006-01-02"), cpuModel(),
		runtime.NumCPU(), kernel(), runtime.Version(), b.rounds, number(float64(b.volume)/1e9)+" GB", b.seconds)
	for i := range scenarios {
		s := &scenarios[i]
		rows := r.of(s)
		if len(rows) == 0 {
			continue
		}
		fmt.Fprintf(&w, "\n### %s\n\n%s.\n\n| %s |\n|%s\n", s.name, s.what, strings.Join(columns, " | "),
			strings.Repeat("---|", len(columns)))
		for _, x := range rows {
			fmt.Fprintf(&w, "| %s |\n", strings.Join(x.cells(), " | "))
		}
	}
	return os.WriteFile(name, []byte(w.String()), 0o644)
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // named unknown below
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return "an unknown CPU"
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "an unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}
