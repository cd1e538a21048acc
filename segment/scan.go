package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// scanner reads one .log file from the start after a crash: headers only below the recovery point, whole batches with
// their CRC above it.
type scanner struct {
	r     *recovery
	s     *Segment
	f     vfs.File
	w     window
	x     *sparse
	now   int64
	upper int64 // base of the next segment
	last  bool

	size     int64
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
		r: r, s: s, f: f, x: newSparse(s.base), now: r.l.now().UnixMilli(), upper: upper, last: last,
		size: s.tail.size.Load(), next: s.base, known: s.faults,
	}
	c.w.f = f
	for err == nil && c.more() {
		err = c.step()
	}
	if err != nil && err != errTorn {
		return fmt.Errorf("%s: %w", s.log.name(), err)
	}
	s.faults = c.faults
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
func (c *scanner) batch(position, next int64) (b record.Batch, size int64, err error) {
	room := c.size - position
	head, err := c.w.bytes(position, min(record.Overhead, room), 4096)
	if err != nil {
		return nil, 0, err
	}
	if len(head) < record.Overhead {
		return nil, 0, fmt.Errorf("%w: %d bytes are left", ErrCorrupt, len(head))
	}
	b = record.Batch(head)
	if size, err = headerSize(b, room); err != nil {
		return nil, 0, err
	}
	if b.BaseOffset() < next || b.LastOffset() >= c.upper || !c.s.fits(b.LastOffset()) || position+size > maxPosition {
		return nil, 0, fmt.Errorf("%w: batch %d to %d at position %d, expected %d to %d", ErrCorrupt,
			b.BaseOffset(), b.LastOffset(), position, next, c.upper)
	}
	if b.NextOffset() <= c.r.point {
		return b, size, nil
	}
	c.r.scanned += size
	if size > windowSize {
		b = slices.Clone(b) // the window moves on
		return b, size, c.checkHuge(b, position, size)
	}
	if b, err = c.w.bytes(position, size, windowSize); err != nil {
		return nil, 0, err
	}
	if err := b.CheckCRC(); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return b, size, nil
}

// checkHuge checks the CRC of a batch larger than the window piece by piece, so that a length field costs no memory.
func (c *scanner) checkHuge(head record.Batch, position, size int64) error {
	sum := uint32(0)
	for at := position + crcStart; at < position+size; {
		n := min(position+size-at, windowSize)
		piece, err := c.w.bytes(at, n, windowSize)
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, piece)
		at += n
	}
	if sum != head.CRC() {
		return fmt.Errorf("%w: crc of the batch at position %d", ErrCorrupt, position)
	}
	return nil
}

// checksum is the CRC of our own files.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// crcStart is the first byte that a batch's CRC covers.
const crcStart = 21

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
	to, resume, err := c.resync()
	if err != nil {
		return err
	}
	c.r.l.log.Error("damaged batch", zap.String("event", "CW-0314"), zap.String("segment", c.s.log.name()),
		zap.Int64("position", c.position), zap.Error(cause))
	c.faults = append(c.faults, fault{from: c.next, to: to, fromPos: c.position, toPos: resume})
	c.position, c.next = resume, to
	return nil
}

// resync looks for the next good batch behind damage. Without one everything up to the end of what was durable is lost.
func (c *scanner) resync() (to, resume int64, err error) {
	for at := c.position + 1; at+record.Overhead <= c.size; {
		piece, err := c.w.bytes(at, min(c.size-at, windowSize/2), windowSize)
		if err != nil {
			return 0, 0, err
		}
		n := len(piece) - record.Overhead + 1
		for i := range n {
			if piece[i+16] != record.Magic {
				continue
			}
			base := int64(be.Uint64(piece[i:]))
			if base < c.next || base >= c.upper || !c.s.fits(base) {
				continue
			}
			if good, err := c.good(at+int64(i), c.next); err != nil || good {
				return base, at + int64(i), err
			}
			if piece, err = c.w.bytes(at, min(c.size-at, windowSize/2), windowSize); err != nil {
				return 0, 0, err // good moved the window
			}
		}
		at += int64(n)
	}
	return min(c.upper, max(c.r.point, c.next)), c.size, nil
}

// good checks a candidate completely, CRC included, wherever it lies.
func (c *scanner) good(position, next int64) (bool, error) {
	point := c.r.point
	c.r.point = -1
	_, _, err := c.batch(position, next)
	c.r.point = point
	if errors.Is(err, ErrCorrupt) {
		return false, nil
	}
	return err == nil, err
}

// windowSize is how much a scan reads at once.
const windowSize = 1 << 20

// window is a piece of a file in memory. What bytes returns is valid until the next call.
type window struct {
	f      io.ReaderAt
	lo, hi int64
	buf    []byte
}

// bytes gives n bytes at position, reading ahead bytes if it has to read. A file that ends too early is corrupt.
func (w *window) bytes(position, n, ahead int64) ([]byte, error) {
	if position < w.lo || position+n > w.hi {
		want := max(n, ahead)
		if int64(len(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		got, err := w.f.ReadAt(w.buf[:want], position)
		if err != nil && err != io.EOF {
			return nil, err
		}
		w.lo, w.hi = position, position+int64(got)
		if int64(got) < n {
			return nil, fmt.Errorf("%w: the file ends at %d", ErrCorrupt, w.hi)
		}
	}
	return w.buf[position-w.lo:][:n], nil
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
	damaged := slices.ContainsFunc(r.segments, func(s *Segment) bool { return len(s.faults) > 0 })
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
