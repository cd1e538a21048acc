package controller

import (
	"context"

	"github.com/hashicorp/raft"
)

// transport is raft's network transport with one more way in: a node that is the only
// voter tells itself to lead, at once. Waiting for a heartbeat would be waiting for
// nobody, and a timeout short enough not to be felt at a start costs a lone node two per
// cent of a processor for ever, for raft checks its lease as often.
type transport struct {
	*raft.NetworkTransport
	rpcs chan raft.RPC
}

func newTransport(n *Node) *transport {
	return &transport{rpcs: make(chan raft.RPC), NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: n.stream, MaxPool: raftMaxPool, Timeout: raftTimeout, Logger: newLogger(n.log)})}
}

func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close ends all connections, the pooled ones too.
func (t *transport) Close() error {
	t.CloseStreams()
	return t.NetworkTransport.Close()
}

// run passes on what other voters ask, until ctx ends.
func (t *transport) run(ctx context.Context) {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// leadAlone makes this node the leader if the whole cluster is this node.
func (t *transport) leadAlone(ctx context.Context, r *raft.Raft, self raft.ServerID) {
	c := r.GetConfiguration()
	if c.Error() != nil {
		return
	}
	voters := 0
	for _, s := range c.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
		if s.ID == self && s.Suffrage != raft.Voter {
			return
		}
	}
	if voters != 1 {
		return
	}
	rpc := raft.RPC{RespChan: make(chan raft.RPCResponse, 1),
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self)}}}
	select {
	case t.rpcs <- rpc:
	case <-ctx.Done():
	}
}
