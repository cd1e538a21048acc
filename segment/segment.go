package segment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// Segment is one .log file and its indexes. The last one of a log is active: only it grows. A truncation does not
// change a Segment but replaces it, so that whoever holds an old View never sees a position change its meaning.
type Segment struct {
	base  int64
	log   *handle
	index *handle
	owner *Log // for its log and its config only

	tail   tail
	memory atomic.Pointer[sparse] // nil: the indexes are in their files
	marks  atomic.Pointer[marks]
	damage atomic.Pointer[[]fault] // damaged ranges (Z27): what recovery found, and then the scrub

	maxTimestamp atomic.Int64                 // unknownTimestamp until somebody looks
	aborted      atomic.Pointer[[]AbortedTxn] // nil: in the .txnindex file
	entries      atomic.Int32                 // of the .index file, plus 1; 0 until it was looked through

	// The writer's.
	reserved  int64 // end of the preallocated room
	created   int64 // wall clock milliseconds, for a roll by age without record timestamps
	synced    int64 // size at the last fdatasync; the flusher's (under Log.syncing)
	jitterCut int64 // milliseconds that this segment rolls earlier
}

func (s *Segment) faults() []fault {
	if p := s.damage.Load(); p != nil {
		return *p
	}
	return nil
}

// setFaults replaces the damaged ranges; faults are in order and never changed.
func (s *Segment) setFaults(faults []fault) { s.damage.Store(&faults) }

// fault is a damaged range: the offsets that are lost and the bytes that hold them.
type fault struct {
	from, to       int64 // offsets
	fromPos, toPos int64
}

// tail is a consistent pair of size and end offset, written by one and read by many.
type tail struct {
	seq       atomic.Uint32
	size, end atomic.Int64
}

func (t *tail) set(size, end int64) {
	t.seq.Add(1)
	t.size.Store(size)
	t.end.Store(end)
	t.seq.Add(1)
}

func (t *tail) get() (size, end int64) {
	for {
		q := t.seq.Load()
		size, end = t.size.Load(), t.end.Load()
		if q&1 == 0 && t.seq.Load() == q {
			return size, end
		}
		runtime.Gosched() // the writer is between two stores
	}
}

// marks remembers where some batches begin: the ends of the last appends, or where readers of a sealed segment stopped.
// A tailing or a sequential reader then needs no index and no scan. An offset always has the same position in one
// Segment, so a torn read can only miss.
type marks struct {
	busy atomic.Bool
	n    atomic.Uint32
	at   [16]struct{ offset, position atomic.Int64 }
}

func newMarks() *marks {
	m := new(marks)
	for i := range m.at {
		m.at[i].offset.Store(-1)
	}
	return m
}

func (m *marks) put(offset, position int64) {
	if _, ok := m.get(offset); ok {
		return
	}
	if !m.busy.CompareAndSwap(false, true) {
		return // a hint may be dropped
	}
	i := m.n.Add(1)
	at := &m.at[i%uint32(len(m.at))]
	at.offset.Store(-1)
	at.position.Store(position)
	at.offset.Store(offset)
	m.busy.Store(false)
}

func (m *marks) get(offset int64) (int64, bool) {
	newest := m.n.Load()
	for i := range uint32(len(m.at)) {
		at := &m.at[(newest-i)%uint32(len(m.at))]
		if at.offset.Load() == offset {
			position := at.position.Load()
			return position, at.offset.Load() == offset
		}
	}
	return 0, false
}

func (s *Segment) mark(offset, position int64) {
	m := s.marks.Load()
	if m == nil {
		m = newMarks()
		if !s.marks.CompareAndSwap(nil, m) {
			return
		}
	}
	m.put(offset, position)
}

func (s *Segment) marked(offset int64) (int64, bool) {
	if m := s.marks.Load(); m != nil {
		return m.get(offset)
	}
	return 0, false
}

// newSegment describes a segment whose files exist or are about to.
func (l *Log) newSegment(base int64) *Segment {
	s := &Segment{
		base:  base,
		log:   l.files.newHandle(&l.dir, base, logSuffix),
		index: l.files.newHandle(&l.dir, base, indexSuffix),
		owner: l,
	}
	s.tail.set(0, base)
	s.maxTimestamp.Store(unknownTimestamp)
	return s
}

// fits says that offset can be told relative to the base in four bytes (trap 52).
func (s *Segment) fits(offset int64) bool { return offset-s.base <= math.MaxInt32 }

// place is a batch in a segment's file.
type place struct {
	position, size int64
	base, next     int64 // offsets
	timestamp      int64 // largest
	epoch          int32
}

// find returns the first batch whose last offset is at least offset; ok is false when the segment has none. The bytes
// below size are the ones to look at.
func (s *Segment) find(f vfs.File, offset, size int64) (p place, ok bool, err error) {
	rel := offset - s.base
	return s.search(f, size, func(e offsetEntry) bool { return int64(e.offset) > rel },
		func(h *headers) bool { return h.batch.LastOffset() >= offset }, offset)
}

// search scans from the last index entry that is not above what is searched for to the first batch that is wanted.
// beyond is the offset searched for: a fault wholly below it is jumped over.
func (s *Segment) search(f vfs.File, size int64, above func(offsetEntry) bool, wanted func(*headers) bool, beyond int64) (place, bool, error) {
	p, ok, err := s.searchFrom(f, size, above, wanted, beyond)
	if err != nil && s.memory.Load() == nil && !errors.Is(err, errRetired) {
		// Either the index file is missing or misled the scan, or the log is damaged. A rebuild tells which.
		if rebuilt := s.rebuild(f, size); rebuilt != nil {
			return place{}, false, rebuilt
		}
		p, ok, err = s.searchFrom(f, size, above, wanted, beyond)
	}
	if err != nil && !errors.Is(err, errRetired) {
		// An entry in memory came from a damaged file: do without.
		return s.searchFrom(f, size, func(offsetEntry) bool { return true }, wanted, beyond)
	}
	return p, ok, err
}

func (s *Segment) searchFrom(f vfs.File, size int64, above func(offsetEntry) bool, wanted func(*headers) bool, beyond int64) (place, bool, error) {
	e, found, err := s.entry(above, size)
	if err != nil {
		return place{}, false, err
	}
	from := int64(0)
	if found {
		from = int64(e.position)
	}
	to := size
	for _, x := range s.faults() {
		if x.to <= beyond && x.toPos > from {
			from, found = x.toPos, false
		} else if x.from >= beyond {
			to = min(to, x.fromPos)
		}
	}
	h := scanHeaders(f, from, to)
	defer h.done()
	for first := true; ; first = false {
		ok, err := h.next()
		if err != nil {
			return place{}, false, err
		}
		if first && found && (!ok || h.batch.LastOffset() != s.base+int64(e.offset)) {
			return place{}, false, fmt.Errorf("%w: offset index of %s: no batch that ends with %d at position %d",
				ErrCorrupt, s.log.name(), s.base+int64(e.offset), e.position)
		}
		if !ok {
			return place{}, false, nil
		}
		if wanted(h) {
			return h.place(), true, nil
		}
	}
}

func (h *headers) place() place {
	b := h.batch
	return place{h.at, h.size, b.BaseOffset(), b.NextOffset(), b.MaxTimestamp(), b.LeaderEpoch()}
}

// entry is the last index entry that is not above, from memory or from the .index file.
func (s *Segment) entry(above func(offsetEntry) bool, size int64) (e offsetEntry, found bool, err error) {
	if m := s.memory.Load(); m != nil {
		entries := m.offsets.items()
		n := sort.Search(len(entries), func(i int) bool { return above(entries[i]) })
		if n == 0 {
			return offsetEntry{}, false, nil
		}
		return entries[n-1], true, nil
	}
	f, err := s.index.acquire()
	if err != nil {
		return offsetEntry{}, false, err
	}
	defer s.index.release()
	count, err := s.checkIndex(f, size)
	if err != nil {
		return offsetEntry{}, false, err
	}
	lo, hi := 0, count // entries below lo are not above, those from hi on are
	b := indexBuffers.Get().(*indexBlock)
	defer indexBuffers.Put(b)
	for hi-lo > len(b)/offsetEntrySize {
		mid := (lo + hi) / 2
		if _, err := f.ReadAt(b[:offsetEntrySize], int64(mid)*offsetEntrySize); err != nil {
			return offsetEntry{}, false, err
		}
		if above(decodeOffset(b[:])) {
			hi = mid
		} else {
			lo = mid // stays in the block, for it may be the answer
		}
	}
	block := b[:(hi-lo)*offsetEntrySize]
	if _, err := f.ReadAt(block, int64(lo)*offsetEntrySize); err != nil {
		return offsetEntry{}, false, err
	}
	n := sort.Search(hi-lo, func(i int) bool { return above(decodeOffset(block[i*offsetEntrySize:])) })
	if n == 0 {
		return offsetEntry{}, false, nil
	}
	return decodeOffset(block[(n-1)*offsetEntrySize:]), true, nil
}

// indexBlock is a piece of an .index file: the last steps of a search read one and look at it in memory.
type indexBlock [2048]byte

var indexBuffers = sync.Pool{New: func() any { return new(indexBlock) }}

// checkIndex looks through the .index file once in the process's life and returns the number of its entries.
func (s *Segment) checkIndex(f vfs.File, size int64) (int, error) {
	if n := s.entries.Load(); n > 0 {
		return int(n) - 1, nil
	}
	entries, err := readOffsets(f, size)
	if err != nil {
		return 0, err
	}
	s.entries.Store(int32(len(entries)) + 1)
	return len(entries), nil
}

// maxIndexFile bounds what is read of an index file: a segment cannot have more entries (bad input 148).
const maxIndexFile = 1 << 30

func readOffsets(f vfs.File, size int64) ([]offsetEntry, error) {
	b, err := readAll(f, maxIndexFile)
	if err != nil {
		return nil, err
	}
	return decodeOffsets(b, size)
}

func readAll(f vfs.File, limit int64) ([]byte, error) {
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s has %d bytes: %w", f.Name(), n, vfs.ErrTooLarge)
	}
	b := make([]byte, n)
	got, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:got], err
}

// walk calls do for each batch of [from, size) in order, jumping over faults. do gets the header only.
func (s *Segment) walk(f io.ReaderAt, from, size int64, do func(b record.Batch, position, bytes int64) error) error {
	for from < size {
		to, next := size, size
		for _, x := range s.faults() {
			if x.toPos > from && x.fromPos < to {
				to, next = max(x.fromPos, from), x.toPos
				break
			}
		}
		h := scanHeaders(f, from, to)
		for {
			ok, err := h.next()
			if err == nil && ok {
				err = do(h.batch, h.at, h.size)
			}
			if err != nil {
				h.done()
				return err
			}
			if !ok {
				break
			}
		}
		h.done()
		from = next
	}
	return nil
}

// rebuild makes the indexes again from the .log file and keeps them in memory; the files are replaced when they can be.
func (s *Segment) rebuild(f vfs.File, size int64) error {
	x, err := s.buildIndex(f, size)
	if err != nil {
		return err
	}
	s.owner.log.Warn("index rebuilt from the log", zap.String("event", "CW-0301"), zap.String("segment", s.log.name()))
	s.maxTimestamp.Store(x.maxTimestamp)
	s.memory.Store(x)
	return nil
}

// buildIndex builds both indexes from the start of the file.
func (s *Segment) buildIndex(f vfs.File, size int64) (*sparse, error) {
	x := newSparse(s.base)
	interval := s.owner.Config().IndexInterval
	next := s.base
	err := s.walk(f, 0, size, func(b record.Batch, position, bytes int64) error {
		if b.BaseOffset() < next || !s.fits(b.LastOffset()) {
			return fmt.Errorf("%w: batch with offset %d at position %d of %s, expected %d", ErrCorrupt, b.BaseOffset(), position, s.log.name(), next)
		}
		next = b.NextOffset()
		x.add(b, position, bytes, interval)
		return nil
	})
	return x, err
}
