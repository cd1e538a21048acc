package controller

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The tests of this file run in virtual time: they also prove that a node leaves no
// goroutine behind and waits for nothing under a lock.

func TestASilentBrokerIsFencedAfterItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		one, two := n.join(1, 1), n.join(2, 2)
		n.mustCreate("t", 4)
		for range 20 { // ten seconds in which broker 2 is silent
			time.Sleep(500 * time.Millisecond)
			if _, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: 1, Epoch: one, MetadataIndex: n.Image().Index()}); err != nil {
				t.Fatal(err)
			}
		}
		if n.Image().Broker(1).Fenced || !n.Image().Broker(2).Fenced {
			t.Fatal("the wrong broker is fenced")
		}
		for _, p := range n.Image().Topic("t").Partitions {
			if p.Leader != 1 {
				t.Fatalf("%+v", p)
			}
		}
		if r, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: 2, Epoch: two, MetadataIndex: n.Image().Index()}); err != nil || r.Fenced {
			t.Fatal(r, err) // a missed session keeps the epoch
		}
	})
}

func TestFencingIsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		n.join(2, 1)
		index := n.Image().Index()
		began := time.Now()
		if feed, err := n.Changes(ctx, index, nil, time.Hour); err != nil || feed.Index == index {
			t.Fatal(feed, err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 3*time.Second+50*time.Millisecond || !n.Image().Broker(2).Fenced {
			t.Fatal(took)
		}
	})
}

func TestALongPollEndsWithNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		began := time.Now()
		feed, err := n.Changes(ctx, n.Image().Index(), nil, 30*time.Second)
		if err != nil || len(feed.Entries) != 0 || time.Since(began) != 30*time.Second {
			t.Fatal(feed, err, time.Since(began))
		}
	})
}

func TestANewControllerWaitsAFullSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := start(t, config(mem, "/raft"))
		n.join(2, 1)
		n.stop()
		time.Sleep(time.Hour)
		n = start(t, config(mem, "/raft"))
		defer n.stop()
		time.Sleep(2900 * time.Millisecond)
		if n.Image().Broker(2).Fenced {
			t.Fatal("fenced for silence while there was nobody to speak to")
		}
		other := process(2, 9)
		other.Dirs[0][5] = 7
		_, err := n.RegisterBroker(ctx, other)
		if r := decide.Refused(err); r == nil || r.Code != kerr.DuplicateBrokerRegistration {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		if !n.Image().Broker(2).Fenced {
			t.Fatal("never fenced")
		}
		if _, err := n.RegisterBroker(ctx, other); err != nil {
			t.Fatal(err)
		}
	})
}

func TestALoneBrokerIsNotFencedByItsOwnProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		n.join(1, 1)
		n.mustCreate("t", 1)
		time.Sleep(time.Minute) // starved, stopped, or busy recovering
		if p := n.Image().Topic("t").Partitions[0]; n.Image().Broker(1).Fenced || p.LeaderEpoch != 0 {
			t.Fatalf("%+v", p)
		}
		n.join(2, 2)
		time.Sleep(time.Minute)
		if !n.Image().Broker(1).Fenced || !n.Image().Broker(2).Fenced {
			t.Fatal("silence counts where another broker could take over")
		}
	})
}

func TestAControllerThatWasStoppedItselfForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		n.join(2, 1)
		time.Sleep(2900 * time.Millisecond)
		d := decider{n: n.Node}
		d.forgive(time.Now().Add(-time.Second)) // woken a second too late
		time.Sleep(2900 * time.Millisecond)
		if n.Image().Broker(2).Fenced {
			t.Fatal("fenced for a silence the controller could not have heard through")
		}
		d.forgive(time.Now()) // in time
		time.Sleep(200 * time.Millisecond)
		if !n.Image().Broker(2).Fenced {
			t.Fatal("never fenced")
		}
	})
}

func TestTheLogStaysShortByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(vfs.NewMem(), "/raft")
		cfg.SegmentBytes, cfg.Trailing, cfg.SnapshotAfter = 8<<10, 50, 200
		n := start(t, cfg)
		epoch := n.join(1, 1)
		for range 5 {
			for range 300 {
				if err := allocate(n, epoch); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Minute)
		}
		first, _ := n.store.FirstIndex()
		last, _ := n.store.LastIndex()
		if last-first > 150 || n.store.log.Segments() > 3 {
			t.Fatalf("entries %d to %d in %d files", first, last, n.store.log.Segments())
		}
		n.stop()
		n = start(t, cfg)
		defer n.stop()
		if n.Image().NextProducerID() != 1_500_000 {
			t.Fatal(n.Image().NextProducerID())
		}
	})
}

func TestAStopEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		ended := make(chan error, 2)
		go func() { _, err := n.Changes(ctx, n.Image().Index(), nil, time.Hour); ended <- err }()
		go func() { ended <- n.WaitFor(ctx, 1<<40) }()
		synctest.Wait()
		n.stop()
		for range 2 {
			if r := decide.Refused(<-ended); r == nil || r.Code != kerr.NotController {
				t.Fatal(r)
			}
		}
	})
}

// Two terms of this node that follow each other have nobody between them; all others may (C13).
func TestSessionsGoOnFromOneTermToTheNext(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(2, 1)
	img, heard := n.Image(), time.Now()
	for _, c := range []struct {
		last, term uint64
		goOn       bool
	}{{4, 5, true}, {4, 6, false}, {4, 0, false}, {0, 1, false}, {5, 5, false}} {
		m := new(Node)
		m.sessions.lateMoved = make(chan struct{})
		m.sessions.s = decide.NewSessions(3 * time.Second)
		for b := range img.Brokers() {
			m.sessions.s.Touch(b.ID, 0, heard)
		}
		m.sessions.term, m.sessions.ended = c.last, heard.Add(time.Second)
		m.beginSessions(img, c.term, heard.Add(2*time.Second))
		want := heard.Add(5 * time.Second)
		if c.goOn {
			want = heard.Add(4 * time.Second)
		}
		if got, _ := m.sessions.s.NextDeadline(img); !got.Equal(want) || m.sessions.term != c.term {
			t.Errorf("term %d after %d: sessions end %s after the last word", c.term, c.last, got.Sub(heard))
		}
	}
}

// The feed tells who is late, and that somebody is not any more, without an entry of raft's log.
func TestTheFeedTellsWhoIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, config(vfs.NewMem(), "/raft"))
		defer n.stop()
		one, two := n.join(1, 1), n.join(2, 2)
		index, began := n.Image().Index(), time.Now()
		beat := func(id metadata.NodeID, epoch int64) {
			if _, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: id, Epoch: epoch, MetadataIndex: index}); err != nil {
				t.Error(err)
			}
		}
		over := time.AfterFunc(time.Second, func() { beat(1, one) })
		defer over.Stop()
		late, err := n.Changes(ctx, index, nil, time.Hour)
		if took := time.Since(began); err != nil || took < 1500*time.Millisecond || took > 1550*time.Millisecond || len(late.Late) != 1 || late.Late[0] != 2 {
			t.Fatal(took, late, err)
		}
		var answered sync.WaitGroup
		defer answered.Wait() // the feed may tell of a heartbeat before its answer is there
		answered.Go(func() { time.Sleep(100 * time.Millisecond); beat(2, two) })
		back, err := n.Changes(ctx, index, late.Late, time.Hour)
		if took := time.Since(began); err != nil || took > 1650*time.Millisecond || len(back.Late) != 0 {
			t.Fatal(took, back, err)
		}
		if at := n.Image().Index(); at != index {
			t.Fatalf("the image went from %d to %d", index, at)
		}
	})
}
