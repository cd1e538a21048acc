package controller

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// refusing is a probe that finds nobody at any address, and counts.
func refusing(dials *atomic.Int32, between func()) func(context.Context, *metadata.Broker) bool {
	return func(context.Context, *metadata.Broker) bool {
		if dials.Add(1) == 1 && between != nil {
			between()
		}
		return true
	}
}

func TestABrokerWhoseProcessIsGoneIsFencedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		cfg := config(vfs.NewMem(), "/raft")
		cfg.Probe = refusing(&dials, nil)
		n := start(t, cfg)
		defer n.stop()
		n.join(2, 1)
		n.join(3, 2)
		n.mustCreate("t", 4)
		n.Suspect(2)
		n.Suspect(2) // said twice, dialed once
		time.Sleep(50 * time.Millisecond)
		if !n.Image().Broker(2).Fenced || dials.Load() != 2 {
			t.Fatal(n.Image().Broker(2).Fenced, dials.Load())
		}
		for _, p := range n.Image().Topic("t").Partitions {
			if p.Leader != 3 {
				t.Fatalf("%+v", p)
			}
		}
		n.Suspect(3)
		time.Sleep(50 * time.Millisecond)
		if n.Image().Broker(3).Fenced {
			t.Fatal("more than half of the brokers went by this rule")
		}
	})
}

// A process that is killed closes its files one after the other: that of its heartbeats may be gone while its address still
// answers. Nobody raises the suspicion again.
func TestADyingProcessIsDialedUntilItsAddressRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		cfg := config(vfs.NewMem(), "/raft")
		cfg.Probe = func(context.Context, *metadata.Broker) bool { return dials.Add(1) > 2 }
		n := start(t, cfg)
		defer n.stop()
		n.join(2, 1)
		n.join(3, 2)
		n.Suspect(2)
		time.Sleep(200 * time.Millisecond)
		if !n.Image().Broker(2).Fenced {
			t.Fatal(dials.Load())
		}
	})
}

func TestASuspectThatLivesIsDialedAFewTimesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		cfg := config(vfs.NewMem(), "/raft")
		cfg.Probe = func(context.Context, *metadata.Broker) bool { dials.Add(1); return false }
		n := start(t, cfg)
		defer n.stop()
		n.join(2, 1)
		n.join(3, 2)
		n.Suspect(2)
		time.Sleep(time.Second)
		if n.Image().Broker(2).Fenced || int(dials.Load()) != len(deathPatience) {
			t.Fatal(n.Image().Broker(2).Fenced, dials.Load())
		}
	})
}

func TestAHeartbeatIsStrongerThanTwoRefusedDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		var n *running
		var epoch int64
		cfg := config(vfs.NewMem(), "/raft")
		cfg.Probe = refusing(&dials, func() {
			time.Sleep(time.Millisecond)
			if _, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: 2, Epoch: epoch, MetadataIndex: n.Image().Index()}); err != nil {
				t.Error(err)
			}
		})
		n = start(t, cfg)
		defer n.stop()
		epoch = n.join(2, 1)
		n.join(3, 2)
		n.Suspect(2)
		time.Sleep(time.Second)
		if n.Image().Broker(2).Fenced || dials.Load() != 2 {
			t.Fatal(n.Image().Broker(2).Fenced, dials.Load())
		}
	})
}

func TestANewControllerDialsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 7))
		q := newQuorum(t, 3)
		var gone atomic.Bool
		for _, m := range q.members {
			m.cfg.Probe = func(_ context.Context, b *metadata.Broker) bool { return b.ID == 7 && gone.Load() }
		}
		q.start()
		defer q.stop()
		old := q.active()
		old.node.join(7, 1)
		old.node.join(8, 2)
		gone.Store(true) // with the controller
		began := time.Now()
		old.kill(rng)
		next := q.active()
		for !next.node.Image().Broker(7).Fenced {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > time.Second || next.node.Image().Broker(8).Fenced {
			t.Fatal(took, next.node.Image().Broker(8).Fenced)
		}
	})
}
