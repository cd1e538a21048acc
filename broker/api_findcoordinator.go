package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator"
	"cordwood/metadata"
)

// FindCoordinator (key 10), versions 0-6. 1 key type, 4 several keys, 6 share groups.
//
// The first call creates the offsets topic. Kafka answers COORDINATOR_NOT_AVAILABLE meanwhile and the client comes
// back; here the call waits for the topic, at most coordinatorWait (trap 43), and while a broker is in doubt (doubt.go).

const (
	coordinatorGroup = 0
	coordinatorTxn   = 1
	coordinatorWait  = time.Second
)

func (b *Broker) findCoordinator(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.FindCoordinatorRequest)
	b.doubts.wait(ctx)
	resp := q.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := q.CoordinatorKeys
	if q.Version < 4 {
		keys = []string{q.CoordinatorKey}
	}
	for _, key := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.Port = key, -1, -1
		host, port, node, err := b.coordinatorOf(ctx, r, q.CoordinatorType, key)
		if err != nil {
			c.ErrorCode, c.ErrorMessage = codeOf(err), messageOf(err)
		} else {
			c.Host, c.Port, c.NodeID = host, port, int32(node)
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	if q.Version < 4 {
		c := resp.Coordinators[0]
		resp.Coordinators = nil
		resp.ErrorCode, resp.ErrorMessage, resp.NodeID, resp.Host, resp.Port = c.ErrorCode, c.ErrorMessage, c.NodeID, c.Host, c.Port
	}
	return resp, nil
}

// coordinatorOf is the address of the broker that coordinates key, on the request's listener.
func (b *Broker) coordinatorOf(ctx context.Context, r *request, kind int8, key string) (string, int32, metadata.NodeID, error) {
	switch {
	case kind == coordinatorTxn:
		return "", 0, -1, errNoTransactions
	case kind != coordinatorGroup:
		return "", 0, -1, kerr.InvalidRequest
	case len(key) > groupIDMax:
		return "", 0, -1, kerr.InvalidGroupID
	}
	img := b.view()
	t := img.Topic(offsetsTopic)
	if t == nil {
		wait, cancel := context.WithTimeout(ctx, coordinatorWait)
		b.autoCreate(wait, []string{offsetsTopic})
		cancel()
		img = b.view()
		if t = img.Topic(offsetsTopic); t == nil {
			return "", 0, -1, kerr.CoordinatorNotAvailable
		}
	}
	leader := t.Partitions[coordinator.PartitionFor(key, int32(len(t.Partitions)))].Leader
	broker := img.live(leader)
	if broker == nil {
		return "", 0, -1, kerr.CoordinatorNotAvailable
	}
	host, port, ok := r.s.advertised(broker)
	if !ok {
		return "", 0, -1, kerr.CoordinatorNotAvailable
	}
	return host, port, leader, nil
}
