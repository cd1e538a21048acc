package decide

import (
	"fmt"
	"testing"
	"time"

	"cordwood/metadata"
)

// judge says who is late now.
func (w *world) judge() string {
	w.s.Judge(w.img, w.now)
	return fmt.Sprint(w.s.Late(w.img))
}

func TestASilentBrokerIsLateLongBeforeItsSessionEnds(t *testing.T) {
	const half, third, sixth = timeout / 2, timeout / 3, timeout / 6
	for _, c := range []struct {
		name  string
		after time.Duration // since broker 1 was heard; 2 and 3 are heard all the while
		do    func(w *world)
		late  string
	}{
		{"not yet", half - 1, nil, "[]"},
		{"half a session", half, nil, "[1]"},
		{"the controller looks a little later", half + sixth - 1, nil, "[1]"},
		{"the controller was stopped itself", half + sixth, nil, "[]"},
		{"it speaks", half, func(w *world) { w.judge(); w.heartbeat(1, false) }, "[]"},
		{"it is fenced", half, func(w *world) { w.judge(); w.commit(fence(w.img, w.rules, []metadata.NodeID{1})) }, "[]"},
		{"all sessions begin anew", half, func(w *world) { w.judge(); w.s.Grant(w.img, w.now) }, "[]"},
		{"a new office", half, func(w *world) { w.judge(); w.s.Begin(w.img, w.now) }, "[]"},
		{"a new office that knows of it", half, func(w *world) { w.s.Begin(w.img, w.now); w.s.Presume([]metadata.NodeID{1, 9}) }, "[1]"},
		{"and it speaks there", half, func(w *world) { w.s.Begin(w.img, w.now); w.s.Presume([]metadata.NodeID{1}); w.heartbeat(1, false) }, "[]"},
		{"the same office after a break", half, func(w *world) { w.s.Resume(w.img, w.now.Add(-time.Second), w.now) }, "[]"},
		{"it was late before the break", half, func(w *world) { w.judge(); w.s.Resume(w.img, w.now.Add(-time.Second), w.now) }, "[1]"},
	} {
		w := newWorld(t, 1, 2, 3)
		w.now = w.now.Add(c.after)
		w.heartbeat(2, false)
		w.heartbeat(3, false)
		if c.do != nil {
			c.do(w)
		}
		if got := w.judge(); got != c.late {
			t.Errorf("%s: %s is late, not %s", c.name, got, c.late)
		}
	}
}

// A controller that was stopped for a while finds heartbeats that lie unread: it gives them a moment.
func TestAnExcuseLastsAMoment(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.now = w.now.Add(timeout * 9 / 10)
	if got := w.judge(); got != "[]" {
		t.Fatal(got)
	}
	w.heartbeat(2, false)
	w.heartbeat(3, false)
	w.now = w.now.Add(timeout/6 - 1)
	if got := w.judge(); got != "[]" {
		t.Fatal(got)
	}
	w.now = w.now.Add(1)
	if got := w.judge(); got != "[1]" {
		t.Fatal(got)
	}
}

// Who has not spoken when an office is a third of a session old was silent before; a sixth, if raft tells it of the office.
func TestANewOfficeWaitsLessForTheFirstWord(t *testing.T) {
	for wait, voter := range map[time.Duration]metadata.NodeID{timeout / 3: 2, timeout / 6: 1} {
		w := newWorld(t, 1, 2, 3)
		w.commit([]metadata.Change{metadata.VoterRecorded{ID: voter, Dir: dir(voter, 0)}})
		w.s = NewSessions(timeout)
		w.s.Begin(w.img, w.now)
		w.now = w.now.Add(wait - 1)
		w.heartbeat(2, false)
		w.heartbeat(3, false)
		if got := w.judge(); got != "[]" {
			t.Fatal(wait, got)
		}
		if next, found := w.s.NextLate(w.img); !found || !next.Equal(w.now.Add(1)) {
			t.Fatal(wait, next, found)
		}
		w.now = w.now.Add(1)
		if got := w.judge(); got != "[1]" {
			t.Fatal(wait, got)
		}
		if !w.s.Alive(1, w.now.Add(timeout-wait-1)) {
			t.Fatal("its session is shorter for it")
		}
	}
}

// When most are silent it is the controller that hears nobody, though one of them was heard last a moment before the others.
func TestNobodyIsLateWhileLessThanHalfOfTheBrokersSpeak(t *testing.T) {
	for _, c := range []struct {
		brokers int
		speak   []metadata.NodeID
		late    string
	}{
		{1, nil, "[]"},
		{2, nil, "[]"},
		{2, []metadata.NodeID{1}, "[2]"},
		{3, []metadata.NodeID{1}, "[]"},
		{3, []metadata.NodeID{1, 3}, "[2]"},
		{4, []metadata.NodeID{2, 3}, "[1 4]"},
		{5, []metadata.NodeID{2, 3}, "[]"},
	} {
		w := newWorld(t)
		for b := range c.brokers {
			w.start(metadata.NodeID(b + 1))
		}
		w.now = w.now.Add(timeout/2 - timeout/4) // a moment too long ago
		for b := range c.brokers {
			if b > 0 {
				w.heartbeat(metadata.NodeID(b+1), false)
			}
		}
		w.now = w.now.Add(timeout / 4)
		if got := w.judge(); got != "[]" {
			t.Errorf("%d brokers of which 1 was heard first: %s is late", c.brokers, got)
		}
		for range 30 { // as the controller goes on looking
			w.now = w.now.Add(timeout / 60)
			for _, b := range c.speak {
				w.heartbeat(b, false)
			}
			w.judge()
		}
		if got := w.judge(); got != c.late {
			t.Errorf("%d brokers, %v speak: %s is late, not %s", c.brokers, c.speak, got, c.late)
		}
	}
}

// Who is late stays late when others fall silent: it has not spoken.
func TestWhoIsLateStaysSoUntilItSpeaks(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.now = w.now.Add(timeout / 2)
	w.heartbeat(2, false)
	w.heartbeat(3, false)
	for range 5 {
		if got := w.judge(); got != "[1]" {
			t.Fatal(got)
		}
		w.now = w.now.Add(timeout / 20)
	}
}

// To be late costs a broker nothing: it leads, it is in sync, its session is as long, its lease goes on.
func TestALateBrokerLosesNothing(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.now = w.now.Add(timeout / 2)
	w.heartbeat(2, false)
	w.heartbeat(3, false)
	if got := w.judge(); got != "[1]" {
		t.Fatal(got)
	}
	if out := FenceExpired(w.img, w.s, w.rules, w.now); len(out.Changes) > 0 {
		t.Fatal(out)
	}
	w.is("t", 0, "isr [1 2 3] elr [] known [] leader 1")
	if r := w.heartbeat(1, false); r.Fenced || !r.CaughtUp {
		t.Fatalf("%+v", r)
	}
}
