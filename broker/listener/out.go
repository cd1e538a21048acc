package listener

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	flushAt   = 32 << 10  // bytes of answers that are worth a write of their own
	copyBelow = 128 << 10 // a smaller slice of a file is cheaper to copy than to send by sendfile
	copyChunk = 128 << 10 // bytes copied at once
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
	timeout time.Duration
	counts  *counters

	socket sender
	box    *[]byte   // nil while nothing is collected
	armed  time.Time // the socket's write deadline
	err    error     // the first failure of the socket; nothing is sent after it
}

// outPool holds write buffers. A connection has one only while there are bytes to write.
var outPool = sync.Pool{New: func() any {
	b := make([]byte, 0, flushAt+8<<10)
	return &b
}}

func (o *Out) init(nc net.Conn, timeout time.Duration, counts *counters) {
	o.nc, o.timeout, o.counts = nc, timeout, counts
	o.socket.init(nc)
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
	if n < copyBelow || o.socket.raw == nil {
		return o.copyFrom(s, 0, n)
	}
	if err := o.flushMore(); err != nil {
		return err
	}
	for off := int64(0); off < n; {
		o.arm()
		sent, err := s.SendTo(o.socket.raw, off, min(n-off, sendChunk))
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

// Relay sends n bytes that come on another connection, after those collected so far, from socket to socket as far as the kernel
// can. errors.ErrUnsupported: it cannot between these two, and nothing was taken.
func (o *Out) Relay(from net.Conn, n int64) error {
	to, plain := o.nc.(*net.TCPConn)
	source, tcp := from.(*net.TCPConn)
	if !plain || !tcp {
		return errors.ErrUnsupported
	}
	if err := o.flushMore(); err != nil {
		return err
	}
	for n > 0 {
		o.arm()
		part := io.LimitedReader{R: source, N: min(n, sendChunk)}
		moved, err := to.ReadFrom(&part)
		o.counts.bytesOut.Add(moved)
		n -= moved
		switch {
		case err != nil:
			return o.fail(err)
		case part.N > 0:
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
		*buf = slices.Grow(*buf, chunk)[:at+chunk]
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
func (o *Out) flush() error { return o.write(false) }

// flushMore does the same and tells the kernel that more follows at once, so that header and records share segments.
func (o *Out) flushMore() error { return o.write(true) }

func (o *Out) write(more bool) error {
	if o.box == nil || o.err != nil {
		return o.err
	}
	for b := *o.box; len(b) > 0; {
		o.arm()
		n, err := o.socket.Write(b[:min(len(b), sendChunk)], more)
		o.counts.bytesOut.Add(int64(n))
		if err != nil {
			return o.fail(err)
		}
		b = b[n:]
	}
	o.release()
	return nil
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
