package partition

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/isr"
	"cordwood/metadata"
)

// become takes the partition as committed metadata has it. Old news changes nothing. Requests parked under another
// standing are woken at once: acks=all gets its error now, not at its timeout (R8, trap 55).
func (p *Partition) become(m *metadata.Partition, now time.Time) {
	if !p.lockUnlessFailed() || !p.enterUnlessFailed() { // a truncation ends first: it decides where the log ends
		return
	}
	old := p.standing.Load()
	if old.role == Offline || m.LeaderEpoch < old.epoch || m.PartitionEpoch <= p.partitionEpoch {
		p.mu.Unlock()
		return
	}
	p.partitionEpoch = m.PartitionEpoch
	hw := p.hw.Load()
	if m.Leader == p.set.cfg.Self {
		hw = p.lead(old, m, now)
	} else {
		p.follow(old, m)
	}
	st := p.standing.Load() // readers get the new standing before what was computed under it
	p.publish(st, hw)
	behind := st.durable && st.log != nil && st.log.Durable() < st.log.End()
	p.mu.Unlock()

	if st.role != old.role || st.epoch != old.epoch || st.underMinISR && !old.underMinISR || st.durable != old.durable {
		p.wakeAll()
	} else {
		p.advanced(hw)
	}
	if behind { // what recovery found, or page-cache mode left, is not on disk yet
		p.dir().flusher.request(p)
	}
	if st.role != old.role || st.epoch != old.epoch || st.durable != old.durable { // a change of the ISR disturbs no fetch
		p.set.fetchers.point(p, st.leaderToFollow())
	}
}

// leaderToFollow is whom a follower fetches from; NoNode for everybody else.
func (st *standing) leaderToFollow() metadata.NodeID {
	if st.role != Follower {
		return metadata.NoNode
	}
	return st.leader
}

// lead begins a leader epoch (R7), or goes on with one whose ISR, min ISR or durability changed. It returns the high
// watermark. The epoch cache follows at the first append (P2).
func (p *Partition) lead(old *standing, m *metadata.Partition, now time.Time) int64 {
	var e isr.Effects
	if old.role == Leader && old.epoch == m.LeaderEpoch {
		e = p.tracker.Committed(*m, now)
	} else {
		p.tracker = isr.NewTracker(p.set.cfg.Self, *m, old.end(), p.hw.Load(), now)
		p.tracker.MaxLag = p.set.cfg.MaxLag
		p.lag.Store(0)
		e = isr.Effects{HighWatermark: p.tracker.HighWatermark()}
		if l := old.log; l != nil {
			e = p.tracker.Appended(l.End(), l.Durable(), now)
		}
	}
	next := &standing{
		role: Leader, epoch: m.LeaderEpoch, leader: m.Leader, epochStart: p.tracker.EpochStart(),
		durable: m.Durable, replicated: len(m.Replicas) > 1, log: old.log,
	}
	next.setISR(p.tracker)
	p.standing.Store(next)
	return e.HighWatermark
}

// follow ends leadership. The log is left as it is: only a diverging answer of the leader truncates (R8, Z1).
func (p *Partition) follow(old *standing, m *metadata.Partition) {
	p.tracker = nil
	if l := old.log; mutant == 1 && l != nil {
		_ = p.exclusive(func() error { return l.Truncate(p.hw.Load()) })
	}
	p.standing.Store(&standing{
		role: Follower, epoch: m.LeaderEpoch, leader: m.Leader, durable: m.Durable, unclean: m.UncleanEpoch, isr: m.ISR,
		log: old.log,
		err: kerr.NotLeaderForPartition,
	})
}

// retreat takes the replica out of service for good: requests get err, appends that have begun are over when it
// returns, and nobody waits any more. It reports whether the log may be touched, which it may not on a failed disk.
func (p *Partition) retreat(err *kerr.Error) bool {
	if !p.lockUnlessFailed() || !p.enterUnlessFailed() {
		p.wakeAll()
		return false
	}
	changed := *p.standing.Load()
	changed.role, changed.err = Offline, err
	p.standing.Store(&changed)
	p.tracker = nil
	p.mu.Unlock()
	p.wakeAll()
	p.set.fetchers.point(p, metadata.NoNode)
	return !p.dir().isFailed()
}
