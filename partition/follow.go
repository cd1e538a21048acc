package partition

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/protocol/record"
)

// errLate: the partition is no longer where it was when the fetch was sent. Nothing is wrong; the answer is dropped.
var errLate = errors.New("the answer is late")

// position is where this replica is to be fetched for; ok is false when it is no follower, has no leader, or takes sealed
// segments in this epoch.
func (p *Partition) position() (pos FetchPosition, ok bool) {
	pos, ok = p.stand()
	return pos, ok && !p.isStreaming(pos.LeaderEpoch)
}

// stand is where this replica stands as a follower; ok is false when it is none, or has no leader.
func (p *Partition) stand() (pos FetchPosition, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.enter()
	st := p.standing.Load()
	if st.role != Follower || st.leader == metadata.NoNode || p.dir().isFailed() {
		return pos, false
	}
	pos = FetchPosition{PartitionID: PartitionID{p.topic.id, p.index}, LeaderEpoch: st.epoch, Offset: st.end(), LastEpoch: -1,
		LogStart: st.start(), HighWatermark: p.hw.Load(), Durable: true, MaxBytes: p.set.cfg.FetchBytes}
	if l := st.log; l != nil {
		pos.LastEpoch = lastEpoch(l)
		pos.Durable = l.Durable() >= pos.Offset
	}
	return pos, true
}

// following is the standing that an answer to a fetch from pos may be applied to (R4): still a follower in the epoch that
// the fetch was sent in, and the log ends where it began (Z17). mu is held.
func (p *Partition) following(pos *FetchPosition) (*standing, error) {
	p.enter()
	st := p.standing.Load()
	switch {
	case p.dir().isFailed():
		return st, kerr.KafkaStorageError
	case st.role != Follower, st.epoch != pos.LeaderEpoch, st.end() != pos.Offset && mutant != 17:
		return st, errLate
	}
	return st, nil
}

// appendFetched appends what a leader answered to a fetch from pos, and takes over its high watermark. The batches are
// checked outside mu: a damaged one is counted and never appended. scratch is the caller's, for the list of batches.
func (p *Partition) appendFetched(pos *FetchPosition, f *Fetched, scratch *[]record.Batch) error {
	batches, err := cutFetched(f.Records, (*scratch)[:0])
	*scratch = batches[:0]
	defer clear(batches)
	if err != nil {
		p.set.counters.damaged.Add(1)
		return fmt.Errorf("%w: fetched from %d: %w", kerr.CorruptMessage, pos.Offset, err)
	}
	return p.takeOver(pos, f, batches)
}

// takeOver appends batches that were checked, and takes over the high watermark that came with them.
func (p *Partition) takeOver(pos *FetchPosition, f *Fetched, batches []record.Batch) error {
	hw, moved, trimmed, want, err := p.replicate(pos, f, batches)
	if moved {
		p.advanced(hw)
	}
	if trimmed {
		p.set.purgeLater(p)
	}
	if want {
		p.dir().flusher.request(p)
	}
	if err != nil && !errors.Is(err, errLate) {
		p.dir().appendFailed(p, err)
	}
	return err
}

// replicate is appendFetched under mu: the high watermark, whether it moved, whether the log start did, whether the
// flusher is wanted.
func (p *Partition) replicate(pos *FetchPosition, f *Fetched, batches []record.Batch) (hw int64, moved, trimmed, want bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st, err := p.following(pos)
	if err == nil && len(batches) > 0 {
		st, err = p.write(st, pos, batches)
	}
	if err != nil {
		return 0, false, false, false, err
	}
	hw = max(p.hw.Load(), min(f.HighWatermark, st.end())) // I11: what was committed stays so
	moved = p.publish(st, hw)
	p.lag.Store(max(0, f.HighWatermark-st.end()))
	if st.log == nil {
		return hw, moved, false, false, nil
	}
	if start := min(f.LogStart, hw); start > st.log.Start() {
		err, trimmed = st.log.Trim(start), true
	}
	return hw, moved, trimmed, !st.durable && (st.log.WritebackDue() || st.log.SealedDue()), err
}

// cutFetched takes the answer apart. The last batch may be cut off.
func cutFetched(b []byte, to []record.Batch) ([]record.Batch, error) {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err != nil {
			if len(to) > 0 && errors.Is(err, io.ErrUnexpectedEOF) {
				return to, nil
			}
			return to, err
		}
		if err := batch.CheckStored(); err != nil {
			return to, err
		}
		to, b = append(to, batch), rest
	}
	return to, nil
}

// write appends a leader's batches; mu is held. No batch may be of an epoch above the one that the fetch was sent in (Z18):
// the log refuses it, as it refuses what is not contiguous.
func (p *Partition) write(st *standing, pos *FetchPosition, batches []record.Batch) (*standing, error) {
	if err := p.makeRoom(st, batches[0]); err != nil {
		return st, err
	}
	if st = p.standing.Load(); st.role != Follower || st.epoch != pos.LeaderEpoch { // mu was free meanwhile
		return st, errLate
	}
	bound := pos.LeaderEpoch
	if mutant == 18 {
		bound = math.MaxInt32
	}
	p.busy.Store(p.set.clock())
	err := st.log.Append(batches, bound)
	p.busy.Store(0)
	if err == nil {
		p.dir().counters.appended(batches)
	}
	return st, err
}

// makeRoom prepares the log for the first batch of an answer where that takes more than an append: there is no log yet; it
// is empty and starts inside the batch, as the leader's does; or its newest epoch never had a record, and the leader's
// history goes on with an older one.
func (p *Partition) makeRoom(st *standing, first record.Batch) error {
	log := st.log
	if log == nil {
		return p.makeLog()
	}
	start, end := log.Start(), log.End()
	switch {
	case start == end && first.BaseOffset() < end && end < first.NextOffset():
		defer p.cuts.Add(1)
		return p.exclusive(func() error { return log.Reset(first.BaseOffset()) })
	case first.LeaderEpoch() < log.LastEpoch() && (start == end || log.EpochAt(end-1) <= first.LeaderEpoch()):
		return p.exclusive(func() error { return log.Truncate(end) })
	}
	return nil
}

// truncate is R9: to where the leader's epoch ended, in its log and in this one, whichever is less. Several rounds may be
// needed. It is on disk, with the epochs, when this returns. Below the high watermark there is nothing to truncate unless
// an unclean election gave committed records up: it would be loss in progress, so the replica stops. Below this log's start
// it begins anew at the leader's, start: records between the two would be missing.
func (p *Partition) truncate(pos *FetchPosition, epoch int32, end, start int64) error {
	p.mu.Lock()
	st, err := p.following(pos)
	if err != nil || st.log == nil {
		p.mu.Unlock()
		return err
	}
	mine := st.log.Start()
	if e, end := st.log.EndOffsetFor(epoch); e >= 0 {
		mine = end
	}
	to := min(end, mine)
	if mutant == 3 {
		to = end
	}
	if hw := p.hw.Load(); to < hw && !st.gaveUp(hw) {
		p.mu.Unlock()
		p.halt(hw, to, pos.LeaderEpoch)
		return errLate
	}
	from, cut := st.log.End(), st.log.Truncate
	if to < st.log.Start() {
		to, cut = min(to, max(start, 0)), st.log.Reset
	}
	err = p.cut(st, func() error { return cut(to) })
	p.mu.Unlock()
	if err != nil {
		p.dir().appendFailed(p, err)
		return err
	}
	p.set.counters.truncations.Add(1)
	p.dir().log.Info("log truncated: it had another history than the leader's", zap.String("event", "CW-0513"),
		zap.String("partition", p.name()), zap.Int64("from", from), zap.Int64("to", to), zap.Int32("leader_epoch", pos.LeaderEpoch))
	return nil
}

// gaveUp reports whether an unclean election gave up what this replica knows as committed: all of it is older (R12, ADR 9).
func (st *standing) gaveUp(hw int64) bool { return st.unclean > 0 && st.log.EpochAt(hw-1) < st.unclean }

// isHollow reports that the log is empty and begins behind the leader's first record, although there may never have been
// those records that this replica deleted: then it begins with the leader's, or it would lack them as a leader.
func (p *Partition) isHollow(leaderStart int64) bool {
	st := p.standing.Load()
	return st.unclean > 0 && st.log != nil && st.log.Start() == st.log.End() && 0 <= leaderStart && leaderStart < st.log.Start()
}

// startOver drops a log that ends below the leader's first record, and begins with that.
func (p *Partition) startOver(pos *FetchPosition, start int64) error {
	p.mu.Lock()
	st, err := p.following(pos)
	if err == nil && start <= st.end() {
		err = errLate
	}
	if err == nil && st.log == nil {
		err = p.makeLog()
	}
	if st = p.standing.Load(); err == nil {
		err = p.cut(st, func() error { return st.log.Reset(start) })
	}
	p.mu.Unlock()
	if err != nil && !errors.Is(err, errLate) {
		p.dir().appendFailed(p, err)
	}
	return err
}

// cut has a follower's log made shorter, or begin elsewhere. Readers look again; the high watermark is in the log
// afterwards: it moves back only when an unclean election gave up what it covered. mu is held.
func (p *Partition) cut(st *standing, f func() error) error {
	if err := p.exclusive(f); err != nil {
		return err
	}
	p.cuts.Add(1)
	hw := min(max(p.hw.Load(), st.log.Start()), st.log.End())
	if hw < p.hw.Load() {
		p.lso.Store(st.log.LastStable(hw)) // first, since it must not be above the other (P3)
	}
	p.publish(st, hw)
	again := *p.standing.Load()
	p.standing.Store(&again)
	return nil
}

// halt takes the replica out of service, with its data as it is, until an operator decides whose records count: it can be
// given up and made anew from the leader.
func (p *Partition) halt(hw, to int64, epoch int32) {
	p.set.counters.halted.Add(1)
	why := fmt.Sprintf("its leader lacks committed records: they end at %d here, what both have in common at %d", hw, to)
	p.halted.Store(&why)
	p.dir().log.Error("replica stopped: its leader lacks committed records", zap.String("event", "CW-0514"),
		zap.String("partition", p.name()), zap.Int64("high_watermark", hw), zap.Int64("truncation", to), zap.Int32("leader_epoch", epoch))
	p.retreat(kerr.KafkaStorageError)
}
