package check

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// line is an invocation or a completion as it stands in a file.
type line struct {
	Op      int           `json:"op"`
	Type    string        `json:"type"` // invoke, or the outcome
	Time    time.Duration `json:"time"`
	Process int           `json:"process"`
	Do      Do            `json:"do,omitempty"`
	Group   string        `json:"group,omitempty"`
	Keys    []Key         `json:"keys,omitempty"`
	Steps   []Step        `json:"steps,omitempty"`
}

const invoke = "invoke"

// Write writes the history as JSON lines.
func (h History) Write(w io.Writer) error {
	type moment struct{ place, op int }
	moments := make([]moment, 0, 2*len(h))
	for i := range h {
		moments = append(moments, moment{h[i].Invoked, i})
		if h[i].Completed != Never {
			moments = append(moments, moment{h[i].Completed, i})
		}
	}
	slices.SortFunc(moments, func(a, b moment) int { return cmp.Compare(a.place, b.place) })
	buffered := bufio.NewWriter(w)
	out := json.NewEncoder(buffered)
	for _, m := range moments {
		op := &h[m.op]
		l := line{Op: m.op, Type: invoke, Time: op.Began, Process: op.Process, Do: op.Do, Group: op.Group}
		switch {
		case m.place == op.Completed:
			l = line{Op: m.op, Type: string(op.Outcome), Time: op.Ended, Process: op.Process, Keys: op.Keys, Steps: op.Steps}
		case op.Do != Poll && op.Do != Committed && op.Do != End: // what is asked for is not known yet
			l.Keys, l.Steps = op.Keys, op.Steps
		}
		if err := out.Encode(l); err != nil {
			return fmt.Errorf("history: %w", err)
		}
	}
	return buffered.Flush()
}

// Read reads what Write wrote. What was never completed is of unknown outcome.
func Read(r io.Reader) (History, error) {
	var h History
	places := map[int]int{} // number of an operation -> index in h
	in := json.NewDecoder(bufio.NewReader(r))
	for n := 0; ; n++ {
		var l line
		if err := in.Decode(&l); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return nil, fmt.Errorf("history, line %d: %w", n+1, err)
		}
		at, known := places[l.Op]
		switch {
		case l.Type == invoke && known:
			return nil, fmt.Errorf("history, line %d: operation %d is invoked twice", n+1, l.Op)
		case l.Type == invoke:
			places[l.Op] = len(h)
			h = append(h, Op{Process: l.Process, Do: l.Do, Group: l.Group, Keys: l.Keys, Steps: l.Steps,
				Outcome: Info, Invoked: n, Completed: Never, Began: l.Time})
		case !known || h[at].Completed != Never:
			return nil, fmt.Errorf("history, line %d: operation %d is not under way", n+1, l.Op)
		case l.Type != string(OK) && l.Type != string(Fail) && l.Type != string(Info):
			return nil, fmt.Errorf("history, line %d: %q is no outcome", n+1, l.Type)
		default:
			op := &h[at]
			op.Outcome, op.Completed, op.Ended, op.Keys, op.Steps = Outcome(l.Type), n, l.Time, l.Keys, l.Steps
		}
	}
}
