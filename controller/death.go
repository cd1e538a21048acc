package controller

import (
	"context"
	"sync"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"

	"go.uber.org/zap"
)

// deathPause lies between the two dials that must both be refused (R19).
const deathPause = 20 * time.Millisecond

// Suspect says that a broker's process may be gone: the connection of its heartbeats
// broke, or another broker lost its own to it. If the broker's address refuses two dials,
// and no heartbeat comes meanwhile, it is fenced before its session ends.
func (n *Node) Suspect(id metadata.NodeID) {
	if n.cfg.Probe == nil || id == n.cfg.NodeID || !n.Active() {
		return
	}
	select {
	case n.suspects <- id:
	default: // so many that their sessions must tell
	}
}

// suspectAll is the beginning of an office: nobody knows who died together with the last
// controller.
func (n *Node) suspectAll() {
	for b := range n.Image().Brokers() {
		if !b.Fenced {
			n.Suspect(b.ID)
		}
	}
}

// investigate dials suspects, each in a goroutine of its own, until ctx ends.
func (n *Node) investigate(ctx context.Context) {
	var dials sync.WaitGroup
	defer dials.Wait()
	done, dialed := make(chan metadata.NodeID), map[metadata.NodeID]bool{}
	for {
		select {
		case id := <-n.suspects:
			b := n.Image().Broker(id)
			if b == nil || b.Fenced || dialed[id] {
				continue
			}
			dialed[id] = true
			dials.Go(func() {
				n.examine(ctx, b)
				select {
				case done <- id:
				case <-ctx.Done():
				}
			})
		case id := <-done:
			delete(dialed, id)
		case <-ctx.Done():
			return
		}
	}
}

// examine dials one broker and has it fenced if its process is gone.
func (n *Node) examine(ctx context.Context, b *metadata.Broker) {
	since := time.Now()
	if !n.cfg.Probe(ctx, b) {
		return
	}
	select {
	case <-time.After(deathPause):
	case <-ctx.Done():
		return
	}
	if !n.cfg.Probe(ctx, b) {
		return
	}
	death := decide.Death{ID: b.ID, Epoch: b.Epoch, Since: since}
	dead, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[[]metadata.NodeID], error) {
		n.sessions.mu.Lock()
		defer n.sessions.mu.Unlock()
		out := decide.FenceDead(img, n.sessions.s, n.cfg.Rules, []decide.Death{death}, now)
		n.sessions.fencing = append(n.sessions.fencing, out.Reply...)
		return out, nil
	})
	if err == nil && len(dead) > 0 {
		n.log.Warn("broker is fenced: its address refuses connections", zap.String("event", "CW-0416"), zap.Int32("broker", int32(b.ID)))
	}
}
