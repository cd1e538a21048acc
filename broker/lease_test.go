package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

// imageOf has these brokers registered.
func imageOf(t *testing.T, ids ...metadata.NodeID) *metadata.Image {
	t.Helper()
	var changes []metadata.Change
	for _, id := range ids {
		changes = append(changes, metadata.BrokerRegistered{ID: id, Dirs: []metadata.DirID{{byte(id)}}})
	}
	img := metadata.Empty()
	for i, c := range changes {
		next, err := img.With(uint64(i+1), []metadata.Change{c})
		if err != nil {
			t.Fatal(err)
		}
		img = next
	}
	return img
}

// A process that was stopped finds that its lease is over by looking at the clock, not by a timer.
func TestZ36ALeaderWithoutAnAnsweredHeartbeatStopsBeforeItsSessionIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const session = 3 * time.Second
		l := newLease(LeaseStrict, session)
		l.see(imageOf(t, 1, 2), 1)
		if l.over(true) == nil {
			t.Error("a broker serves before its first heartbeat is answered")
		}
		sent := time.Now()
		time.Sleep(500 * time.Millisecond) // the answer takes a while: the lease begins when the heartbeat left
		l.renew(sent)
		time.Sleep(session*8/10 - 501*time.Millisecond)
		if l.over(true) != nil || l.over(false) != nil {
			t.Error("the lease is over too early")
		}
		time.Sleep(time.Millisecond)
		if l.over(true) != kerr.NotLeaderForPartition || l.over(false) != kerr.NotLeaderForPartition {
			t.Error("a leader serves after its lease")
		}
		l.renew(sent) // an answer that comes late changes nothing
		if l.over(true) == nil {
			t.Error("an old heartbeat gave a new lease")
		}
		l.renew(time.Now())
		if l.over(true) != nil {
			t.Error("a new heartbeat gave none")
		}
	})
}

func TestHowMuchALeaseIsAskedForIsConfigured(t *testing.T) {
	for _, c := range []struct {
		mode          LeaseMode
		reads, writes bool
	}{{LeaseStrict, false, false}, {LeaseWrites, true, false}, {LeaseOff, true, true}} {
		l := newLease(c.mode, time.Second)
		l.see(imageOf(t, 1, 2), 1)
		if (l.over(false) == nil) != c.reads || (l.over(true) == nil) != c.writes {
			t.Errorf("mode %d without a lease: reads %v, writes %v", c.mode, l.over(false), l.over(true))
		}
	}
}

func TestABrokerThatIsAloneNeedsNoLease(t *testing.T) {
	l := newLease(LeaseStrict, time.Second)
	l.see(imageOf(t, 1), 1)
	if l.over(true) != nil || l.over(false) != nil {
		t.Error("nobody could be elected in its place, yet it does not serve")
	}
	l.see(imageOf(t, 1, 2), 1)
	if l.over(true) == nil {
		t.Error("there is another broker now")
	}
}
