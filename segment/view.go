package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"syscall"

	"cordwood/segment/vfs"
)

// View is an immutable list of segments, in order. The last one grows. Readers take a View, never a lock.
type View struct {
	log      *Log
	segments []*Segment
}

func (v *View) active() *Segment { return v.segments[len(v.segments)-1] }

// at is the index of the last segment with a base of at most offset, -1 if there is none.
func (v *View) at(offset int64) int {
	return sort.Search(len(v.segments), func(i int) bool { return v.segments[i].base > offset }) - 1
}

// Slice finds the bytes of whole batches from the one that holds offset up to limit (an exclusive end offset), at most
// maxBytes of them; whole: the first batch even if it alone is larger (trap 27). An empty slice is no error: it means that
// there is nothing between offset and limit (trap 29), or that the first batch is too large. One slice never spans two
// segments. The caller must Release it.
func (v *View) Slice(offset, limit int64, maxBytes int, whole bool) (Slice, error) {
	end := v.log.end.Load()
	if offset < v.log.start.Load() || offset > end {
		return Slice{}, ErrOutOfRange
	}
	limit = min(limit, end)
	i := v.at(offset)
	if i < 0 {
		return Slice{}, ErrOutOfRange // the log start moved while we looked
	}
	for ; i < len(v.segments) && offset < limit; i++ {
		s := v.segments[i]
		if i > 0 && s.base >= limit {
			break
		}
		slice, found, err := s.slice(max(offset, s.base), limit, maxBytes, whole)
		if errors.Is(err, errRetired) || errors.Is(err, os.ErrNotExist) && v.log.view.Load() != v {
			return Slice{}, ErrOutOfRange // retention or a truncation took the segment from under us
		}
		if found || err != nil {
			return slice, err
		}
	}
	return Slice{end: offset}, nil
}

// slice is Slice inside one segment. found is false when the segment has no batch at or behind offset.
func (s *Segment) slice(offset, limit int64, maxBytes int, whole bool) (r Slice, found bool, err error) {
	size, end := s.tail.get()
	if offset >= end {
		return Slice{}, false, nil
	}
	for _, x := range s.faults() {
		if offset >= x.from && offset < x.to {
			return Slice{}, true, fmt.Errorf("%w: offsets %d to %d of %s", ErrCorrupt, x.from, x.to, s.log.name())
		}
		if x.from > offset && x.from < limit {
			limit = x.from
		}
	}
	f, err := s.log.acquire()
	if err != nil {
		return Slice{}, true, err
	}
	r, found, err = s.cut(f, offset, limit, maxBytes, whole, size, end)
	if r.n == 0 {
		s.log.release()
		r.file, r.handle = nil, nil
	} else {
		s.mark(r.end, r.position+int64(r.n))
	}
	return r, found, err
}

func (s *Segment) cut(f vfs.File, offset, limit int64, maxBytes int, whole bool, size, end int64) (Slice, bool, error) {
	var first place
	position, known := s.marked(offset)
	if !known {
		p, ok, err := s.find(f, offset, size)
		if err != nil || !ok {
			return Slice{}, false, err
		}
		first, position = p, p.position
	}
	stop, stopOffset, err := s.stop(f, limit, size, end)
	if err != nil || stop <= position {
		return Slice{end: offset}, true, err
	}
	r := Slice{file: f, handle: s.log, position: position, n: int(stop - position), end: stopOffset}
	if r.n <= maxBytes {
		return r, true, nil
	}
	fit, fitOffset, err := s.fit(f, position, position+int64(max(maxBytes, 0)), stop, offset)
	if err != nil {
		return Slice{end: offset}, true, err
	}
	if fit == position && whole {
		if !known {
			fit, fitOffset = first.position+first.size, first.next
		} else {
			h := scanHeaders(f, position, stop)
			_, err = h.next()
			if err == nil {
				fit, fitOffset = h.pos, h.batch.NextOffset()
			}
			h.done()
		}
	}
	if err != nil || fit == position {
		return Slice{end: offset}, true, err
	}
	r.n, r.end = int(fit-position), fitOffset
	return r, true, nil
}

// stop is the position of the first batch that reaches limit, and the offset where that begins.
func (s *Segment) stop(f vfs.File, limit, size, end int64) (position, offset int64, err error) {
	if limit >= end {
		return size, end, nil
	}
	if position, ok := s.marked(limit); ok {
		return position, limit, nil
	}
	p, ok, err := s.find(f, limit, size)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return s.before(size, limit), limit, nil
	}
	if p.base >= limit {
		s.mark(limit, p.position)
		return p.position, limit, nil
	}
	return p.position, p.base, nil
}

// before is where the bytes below limit end when no batch from limit on was found: at a fault, or at the end.
func (s *Segment) before(size, limit int64) int64 {
	for _, x := range s.faults() {
		if x.from >= limit {
			return min(size, x.fromPos)
		}
	}
	return size
}

// fit is the end of the last batch that ends at or below most, and the offset behind it; position itself when the first
// batch is too large.
func (s *Segment) fit(f vfs.File, position, most, stop, offset int64) (int64, int64, error) {
	e, found, err := s.entry(func(e offsetEntry) bool { return int64(e.position) > most }, stop)
	if err == nil && found && int64(e.position) > position {
		p, ok, err := s.scanTo(f, int64(e.position), most, stop, s.base+int64(e.offset))
		if err == nil && ok {
			return p.position, p.base, nil
		}
	}
	p, ok, err := s.scanTo(f, position, most, stop, -1)
	if err != nil {
		return 0, 0, err
	}
	if !ok {
		return position, offset, nil // cannot be: the range is longer than most
	}
	return p.position, p.base, nil
}

// scanTo is the first batch that ends behind most. The batch at from must end with the offset last, unless that is -1.
func (s *Segment) scanTo(f vfs.File, from, most, stop, last int64) (place, bool, error) {
	h := scanHeaders(f, from, stop)
	defer h.done()
	for {
		ok, err := h.next()
		if err != nil || !ok {
			return place{}, false, err
		}
		if last >= 0 && h.batch.LastOffset() != last {
			return place{}, false, ErrCorrupt
		}
		if h.pos > most {
			return h.place(), true, nil
		}
		last = -1
	}
}

// Slice is a range of a segment file that stays readable until Release, whatever happens to the segment. The zero
// value is empty. It is a value: copy it, but release only one copy.
type Slice struct {
	file     vfs.File
	handle   *handle
	position int64
	n        int
	end      int64
}

func (s *Slice) Len() int { return s.n }

// End is where to read on: the offset behind the last batch, or the offset asked for when the slice is empty.
func (s *Slice) End() int64 { return s.end }

func (s *Slice) check(off, n int64) error {
	if off < 0 || n < 0 || off > int64(s.n) || n > int64(s.n)-off {
		return fmt.Errorf("segment: bytes %d+%d of a slice of %d", off, n, s.n)
	}
	return nil
}

// SendTo sends n bytes from off to a socket, by sendfile where the file has it.
func (s *Slice) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	if err := s.check(off, n); err != nil || n == 0 {
		return 0, err
	}
	return s.file.SendTo(rc, s.position+off, n)
}

// ReadAt reads like io.ReaderAt within the slice.
func (s *Slice) ReadAt(p []byte, off int64) (int, error) {
	if err := s.check(off, 0); err != nil {
		return 0, err
	}
	short := int64(len(p)) > int64(s.n)-off
	if short {
		p = p[:int64(s.n)-off]
	}
	if len(p) == 0 {
		if short {
			return 0, io.EOF
		}
		return 0, nil
	}
	n, err := s.file.ReadAt(p, s.position+off)
	switch {
	case n == len(p) && short:
		return n, io.EOF
	case n == len(p):
		return n, nil
	case err == nil || err == io.EOF:
		// The file is shorter than the log says: truncated by a follower's divergence, or damaged.
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Release gives the file back. Releasing twice or releasing an empty slice is harmless.
func (s *Slice) Release() {
	if s.handle != nil {
		s.handle.release()
		s.handle, s.file, s.n = nil, nil, 0
	}
}
