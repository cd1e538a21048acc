package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// A question to a controller that has a successor is given up: at once, or after the time it is given. One to the successor
// goes on, and an answer to what was asked before the move does not undo it.
func TestQuestionsToAFormerControllerAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControllers()
		began := time.Now()
		ask := func(addr string, patience time.Duration) (context.Context, *question) {
			return c.ask(t.Context(), addr, patience)
		}
		hasty, first := ask("old", 0)
		patient, second := ask("old", time.Second)
		answered, third := ask("old", time.Second)
		right, fourth := ask("new", 0)
		c.moved("new")
		<-hasty.Done()
		if !errors.Is(context.Cause(hasty), kerr.NotController) || time.Since(began) > 0 {
			t.Errorf("after %s: %v", time.Since(began), context.Cause(hasty))
		}
		if c.answered(third, true) || c.last != "new" {
			t.Errorf("a late answer says that %q is active", c.last)
		}
		<-patient.Done()
		if took := time.Since(began); took != time.Second || !errors.Is(context.Cause(patient), kerr.NotController) {
			t.Errorf("after %s: %v", took, context.Cause(patient))
		}
		if errors.Is(context.Cause(answered), kerr.NotController) || right.Err() != nil {
			t.Error(context.Cause(answered), right.Err())
		}
		c.moved("") // this process is the active one
		<-right.Done()
		for _, q := range []*question{first, second, fourth} {
			c.answered(q, false)
		}
		if len(c.waiting) > 0 {
			t.Errorf("%d questions are never forgotten", len(c.waiting))
		}
	})
}

// A node that takes no part in raft hears of another controller by its answers.
func TestAnAnswerTellsThatTheControllerMoved(t *testing.T) {
	c := newControllers()
	for _, step := range []struct {
		addr          string
		active, moved bool
		last          string
	}{{"a", true, true, "a"}, {"a", true, false, "a"}, {"b", false, false, "a"}, {"a", false, false, ""}, {"b", true, true, "b"}} {
		_, q := c.ask(t.Context(), step.addr, 0)
		if moved := c.answered(q, step.active); moved != step.moved || c.last != step.last {
			t.Errorf("%+v: moved %v, last %q", step, moved, c.last)
		}
	}
}
