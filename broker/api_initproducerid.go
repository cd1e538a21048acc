package broker

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerId (key 22), versions 0-5: a producer id for idempotence. 3 keeps an id and asks for its next epoch.
//
// A transactional id gets INVALID_REQUEST until transactions exist.
func (b *Broker) initProducerID(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.InitProducerIDRequest)
	resp := q.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if q.TransactionalID != nil {
		resp.ErrorCode = codeOf(errNoTransactions)
		return resp, nil
	}
	if (q.ProducerID < 0) != (q.ProducerEpoch < 0) {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp, nil
	}
	id, err := b.producers.next(ctx, b)
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	// Without a transactional id nobody else knows the old id: a new one is as good as a bumped epoch (Kafka does the same).
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp, nil
}

// producerIDs hands out ids of the block this broker was given by the controller.
type producerIDs struct {
	mu        sync.Mutex
	first     int64
	remaining int64
	asking    chan struct{} // closed when the block under way is there; nil: none under way
}

// producerIDTimeout bounds the wait for a block.
const producerIDTimeout = 30 * time.Second

// next is one id; it asks the controller for a block when the last one is used up. One request asks, the others wait.
func (p *producerIDs) next(ctx context.Context, b *Broker) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, producerIDTimeout)
	defer cancel()
	for {
		p.mu.Lock()
		if p.remaining > 0 {
			id := p.first
			p.first, p.remaining = p.first+1, p.remaining-1
			p.mu.Unlock()
			return id, nil
		}
		if wait := p.asking; wait != nil {
			p.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return 0, kerr.CoordinatorLoadInProgress
			}
		}
		mine := make(chan struct{})
		p.asking = mine
		p.mu.Unlock()
		first, count, err := b.producerIDBlock(ctx)
		p.mu.Lock()
		if err == nil {
			p.first, p.remaining = first, count
		}
		p.asking = nil
		p.mu.Unlock()
		close(mine)
		if err != nil {
			return 0, kerr.CoordinatorLoadInProgress // retriable, as Kafka answers while the controller is away
		}
	}
}

// producerIDBlock asks the controller for a block of ids.
func (b *Broker) producerIDBlock(ctx context.Context) (first, count int64, err error) {
	// The client that asked may go away; the connection to the controller is everybody's.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controllerTimeout)
	defer cancel()
	q := kmsg.NewPtrAllocateProducerIDsRequest()
	q.BrokerID, q.BrokerEpoch = int32(b.cfg.NodeID), b.epoch.Load()
	for {
		answer, err := b.toController(ctx, q)
		if err == nil {
			if err = refusedBy(answer); err == nil {
				block := answer.(*kmsg.AllocateProducerIDsResponse)
				return block.ProducerIDStart, int64(block.ProducerIDLen), nil
			}
		}
		if !isRetriable(err) || !sleep(ctx, retryPause) {
			return 0, 0, err
		}
	}
}

// controllerTimeout bounds what a broker asks the controller on its own behalf.
const controllerTimeout = 10 * time.Second
