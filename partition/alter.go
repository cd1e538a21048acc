package partition

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/isr"
)

// alterer sends what the trackers propose to the controller (R6). A proposal stays here until it is answered for good; one
// that the tracker has given up by then is dropped before it is sent.
type alterer struct {
	set  *Set
	wake chan struct{}

	mu      sync.Mutex
	waiting map[*Partition]proposal
}

// proposal is what a tracker wants, and what is sent for it.
type proposal struct{ own, sent *isr.Proposal }

func newAlterer(s *Set) *alterer {
	return &alterer{set: s, wake: make(chan struct{}, 1), waiting: map[*Partition]proposal{}}
}

// propose hands a proposal to the alterer; mu of the partition is held. A member that has not fetched in this epoch gets
// the registered broker epoch here, of the image that the proposal was made under: later it may be another life's (Z9).
func (p *Partition) propose(q *isr.Proposal) {
	if q == nil {
		return
	}
	sent := *q
	sent.ISR = slices.Clone(q.ISR)
	p.set.fillEpochs(sent.ISR, false)
	a := p.set.alterer
	a.mu.Lock()
	a.waiting[p] = proposal{own: q, sent: &sent}
	a.mu.Unlock()
	notify(a.wake)
}

// fillEpochs enters registered broker epochs: of the members whose own is not known, or of all.
func (s *Set) fillEpochs(members []isr.Member, all bool) {
	img := s.applied.Load()
	for i := range members {
		m := &members[i]
		if b := img.Broker(m.ID); b != nil && m.ID != s.cfg.Self && (m.BrokerEpoch < 0 || all) {
			m.BrokerEpoch = b.Epoch
		}
	}
}

// run sends what waits, all of it in one request, until ctx ends.
func (a *alterer) run(ctx context.Context) {
	if a.set.cfg.Link == nil {
		return
	}
	for retry := (pause{}); ; {
		if again := a.round(ctx); again {
			if !retry.wait(ctx, a.set.cfg.FetchBackoff, nil) {
				return
			}
			continue
		}
		retry = pause{}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
	}
}

// round sends all that waits once; again: some of it must be sent again.
func (a *alterer) round(ctx context.Context) (again bool) {
	ps, sent, changes := a.take()
	if len(ps) == 0 {
		return false
	}
	answers, err := a.set.cfg.Link.AlterPartition(ctx, changes)
	if err == nil && len(answers) != len(changes) {
		err = errors.New("the controller answered another number of partitions")
	}
	if err != nil {
		a.set.log.Warn("AlterPartition failed, it is sent again", zap.String("event", "CW-0512"),
			zap.Int("partitions", len(changes)), zap.Error(err))
		if mutant == 12 {
			for i, p := range ps {
				p.rollBack(sent[i].own, time.Now())
			}
		}
		return true
	}
	now := time.Now()
	for i, p := range ps {
		if p.altered(sent[i].own, &answers[i], now) {
			a.drop(p, sent[i])
		} else {
			again = true
		}
	}
	return again
}

// take lists what waits and is still wanted; what is not is dropped.
func (a *alterer) take() (ps []*Partition, sent []proposal, changes []Alteration) {
	a.mu.Lock()
	all := maps.Clone(a.waiting)
	a.mu.Unlock()
	for p, q := range all {
		if !p.stillProposes(q.own) {
			a.drop(p, q)
			continue
		}
		if mutant == 9 {
			p.set.fillEpochs(q.sent.ISR, true)
		}
		ps, sent = append(ps, p), append(sent, q)
		changes = append(changes, Alteration{PartitionID{p.topic.id, p.index}, *q.sent})
	}
	return ps, sent, changes
}

// drop forgets a proposal, unless a newer one took its place.
func (a *alterer) drop(p *Partition, q proposal) {
	a.mu.Lock()
	if a.waiting[p] == q {
		delete(a.waiting, p)
	}
	a.mu.Unlock()
}

func (p *Partition) stillProposes(q *isr.Proposal) bool {
	if !p.lockUnlessFailed() {
		return false
	}
	defer p.mu.Unlock()
	if p.tracker == nil || p.tracker.State() == isr.Committed {
		return false
	}
	m := p.tracker.Partition()
	return m.LeaderEpoch == q.LeaderEpoch && m.PartitionEpoch == q.PartitionEpoch
}

// altered takes the controller's answer. It reports whether the answer is final; a proposal whose fate is not known stays
// pending, whatever time passes (Z12).
func (p *Partition) altered(q *isr.Proposal, a *Altered, now time.Time) (final bool) {
	switch {
	case a.Err == nil:
		p.adopt(q, a, now)
		return true
	case errors.Is(a.Err, kerr.IneligibleReplica), errors.Is(a.Err, kerr.OperationNotAttempted):
		p.rollBack(q, now)
		return true
	case isAny(a.Err, kerr.FencedLeaderEpoch, kerr.InvalidUpdateVersion, kerr.InvalidRequest, kerr.UnknownTopicID,
		kerr.UnknownTopicOrPartition, kerr.NewLeaderElected):
		return true // newer metadata is on its way, and it alone says what holds
	}
	return false
}

func isAny(err error, codes ...*kerr.Error) bool {
	for _, c := range codes {
		if errors.Is(err, c) {
			return true
		}
	}
	return false
}

// adopt makes an answered proposal the committed ISR, unless more than that may have changed with it: the leader epoch,
// another partition epoch, or, at the end of a reassignment, min ISR (Z35). Then the image brings the whole record.
func (p *Partition) adopt(q *isr.Proposal, a *Altered, now time.Time) {
	if a.LeaderEpoch != q.LeaderEpoch || a.PartitionEpoch != q.PartitionEpoch+1 {
		return
	}
	p.withTracker(q, func(t *isr.Tracker) isr.Effects {
		m := t.Partition().Clone()
		if len(m.Adding)+len(m.Removing) > 0 && mutant != 35 {
			return isr.Effects{HighWatermark: t.HighWatermark()}
		}
		if len(a.ISR) > len(m.ISR) {
			p.set.counters.expansions.Add(1)
		} else {
			p.set.counters.shrinks.Add(1)
		}
		m.ISR, m.PartitionEpoch = slices.Clone(a.ISR), a.PartitionEpoch
		return t.Committed(m, now)
	})
}

// rollBack is for what was certainly not applied.
func (p *Partition) rollBack(q *isr.Proposal, now time.Time) {
	p.withTracker(q, func(t *isr.Tracker) isr.Effects { return t.Rejected(*q, now) })
}

// withTracker runs a step of the tracker that q came from and publishes what it says; nothing if that epoch is over.
func (p *Partition) withTracker(q *isr.Proposal, step func(*isr.Tracker) isr.Effects) {
	if !p.lockUnlessFailed() {
		return
	}
	st := p.standing.Load()
	if p.tracker == nil || st.epoch != q.LeaderEpoch || p.tracker.Partition().PartitionEpoch != q.PartitionEpoch {
		p.mu.Unlock()
		return
	}
	e := step(p.tracker)
	p.propose(e.Propose)
	next := *st
	next.setISR(p.tracker)
	p.standing.Store(&next)
	p.publish(&next, e.HighWatermark)
	p.mu.Unlock()
	if next.underMinISR && !st.underMinISR {
		p.wakeAll()
	} else {
		p.advanced(p.hw.Load())
	}
}

// setISR takes over what readers want to know of the committed ISR.
func (st *standing) setISR(t *isr.Tracker) {
	m := t.Partition()
	st.underMinISR, st.isr, st.missing = t.UnderMinISR(), m.ISR, len(m.Replicas)-len(m.ISR)
}

// tick lets the trackers see that time passes, so that members who lag are proposed to leave.
func (s *Set) tick(ctx context.Context) {
	every := time.NewTicker(max(s.cfg.MaxLag/2, time.Millisecond))
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		now := time.Now()
		for p := range s.Each() {
			if st := p.standing.Load(); st.role == Leader && st.replicated {
				p.tick(now)
			}
		}
	}
}

func (p *Partition) tick(now time.Time) {
	if !p.lockUnlessFailed() {
		return
	}
	defer p.mu.Unlock()
	if p.tracker != nil {
		p.tracker.MaxLag = p.set.cfg.MaxLag
		p.propose(p.tracker.Tick(now).Propose) // Tick moves no high watermark
	}
}
