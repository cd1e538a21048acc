package broker

import (
	"fmt"
	"testing"
	"time"

	"cordwood/metadata"
)

// What the controller said of who is late counts for a session, and without a word from it there is nobody.
func TestWhoIsLateIsForgottenAfterASession(t *testing.T) {
	const session = 3 * time.Second
	now := time.Now()
	told := &lateness{[]metadata.NodeID{2, 5}, now}
	for _, c := range []struct {
		l    *lateness
		at   time.Duration
		late string
	}{{nil, 0, "[]"}, {told, 0, "[2 5]"}, {told, session - 1, "[2 5]"}, {told, session, "[]"}} {
		if got := fmt.Sprint(c.l.at(now.Add(c.at), session)); got != c.late {
			t.Errorf("%v after %s: %s, not %s", c.l, c.at, got, c.late)
		}
	}
}

func TestClientsAreSentToLiveBrokersOnly(t *testing.T) {
	img := imageOf(t, 1, 2, 3)
	img, err := img.With(img.Index()+1, []metadata.Change{metadata.BrokerUnfenced{ID: 1, Epoch: img.Broker(1).Epoch}, metadata.BrokerUnfenced{ID: 2, Epoch: img.Broker(2).Epoch}})
	if err != nil {
		t.Fatal(err)
	}
	v := view{img, []metadata.NodeID{2, 7}}
	for id, live := range map[metadata.NodeID]bool{1: true, 2: false, 3: false, 7: false, metadata.NoNode: false} {
		if got := v.live(id) != nil; got != live {
			t.Errorf("broker %d is live: %v", id, got)
		}
	}
}
