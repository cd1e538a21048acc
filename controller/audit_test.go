package controller

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
)

func TestAVoterWhoseMetadataDiffersStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3)
		for _, m := range q.members {
			m.every = 8
		}
		q.start()
		defer q.stop()
		taken := q.some(40)
		q.agree(slices.Max(taken))
		sick := q.others(q.active())[0]
		img, err := metadata.Empty().With(sick.node.Image().Index(), []metadata.Change{metadata.ProducerIDsAllocated{Next: 1}})
		if err != nil {
			t.Fatal(err)
		}
		sick.node.fsm.image.Store(img) // as if its memory had failed
		q.some(40)
		select {
		case err := <-sick.node.done:
			if !errors.Is(err, ErrDiverged) {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it goes on")
		}
		sick.node = nil
		q.set(func() { sick.live = nil })
		q.some(10)
		for _, m := range q.members {
			if m.node != nil && m.node.guard.failed() != nil {
				t.Fatal(m.node.guard.failed())
			}
		}
	})
}

func TestACommandIsReadAsItWasWritten(t *testing.T) {
	for _, c := range []command{{stamp: 7}, {stamp: 1 << 40, claim: &digest{index: 300, sum: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}}}} {
		raw, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := decodeCommand(raw)
		if err != nil || back.stamp != c.stamp || (c.claim != nil && *back.claim != *c.claim) {
			t.Fatalf("%+v %v", back, err)
		}
		for n := range raw {
			if _, err := decodeCommand(raw[:n]); err == nil {
				t.Fatalf("cut at %d", n)
			}
		}
	}
}
