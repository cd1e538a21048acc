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
