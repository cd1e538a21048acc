package broker

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/protocol"
)

// What tells that a broker is gone before its session ends (R19):
//
//	connection to another broker ends ──▶ PeerLost ──▶ active controller ─┐
//	connection of its heartbeats ends there (session.Close) ──────────────┼─▶ controller.Suspect ──▶ probe, twice
//	a controller takes office ────────────────────────────────────────────┘

// lostWait bounds a report: by then the broker's session tells more.
const lostWait = time.Second

// lostRequest says that a node lost a connection to a broker.
type lostRequest struct {
	ClusterID string          `cbor:"1,keyasint"`
	NodeID    metadata.NodeID `cbor:"2,keyasint"`
	Broker    metadata.NodeID `cbor:"3,keyasint"`
}

// lostPeer is told that a connection to another node has ended, and does not wait. Nodes that retire a connection in good
// order cause a report, too: the controller's dials tell.
func (b *Broker) lostPeer(addr string) {
	if !b.cfg.DefiniteDeath || !b.cfg.IsBroker() || b.stopping.Load() {
		return
	}
	for other := range b.image().Brokers() {
		if other.Fenced || other.ID == b.cfg.NodeID || brokerAddr(other) != addr {
			continue
		}
		b.doubt(other)
		id := other.ID
		if b.isActive() {
			b.controller.Suspect(id)
			continue
		}
		b.background(func(ctx context.Context) { b.reportLost(ctx, id) })
	}
}

// reportLost tells the active controller once. If that is gone as well, its successor dials everybody.
func (b *Broker) reportLost(ctx context.Context, id metadata.NodeID) {
	ctx, cancel := context.WithTimeout(ctx, lostWait)
	defer cancel()
	body, err := cbor.Marshal(lostRequest{ClusterID: b.clusterID(), NodeID: b.cfg.NodeID, Broker: id})
	if err == nil {
		err = b.eachController(ctx, 0, func(ctx context.Context, addr string) (bool, error) {
			raw, err := b.peers.AskOwn(ctx, addr, peer.Control, protocol.PeerLost, body)
			if err != nil {
				return false, err
			}
			var r feedResponse
			if err := ownDecoder.Unmarshal(raw, &r); err != nil {
				return false, err
			}
			return r.Code != kerr.NotController.Code, kerr.ErrorForCode(r.Code)
		})
	}
	if err != nil {
		b.log.Debug("a lost peer was not reported", zap.Int32("broker", int32(id)), zap.Error(err))
	}
}

// peerLost takes such a report. It is no evidence: whoever sends it makes the controller dial an address that is registered.
func (b *Broker) peerLost(q *lostRequest) feedResponse {
	if !b.isActive() {
		return feedResponse{Code: kerr.NotController.Code}
	}
	img := b.controller.Image()
	switch {
	case q.ClusterID != img.ClusterID(): // bad input 123
		return feedResponse{Code: kerr.InconsistentClusterID.Code}
	case img.Broker(q.NodeID) == nil || img.Broker(q.Broker) == nil:
		return feedResponse{Code: kerr.BrokerIDNotRegistered.Code}
	}
	b.controller.Suspect(q.Broker)
	return feedResponse{}
}

// probe says whether a broker's address refuses connections, as that of a process that is gone does (R19); nil if that
// proves nothing here.
func (b *Broker) probe() func(ctx context.Context, broker *metadata.Broker) bool {
	if !b.cfg.DefiniteDeath {
		return nil
	}
	dial := b.cfg.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, broker *metadata.Broker) bool {
		c, err := dial(ctx, "tcp", brokerAddr(broker))
		if err == nil {
			_ = c.Close()
			return false
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}
}
