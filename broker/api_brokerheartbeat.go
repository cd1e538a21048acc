package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// BrokerHeartbeat (key 63), versions 1-2: a broker is alive, and how far its metadata is.
//
// A request for another epoch than the registered one gets STALE_BROKER_EPOCH, -1 too (bad input 119).
func (b *Broker) brokerHeartbeat(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.BrokerHeartbeatRequest)
	resp := q.ResponseKind().(*kmsg.BrokerHeartbeatResponse)
	resp.IsFenced = true
	if !b.isActive() {
		resp.ErrorCode = kerr.NotController.Code
		return resp, nil
	}
	req := decide.HeartbeatRequest{
		ID: metadata.NodeID(q.BrokerID), Epoch: q.BrokerEpoch, MetadataIndex: uint64(max(q.CurrentMetadataOffset, 0)),
		WantFence: q.WantFence, WantShutdown: q.WantShutdown,
	}
	for _, d := range q.OfflineLogDirs {
		req.OfflineDirs = append(req.OfflineDirs, d)
	}
	reply, err := b.controller.Heartbeat(ctx, req)
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	if r.s != nil {
		r.s.beats.Store(int64(q.BrokerID) + 1)
	}
	resp.IsCaughtUp, resp.IsFenced, resp.ShouldShutdown = reply.CaughtUp, reply.Fenced, reply.ShouldShutDown
	return resp, nil
}
