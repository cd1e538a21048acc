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
	if !p.lockUnlessFailed() {
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

	if st.role != old.role || st.epoch != old.epoch || st.underMinISR && !old.underMinISR {
		p.waiters.wakeAll()
	} else {
		p.waiters.wake(hw)
	}
	if behind { // what recovery found, or page-cache mode left, is not on disk yet
		p.dir.flusher.request(p)
	}
}

// lead begins a leader epoch (R7), or goes on with one whose ISR, min ISR or durability changed. It returns the high
// watermark. The epoch cache follows at the first append (P2).
func (p *Partition) lead(old *standing, m *metadata.Partition, now time.Time) int64 {
	var e isr.Effects
	if old.role == Leader && old.epoch == m.LeaderEpoch {
		e = p.tracker.Committed(*m, now)
	} else {
		p.tracker = isr.NewTracker(p.set.cfg.Self, *m, old.end(), p.hw.Load(), now)
		e = isr.Effects{HighWatermark: p.tracker.HighWatermark()}
		if l := old.log; l != nil {
			e = p.tracker.Appended(l.End(), l.Durable(), now)
		}
	}
	p.standing.Store(&standing{
		role: Leader, epoch: m.LeaderEpoch, leader: m.Leader, epochStart: p.tracker.EpochStart(),
		durable: m.Durable, underMinISR: p.tracker.UnderMinISR(), log: old.log,
	})
	return e.HighWatermark
}

// follow ends leadership. The log is left as it is: only a diverging answer of the leader truncates (R8, Z1).
func (p *Partition) follow(old *standing, m *metadata.Partition) {
	p.tracker = nil
	p.standing.Store(&standing{
		role: Follower, epoch: m.LeaderEpoch, leader: m.Leader, durable: m.Durable, log: old.log,
		err: kerr.NotLeaderForPartition,
	})
}

// retreat takes the replica out of service for good: requests get err, appends that have begun are over when it
// returns, and nobody waits any more. It reports whether the log may be touched, which it may not on a failed disk.
func (p *Partition) retreat(err *kerr.Error) bool {
	if !p.lockUnlessFailed() {
		p.waiters.wakeAll()
		return false
	}
	p.enter()
	changed := *p.standing.Load()
	changed.role, changed.err = Offline, err
	p.standing.Store(&changed)
	p.tracker = nil
	p.mu.Unlock()
	p.waiters.wakeAll()
	return !p.dir.isFailed()
}
