package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"cordwood/metadata"
)

// A client whose connection to a dead broker breaks asks another broker at once whom to turn to. The image names the dead
// one until the controller has dialled it twice and committed that (R19), some 50 ms; a client that is told so comes back
// when its own timer says so, 250 ms (franz-go) or up to a second (librdkafka) later. This broker lost a connection, too: it
// dials itself, and while the address refuses, it answers only when the image tells the death.
//
//	connection ends ──▶ doubt ──▶ dial, twice ──▶ answered, or silent for doubtDials: over
//	                      │             └──▶ refused ──▶ doubtMost: over
//	                      └──▶ image fences it, or it is late (late.go): over
//
// A doubt delays answers and decides nothing. Who waits for it is a client, on its connection's writer, and holds nothing.

// doubtMost bounds a doubt. Where the controller has died as well, its successor is elected by then; where no death is
// committed, as of more than half of the brokers, the session tells more.
const doubtMost = time.Second

// doubtPause is between the dials: a process that is killed may lose its connections before its listeners.
const doubtPause = 20 * time.Millisecond

// doubtDials bounds both dials: an address that refuses does so at once, and silence, as behind a cut link, proves nothing (R19).
const doubtDials = 200 * time.Millisecond

// doubts are the brokers that may be dead though the image does not say so.
type doubts struct {
	mu sync.Mutex
	of map[metadata.NodeID]doubt
}

type doubt struct {
	ends time.Time
	over chan struct{} // closed when it ends before
}

// begin notes a doubt, and returns how it is ended; nil if there is one already.
func (d *doubts) begin(id metadata.NodeID, now time.Time) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if one, doubted := d.of[id]; doubted && now.Before(one.ends) {
		return nil
	}
	if d.of == nil {
		d.of = map[metadata.NodeID]doubt{}
	}
	one := doubt{now.Add(doubtMost), make(chan struct{})}
	d.of[id] = one
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.of[id] == one {
			d.drop(id)
		}
	}
}

// drop ends a doubt, if there is one. d.mu is held.
func (d *doubts) drop(id metadata.NodeID) {
	if one, doubted := d.of[id]; doubted {
		close(one.over)
		delete(d.of, id)
	}
}

// settle ends the doubts about brokers of which clients are told that they are not there.
func (d *doubts) settle(gone []metadata.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range gone {
		d.drop(id)
	}
}

// any is one of the doubts there are.
func (d *doubts) any(now time.Time) (doubt, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, one := range d.of {
		if now.Before(one.ends) {
			return one, true
		}
		d.drop(id)
	}
	return doubt{}, false
}

// wait returns when there is no doubt, or ctx is done, or one doubt follows the other for doubtMost.
func (d *doubts) wait(ctx context.Context) {
	if _, doubted := d.any(time.Now()); !doubted {
		return // as nearly always
	}
	ctx, cancel := context.WithTimeout(ctx, doubtMost)
	defer cancel()
	for ctx.Err() == nil {
		one, doubted := d.any(time.Now())
		if !doubted {
			return
		}
		timer := time.NewTimer(time.Until(one.ends))
		select {
		case <-one.over:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// doubt begins when a connection to a broker has ended, and does not wait.
func (b *Broker) doubt(other *metadata.Broker) {
	end := b.doubts.begin(other.ID, time.Now())
	if end == nil {
		return
	}
	if slices.Contains(b.late(), other.ID) { // looked at now: who becomes late from here on settles it
		end()
		return
	}
	b.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, doubtMost)
		var dials sync.WaitGroup
		dials.Go(func() {
			if !b.refuses(ctx, other) {
				cancel()
			}
		})
		b.awaitFenced(ctx, other)
		end()
		cancel()
		dials.Wait()
	})
}

// refuses reports whether a broker's address refuses a connection.
func (b *Broker) refuses(ctx context.Context, other *metadata.Broker) bool {
	ctx, cancel := context.WithTimeout(ctx, doubtDials)
	defer cancel()
	probe := b.probe()
	return probe(ctx, other) || sleep(ctx, doubtPause) && probe(ctx, other)
}

// awaitFenced waits until the image says that a broker of this registration is not there.
func (b *Broker) awaitFenced(ctx context.Context, other *metadata.Broker) {
	for {
		p := b.published.Load()
		if now := p.image.Broker(other.ID); now == nil || now.Fenced || now.Epoch != other.Epoch {
			return
		}
		select {
		case <-p.next:
		case <-ctx.Done():
			return
		}
	}
}
