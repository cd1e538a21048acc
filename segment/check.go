package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"syscall"

	"cordwood/protocol/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC of our own files.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// crcStart is the first byte that a batch's CRC covers.
const crcStart = 21

// checker judges batches of a stretch of one .log file, up to the position size and the offset upper.
type checker struct {
	s     *Segment
	w     window
	size  int64
	upper int64
}

// header reads the header of the batch at position, where the offset next or a later one is expected. It is valid until
// the window moves on.
func (c *checker) header(position, next int64) (b record.Batch, size int64, err error) {
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
	return b, size, nil
}

// whole checks the CRC of the batch that header found. What it returns is the whole batch, or of a huge one the header.
func (c *checker) whole(b record.Batch, position, size int64) (record.Batch, error) {
	if size > windowSize {
		b = slices.Clone(b) // the window moves on
		return b, c.checkHuge(b, position, size)
	}
	b, err := c.w.bytes(position, size, windowSize)
	if err != nil {
		return nil, err
	}
	if err := b.CheckCRC(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return b, nil
}

// checkHuge checks the CRC of a batch larger than the window piece by piece, so that a length field costs no memory.
func (c *checker) checkHuge(head record.Batch, position, size int64) error {
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

// batch is header and whole.
func (c *checker) batch(position, next int64) (b record.Batch, size int64, err error) {
	if b, size, err = c.header(position, next); err == nil {
		b, err = c.whole(b, position, size)
	}
	return b, size, err
}

// good says whether there is a batch at position.
func (c *checker) good(position, next int64) (bool, error) {
	_, _, err := c.batch(position, next)
	if errors.Is(err, ErrCorrupt) || unreadable(err) {
		return false, nil
	}
	return err == nil, err
}

// resync looks for the first good batch that begins in [from, until). Pages that cannot be read are jumped over.
func (c *checker) resync(from, until, next int64) (offset, position int64, found bool, err error) {
	for at := from; at < until && at+record.Overhead <= c.size; {
		piece, err := c.w.bytes(at, min(c.size-at, windowSize/2), windowSize)
		if unreadable(err) {
			if piece, err = c.w.bytes(at, min(c.size-at, pageSize), pageSize); unreadable(err) {
				at += pageSize - at%pageSize
				continue
			}
		}
		if err != nil {
			return 0, 0, false, err
		}
		n := len(piece) - record.Overhead + 1
		for i := range n {
			if piece[i+16] != record.Magic {
				continue
			}
			base := int64(be.Uint64(piece[i:]))
			if base < next || base >= c.upper || !c.s.fits(base) {
				continue
			}
			if good, err := c.good(at+int64(i), next); err != nil || good {
				return base, at + int64(i), err == nil, err
			}
			if piece, err = c.w.bytes(at, int64(len(piece)), windowSize); err != nil {
				return 0, 0, false, err // good moved the window
			}
		}
		at += int64(n)
	}
	return 0, 0, false, nil
}

// pageSize is what a disk that fails loses at least.
const pageSize = 4096

// unreadable says that the disk does not give these bytes any more, or only with an error of its own checksums: to us
// they are as damaged as if their CRC was wrong (R16).
func unreadable(err error) bool {
	for _, e := range [...]error{syscall.EIO, syscall.EBADMSG, syscall.EUCLEAN, syscall.ENODATA} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// windowSize is how much a scan reads at once.
const windowSize = 1 << 20

// window is a piece of a file in memory. What bytes returns is valid until the next call.
type window struct {
	read   func(p []byte, off int64) (int, error)
	lo, hi int64
	buf    []byte
	got    int64 // bytes read in all
}

// bytes gives n bytes at position, reading ahead bytes if it has to read. A file that ends too early is corrupt.
func (w *window) bytes(position, n, ahead int64) ([]byte, error) {
	if position < w.lo || position+n > w.hi {
		want := max(n, ahead)
		if int64(len(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		err := w.fill(position, want)
		if err != nil && want > n {
			err = w.fill(position, n) // perhaps what is wrong lies behind
		}
		if err != nil {
			return nil, err
		}
		if w.hi-position < n {
			return nil, fmt.Errorf("%w: the file ends at %d", ErrCorrupt, w.hi)
		}
	}
	return w.buf[position-w.lo:][:n], nil
}

func (w *window) fill(position, n int64) error {
	w.lo, w.hi = 0, 0
	got, err := w.read(w.buf[:n], position)
	w.got += int64(got)
	if err != nil && err != io.EOF {
		return err
	}
	w.lo, w.hi = position, position+int64(got)
	return nil
}
