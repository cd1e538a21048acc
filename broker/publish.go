package broker

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

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

// feedWait is how long one look at the metadata feed may take before it is asked again.
const feedWait = 10 * time.Second

// followFeed applies every change of metadata to the rooms, in order, until ctx ends.
func (b *Broker) followFeed(ctx context.Context) error {
	for {
		feed, err := b.controller.Changes(ctx, b.image().Index(), feedWait)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			b.log.Warn("metadata feed", zap.Error(err))
			if !sleep(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		// The controller of this process hands over its image itself: what led to it need not be applied again, and
		// the two share their memory.
		if old := b.image(); feed.Index > old.Index() {
			b.apply(old, b.controller.Image())
		}
	}
}

// apply hands an image to the rooms, then to the handlers.
func (b *Broker) apply(old, img *metadata.Image) {
	deleted := metadata.Compare(old, img).TopicsDeleted
	b.partitions.Apply(img)
	if !img.SameQuotas(old) {
		b.quotas.Store(newQuotaTable(img, b.meters))
	}
	b.deleted.add(deleted, time.Now())
	b.publish(img)
	b.moveShards(old, img)
	b.forgetTopics(deleted)
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
