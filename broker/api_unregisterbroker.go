package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// UnregisterBroker (key 64), version 0: forgets a broker that will not come back.
//
// As in Kafka its replicas stay assigned, out of every ISR, until somebody reassigns them, and one that runs is not spared:
// it finds out by its next heartbeat and ends. Should it be started again it registers as a new one.
func (b *Broker) unregisterBroker(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.UnregisterBrokerRequest)
	resp := q.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	ctx, cancel := adminContext(ctx, requestTimeout(q))
	defer cancel()
	req := decide.UnregisterBrokerRequest{ID: metadata.NodeID(q.BrokerID), Rules: b.rules()}
	_, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.None], error) {
		return decide.UnregisterBroker(img, req, now)
	})
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		return resp, nil
	}
	from := r.origin()
	b.log.Warn("a broker was unregistered on request", zap.Int32("broker", q.BrokerID), zap.String("principal", from.principal.Name), zap.String("host", from.host))
	return resp, nil
}
