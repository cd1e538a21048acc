package controller

import (
	"context"
	"slices"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"

	"go.uber.org/zap"
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
	req.Rules = n.cfg.Rules
	out, beside, err := n.heartbeatBeside(req)
	if !beside {
		reply, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.HeartbeatReply], error) {
			n.sessions.mu.Lock()
			defer n.sessions.mu.Unlock()
			return decide.Heartbeat(img, n.sessions.s, req, now)
		})
		return reply, err
	}
	if lost := n.verify(ctx); lost != nil {
		return decide.HeartbeatReply{}, lost
	}
	return out.Reply, err
}

// heartbeatBeside answers from the newest image. That is not for a broker which an entry
// that is under way fences: it would lead for most of a session on the word of a
// controller that is giving its partitions to others.
func (n *Node) heartbeatBeside(req decide.HeartbeatRequest) (out decide.Outcome[decide.HeartbeatReply], beside bool, err error) {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	if slices.Contains(n.sessions.fencing, req.ID) {
		return out, false, nil
	}
	now, img := time.Now(), n.Image()
	if out, err = decide.Heartbeat(img, n.sessions.s, req, now); err == nil {
		n.sessions.heard[req.ID] = heard{req.MetadataIndex, now}
		n.tellLate(img)
	}
	return out, err != nil || len(out.Changes) == 0, err
}

// setFencing says which brokers the entry that is under way fences.
func (n *Node) setFencing(ids []metadata.NodeID) {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	n.sessions.fencing = ids
}

// ReportLogEnds takes what a broker says of logs that nobody may lead (R11). An election that follows is a possible loss
// of data, and told as one.
func (n *Node) ReportLogEnds(ctx context.Context, req decide.ReportLogEndsRequest) error {
	reply, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.ReportLogEndsReply], error) {
		n.sessions.mu.Lock()
		defer n.sessions.mu.Unlock()
		return decide.ReportLogEnds(img, n.sessions.s, req, now)
	})
	for _, r := range reply.Revived {
		n.log.Warn("all replicas stopped unclean: the longest log leads, records may be lost", zap.String("event", "CW-0421"),
			zap.String("topic", r.Topic), zap.Int32("partition", r.Index), zap.Int32("leader", int32(r.Leader)), zap.Any("log_ends", r.Ends))
	}
	return err
}

// Behind leaves those of some brokers that may still serve what the entry at index took from them (R18). An answer of a
// controller that was deposed meanwhile is as good: what it knows of a broker stays true.
func (n *Node) Behind(index uint64, brokers []metadata.NodeID) ([]metadata.NodeID, error) {
	img := n.Image()
	if !n.Active() || img.Index() < index {
		return nil, notController()
	}
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	return n.sessions.s.Behind(img, index, brokers), nil
}
