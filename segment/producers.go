package segment

import (
	"fmt"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// Producers is the producer state of the whole log. The writer's.
func (l *Log) Producers() *producer.State {
	if l.producers == nil {
		state, err := decodeState(l.lazyState)
		if err != nil {
			// The manifest had a good checksum, so this is a bug or a newer format; the log still tells the truth.
			l.log.Error("producer state from manifest", zap.String("event", "CW-0309"), zap.String("log", l.name), zap.Error(err))
			state = producer.New()
		}
		l.producers, l.lazyState = state, nil
	}
	return l.producers
}

func decodeState(b []byte) (*producer.State, error) {
	if len(b) == 0 {
		return producer.New(), nil
	}
	return producer.Decode(b)
}

// LastStable is the first offset that a read_committed consumer may not see yet (trap 25). The writer's.
func (l *Log) LastStable(highWatermark int64) int64 { return l.Producers().LastStable(highWatermark) }

// snapshots lists the offsets of the snapshot files, rising.
func (l *Log) snapshots() ([]int64, error) {
	entries, err := l.fs.ReadDir(l.Dir())
	if err != nil {
		return nil, err
	}
	var offsets []int64
	for _, e := range entries {
		if offset, suffix, ok := parseFileName(e.Name()); ok && suffix == snapshotSuffix {
			offsets = append(offsets, offset)
		}
	}
	return offsets, nil
}

// dropSnapshots removes the snapshots above end: they speak of records that are not in the log (Z22).
func (l *Log) dropSnapshots(end int64) {
	offsets, err := l.snapshots()
	if err != nil {
		l.log.Warn("snapshots not listed", zap.String("event", "CW-0310"), zap.String("log", l.name), zap.Error(err))
		return
	}
	for _, offset := range offsets {
		if offset > end {
			l.remove(fileName(l.Dir(), offset, snapshotSuffix))
		}
	}
}

// newestState is the producer state of the newest good snapshot at or below limit, and its offset: the log start and an
// empty state when there is none.
func (l *Log) newestState(offsets []int64, limit, start int64) (*producer.State, int64) {
	if forgetProducers {
		return producer.New(), limit
	}
	for _, offset := range slices.Backward(offsets) {
		if offset > limit || offset < start {
			continue
		}
		b, err := vfs.ReadFile(l.fs, fileName(l.Dir(), offset, snapshotSuffix), maxIndexFile)
		if err == nil {
			var state *producer.State
			if state, err = producer.Decode(b); err == nil {
				return state, offset
			}
		}
		l.log.Warn("producer snapshot ignored", zap.String("event", "CW-0311"), zap.String("log", l.name), zap.Int64("offset", offset), zap.Error(err))
	}
	return producer.New(), start
}

// reloadProducers makes the state anew from the newest snapshot and the log behind it (R15, Z22): after a truncation.
func (l *Log) reloadProducers() error {
	offsets, err := l.snapshots()
	if err != nil {
		return err
	}
	state, from := l.newestState(offsets, l.End(), l.Start())
	l.producers, l.lazyState = state, nil
	return l.replayProducers(l.view.Load().segments, state, from, l.End())
}

// replayProducers applies the batches of [from, to), which have a CRC that was checked when they were appended. The
// transaction indexes of these segments are right already.
func (l *Log) replayProducers(segments []*Segment, state *producer.State, from, to int64) error {
	now := l.now().UnixMilli()
	return eachBatch(segments, from, to, func(s *Segment, f vfs.File, b record.Batch, position, size int64) error {
		if !b.HasProducer() {
			return nil
		}
		if b.Control() {
			whole, err := readBatch(f, position, size)
			if err != nil {
				return err
			}
			b = whole
		}
		if _, _, err := state.Apply(b, now); err != nil {
			l.log.Warn("batch has no producer state", zap.String("event", "CW-0305"), zap.String("log", l.name),
				zap.Int64("offset", b.BaseOffset()), zap.Error(err))
		}
		return nil
	})
}

// maxControlBatch bounds what is read of a control batch: one small record.
const maxControlBatch = 1 << 20

func readBatch(f vfs.File, position, size int64) (record.Batch, error) {
	if size > maxControlBatch {
		return nil, fmt.Errorf("%w: control batch of %d bytes", ErrCorrupt, size)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, position); n < len(b) {
		return nil, fmt.Errorf("%w: read of %d bytes at %d: %w", ErrCorrupt, size, position, err)
	}
	return b, nil
}

// eachBatch walks the headers of the batches that have offsets in [from, to).
func eachBatch(segments []*Segment, from, to int64, do batchFunc) error {
	for _, s := range segments {
		if s.base >= to {
			break
		}
		if err := s.eachBatch(from, to, do); err != nil {
			return err
		}
	}
	return nil
}

type batchFunc func(s *Segment, f vfs.File, header record.Batch, position, size int64) error

func (s *Segment) eachBatch(from, to int64, do batchFunc) error {
	size, end := s.tail.get()
	if size == 0 || from >= end {
		return nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	begin := int64(0)
	if from > s.base {
		p, ok, err := s.find(f, from, size)
		if err != nil || !ok {
			return err
		}
		begin = p.position
	}
	err = s.walk(f, begin, size, func(b record.Batch, position, bytes int64) error {
		if b.BaseOffset() >= to {
			return errEnough
		}
		return do(s, f, b, position, bytes)
	})
	if err == errEnough {
		return nil
	}
	return err
}
