package partition

import "cordwood/segment"

// LogEnd is where a replica's log ends (R11).
type LogEnd struct {
	LeaderEpoch int32 // that nobody leads in, as this replica knows it
	LastEpoch   int32 // of the last record; -1: there is none
	End         int64
	Durable     int64 // below it everything is on disk
	Clean       bool  // the log was closed in good order, or made in this life of the process
}

// LogEnd tells where the log ends as long as nobody leads the partition: until then it does not grow. false: somebody leads
// it, or the log cannot be read.
func (p *Partition) LogEnd() (e LogEnd, ok bool) {
	if !p.lockUnlessFailed() || !p.enterUnlessFailed() {
		return e, false
	}
	defer p.mu.Unlock()
	st := p.standing.Load()
	if st.role != Follower || st.isFollowing() {
		return e, false
	}
	e = LogEnd{LeaderEpoch: st.epoch, LastEpoch: -1, Clean: true}
	if l := st.log; l != nil {
		r := l.Recovery()
		e.LastEpoch, e.End, e.Durable, e.Clean = lastEpoch(l), l.End(), l.Durable(), r.Clean || r.Created
	}
	return e, true
}

// lastEpoch is that of the last record, not of an epoch that never had one; -1: there is none.
func lastEpoch(l *segment.Log) int32 {
	end := l.End()
	if l.Start() >= end {
		return -1
	}
	return l.EpochAt(end - 1)
}
