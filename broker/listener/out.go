package listener

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	flushAt   = 32 << 10  // bytes of answers that are worth a write of their own
	copyBelow = 32 << 10  // a smaller slice of a file is cheaper to copy than to send by sendfile
	copyChunk = 64 << 10  // bytes copied at once when there is no sendfile
	sendChunk = 1 << 20   // bytes between two looks at the write deadline
	keepOut   = 256 << 10 // a larger write buffer is not kept
)

// Sender is a slice of a file that can reach a socket without a copy.
type Sender interface {
	Len() int
	// SendTo sends up to n bytes from off and returns how many left; it waits on rc while the socket is full, until
	// the socket's write deadline. errors.ErrUnsupported: the bytes are copied through ReadAt instead.
	SendTo(rc syscall.RawConn, off, n int64) (sent int64, err error)
	ReadAt(p []byte, off int64) (int, error)
}

// Out collects the bytes of answers and sends them. It has one owner at a time (L2).
type Out struct {
	// set once
	nc      net.Conn
	raw     syscall.RawConn // nil: no descriptor to send to, everything is copied
	timeout time.Duration
	counts  *counters

	box     *[]byte   // nil while nothing is collected
	armed   time.Time // the socket's write deadline
	err     error     // the first failure of the socket; nothing is sent after it
	more    func(fd uintptr) bool
	morePos int
	moreErr error
}

// outPool holds write buffers. A connection has one only while there are bytes to write.
var outPool = sync.Pool{New: func() any {
	b := make([]byte, 0, flushAt+8<<10)
	return &b
}}

func (o *Out) init(nc net.Conn, timeout time.Duration, counts *counters) {
	o.nc, o.timeout, o.counts = nc, timeout, counts
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			o.raw = raw
		}
	}
}

// Buf is the buffer that collected bytes are appended to.
func (o *Out) Buf() *[]byte {
	if o.box == nil {
		o.box = outPool.Get().(*[]byte)
	}
	return o.box
}

// Append collects a copy of b.
func (o *Out) Append(b []byte) {
	buf := o.Buf()
	*buf = append(*buf, b...)
}

// Send sends the whole slice after the bytes collected so far. After an error the answer is cut: the connection ends.
func (o *Out) Send(s Sender) error {
	n := int64(s.Len())
	if n < copyBelow || o.raw == nil {
		return o.copyFrom(s, 0, n)
	}
	if err := o.flushMore(); err != nil {
		return err
	}
	for off := int64(0); off < n; {
		o.arm()
		sent, err := s.SendTo(o.raw, off, min(n-off, sendChunk))
		o.counts.bytesOut.Add(sent)
		off += sent
		switch {
		case sent == 0 && errors.Is(err, errors.ErrUnsupported):
			return o.copyFrom(s, off, n)
		case err != nil:
			return o.fail(err)
		case sent == 0:
			return o.fail(io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// copyFrom collects s[off:n], writing as it goes.
func (o *Out) copyFrom(s Sender, off, n int64) error {
	for off < n {
		chunk := int(min(n-off, copyChunk))
		buf := o.Buf()
		at := len(*buf)
		*buf = append(*buf, make([]byte, chunk)...)
		if read, err := s.ReadAt((*buf)[at:], off); read < chunk {
			if err == nil {
				err = io.ErrUnexpectedEOF
			}
			return o.fail(err)
		}
		off += int64(chunk)
		if len(*buf) >= flushAt {
			if err := o.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// pending is the number of collected bytes.
func (o *Out) pending() int {
	if o.box == nil {
		return 0
	}
	return len(*o.box)
}

// flush writes what is collected and gives the buffer back.
func (o *Out) flush() error {
	if o.box == nil || o.err != nil {
		return o.err
	}
	for b := *o.box; len(b) > 0; {
		o.arm()
		n, err := o.nc.Write(b[:min(len(b), sendChunk)])
		o.counts.bytesOut.Add(int64(n))
		if err != nil {
			return o.fail(err)
		}
		b = b[n:]
	}
	o.release()
	return nil
}

// flushMore writes what is collected and tells the kernel that more follows at once, so that header and records share
// segments.
func (o *Out) flushMore() error {
	if o.pending() == 0 || o.err != nil {
		return o.err
	}
	if o.more == nil {
		o.more = o.sendMore
	}
	o.morePos, o.moreErr = 0, nil
	o.arm()
	err := o.raw.Write(o.more)
	if err == nil {
		err = o.moreErr
	}
	o.counts.bytesOut.Add(int64(o.morePos))
	if err != nil {
		return o.fail(err)
	}
	o.release()
	return nil
}

// sendMore is the callback of RawConn.Write; false waits until the socket takes more.
func (o *Out) sendMore(fd uintptr) bool {
	for b := *o.box; o.morePos < len(b); {
		n, err := unix.SendmsgN(int(fd), b[o.morePos:], nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
		case err != nil:
			o.moreErr = os.NewSyscallError("sendmsg", err)
			return true
		default:
			o.morePos += n
		}
	}
	return true
}

// arm moves the write deadline on; not at every write, for it costs about as much as a small one.
func (o *Out) arm() {
	now := time.Now()
	if o.armed.Sub(now) > o.timeout*3/4 {
		return
	}
	o.armed = now.Add(o.timeout)
	_ = o.nc.SetWriteDeadline(o.armed) // fails only on a closed socket, and so will the write
}

// fail keeps the first error.
func (o *Out) fail(err error) error {
	if o.err == nil {
		o.err = err
	}
	return err
}

// release gives the buffer back.
func (o *Out) release() {
	if o.box == nil {
		return
	}
	if cap(*o.box) <= keepOut {
		*o.box = (*o.box)[:0]
		outPool.Put(o.box)
	}
	o.box = nil
}
