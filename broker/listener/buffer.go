package listener

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// Read buffers have four pooled sizes. The largest holds a Produce request with one batch of the default
// max.message.bytes. A larger frame gets a mapping of its own, outside the collector's heap: a few frames of 8 MiB would
// start one collection after the other, and leave a heap behind that was many times what the process needs.
//
//	bytes that came    .........|
//	buffer             |--------------|               charged; grows in place as bytes come (L4)
//	mapping            |--------------------------|   the whole frame: what was never touched is no memory
var bufferSizes = [...]int{16 << 10, 64 << 10, 256 << 10, maxBuffer}

const maxBuffer = 1<<20 + 64<<10

// bufferPools[i] holds buffers of bufferSizes[i].
var bufferPools [len(bufferSizes)]sync.Pool

type buffer struct {
	b     []byte // of a mapping: as much of it as is charged
	class int    // index into bufferSizes; mapped, or of the heap if there was no mapping to be had
}

const (
	classMapped = -1
	classHeap   = -2
)

// getBuffer returns a buffer of at least size bytes; one above maxBuffer is for a frame of whole bytes.
func getBuffer(size, whole int) *buffer {
	for i, s := range bufferSizes {
		if size > s {
			continue
		}
		if v := bufferPools[i].Get(); v != nil {
			return v.(*buffer)
		}
		return &buffer{b: make([]byte, s), class: i}
	}
	m, err := unix.Mmap(-1, 0, max(size, whole), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil { // too many mappings, or no address space: the heap says what is left
		return &buffer{b: make([]byte, size), class: classHeap}
	}
	return &buffer{b: m[:size], class: classMapped}
}

// putBuffer gives up b. Nobody may look at its frames any more (L10).
func putBuffer(b *buffer) {
	switch {
	case b.class >= 0:
		bufferPools[b.class].Put(b)
	case b.class == classMapped:
		if err := unix.Munmap(b.b[:cap(b.b)]); err != nil {
			panic("listener: a read buffer is not a mapping: " + err.Error())
		}
	}
}

// grow makes a mapping's buffer larger without moving it, and reports whether it could.
func (b *buffer) grow(size int) bool {
	if b.class != classMapped || size < len(b.b) || size > cap(b.b) {
		return false
	}
	b.b = b.b[:size]
	return true
}

// Memory bounds what read buffers above the smallest size hold together, over all connections and listeners that share
// it. A nil Memory grants everything.
type Memory struct{ sem *semaphore.Weighted }

// NewMemory grants limit bytes.
func NewMemory(limit int64) *Memory { return &Memory{sem: semaphore.NewWeighted(limit)} }

// try takes n bytes if they are free.
func (m *Memory) try(n int64) bool { return m == nil || n <= 0 || m.sem.TryAcquire(n) }

// take waits for n bytes until the deadline or the end of ctx.
func (m *Memory) take(ctx context.Context, n int64, deadline time.Time) error {
	if m.try(n) {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return m.sem.Acquire(ctx, n)
}

func (m *Memory) give(n int64) {
	if m != nil && n > 0 {
		m.sem.Release(n)
	}
}

// input is the read buffer of one connection; its reader owns it.
type input struct {
	mem     *Memory
	gauge   *atomic.Int64 // bytes of all buffers of the listener
	buf     *buffer       // nil while the connection naps
	r, w    int           // unread bytes are buf.b[r:w]
	full    bool          // the last read filled the buffer: the client sends faster than we read
	reads   int           // since peak was last reset
	peak    int           // most bytes in the buffer since then
	charged int64         // taken from mem
}

// shrinkAfter is the number of reads over which a buffer must have been mostly empty to become smaller.
const shrinkAfter = 256

func (in *input) bytes() []byte {
	if in.buf == nil {
		return nil
	}
	return in.buf.b[in.r:in.w]
}

// read notes n new bytes.
func (in *input) read(n int) {
	in.w += n
	in.full = in.w == len(in.buf.b)
	in.reads++
	in.peak = max(in.peak, in.w)
}

// fit prepares room for the next read of a frame of need bytes: larger when the client fills the buffer, smaller when it
// no longer does, in place otherwise. A frame larger than the buffer makes it grow only when it is full of it (L4, bad
// inputs 4-6); when memory is short then, fit returns the size to wait for.
func (in *input) fit(need int) (wait int) {
	if in.buf == nil {
		in.swap(getBuffer(0, 0))
	}
	have, held := len(in.buf.b), in.w-in.r
	switch {
	case held == have:
		size := nextSize(have)
		if have >= maxBuffer {
			size = min(size, need)
		}
		if !in.resize(size, need) {
			return size
		}
	case have > maxBuffer && need <= maxBuffer && held <= maxBuffer:
		in.resize(maxBuffer, 0)
	case in.full && have < maxBuffer:
		in.resize(nextSize(have), 0)
	case in.reads >= shrinkAfter:
		if in.buf.class > 0 && in.peak <= have/4 {
			in.resize(bufferSizes[in.buf.class-1], 0)
		}
		in.reads, in.peak = 0, 0
	}
	in.full = false
	if in.r > 0 && (in.r == in.w || in.r+need > len(in.buf.b) || in.w == len(in.buf.b)) {
		n := copy(in.buf.b, in.bytes())
		in.r, in.w = 0, n
	}
	return 0
}

// nextSize is the next pooled size, or the double.
func nextSize(have int) int {
	for _, s := range bufferSizes {
		if s > have {
			return s
		}
	}
	return 2 * have
}

// resize moves to a buffer of another size, for a frame of whole bytes, if memory grants it.
func (in *input) resize(size, whole int) bool {
	if !in.mem.try(in.more(size)) {
		return false
	}
	in.move(size, whole)
	return true
}

// more is what a buffer of size bytes costs beyond the present one.
func (in *input) more(size int) int64 { return int64(max(size-len(in.buf.b), 0)) }

// move goes to a buffer of size bytes that memory has granted.
func (in *input) move(size, whole int) {
	more := in.more(size)
	in.charged += more
	if in.buf.grow(size) {
		in.gauge.Add(more)
		return
	}
	in.swap(getBuffer(size, whole))
}

// swap puts the unread bytes into b and gives the old buffer back.
func (in *input) swap(b *buffer) {
	n := 0
	if in.buf != nil {
		n = copy(b.b, in.bytes())
		in.gauge.Add(-int64(len(in.buf.b)))
		putBuffer(in.buf)
	}
	in.gauge.Add(int64(len(b.b)))
	in.buf, in.r, in.w = b, 0, n
	in.refund()
}

// refund returns to mem what is charged beyond the present buffer.
func (in *input) refund() {
	due := int64(0)
	if in.buf != nil {
		due = max(int64(len(in.buf.b)-bufferSizes[0]), 0)
	}
	if in.charged > due {
		in.mem.give(in.charged - due)
		in.charged = due
	}
}

// release gives the buffer back; there must be no unread bytes that anybody still wants.
func (in *input) release() {
	if in.buf != nil {
		in.gauge.Add(-int64(len(in.buf.b)))
		putBuffer(in.buf)
	}
	in.buf, in.r, in.w, in.full, in.reads, in.peak = nil, 0, 0, false, 0, 0
	in.refund()
}
