package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller"
	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AllocateProducerIds (key 67), version 0: a block of producer ids for one broker.
func (b *Broker) allocateProducerIDs(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AllocateProducerIDsRequest)
	resp := q.ResponseKind().(*kmsg.AllocateProducerIDsResponse)
	block, _, err := controllerDo(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AllocateProducerIDsReply], error) {
		return decide.AllocateProducerIDs(img, decide.AllocateProducerIDsRequest{Broker: metadata.NodeID(q.BrokerID), Epoch: q.BrokerEpoch}, now)
	})
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	resp.ProducerIDStart, resp.ProducerIDLen = block.First, block.Count
	return resp, nil
}

// controllerDo runs a decision at the controller of this process; NOT_CONTROLLER if it has none or it is not the active
// one. The index is the raft index at which the decision is in force.
func controllerDo[R any](ctx context.Context, b *Broker, f func(img *metadata.Image, now time.Time) (decide.Outcome[R], error)) (R, uint64, error) {
	if b.controller == nil {
		var none R
		return none, 0, errNoController
	}
	return controller.Do(ctx, b.controller, f)
}
