package segment

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// scanner reads one .log file from the start after a crash: headers only below the recovery point, whole batches with
// their CRC above it.
type scanner struct {
	checker
	r    *recovery
	f    vfs.File
	x    *sparse
	now  int64
	last bool

	position int64
	next     int64   // the offset expected at position
	before   place   // the batch before, if only its header was looked at
	known    []fault // damage found by an earlier recovery
	faults   []fault
	aborted  []AbortedTxn
}

// errTorn ends a scan: the file was cut off here.
var errTorn = errors.New("torn tail")

// scan fills s with what its file holds.
func (r *recovery) scan(s *Segment, upper int64, last bool) error {
	f, err := s.log.acquire()
	if err != nil {
		return err
	}
	defer s.log.release()
	c := &scanner{
		checker: checker{s: s, w: window{read: f.ReadAt}, size: s.tail.size.Load(), upper: upper},
		r:       r, f: f, x: newSparse(s.base), now: r.l.now().UnixMilli(), last: last,
		next: s.base, known: s.faults(),
	}
	for err == nil && c.more() {
		err = c.step()
	}
	if err != nil && err != errTorn {
		return fmt.Errorf("%s: %w", s.log.name(), err)
	}
	s.setFaults(c.faults)
	s.memory.Store(c.x)
	s.aborted.Store(&c.aborted)
	s.maxTimestamp.Store(c.x.maxTimestamp)
	s.tail.set(c.size, c.next)
	return nil
}

// more jumps over damage that is known already and says whether there is something to read.
func (c *scanner) more() bool {
	for len(c.known) > 0 && c.known[0].fromPos <= c.position {
		x := c.known[0]
		c.known = c.known[1:]
		if x.fromPos == c.position && x.toPos <= c.size && x.to >= c.next {
			c.faults = append(c.faults, x)
			c.position, c.next = x.toPos, x.to
		}
	}
	return c.position < c.size
}

// step takes one batch, or deals with what is no batch.
func (c *scanner) step() error {
	b, bytes, err := c.batch(c.position, c.next)
	if errors.Is(err, ErrCorrupt) {
		return c.damaged(err)
	}
	if err != nil {
		return err
	}
	if err := c.apply(b, bytes); err != nil {
		return err
	}
	c.before = place{}
	if b.NextOffset() <= c.r.point {
		c.before = place{position: c.position, size: bytes, base: c.next}
	}
	c.position += bytes
	c.next = b.NextOffset()
	return nil
}

// batch reads the batch at position. It is whole when it was checked and is not huge; else it is its header.
func (c *scanner) batch(position, next int64) (record.Batch, int64, error) {
	b, size, err := c.header(position, next)
	if err != nil || b.NextOffset() <= c.r.point {
		return b, size, err
	}
	c.r.scanned += size
	b, err = c.whole(b, position, size)
	return b, size, err
}

// apply enters a batch in everything that is derived from the log.
func (c *scanner) apply(b record.Batch, size int64) error {
	c.x.add(b, c.position, size, c.r.l.Config().IndexInterval)
	c.r.log = c.r.log.with(b.LeaderEpoch(), b.BaseOffset())
	if !b.HasProducer() {
		return nil
	}
	var err error
	if b.Control() && int64(len(b)) < size {
		if b, err = readBatch(c.f, c.position, size); err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	var txn producer.CompletedTxn
	completed := false
	if err == nil {
		txn, completed, err = c.r.state.Apply(b, c.now)
	}
	if err != nil {
		c.r.l.log.Warn("batch has no producer state", zap.String("event", "CW-0305"), zap.String("log", c.r.l.name),
			zap.Int64("offset", c.next), zap.Error(err))
	} else if completed && txn.Aborted {
		c.aborted = append(c.aborted, AbortedTxn{txn.ProducerID, txn.FirstOffset, txn.LastOffset, txn.LastStable})
	}
	return nil
}

// damaged decides what a bad batch is (R16). At or above the recovery point it is the torn tail of a crash: cut off. Below
// it was whole on disk once, so it is corruption: the range is kept, skipped and reported, never cut off (Z27).
func (c *scanner) damaged(cause error) error {
	if c.next >= c.r.point || truncateAnywhere {
		c.r.truncated += c.size - c.position
		c.size = c.position
		if err := c.f.Truncate(c.position); err != nil {
			return err
		}
		return errTorn
	}
	if p := c.before; p.size > 0 {
		// Perhaps the length of the batch before is what is wrong.
		good, err := c.good(p.position, p.base)
		if err != nil {
			return err
		}
		if !good {
			c.position, c.next = p.position, p.base
		}
		c.before = place{}
	}
	to, resume, found, err := c.resync(c.position+1, c.size, c.next)
	if err != nil {
		return err
	}
	if !found { // everything up to the end of what was durable is lost
		to, resume = min(c.upper, max(c.r.point, c.next)), c.size
	}
	c.r.l.log.Error("damaged batch", zap.String("event", "CW-0314"), zap.String("segment", c.s.log.name()),
		zap.Int64("position", c.position), zap.Error(cause))
	c.faults = append(c.faults, fault{from: c.next, to: to, fromPos: c.position, toPos: resume})
	c.position, c.next = resume, to
	return nil
}

// loadState prepares the producer state of what lies before segment n: from the newest snapshot there, and the batches
// behind it (Z22).
func (r *recovery) loadState(n int, start int64) error {
	state, from := r.l.newestState(r.snapshots, r.firstScan, min(start, r.firstScan))
	r.state = state
	return r.l.replayProducers(r.segments[:n], state, max(from, r.segments[0].base), r.firstScan)
}

// epochs joins what the checkpoint and the batches say. Epochs without a record are in the checkpoint only (Z4); where both
// speak of the scanned part, the batches are right, unless some of them are lost.
func (r *recovery) epochs(end int64) epochCache {
	var c epochCache
	damaged := slices.ContainsFunc(r.segments, func(s *Segment) bool { return len(s.faults()) > 0 })
	for _, e := range r.file {
		if e.Start < r.firstScan || damaged && e.Start <= end {
			c = c.with(e.Epoch, e.Start)
		}
	}
	for _, e := range r.log {
		c = c.with(e.Epoch, e.Start)
	}
	for _, e := range r.file {
		if e.Start <= end {
			c = c.with(e.Epoch, e.Start)
		}
	}
	return c
}
