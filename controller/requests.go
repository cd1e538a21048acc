package controller

import (
	"context"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// RegisterBroker decides a registration and returns the broker epoch: the index of the
// entry that holds it (R1).
func (n *Node) RegisterBroker(ctx context.Context, req decide.RegisterBrokerRequest) (epoch int64, err error) {
	reply, index, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.RegisterBrokerReply], error) {
		n.sessions.mu.Lock()
		defer n.sessions.mu.Unlock()
		req.Rules = n.cfg.Rules
		return decide.RegisterBroker(img, n.sessions.s, req, now)
	})
	if err != nil {
		return 0, err
	}
	if reply.Epoch == 0 {
		return int64(index), nil
	}
	return reply.Epoch, nil
}

// Heartbeat keeps a broker's session and moves it between its states. One that changes
// nothing is answered beside the decider's queue (R18).
func (n *Node) Heartbeat(ctx context.Context, req decide.HeartbeatRequest) (decide.HeartbeatReply, error) {
	if !n.Active() {
		return decide.HeartbeatReply{}, notController()
	}
	out, err := n.heartbeat(n.Image(), req, time.Now())
	if err == nil && len(out.Changes) > 0 {
		reply, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.HeartbeatReply], error) {
			return n.heartbeat(img, req, now)
		})
		return reply, err
	}
	select {
	case lost := <-n.ask(n.raft.Load().VerifyLeader):
		if lost != nil {
			return decide.HeartbeatReply{}, notController()
		}
		return out.Reply, err
	case <-ctx.Done():
		return decide.HeartbeatReply{}, ctx.Err()
	case <-n.gone:
		return decide.HeartbeatReply{}, notController()
	}
}

func (n *Node) heartbeat(img *metadata.Image, req decide.HeartbeatRequest, now time.Time) (decide.Outcome[decide.HeartbeatReply], error) {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	req.Rules = n.cfg.Rules
	return decide.Heartbeat(img, n.sessions.s, req, now)
}
