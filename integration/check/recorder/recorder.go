package recorder

import (
	"slices"
	"sync"
	"time"

	"cordwood/integration/check"
)

// Recorder collects the operations of all clients of a test.
type Recorder struct {
	began time.Time

	mu    sync.Mutex
	place int
	ops   check.History
}

// New starts a history.
func New() *Recorder { return &Recorder{began: time.Now()} }

// Invoke records that an operation begins: its process, what it does, and what it sends.
func (r *Recorder) Invoke(op check.Op) Pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	op.Outcome, op.Invoked, op.Completed, op.Began = check.Info, r.place, check.Never, time.Since(r.began)
	r.place++
	r.ops = append(r.ops, op)
	return Pending{r, len(r.ops) - 1}
}

// Pending is an operation under way.
type Pending struct {
	r  *Recorder
	op int
}

// OK records that the operation happened. Steps replace those of the invocation: what was read, with which offsets.
func (p Pending) OK(steps ...check.Step) { p.complete(check.OK, steps) }

// Fail records that the operation certainly did not happen and never will.
func (p Pending) Fail() { p.complete(check.Fail, nil) }

// Info records that nobody knows.
func (p Pending) Info() { p.complete(check.Info, nil) }

func (p Pending) complete(outcome check.Outcome, steps []check.Step) {
	r := p.r
	r.mu.Lock()
	defer r.mu.Unlock()
	op := &r.ops[p.op]
	if op.Completed != check.Never {
		panic("recorder: a second outcome of one operation (R2)")
	}
	op.Outcome, op.Completed, op.Ended = outcome, r.place, time.Since(r.began)
	r.place++
	if steps != nil {
		op.Steps = steps
	}
}

// Sent is a step that sends a value.
func Sent(key check.Key, value int64) check.Step {
	return check.Step{Key: key, Value: value, Offset: check.Unknown}
}

// History is all that was recorded until now.
func (r *Recorder) History() check.History {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ops)
}
