package segment

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"syscall"

	"go.uber.org/zap"

	"cordwood/protocol/record"
)

// Append writes stamped batches that continue the log: with one write where one segment takes them all, all or nothing
// in any case. No batch may have an epoch above leaderEpoch (I12) or below the log's newest. The producer state takes
// them too, if the caller did not give them to it before.
func (l *Log) Append(batches []record.Batch, leaderEpoch int32) error {
	if err := l.writable(); err != nil {
		return err
	}
	if err := l.warm(); err != nil {
		return err
	}
	if err := l.continues(batches, leaderEpoch); err != nil {
		return err
	}
	oldEnd, oldEpochs := l.end.Load(), l.epochs.Load()
	for rest := batches; len(rest) > 0; {
		n, err := l.room(rest)
		if err == nil {
			err = l.write(rest[:n])
		}
		if err != nil {
			return l.undo(oldEnd, oldEpochs, err)
		}
		l.applied(rest[:n]) // before the next roll, which takes a snapshot
		rest = rest[n:]
	}
	if len(batches) > 0 {
		l.end.Store(batches[len(batches)-1].NextOffset())
	}
	return nil
}

// continues checks the batches against the log and each other (R4).
func (l *Log) continues(batches []record.Batch, leaderEpoch int32) error {
	next, epoch := l.end.Load(), l.LastEpoch()
	for i, b := range batches {
		if len(b) < record.Overhead {
			return fmt.Errorf("%w: batch %d of %d bytes", ErrNotContiguous, i, len(b))
		}
		size, err := headerSize(b[:record.Overhead], int64(len(b)))
		if err != nil || size != int64(len(b)) {
			return fmt.Errorf("%w: batch %d has %d bytes, says %d: %w", ErrNotContiguous, i, len(b), size, err)
		}
		if b.BaseOffset() < next {
			return fmt.Errorf("%w: batch %d begins at %d, expected %d", ErrNotContiguous, i, b.BaseOffset(), next)
		}
		e := b.LeaderEpoch()
		if e > leaderEpoch || e < epoch {
			return fmt.Errorf("%w: batch %d has epoch %d, the log %d, the leader %d", ErrNotContiguous, i, e, epoch, leaderEpoch)
		}
		next, epoch = b.NextOffset(), e
	}
	return nil
}

// room makes the active segment ready for the first n of the batches, rolling if need be. A segment takes what Kafka's
// would: a roll comes before the batch that does not fit (trap 52).
func (l *Log) room(batches []record.Batch) (n int, err error) {
	for {
		s, c := l.active(), l.Config()
		size := s.tail.size.Load()
		limit := min(c.SegmentBytes, maxPosition)
		full := size > 0 && s.memory.Load().full(c.IndexBytes)
		if !full {
			first := s.memory.Load().firstTimestamp
			if size == 0 {
				first = batches[0].MaxTimestamp()
			}
			for n < len(batches) && s.fits(batches[n].LastOffset()) && (size == 0 || !l.tooOld(s, first, batches[n], c)) &&
				(size == 0 || size+int64(len(batches[n])) <= limit) {
				size += int64(len(batches[n]))
				n++
			}
		}
		if n > 0 {
			return n, nil
		}
		if s.tail.size.Load() == 0 && s.base == batches[0].BaseOffset() {
			return 0, fmt.Errorf("%w: a batch of %d offsets fits no segment", ErrNotContiguous, batches[0].LastOffsetDelta())
		}
		base := l.active().tail.end.Load()
		if batches[0].LastOffset()-base > math.MaxInt32 {
			base = batches[0].BaseOffset()
		}
		if err := l.roll(base); err != nil {
			return 0, err
		}
	}
}

// tooOld is trap 52: the span between the segment's first batch and this one, by their timestamps; without timestamps
// the segment's own age.
func (l *Log) tooOld(s *Segment, first int64, b record.Batch, c *Config) bool {
	if c.SegmentAge <= 0 {
		return false
	}
	waited := b.MaxTimestamp() - first
	if first < 0 {
		waited = l.now().UnixMilli() - s.created
	}
	return waited > c.SegmentAge.Milliseconds()-s.jitterCut
}

// jitter is how many milliseconds earlier than SegmentAge a segment rolls: fixed for a segment, spread over logs.
func jitter(name string, base int64, c *Config) int64 {
	most := min(c.SegmentJitter, c.SegmentAge).Milliseconds()
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", name, base)
	return int64(h.Sum64() % uint64(most))
}

// write puts batches behind the active segment's end, with one system call, and into its indexes.
func (l *Log) write(batches []record.Batch) error {
	s := l.active()
	size, _ := s.tail.get()
	total := int64(0)
	l.vector = l.vector[:0]
	for _, b := range batches {
		total += int64(len(b))
		l.vector = append(l.vector, b)
	}
	f, err := s.log.acquire()
	if err != nil {
		return l.ioError(err)
	}
	defer s.log.release()
	if !s.log.dirty.Load() {
		s.log.dirty.Store(true)
	}
	if len(l.vector) == 1 {
		_, err = f.WriteAt(l.vector[0], size)
	} else {
		_, err = f.Writev(l.vector, size)
	}
	clear(l.vector)
	if err != nil {
		if undo := f.Truncate(size); undo != nil {
			return l.fail(errors.Join(err, undo))
		}
		return l.ioError(err)
	}
	l.touched = true
	x, interval, position := s.memory.Load(), l.Config().IndexInterval, size
	for _, b := range batches {
		x.add(b, position, int64(len(b)), interval)
		position += int64(len(b))
	}
	next := batches[len(batches)-1].NextOffset()
	s.maxTimestamp.Store(x.maxTimestamp)
	s.tail.set(position, next)
	s.mark(next, position)
	l.size.Add(total)
	return nil
}

// ioError sorts errors of a write that changed nothing: a full disk is no reason to go offline (R16).
func (l *Log) ioError(err error) error {
	if isNoSpace(err) {
		return fmt.Errorf("%w: %s: %w", ErrNoSpace, l.name, err)
	}
	if errors.Is(err, errRetired) {
		return ErrClosed
	}
	if passes(err) {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return l.fail(err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// passes: want of descriptors ends when connections do, and touched nothing (bad input 145).
func passes(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// undo takes back what a failed Append wrote into earlier segments of the same call.
func (l *Log) undo(oldEnd int64, oldEpochs *epochCache, cause error) error {
	s := l.active()
	if _, end := s.tail.get(); end <= oldEnd || l.Err() != nil {
		return cause
	}
	err := l.cut(oldEnd)
	if err == nil {
		l.epochs.Store(oldEpochs)
		err = l.reloadProducers()
	}
	if err != nil {
		return l.fail(errors.Join(cause, err))
	}
	return cause
}

// applied enters written batches in epoch cache, producer state and transaction index.
func (l *Log) applied(batches []record.Batch) {
	now := int64(-1)
	for _, b := range batches {
		if b.LeaderEpoch() > l.LastEpoch() {
			l.enterEpoch(b.LeaderEpoch(), b.BaseOffset())
		}
		if !b.HasProducer() {
			continue
		}
		if now < 0 {
			now = l.now().UnixMilli()
		}
		l.applyProducer(b, now)
	}
}

// applyProducer gives a batch to the producer state; an aborted transaction goes into the index of the segment that
// holds its marker.
func (l *Log) applyProducer(b record.Batch, now int64) {
	txn, completed, err := l.Producers().Apply(b, now)
	if err != nil {
		l.log.Warn("batch has no producer state", zap.String("event", "CW-0305"), zap.String("log", l.name),
			zap.Int64("offset", b.BaseOffset()), zap.Error(err))
		return
	}
	if completed && txn.Aborted {
		v := l.view.Load()
		v.segments[max(v.at(b.BaseOffset()), 0)].addAborted(AbortedTxn{
			ProducerID: txn.ProducerID, FirstOffset: txn.FirstOffset, LastOffset: txn.LastOffset, LastStable: txn.LastStable,
		})
	}
}

// preallocate reserves the room of a whole segment (the topic's config preallocate). It is a hint: a disk that cannot do it
// is written to all the same. Without the config nothing is preallocated: a call in the append path waits for the file
// system's write-back (20 to 190 ms), which halved the throughput of one writer, and neither fsync nor CPU gained by it.
func (l *Log) preallocate(s *Segment, size int64) {
	f, err := s.log.acquire()
	if err != nil {
		return
	}
	defer s.log.release()
	if err := f.Preallocate(0, size); err == nil {
		s.reserved = size
	}
}
