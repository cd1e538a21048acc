package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// A leader that is replaced while it lives (a preferred election, the end of a reassignment, a broker that is unregistered
// while it runs) serves until it hears of it, or until its lease is over (R18). Its successor must not begin before that:
//
//	image: this broker leads what another one led ──▶ gate: clients are refused
//	                                                   │ opens when
//	  the other one applies the image ──▶ heartbeat ──▶ active controller ──▶ StoodDown: nobody is left
//	                                                   │ or when
//	                                                   └ 0.8 of a session is over: no lease is renewed by a heartbeat that
//	                                                     was sent after the entry, without the sender knowing of it
//
// Replicas fetch meanwhile, and the high watermark may move: what is held back is service. Who was fenced has no lease, and
// who shuts down takes no requests any more: the ordinary fail-over and the ordinary restart pass no gate.

const (
	// handoverPause lies between two questions to the controller.
	handoverPause = 5 * time.Millisecond
	// handoverPatience is how long a write waits for its gate, from when that was made: a client that is told of the new
	// leader by the old one is as fast as the news that the old one has stopped.
	handoverPatience = 100 * time.Millisecond
)

// handover holds the gates.
type handover struct {
	mode LeaseMode
	span time.Duration // of a lease

	closed atomic.Int64 // partitions behind gates
	mu     sync.RWMutex
	gates  map[partition.PartitionID]*gate

	left map[metadata.NodeID]time.Time // who was unregistered while it lived, and when that was seen; the feed's
}

// gate is what one image gave to this broker.
type gate struct {
	index  uint64            // of the image
	former []metadata.NodeID // who may still serve
	began  time.Time
	opened chan struct{}
	parts  []partition.PartitionID
}

func newHandover(l *lease) *handover {
	return &handover{mode: l.mode, span: l.span, gates: map[partition.PartitionID]*gate{}, left: map[metadata.NodeID]time.Time{}}
}

// see looks at an image before it is applied, and returns the gate of what it gives to self; nil if nobody is in the way.
func (h *handover) see(old, img *metadata.Image, diff *metadata.Diff, self metadata.NodeID, now time.Time) *gate {
	if h.mode == LeaseOff || old.Index() == 0 { // a process that knows nothing yet leads nothing
		return nil
	}
	for id, at := range h.left {
		if now.Sub(at) >= h.span {
			delete(h.left, id)
		}
	}
	for _, id := range diff.BrokersChanged {
		if img.Broker(id) == nil && old.Broker(id).Live() {
			h.left[id] = now
		}
	}
	g := &gate{index: img.Index(), began: now, opened: make(chan struct{})}
	former := map[metadata.NodeID]bool{}
	for i := range diff.Partitions {
		d, held := &diff.Partitions[i], false
		for id := range h.formerLeaders(old, img, d, self) {
			former[id], held = true, true
		}
		if held {
			g.parts = append(g.parts, partition.PartitionID{Topic: d.Topic.ID, Index: d.Index})
		}
	}
	if len(g.parts) == 0 {
		return nil
	}
	for id := range former {
		g.former = append(g.former, id)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range g.parts {
		h.gates[id] = g
	}
	h.closed.Store(int64(len(h.gates)))
	return g
}

// formerLeaders goes through the brokers that may still serve a partition that becomes self's. When leader epochs were
// skipped nobody knows who led in them, and after a time without a leader it may be somebody who was unregistered.
func (h *handover) formerLeaders(old, img *metadata.Image, d *metadata.PartitionDiff, self metadata.NodeID) map[metadata.NodeID]bool {
	out := map[metadata.NodeID]bool{}
	if d.New == nil || d.New.Leader != self {
		return out
	}
	epoch, leader := int32(-1), metadata.NoNode
	if d.Old != nil {
		epoch, leader = d.Old.LeaderEpoch, d.Old.Leader
	}
	add := func(id metadata.NodeID) {
		if id != self && h.mayServe(old, img, id) {
			out[id] = true
		}
	}
	switch {
	case d.New.LeaderEpoch == epoch:
	case d.New.LeaderEpoch > epoch+1:
		for b := range img.Brokers() {
			add(b.ID)
		}
		fallthrough
	case leader == metadata.NoNode:
		for id := range h.left {
			add(id)
		}
	default:
		add(leader)
	}
	return out
}

// mayServe reports whether a broker that led something may not know yet that it does not any more.
func (h *handover) mayServe(old, img *metadata.Image, id metadata.NodeID) bool {
	was, is := old.Broker(id), img.Broker(id)
	if is == nil {
		_, left := h.left[id]
		return left
	}
	return is.Live() && (was == nil || was.Epoch == is.Epoch)
}

// open ends a gate.
func (h *handover) open(g *gate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range g.parts {
		if h.gates[id] == g {
			delete(h.gates, id)
		}
	}
	h.closed.Store(int64(len(h.gates)))
	close(g.opened)
}

// isOpen reports that there is no gate at all, for one load.
func (h *handover) isOpen() bool { return h.closed.Load() == 0 }

// at is the gate of a partition, nil if it has none or its time is over.
func (h *handover) at(p *partition.Partition) *gate {
	if h.isOpen() {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	g := h.gates[partition.PartitionID{Topic: p.TopicID(), Index: p.Index()}]
	if g == nil || time.Since(g.began) >= h.span {
		return nil
	}
	return g
}

// mayRead says why this broker shows nothing of a partition now; nil: it may. A client asks again in both cases.
func (b *Broker) mayRead(p *partition.Partition) *kerr.Error {
	if lapsed := b.lease.over(false); lapsed != nil {
		return lapsed
	}
	if b.handover.at(p) != nil && b.handover.mode == LeaseStrict {
		return kerr.OffsetNotAvailable
	}
	return nil
}

// mayWrite is mayRead for what changes the partition. It waits a little for a gate to open.
func (b *Broker) mayWrite(p *partition.Partition) *kerr.Error {
	if lapsed := b.lease.over(true); lapsed != nil {
		return lapsed
	}
	g := b.handover.at(p)
	if g == nil {
		return nil
	}
	patience := time.NewTimer(time.Until(g.began.Add(handoverPatience)))
	defer patience.Stop()
	select {
	case <-g.opened:
		return nil
	case <-patience.C:
		return kerr.NotLeaderForPartition
	}
}

// awaitStoodDown opens a gate when nobody is left who may serve, or could by the clock.
func (b *Broker) awaitStoodDown(ctx context.Context, g *gate) {
	defer b.handover.open(g)
	ctx, cancel := context.WithDeadline(ctx, g.began.Add(b.handover.span))
	defer cancel()
	for former := g.former; sleep(ctx, handoverPause); {
		behind, err := b.askStoodDown(ctx, g.index, former)
		switch {
		case err != nil: // a new controller may tell
		case len(behind) == 0:
			return
		default:
			former = behind
		}
	}
}

// stoodDownRequest asks which of some brokers may still serve what the entry at an index took from them.
type stoodDownRequest struct {
	ClusterID string            `cbor:"1,keyasint"`
	NodeID    metadata.NodeID   `cbor:"2,keyasint"`
	Index     uint64            `cbor:"3,keyasint"`
	Brokers   []metadata.NodeID `cbor:"4,keyasint"`
}

type stoodDownResponse struct {
	Code   int16             `cbor:"1,keyasint"`
	Behind []metadata.NodeID `cbor:"2,keyasint,omitempty"`
}

// mostFormer is how many brokers one question may name: about more than these, the clock alone tells.
const mostFormer = 16

func (b *Broker) askStoodDown(ctx context.Context, index uint64, former []metadata.NodeID) ([]metadata.NodeID, error) {
	q := stoodDownRequest{ClusterID: b.clusterID(), NodeID: b.cfg.NodeID, Index: index, Brokers: former[:min(len(former), mostFormer)]}
	r := b.stoodDown(&q)
	if r.Code == kerr.NotController.Code {
		body, err := cbor.Marshal(q)
		if err != nil {
			return nil, err
		}
		err = b.eachController(ctx, 0, func(ctx context.Context, addr string) (bool, error) {
			raw, err := b.peers.AskOwn(ctx, addr, peer.Control, protocol.StoodDown, body)
			if err != nil {
				return false, err
			}
			r = stoodDownResponse{}
			if err := ownDecoder.Unmarshal(raw, &r); err != nil {
				return false, err
			}
			return r.Code != kerr.NotController.Code, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return append(r.Behind, former[len(q.Brokers):]...), kerr.ErrorForCode(r.Code)
}

// stoodDown answers at the active controller.
func (b *Broker) stoodDown(q *stoodDownRequest) stoodDownResponse {
	switch {
	case !b.isActive():
		return stoodDownResponse{Code: kerr.NotController.Code}
	case q.ClusterID != b.controller.Image().ClusterID(): // bad input 123
		return stoodDownResponse{Code: kerr.InconsistentClusterID.Code}
	}
	behind, err := b.controller.Behind(q.Index, q.Brokers)
	if err != nil {
		return stoodDownResponse{Code: codeOf(err)}
	}
	return stoodDownResponse{Behind: behind}
}
