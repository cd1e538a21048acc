package partition

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/isr"
	"cordwood/metadata"
	"cordwood/segment"
)

// maxRange bounds what one ReadRange may ask for: whoever asks holds it in memory.
const maxRange = 16 << 20

// RangeRead is ReadRange as a replica is asked it.
type RangeRead struct {
	Replica     metadata.NodeID // who asks
	BrokerEpoch int64           // of its registration
	RangeRequest
}

// RangeResult is the answer, as Range. Without an error the Slice must be released.
type RangeResult struct {
	Err           error
	HighWatermark int64
	LogStart      int64
	Delay         time.Duration
	Sum           uint32
	Slice         segment.Slice
}

// ReadRange reads for another replica beside its fetches, and counts nothing in the tracker: only a fetch says where a
// follower stands. A replica that catches up is judged as a fetch is (R3), and reads what lies in sealed segments; one that
// mends its log reads from any replica of its leader epoch what is committed, for that is the same on all of them (I4).
func (p *Partition) ReadRange(r RangeRead, out *RangeResult) {
	*out = RangeResult{HighWatermark: -1, LogStart: -1}
	p.passBarrier()
	st, hw, err := p.judgeRange(&r)
	if err != nil {
		out.Err = err
		return
	}
	out.LogStart, out.HighWatermark = st.start(), hw
	if st.log == nil {
		return
	}
	view := st.log.View()
	until := r.Until
	if until < 0 {
		until = view.SealedEnd()
	}
	now := time.Now()
	throttled := p.names(p.Config().LeaderThrottled, r.Replica) && !slices.Contains(st.isr, r.Replica)
	if throttled {
		if out.Delay = p.set.throttles.leader.delay(now); out.Delay > 0 {
			return
		}
	}
	slice, err := view.Slice(r.Offset, until, min(max(r.MaxBytes, 0), maxRange), true)
	if err == nil {
		out.Sum, err = slice.HeaderSum()
	}
	// What another leader's epoch has made of the log meanwhile must not leave under ours (Z18).
	var refused error
	if after := p.standing.Load(); after.role != st.role || after.epoch != st.epoch {
		refused = kerr.NotLeaderForPartition
	} else if e := p.readFailed(r.Offset, err); e != nil {
		refused = e
	}
	if refused != nil {
		slice.Release()
		out.Err, out.HighWatermark, out.LogStart, out.Delay = refused, -1, -1, 0
		return
	}
	if throttled {
		p.set.throttles.leader.took(slice.Len(), now)
	}
	out.Slice = slice
}

// judgeRange is ReadRange under mu: the standing that is read from, and the high watermark.
func (p *Partition) judgeRange(r *RangeRead) (*standing, int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter()
	st, refused := p.leading()
	mends := r.Until >= 0
	if refused != nil && mends && st.isFollowing() && !p.dir().isFailed() {
		refused = nil
	}
	if refused != nil {
		return st, 0, refused
	}
	if mends {
		return st, p.hw.Load(), p.judgeMending(st, r)
	}
	f := isr.Fetch{Replica: r.Replica, BrokerEpoch: r.BrokerEpoch, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset,
		LastEpoch: r.LastEpoch, Start: st.start(), RegisteredEpoch: p.registered(r.Replica)}
	f.EpochOfEnd, f.EndOfEpoch = p.epochEnd(st, f.LastEpoch)
	err := p.tracker.Judge(f)
	var diverging *isr.Diverging
	if errors.As(err, &diverging) { // a fetch tells the replica what to do
		err = kerr.OffsetOutOfRange
	}
	return st, p.hw.Load(), err
}

func (p *Partition) judgeMending(st *standing, r *RangeRead) error {
	if err := st.fence(r.LeaderEpoch); r.LeaderEpoch < 0 || err != nil {
		return kerr.FencedLeaderEpoch
	}
	switch epoch := p.registered(r.Replica); {
	case epoch < 0 || r.BrokerEpoch < epoch:
		return kerr.StaleBrokerEpoch
	case r.Until > p.hw.Load():
		return kerr.OffsetNotAvailable
	}
	return nil
}

// registered is the broker epoch that the image has; -1: none.
func (p *Partition) registered(id metadata.NodeID) int64 {
	if b := p.set.applied.Load().Broker(id); b != nil {
		return b.Epoch
	}
	return -1
}
