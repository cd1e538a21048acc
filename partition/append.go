package partition

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
	"cordwood/segment"
)

// Append is one batch on its way into a partition, and what became of it.
type Append struct {
	Batch record.Batch // validated; offsets and epoch are stamped in place
	Acks  int16

	// Set by Partition.Append.
	Base, Last int64 // offsets of the first and last record
	Epoch      int32 // leader epoch of the append, for Acked
	LogStart   int64
	Timestamp  int64 // of a duplicate: the original's
	Duplicate  bool  // was appended before; Base and Last are the original's
	Err        error // a kerr code, or nil
}

// Append appends the batches that are acceptable, in order, under one lock and with one write. Batches that are not
// get an Err of their own; a failed write is everybody's. It does not wait for other replicas or the disk: who wants
// acks=all asks Acked.
func (p *Partition) Append(items []*Append) { p.AppendIn(anyEpoch, items) }

const anyEpoch = -1

// AppendIn is Append for those who were told that they lead in that epoch: in another one nothing is appended.
func (p *Partition) AppendIn(epoch int32, items []*Append) {
	p.passBarrier()
	wall := p.set.cfg.Now()
	hw, moved, want, err := p.append(epoch, items, wall)
	if moved {
		p.advanced(hw)
	} else if p.tail.any() {
		p.tail.wake(p.End())
	}
	if want {
		p.dir().flusher.request(p)
	}
	if err != nil {
		p.dir().appendFailed(p, err)
	}
}

// append is Append up to the unlock: the high watermark, whether it moved, whether the flusher is wanted, and the
// error of the write.
func (p *Partition) append(epoch int32, items []*Append, wall time.Time) (hw int64, moved, want bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st, refused, err := p.ready()
	if refused == nil && epoch != anyEpoch && epoch != st.epoch {
		refused = kerr.NotLeaderForPartition
	}
	if refused != nil {
		for _, a := range items {
			a.Epoch, a.LogStart, a.Err = st.epoch, -1, refused
		}
		return 0, false, false, err
	}
	base := st.log.End()
	batches := p.stage(st, items, base, wall.UnixMilli())
	defer func() { clear(batches); p.batches = batches[:0] }()
	if len(batches) == 0 {
		return 0, false, false, nil
	}
	p.busy.Store(p.set.clock())
	err = st.log.Append(batches, st.epoch)
	p.busy.Store(0)
	if err != nil {
		st.log.Producers().Rollback()
		for _, a := range items {
			if a.Err == nil && a.Last >= base { // a duplicate of this burst too
				a.Err, a.Duplicate = kerr.KafkaStorageError, false
			}
		}
		return 0, false, false, err
	}
	st.log.Producers().Commit()
	p.dir().counters.appended(batches)
	moved = p.advance(st, wall)
	return p.hw.Load(), moved, st.durable || st.log.WritebackDue() || st.log.SealedDue(), nil
}

// ready returns with mu held, as it was called, and a log that takes appends of the current leader epoch; or with
// the answer and, if the disk is to blame, its error.
func (p *Partition) ready() (*standing, *kerr.Error, error) {
	for {
		p.enter()
		st, refused := p.leading()
		if refused != nil {
			return st, refused, nil
		}
		if st.log != nil && p.begun == st.epoch {
			return st, nil, nil
		}
		if err := p.begin(st); err != nil {
			return st, kerr.KafkaStorageError, err
		}
	}
}

// stage decides about each item and stamps and collects those to be written, which begin at base. Producer state
// takes them at once, so that one burst may hold successive batches of a producer; Rollback takes them out again.
func (p *Partition) stage(st *standing, items []*Append, base int64, now int64) []record.Batch {
	producers := st.log.Producers()
	producers.Begin()
	batches, next, start := p.batches[:0], base, st.log.Start()
	limit := p.topic.settings.Load().segment.SegmentBytes
	for _, a := range items {
		a.Epoch, a.LogStart, a.Duplicate, a.Err = st.epoch, start, false, nil
		switch {
		case a.Acks == -1 && st.underMinISR: // trap 13: nothing is written
			a.Err = kerr.NotEnoughReplicas
			continue
		case int64(len(a.Batch)) > limit: // trap 12
			a.Err = kerr.RecordListTooLarge
			continue
		}
		if a.Batch.HasProducer() {
			dup, err := producers.Check(a.Batch, now)
			if err != nil {
				a.Err = err
				continue
			}
			if dup != nil { // trap 19
				a.Duplicate, a.Base, a.Last, a.Timestamp = true, dup.BaseOffset, dup.LastOffset, dup.Timestamp
				if mutant == 21 {
					a.Last = -1
				}
				continue
			}
		}
		a.Batch.Stamp(next, st.epoch)
		if a.Batch.HasProducer() {
			producers.Append(a.Batch, now)
		}
		a.Base, a.Last, a.Timestamp = next, a.Batch.LastOffset(), a.Batch.MaxTimestamp()
		next = a.Last + 1
		batches = append(batches, a.Batch)
	}
	return batches
}

// advance tells the tracker where the log ends and publishes the high watermark; mu is held. It reports whether
// waiters are to be woken, by the caller, after mu.
func (p *Partition) advance(st *standing, now time.Time) bool {
	e := p.tracker.Appended(st.log.End(), st.log.Durable(), now)
	return p.publish(st, e.HighWatermark)
}

// publish stores hw before lso: a reader, who loads them the other way round, never sees lso above hw (P3).
func (p *Partition) publish(st *standing, hw int64) bool {
	if hw == p.hw.Load() {
		return false
	}
	p.hw.Store(hw)
	if st.log != nil {
		p.lso.Store(st.log.LastStable(hw))
	}
	return true
}

// Acked is the outcome of an acks=all append up to the record last in leader epoch epoch: done with nil, it is
// committed; done with an error, it may or may not be. Without the lock: the standing is looked at again after the
// high watermark, which may be another leader's by then.
func (p *Partition) Acked(last int64, epoch int32) (done bool, err error) {
	for {
		st, refused := p.leading()
		switch hw := p.hw.Load(); {
		case refused != nil:
			return true, refused
		case st.epoch != epoch: // trap 55
			return true, kerr.NotLeaderForPartition
		case p.standing.Load() != st:
			continue
		case hw > last:
			return true, nil
		case st.underMinISR: // trap 13: written, and may survive
			return true, kerr.NotEnoughReplicasAfterAppend
		}
		return false, nil
	}
}

// begin makes the log if there is none and enters the leader epoch into its epoch cache, on disk (P2). It is done at
// the first append of an epoch rather than at the election, so that ten thousand idle partitions cost no fsync.
func (p *Partition) begin(st *standing) error {
	if st.log == nil {
		if err := p.makeLog(); err != nil {
			return err
		}
	}
	log := p.standing.Load().log
	err := p.exclusive(func() error { return log.BeginEpoch(st.epoch) })
	if err == nil {
		p.begun = st.epoch
	}
	return err
}

// makeLog makes the log; mu is held, not meanwhile.
func (p *Partition) makeLog() error {
	var log *segment.Log
	err := p.exclusive(func() (err error) {
		log, err = p.dir().createLog(p)
		return err
	})
	if err == nil {
		changed := *p.standing.Load()
		changed.log = log
		p.standing.Store(&changed)
	}
	return err
}

// appendFailed decides what a failed write means for the directory.
func (d *directory) appendFailed(p *Partition, err error) {
	switch {
	case isFull(err):
		d.counters.refused.Add(1)
		d.complain("CW-0502", "disk is full, append refused", p, err)
	case isFatal(err):
		d.fail(fmt.Errorf("append to %s: %w", p.name(), err))
	default:
		d.complain("CW-0503", "append failed", p, err)
	}
}
