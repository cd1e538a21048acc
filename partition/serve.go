package partition

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/isr"
	"cordwood/metadata"
)

// FollowerRequest is one partition of a follower's fetch.
type FollowerRequest struct {
	Replica     metadata.NodeID
	BrokerEpoch int64 // of the follower; -1 is refused (Z8)
	FetchPosition
	Whole bool // the first batch even if it alone is larger than MaxBytes (trap 27)
}

// FollowerRead answers a follower's fetch by R3: it is judged, entered in the tracker and answered from one snapshot of
// standing, log end, epochs and registered brokers, taken under mu (Z9). Records come from up to the log end. A position
// that diverges comes back as DivergingEnd >= 0, no error and no records; an offset out of range with the log start. The
// bytes are looked up outside mu, so that a follower far behind does not stop appends for a disk.
func (p *Partition) FollowerRead(r FollowerRequest, out *ReadResult) {
	*out = ReadResult{HighWatermark: -1, LastStable: -1, LogStart: -1, DivergingEpoch: -1, DivergingEnd: -1}
	now := time.Now()
	p.passBarrier()
	st, end, moved, err := p.followerFetched(&r, out, now)
	if moved {
		p.advanced(p.hw.Load())
	}
	var diverging *isr.Diverging
	switch {
	case errors.As(err, &diverging):
		out.DivergingEpoch, out.DivergingEnd = diverging.Epoch, diverging.End
		return
	case err != nil:
		out.Err, out.HighWatermark, out.LastStable = err, -1, -1
		return
	case st.log == nil || r.Offset >= end:
		return
	}
	throttled := p.names(p.Config().LeaderThrottled, r.Replica)
	if throttled && !slices.Contains(st.isr, r.Replica) && p.set.throttles.leader.delay(now) > 0 {
		out.Throttled = true
		return
	}
	slice, err := p.sliceOf(st, r.Offset, end, r.MaxBytes, r.Whole)
	var refused error
	// What another leader's epoch has made of the log meanwhile must not leave under ours (Z18).
	if after := p.standing.Load(); after.role != Leader || after.epoch != st.epoch {
		refused = kerr.NotLeaderForPartition
	} else if e := p.readFailed(r.Offset, err); e != nil {
		refused = e
	}
	if refused != nil {
		slice.Release()
		out.Err, out.HighWatermark, out.LastStable = refused, -1, -1
		return
	}
	if throttled {
		p.set.throttles.leader.took(slice.Len(), now)
	}
	out.Slice = slice
}

// followerFetched is FollowerRead under mu: the standing and the log end that the answer is read from.
func (p *Partition) followerFetched(r *FollowerRequest, out *ReadResult, now time.Time) (st *standing, end int64, moved bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter()
	st, refused := p.leading()
	out.Epoch = st.epoch
	if refused != nil {
		return st, 0, false, refused
	}
	f := isr.Fetch{Replica: r.Replica, BrokerEpoch: r.BrokerEpoch, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset,
		LastEpoch: r.LastEpoch, Durable: r.Durable, LogStart: r.LogStart, Start: st.start(), RegisteredEpoch: -1, FencedOrStopping: true}
	switch mutant {
	case 2:
		f.LastEpoch = -1
	case 5:
		f.LeaderEpoch = st.epoch
	}
	f.EpochOfEnd, f.EndOfEpoch = p.epochEnd(st, f.LastEpoch)
	if b := p.set.applied.Load().Broker(r.Replica); b != nil {
		f.RegisteredEpoch, f.FencedOrStopping = b.Epoch, !b.Live()
	}
	end, out.LogStart = st.end(), f.Start
	e, err := p.tracker.Fetched(f, now)
	if errors.Is(err, kerr.OffsetOutOfRange) && f.Offset > end { // R9: the follower truncates, or stops with an alarm
		if err = (&isr.Diverging{Epoch: f.EpochOfEnd, End: f.EndOfEpoch}); f.LastEpoch < 0 { // it has no record
			err = &isr.Diverging{Epoch: -1, End: f.Start}
		}
	}
	moved = p.publish(st, e.HighWatermark)
	out.LastStable, out.HighWatermark = p.lso.Load(), p.hw.Load()
	p.propose(e.Propose)
	return st, end, moved, err
}

// Holders appends to `to` the followers in sync whose log includes offset, as far as this leader knows, in the order of
// assignment. It waits for nobody: while somebody has the partition, which may be an append on a disk that hangs, it knows of
// none, and the consumer that asks is served here until it asks again.
func (p *Partition) Holders(offset int64, to []isr.Holder) []isr.Holder {
	if !p.mu.TryLock() {
		return to
	}
	defer p.mu.Unlock()
	if p.tracker == nil {
		return to
	}
	return p.tracker.Holders(offset, to)
}

// AwaitTail parks w until a follower that has everything below offset and knows the high watermark hw would get news:
// records, a higher high watermark, or the end of the leadership of epoch. It returns false, with nothing registered, if
// there are some already.
func (p *Partition) AwaitTail(w *Waiter, offset, hw int64, epoch int32) bool {
	p.tail.add(w, offset+1)
	st := p.standing.Load()
	if st.role == Leader && st.epoch == epoch && st.end() <= offset && (hw < 0 || p.hw.Load() <= hw) && !p.dir().isFailed() {
		return true
	}
	w.Cancel()
	return false
}
