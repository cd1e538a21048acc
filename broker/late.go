package broker

import (
	"slices"
	"time"

	"cordwood/metadata"
)

// A broker is late when the active controller has missed its heartbeats and cannot fence it yet. The feed tells it, beside
// the image, and clients that ask where to go are told what they will be told when its session is over: it is not there, and
// what it leads has no leader. Otherwise a client that has waited for it in vain is sent to it again, and waits for much longer.
//
//	heartbeats missed ──▶ controller: late ──▶ feed ──▶ lateness ──▶ view: Metadata, FindCoordinator, DescribeCluster, hints
//
// It is an answer to clients and nothing else: what is led here, who is elected, which replicas are in sync do not depend on it.

// lateness is who is late, as this broker was last told.
type lateness struct {
	ids  []metadata.NodeID
	told time.Time
}

// hear takes what an active controller has just said. Clients that wait for the word on one of these (doubt.go) have it.
func (b *Broker) hear(late []metadata.NodeID) {
	b.lateness.Store(&lateness{late, time.Now()})
	b.doubts.settle(late)
}

// late is who is late. What was told a session ago is forgotten: by then the controllers are gone, or this broker is cut off
// from them, and knows no more than its image.
func (b *Broker) late() []metadata.NodeID {
	return b.lateness.Load().at(time.Now(), b.cfg.SessionTimeout)
}

func (l *lateness) at(now time.Time, session time.Duration) []metadata.NodeID {
	if l == nil || now.Sub(l.told) >= session {
		return nil
	}
	return l.ids
}

// view is the cluster as clients are shown it: one image, and who is late, for a whole request (B3).
type view struct {
	*metadata.Image
	late []metadata.NodeID
}

// view is the newest one. Who is late is read first: when somebody was fenced for it, the image says so before it is unsaid.
func (b *Broker) view() view {
	late := b.late()
	return view{b.image(), late}
}

// live is a broker that clients may be sent to; nil: there is none of that id, or not now.
func (v view) live(id metadata.NodeID) *metadata.Broker {
	broker := v.Broker(id)
	if id < 0 || broker == nil || broker.Fenced || slices.Contains(v.late, id) {
		return nil
	}
	return broker
}
