package decide

import (
	"fmt"
	"testing"
	"time"

	"cordwood/metadata"
)

// die reports brokers as dead, with evidence of this moment.
func (w *world) die(brokers ...metadata.NodeID) []metadata.NodeID {
	w.t.Helper()
	var deaths []Death
	for _, b := range brokers {
		deaths = append(deaths, Death{b, w.img.Broker(b).Epoch, w.now})
	}
	out := FenceDead(w.img, w.s, w.rules, deaths, w.now)
	w.commit(out.Changes)
	return out.Reply
}

func TestADeadBrokerIsFencedBeforeItsSessionEnds(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.now = w.now.Add(time.Millisecond)
	if got := w.die(1); fmt.Sprint(got) != "[1]" {
		t.Fatal(got)
	}
	w.is("t", 0, "isr [2 3] elr [] known [] leader 2")
	if got := w.die(1); got != nil {
		t.Fatal("fenced twice")
	}
	if r := w.heartbeat(1, false); r.Fenced { // the evidence was wrong
		t.Fatal("not let in again")
	}
}

func TestEvidenceOfADeathMayBeOvertaken(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	stale := []Death{{1, w.img.Broker(1).Epoch, w.now}, {2, w.img.Broker(2).Epoch - 1, w.now.Add(time.Hour)}, {9, 1, w.now}}
	w.now = w.now.Add(time.Millisecond)
	w.heartbeat(1, false) // it came after the dial
	if out := FenceDead(w.img, w.s, w.rules, stale, w.now); len(out.Changes) > 0 || out.Reply != nil {
		t.Fatal(out)
	}
}

func TestNeverMoreThanHalfOfTheBrokersAreDeadAtOnce(t *testing.T) {
	for _, c := range []struct {
		brokers int
		dead    []metadata.NodeID
		fenced  string
	}{
		{1, []metadata.NodeID{1}, "[]"},
		{2, []metadata.NodeID{2, 1}, "[2]"},
		{3, []metadata.NodeID{1, 1, 2}, "[1]"},
		{4, []metadata.NodeID{4, 3, 2, 1}, "[3 4]"},
		{5, []metadata.NodeID{1, 2, 3}, "[1 2]"},
	} {
		w := newWorld(t)
		for b := range c.brokers {
			w.start(metadata.NodeID(b + 1))
		}
		w.now = w.now.Add(time.Millisecond)
		if got := fmt.Sprint(w.die(c.dead...)); got != c.fenced {
			t.Errorf("%d brokers, %v dead: fenced %s, not %s", c.brokers, c.dead, got, c.fenced)
		}
	}
}

// One by one they are as many as together; who came back counts as well; a session later the count begins anew.
func TestDeathsAreCountedOverASession(t *testing.T) {
	w := newWorld(t, 1, 2, 3, 4, 5)
	w.now = w.now.Add(time.Millisecond)
	if w.die(1) == nil || w.die(2) == nil {
		t.Fatal("spared")
	}
	if got := w.die(3); got != nil {
		t.Fatal("three of five", got)
	}
	w.heartbeat(1, false)
	w.now = w.now.Add(time.Millisecond)
	if got := w.die(1); got != nil {
		t.Fatal("three deaths among five", got)
	}
	w.now = w.now.Add(timeout)
	if got := fmt.Sprint(w.die(1, 3, 4)); got != "[1 3]" { // of four that are in
		t.Fatal(got)
	}
}

func TestFencedTogetherNoneOfTheDeadIsElected(t *testing.T) {
	w := newWorld(t, 1, 2, 3, 4)
	w.placed("t", 1, 2, 3)
	w.now = w.now.Add(time.Millisecond)
	index := w.img.Index()
	w.die(1, 2)
	w.is("t", 0, "isr [3] elr [1 2] known [] leader 3")
	if w.img.Index() != index+1 {
		t.Fatal("not one entry")
	}
}

// take commits changes as a decider does: who loses something by them is noted before.
func (w *world) take(changes []metadata.Change) {
	w.t.Helper()
	w.s.Take(w.img, changes)
	w.commit(changes)
}

// R18: the answer to a heartbeat prolongs the lease of a leader that knows what is not its own any more.
func TestABrokerIsCaughtUpWhenItKnowsWhatWasTakenFromIt(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 2}}}})
	before := w.img.Index()
	caughtUp := func(b metadata.NodeID, index uint64) bool {
		out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: b, Epoch: w.img.Broker(b).Epoch, MetadataIndex: index, Rules: w.rules}, w.now)
		return do(w, out, err).CaughtUp
	}
	w.take([]metadata.Change{metadata.ProducerIDsAllocated{Next: 1000}})
	if !caughtUp(1, before) {
		t.Fatal("what takes nothing from it is not waited for")
	}
	p := w.img.Topic("t").Partitions[0].Clone()
	p.Leader = 2
	w.take([]metadata.Change{settle(w.img.Topic("t"), 0, p)})
	if caughtUp(1, w.img.Index()-1) || !caughtUp(2, before) {
		t.Fatal("who gets a leadership may go on, who loses it must know")
	}
	if got := w.s.Behind(w.img, w.img.Index(), []metadata.NodeID{1, 2, 9}); fmt.Sprint(got) != "[1 2 9]" {
		t.Fatal(got)
	}
	if !caughtUp(1, w.img.Index()) {
		t.Fatal("it knows")
	}
	if got := w.s.Behind(w.img, w.img.Index(), []metadata.NodeID{1, 9}); fmt.Sprint(got) != "[9]" {
		t.Fatal(got)
	}
	w.now = w.now.Add(timeout + time.Millisecond)
	w.take(FenceExpired(w.img, w.s, w.rules, w.now).Changes)
	if got := w.s.Behind(w.img, w.img.Index(), []metadata.NodeID{1}); len(got) > 0 {
		t.Fatal("the lease of a fenced broker is over")
	}
	if caughtUp(1, w.img.Index()-1) || !w.img.Broker(1).Fenced {
		t.Fatal("let in before it knows that it was fenced")
	}
	if !caughtUp(1, w.img.Index()) || w.img.Broker(1).Fenced {
		t.Fatal("not let in")
	}
}

// A controller that takes office does not know what its predecessors took from whom.
func TestANewControllerPresumesThatSomethingWasTaken(t *testing.T) {
	w := newWorld(t, 1)
	w.s = NewSessions(timeout)
	w.s.Begin(w.img, w.now)
	out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: 1, Epoch: w.img.Broker(1).Epoch, MetadataIndex: w.img.Index() - 1, Rules: w.rules}, w.now)
	if do(w, out, err).CaughtUp {
		t.Fatal("it presumes nothing")
	}
	if !w.s.Alive(1, w.now) || w.heartbeat(1, false).Fenced {
		t.Fatal("no full session was granted")
	}
}

// A controller that was out of office for a moment, and nobody else in it, goes on waiting for whom it had not heard of.
func TestSilenceIsCountedThroughABreakOfTheOffice(t *testing.T) {
	for _, c := range []struct {
		name      string
		ended, on time.Duration // since the broker was last heard
		alive     time.Duration // until when it is given
	}{
		{"a moment", time.Second, 1200 * time.Millisecond, timeout + 200*time.Millisecond},
		{"longer than a session", time.Second, time.Minute, timeout + 59*time.Second},
		{"who should have ended the session was stopped", timeout + 1, timeout + time.Second, 2*timeout + time.Second},
	} {
		w := newWorld(t, 1)
		heard := w.now
		w.s.Touch(1, w.img.Index(), heard)
		w.s.Resume(w.img, heard.Add(c.ended), heard.Add(c.on))
		if !w.s.Alive(1, heard.Add(c.alive-1)) || w.s.Alive(1, heard.Add(c.alive)) {
			t.Errorf("%s: not given until %s", c.name, c.alive)
		}
	}
}
