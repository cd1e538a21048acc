package controller

import (
	"context"
	"sync"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"

	"go.uber.org/zap"
)

// deathPause lies between the two dials that must both be refused (R19); deathDial is how long one may take.
const (
	deathPause = 20 * time.Millisecond
	deathDial  = 500 * time.Millisecond
)

// deathPatience lies between examinations of one suspect. A process that is killed closes its files one after the other,
// so that its address may still answer when the end of another connection has raised the suspicion.
var deathPatience = []time.Duration{deathPause, 2 * deathPause, 4 * deathPause, 8 * deathPause}

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

// examine dials a suspect until its process is proven gone, or a heartbeat proves that it is not, or enough was tried.
func (n *Node) examine(ctx context.Context, b *metadata.Broker) {
	suspected := time.Now()
	for _, wait := range deathPatience {
		since := time.Now()
		if n.refuses(ctx, b) && pause(ctx, deathPause) && n.refuses(ctx, b) && n.fenceDead(ctx, decide.Death{ID: b.ID, Epoch: b.Epoch, Since: since}) {
			n.log.Warn("broker is fenced: its address refuses connections", zap.String("event", "CW-0416"), zap.Int32("broker", int32(b.ID)))
			return
		}
		if now := n.Image().Broker(b.ID); now == nil || now.Fenced || now.Epoch != b.Epoch || n.heardSince(b.ID, suspected) || !pause(ctx, wait) {
			return
		}
	}
}

func (n *Node) refuses(ctx context.Context, b *metadata.Broker) bool {
	ctx, cancel := context.WithTimeout(ctx, deathDial)
	defer cancel()
	return n.cfg.Probe(ctx, b)
}

func (n *Node) heardSince(id metadata.NodeID, since time.Time) bool {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	return n.sessions.heard[id].at.After(since)
}

// fenceDead reports whether the evidence was enough.
func (n *Node) fenceDead(ctx context.Context, death decide.Death) bool {
	dead, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[[]metadata.NodeID], error) {
		n.sessions.mu.Lock()
		defer n.sessions.mu.Unlock()
		out := decide.FenceDead(img, n.sessions.s, n.cfg.Rules, []decide.Death{death}, now)
		n.sessions.fencing = append(n.sessions.fencing, out.Reply...)
		return out, nil
	})
	return err == nil && len(dead) > 0
}

// pause reports whether so much time passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
