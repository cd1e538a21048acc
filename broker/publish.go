package broker

import (
	"context"
	"errors"
	"slices"
	"time"

	"cordwood/metadata"
)

// publication is one metadata image as the handlers see it.
type publication struct {
	image *metadata.Image
	next  chan struct{} // closed when the next one is there
}

// image is the newest image that all rooms have applied.
func (b *Broker) image() *metadata.Image { return b.published.Load().image }

// publish makes an image visible to the handlers, after the rooms have applied it: a topic a client reads of in
// Metadata can be produced to at once.
func (b *Broker) publish(img *metadata.Image) {
	old := b.published.Swap(&publication{image: img, next: make(chan struct{})})
	if old != nil {
		close(old.next)
	}
}

// apply hands an image to the rooms, then to the handlers.
func (b *Broker) apply(old, img *metadata.Image) {
	diff := metadata.Compare(old, img)
	gate := b.handover.see(old, img, &diff, b.cfg.NodeID, time.Now())
	b.partitions.Apply(img)
	if !img.SameQuotas(old) {
		b.quotas.Store(newQuotaTable(img, b.meters))
	}
	b.deleted.add(diff.TopicsDeleted, time.Now())
	b.lease.see(img, b.cfg.NodeID)
	b.publish(img)
	b.moveShards(old, img)
	b.forgetTopics(diff.TopicsDeleted)
	b.orphans.see(&diff, b.cfg.NodeID)
	b.moved()
	if gate != nil {
		b.background(func(ctx context.Context) { b.awaitStoodDown(ctx, gate) })
	}
	if losesLeadership(&diff, b.cfg.NodeID) { // its successor waits to hear that this broker knows
		select {
		case b.hurry <- struct{}{}:
		default:
		}
	}
}

// losesLeadership reports whether an image gives something to others that this broker led.
func losesLeadership(diff *metadata.Diff, self metadata.NodeID) bool {
	return slices.ContainsFunc(diff.Partitions, func(d metadata.PartitionDiff) bool {
		return d.Old != nil && d.New != nil && d.Old.Leader == self && d.New.Leader != self
	})
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended reports whether err only says that the context ended.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
