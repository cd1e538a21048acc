package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// table is rows under a heading, or without one.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(w io.Writer) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if t.head != nil {
		fmt.Fprintln(out, strings.Join(t.head, "\t"))
	}
	for _, row := range t.rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// print shows a value as JSON, or the table made of it.
func (f *clientFlags) print(w io.Writer, value any, tables ...*table) error {
	if f.format == "json" {
		return printJSON(w, value)
	}
	for i, t := range tables {
		if i > 0 && len(t.rows) > 0 {
			fmt.Fprintln(w)
		}
		if err := t.write(w); err != nil {
			return err
		}
	}
	return nil
}

func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// joinIDs writes node ids as Kafka's tools do.
func joinIDs(ids []int32) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = fmt.Sprint(id)
	}
	return strings.Join(text, ",")
}

// orEmpty makes a missing list an empty one, so that JSON has [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return slices.Clip(list)
}

// isTerminal says whether somebody sits at the other end of a stream.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// progress keeps a line on a terminal up to date while something takes longer than a second.
type progress struct {
	stop  chan struct{}
	ended sync.Once
	done  sync.WaitGroup
}

// showProgress calls line, which must be safe to call from another goroutine, until end is called.
func showProgress(w any, line func() string) *progress {
	p := &progress{stop: make(chan struct{})}
	out, ok := w.(io.Writer)
	if !ok || !isTerminal(w) {
		return p
	}
	p.done.Go(func() {
		shown := false
		for wait := time.Second; ; wait = 250 * time.Millisecond {
			select {
			case <-p.stop:
				if shown {
					fmt.Fprint(out, "\r\x1b[K")
				}
				return
			case <-time.After(wait):
				fmt.Fprintf(out, "\r\x1b[K%s", line())
				shown = true
			}
		}
	})
	return p
}

// end takes the line away. It may be called more than once.
func (p *progress) end() {
	p.ended.Do(func() { close(p.stop) })
	p.done.Wait()
}
