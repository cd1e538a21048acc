package broker

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/broker/peer"
	"cordwood/controller"
	"cordwood/metadata"
	"cordwood/protocol"
)

// The controllers among themselves: before there is a quorum they say hello, as often as the controller wants; afterwards
// raft has streams between them. Both begin as a request on the internal listener.

// helloWait bounds one round of hellos.
const helloWait = time.Second

// raftRequest asks for a raft stream. A node of another cluster gets none (bad input 121).
type raftRequest struct {
	ClusterID string          `cbor:"1,keyasint,omitempty"`
	NodeID    metadata.NodeID `cbor:"2,keyasint"`
}

// greet says hello to every node that may be a controller and remembers who is where.
func (b *Broker) greet(ctx context.Context, mine controller.Hello) []controller.Hello {
	body, err := mine.Encode()
	if err != nil {
		b.log.Error("hello", zap.Error(err))
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, helloWait)
	defer cancel()
	var mu sync.Mutex
	var out []controller.Hello
	var all sync.WaitGroup
	for _, addr := range b.controllerAddrs() {
		all.Go(func() {
			raw, err := b.peers.AskOwn(ctx, addr, peer.Control, protocol.Hello, body)
			if err != nil {
				return // it is not there yet
			}
			h, err := controller.DecodeHello(raw)
			if err != nil {
				b.log.Warn("hello", zap.String("peer", addr), zap.Error(err))
				return
			}
			if h.Node == b.cfg.NodeID && h.Dir == mine.Dir {
				return // this node, by the address others have for it
			}
			b.controllers.is(h.Node, addr)
			mu.Lock()
			defer mu.Unlock()
			if !slices.ContainsFunc(out, func(o controller.Hello) bool { return o.Node == h.Node }) {
				out = append(out, h)
			}
		})
	}
	all.Wait()
	return out
}

// helloed answers a hello.
func (b *Broker) helloed(body []byte) (any, error) {
	if b.controller == nil {
		return nil, fmt.Errorf("%w: Hello to a node that is a broker only", errClose)
	}
	if _, err := controller.DecodeHello(body); err != nil {
		return nil, fmt.Errorf("%w: %w", errClose, err)
	}
	raw, err := b.controller.Hello().Encode()
	return cbor.RawMessage(raw), err
}

// dialRaft opens a raft stream to another voter.
func (b *Broker) dialRaft(ctx context.Context, to metadata.NodeID) (net.Conn, error) {
	addr := b.controllerAddr(to)
	if addr == "" {
		return nil, fmt.Errorf("no address of controller %d", to)
	}
	body, err := cbor.Marshal(raftRequest{ClusterID: b.controller.Image().ClusterID(), NodeID: b.cfg.NodeID})
	if err != nil {
		return nil, err
	}
	c, raw, err := b.peers.Stream(ctx, addr, protocol.RaftStream, body)
	if err != nil {
		return nil, err
	}
	var r feedResponse
	if err = ownDecoder.Unmarshal(raw, &r); err == nil {
		err = kerr.ErrorForCode(r.Code)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("raft stream to %s: %w", addr, err)
	}
	return c, nil
}

// admitsRaft says whether a node gets a raft stream.
func (b *Broker) admitsRaft(q *raftRequest) error {
	switch {
	case b.controller == nil:
		return fmt.Errorf("%w: RaftStream to a node that is a broker only", errClose)
	case q.NodeID == b.cfg.NodeID:
		return fmt.Errorf("%w: RaftStream from this node's own id", errClose)
	}
	if mine := b.controller.Image().ClusterID(); mine != "" && q.ClusterID != "" && q.ClusterID != mine {
		return kerr.InconsistentClusterID
	}
	return nil
}

// raftStream gives a connection to raft, which owns it until it closes it.
func (b *Broker) raftStream(c net.Conn) {
	done := make(chan struct{})
	if err := b.controller.HandOver(context.Background(), &closeNotifier{Conn: c, closed: done}); err != nil {
		b.log.Debug("raft stream refused", zap.Error(err))
		return
	}
	<-done
}

// closeNotifier tells when raft is done with a connection.
type closeNotifier struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *closeNotifier) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
