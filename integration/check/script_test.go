package check

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script reads a history as the tests write it, one line an event:
//
//	1 send a=7@3         process 1 sent 7 to a, ok, at offset 3: invocation and completion
//	1 send! a=7          the same, failed; ? for info
//	1 > send a=7         invocation only
//	1 < send a=7@3       completion of the process' oldest operation of this kind that is under way
//	1 poll a=7@3 a=8@4   1 txn <a=7@3 b=1@0 (< is a read)   1 assign a b   1 crash   1 end a@5   1 commit g a@5
func script(t *testing.T, text string) History {
	t.Helper()
	var h History
	place := 0
	at := func() (int, time.Duration) { place++; return place, time.Duration(place) * time.Second }
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(l)
		process, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(l)
		}
		mark := ""
		if f[1] == ">" || f[1] == "<" {
			mark, f = f[1], f[1:]
		}
		op := Op{Process: process, Outcome: OK}
		name := strings.TrimRight(f[1], "!?")
		op.Do = Do(name)
		if strings.HasSuffix(f[1], "!") {
			op.Outcome = Fail
		} else if strings.HasSuffix(f[1], "?") {
			op.Outcome = Info
		}
		scriptSteps(t, &op, f[2:])
		if mark == "<" {
			i := 0
			for h[i].Process != process || h[i].Do != op.Do || h[i].Completed != Never {
				i++
			}
			h[i].Outcome, h[i].Steps = op.Outcome, op.Steps
			h[i].Completed, h[i].Ended = at()
			continue
		}
		op.Invoked, op.Began = at()
		if mark == "" {
			op.Completed, op.Ended = at()
		} else {
			op.Completed, op.Outcome = Never, Info
		}
		h = append(h, op)
	}
	return h
}

func scriptSteps(t *testing.T, op *Op, words []string) {
	t.Helper()
	for i, w := range words {
		switch {
		case op.Do == Assign || op.Do == Subscribe || strings.HasPrefix(w, "~"):
			op.Keys = append(op.Keys, Key(strings.TrimPrefix(w, "~")))
			continue
		case i == 0 && (op.Do == Commit || op.Do == Committed):
			op.Group = w
			continue
		}
		s := Step{Offset: Unknown}
		w, s.Read = strings.CutPrefix(w, "<")
		w, offset, told := strings.Cut(w, "@")
		key, value, _ := strings.Cut(w, "=")
		s.Key = Key(key)
		var err error
		if value != "" {
			if s.Value, err = strconv.ParseInt(value, 10, 64); err != nil {
				t.Fatal(w)
			}
		}
		if told {
			if s.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
				t.Fatal(w)
			}
		}
		op.Steps = append(op.Steps, s)
	}
}

// rules are the errors of a report.
func rules(r *Report) string {
	var names []string
	for _, f := range r.Errors() {
		names = append(names, fmt.Sprint(f.Rule))
	}
	return strings.Join(names, " ")
}
