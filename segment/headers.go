package segment

import (
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// headers walks the batch headers of a range of a .log file. Payloads are skipped, not read: one small read covers the
// headers of many small batches or of one large one. The headers that next returns are valid until the call after.
type headers struct {
	f      io.ReaderAt
	pos    int64 // where the next batch begins
	end    int64
	lo, hi int64 // the file range in buf

	// The batch that next found.
	batch record.Batch // its header only
	at    int64
	size  int64

	buf [4096]byte
}

var headerPool = sync.Pool{New: func() any { return new(headers) }}

// scanHeaders takes a walker from the pool; done gives it back.
func scanHeaders(f io.ReaderAt, from, to int64) *headers {
	h := headerPool.Get().(*headers)
	h.f, h.pos, h.end, h.lo, h.hi, h.size = f, from, to, 0, 0, 0
	return h
}

func (h *headers) done() {
	h.f, h.batch = nil, nil
	headerPool.Put(h)
}

// next moves to the next batch; false without an error is the end of the range.
func (h *headers) next() (bool, error) {
	if h.pos >= h.end {
		return false, nil
	}
	room := h.end - h.pos
	if room < record.Overhead {
		return false, fmt.Errorf("%w: %d bytes at position %d are no batch: %w", ErrCorrupt, room, h.pos, kerr.CorruptMessage)
	}
	if h.pos < h.lo || h.pos+record.Overhead > h.hi {
		if err := h.fill(room); err != nil {
			return false, err
		}
	}
	b := record.Batch(h.buf[h.pos-h.lo:][:record.Overhead])
	size, err := headerSize(b, room)
	if err != nil {
		return false, fmt.Errorf("position %d: %w", h.pos, err)
	}
	h.batch, h.at, h.size = b, h.pos, size
	h.pos += size
	return true, nil
}

func (h *headers) fill(room int64) error {
	want := int64(len(h.buf))
	if h.size > want {
		want = 2 * record.Overhead // large batches: the next header only
	}
	n, err := h.f.ReadAt(h.buf[:min(want, room)], h.pos)
	if n < record.Overhead {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%w: read of a header at position %d: %w", ErrCorrupt, h.pos, err)
	}
	h.lo, h.hi = h.pos, h.pos+int64(n)
	return nil
}

// headerSize checks what a header says about itself and returns the size of its batch, at most room. It is the only
// judge of headers on disk, so nothing behind it can overflow (bad input 148).
func headerSize(b record.Batch, room int64) (int64, error) {
	size := int64(int32(be.Uint32(b[8:]))) + record.LogOverhead
	switch {
	case b[16] != record.Magic:
		return 0, fmt.Errorf("%w: magic %d: %w", ErrCorrupt, b[16], kerr.CorruptMessage)
	case size < record.Overhead || size > room:
		return 0, fmt.Errorf("%w: batch of %d bytes where %d are left: %w", ErrCorrupt, size, room, kerr.CorruptMessage)
	case b.BaseOffset() < 0 || b.LastOffsetDelta() < 0 || b.BaseOffset() > math.MaxInt64-math.MaxInt32-1:
		return 0, fmt.Errorf("%w: offsets %d+%d: %w", ErrCorrupt, b.BaseOffset(), b.LastOffsetDelta(), kerr.CorruptMessage)
	}
	return size, nil
}
