package controller

import (
	"testing"
	"time"
)

func TestTimeInWhichTheProcessWasStoppedIsNotTheDisks(t *testing.T) {
	began := time.Now()
	w := &watch{quarter: time.Second, left: quarters, due: began.Add(time.Second)}
	at := began
	for i, step := range []struct {
		after time.Duration
		over  bool
	}{
		{time.Second, false}, {time.Second, false},
		{30 * time.Second, false}, // SIGSTOP
		{time.Second, false}, {time.Second, false}, {1900 * time.Millisecond, false}, {time.Second, true},
	} {
		at = at.Add(step.after)
		if got := w.over(at); got != step.over {
			t.Fatalf("step %d: %v", i, got)
		}
	}
}
