package partition

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/segment"
)

// Timestamps with a meaning of their own in ListOffset (trap 35).
const (
	LatestOffset          = -1
	EarliestOffset        = -2
	MaxTimestampOffset    = -3
	EarliestLocalOffset   = -4
	LatestTieredOffset    = -5
	EarliestPendingOffset = -6
)

// Offset is what ListOffset found; Offset -1: nothing.
type Offset struct {
	Offset, Timestamp int64
	LeaderEpoch       int32
}

var noOffset = Offset{Offset: -1, Timestamp: -1, LeaderEpoch: -1}

// ListOffset finds an offset by time, or by one of the special timestamps. committed is read_committed. Whatever
// could go back after this leader's election is not told before the election's log is committed (trap 36, Z19).
func (p *Partition) ListOffset(ts int64, committed bool, leaderEpoch int32) (Offset, error) {
	st, refused := p.leading()
	if refused == nil {
		refused = st.fence(leaderEpoch)
	}
	if refused != nil {
		return noOffset, refused
	}
	lso, hw := p.lso.Load(), p.hw.Load()
	limit := hw
	if committed {
		limit = lso
	}
	switch {
	case ts == LatestOffset:
		if hw < st.epochStart && mutant != 19 {
			return noOffset, kerr.OffsetNotAvailable
		}
		return Offset{Offset: limit, Timestamp: -1, LeaderEpoch: st.epoch}, nil
	case ts == EarliestOffset, ts == EarliestLocalOffset:
		return p.earliest(st), nil
	case ts < 0 && ts != MaxTimestampOffset, st.log == nil: // nothing is tiered; bad input 142
		return noOffset, nil
	}
	return p.byTime(st, ts, limit)
}

func (p *Partition) earliest(st *standing) Offset {
	o := Offset{Offset: st.start(), Timestamp: -1, LeaderEpoch: st.epoch}
	if st.log != nil && o.Offset < st.log.End() {
		o.LeaderEpoch = st.log.EpochAt(o.Offset)
	}
	return o
}

func (p *Partition) byTime(st *standing, ts, limit int64) (Offset, error) {
	var o Offset
	var ok bool
	var err error
	look := func(l *segment.Log) {
		if ts == MaxTimestampOffset {
			o.Offset, o.Timestamp, o.LeaderEpoch, ok, err = l.MaxTimestamp()
		} else {
			o.Offset, o.Timestamp, o.LeaderEpoch, ok, err = l.OffsetForTime(ts)
		}
	}
	look(st.log)
	if now := p.standing.Load().log; err != nil && now != nil && now != st.log { // it moved to another directory meanwhile
		look(now)
	}
	if refused := p.readFailed(-1, err); refused != nil {
		return noOffset, refused
	}
	switch {
	case !ok:
		return noOffset, nil
	case o.Offset >= limit && p.hw.Load() < st.epochStart:
		return noOffset, kerr.OffsetNotAvailable
	case o.Offset >= limit: // not visible to this client
		return noOffset, nil
	}
	return o, nil
}

// EpochEnd is OffsetForLeaderEpoch: the largest epoch up to the asked one and where it ends (trap 37).
func (p *Partition) EpochEnd(current, asked int32) (epoch int32, end int64, err error) {
	st, refused := p.leading()
	if refused == nil {
		refused = st.fence(current)
	}
	if refused != nil {
		return -1, -1, refused
	}
	epoch, end = p.epochEnd(st, asked)
	return epoch, end, nil
}

// DeleteRecords moves the log start to offset (-1: the high watermark) and returns the log start, once it is on disk:
// records that were deleted do not come back (trap 40).
func (p *Partition) DeleteRecords(offset int64) (int64, error) {
	c := p.Config()
	if c.Compact && !c.Delete {
		return -1, kerr.PolicyViolation
	}
	start, moved, refused, err := p.trim(offset)
	switch {
	case refused != nil:
		return -1, refused
	case err != nil:
		p.dir().appendFailed(p, err)
		return -1, kerr.KafkaStorageError
	case !moved:
		return start, nil
	}
	if err := p.dir().checkpoint(p.onlyLog); err != nil {
		return -1, kerr.KafkaStorageError
	}
	p.set.purgeLater(p)
	return start, nil
}

// onlyLog is an iter.Seq of the partition's log.
func (p *Partition) onlyLog(yield func(*segment.Log) bool) { yield(p.standing.Load().log) }

func (p *Partition) trim(offset int64) (start int64, moved bool, refused *kerr.Error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter()
	st, refused := p.leading()
	if refused != nil {
		return -1, false, refused, nil
	}
	hw := p.hw.Load()
	if offset == -1 {
		offset = hw
	}
	switch {
	case offset < 0 || offset > hw: // bad input 144
		return -1, false, kerr.OffsetOutOfRange, nil
	case offset <= st.start():
		return st.start(), false, nil, nil
	}
	err = st.log.Trim(offset)
	return st.start(), err == nil, nil, err
}

// retain drops what is older or larger than the topic keeps, and forgets idle producers when their time has come.
// Above the epoch start nothing is known to be committed by more than the high watermark says (Z33, R7).
func (p *Partition) retain(now time.Time) (deleted int, err error) {
	if !p.lockUnlessFailed() {
		return 0, nil
	}
	defer p.mu.Unlock()
	p.enter()
	st := p.standing.Load()
	if st.log == nil || st.role == Offline {
		return 0, nil
	}
	limit := p.hw.Load()
	if mutant == 33 {
		limit = st.log.End()
	}
	return st.log.Retain(now, limit)
}
