package coordinator

import (
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"cordwood/coordinator/machine"
	"cordwood/protocol/record"
)

// How much of the log is read at once: little at first, because most shards are small and many load at the same time.
const (
	firstRead   = 64 << 10
	largestRead = 1 << 20
)

// load makes the machine from the log. Compaction may have taken records away: the last one of each key is there, and it
// decides (M2).
func (s *shard) load() error {
	began := time.Now()
	end := s.log.End()
	if end > s.log.Start() {
		// What was appended must be committed before it may decide anything, and must not be left out either (C3).
		if err := s.log.Await(s.ctx, end-1, s.epoch); err != nil {
			return fmt.Errorf("wait for the end of the log, %d: %w", end, err)
		}
	}
	l := loader{shard: s, m: s.cfg.NewMachine(s.partition), open: map[int64][]machine.Entry{}}
	if err := l.read(end); err != nil {
		return err
	}
	s.m = l.m
	if err := s.take(s.m.Loaded(time.Now())); err != nil {
		return err
	}
	s.count.loads.Add(1)
	s.count.loadNanos.Add(uint64(time.Since(began)))
	s.count.skipped.Add(l.skipped)
	s.count.corruptions.Add(l.corrupt)
	if l.skipped+l.corrupt > 0 {
		s.zap.Error("records were skipped in loading", zap.Uint64("records", l.skipped), zap.Uint64("corrupt batches", l.corrupt), zap.NamedError("first", l.first))
	}
	s.zap.Info("coordinator shard is loaded", zap.Int64("end", end), zap.Uint64("entries", l.entries), zap.Duration("took", time.Since(began)))
	return nil
}

// loader is one load under way.
type loader struct {
	*shard
	m       machine.Machine
	open    map[int64][]machine.Entry // of transactions without a marker yet, by producer id
	entries uint64
	skipped uint64 // records
	corrupt uint64 // batches
	first   error  // why something was skipped
}

func (l *loader) skip(n *uint64, err error) {
	*n++
	if l.first == nil {
		l.first = err
	}
}

// read replays what is in the log below end.
func (l *loader) read(end int64) error {
	var buf []byte
	for offset := l.log.Start(); offset < end; {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if size := min(max(firstRead, 4*cap(buf)), largestRead); cap(buf) < size {
			buf = make([]byte, 0, size)
		}
		got, err := l.log.Read(offset, buf)
		if err != nil {
			return fmt.Errorf("read from %d: %w", offset, err)
		}
		if len(got) == 0 {
			return nil // compaction took the tail away
		}
		next, err := l.batches(got, offset)
		if err != nil {
			return fmt.Errorf("read from %d: %w", offset, err)
		}
		if next == offset {
			return fmt.Errorf("read from %d: no whole batch in %d bytes: %w", offset, len(got), io.ErrUnexpectedEOF)
		}
		offset = next
	}
	return nil
}

// batches replays whole batches and says where the next one begins.
func (l *loader) batches(b []byte, offset int64) (int64, error) {
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break // the rest comes with the next read
		}
		if err != nil {
			return 0, err
		}
		b = rest
		if batch.NextOffset() <= offset {
			continue
		}
		offset = batch.NextOffset()
		if err := batch.CheckCRC(); err != nil {
			l.skip(&l.corrupt, err)
			continue
		}
		l.batch(batch)
	}
	return offset, nil
}

func (l *loader) batch(b record.Batch) {
	it := b.Records(l.cfg.Codecs, record.DefaultMaxDecompressed)
	defer it.Close()
	for it.Next() {
		r := it.Record()
		switch {
		case b.Control():
			l.marker(b, r)
		case b.Transactional():
			l.open[b.ProducerID()] = append(l.open[b.ProducerID()], copyOf(r))
		default:
			l.replay(machine.Entry{Key: r.Key, Value: r.Value})
		}
	}
	if err := it.Err(); err != nil {
		l.skip(&l.corrupt, err)
	}
}

// marker ends a producer's transaction: what it wrote counts from here on, or not at all.
func (l *loader) marker(b record.Batch, r *record.Record) {
	c, err := record.ParseControl(r)
	if err != nil {
		l.skip(&l.skipped, err)
		return
	}
	if c.Type != record.Commit && c.Type != record.Abort {
		return
	}
	if c.Type == record.Commit {
		for _, e := range l.open[b.ProducerID()] {
			l.replay(e)
		}
	}
	delete(l.open, b.ProducerID())
}

func copyOf(r *record.Record) machine.Entry {
	e := machine.Entry{Key: append([]byte{}, r.Key...)}
	if r.Value != nil {
		e.Value = append([]byte{}, r.Value...)
	}
	return e
}

func (l *loader) replay(e machine.Entry) {
	l.entries++
	if err := l.m.Replay(e); err != nil {
		l.skip(&l.skipped, err)
	}
}
