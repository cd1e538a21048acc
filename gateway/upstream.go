package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"cordwood/broker/listener"
)

const (
	readSize = 16 << 10 // a read buffer; larger pieces are read to where they go
	gather   = 32 << 10 // bytes of small requests that leave in one write
	direct   = 16 << 10 // a larger request is written from where it was read
	// writeTimeout: a broker that takes nothing for so long is given up. Longer than a broker may leave requests of a
	// client unread because others of it wait.
	writeTimeout = time.Minute
)

var errUpstream = errors.New("the broker's answer is not what was asked for")

// upstream is the one connection to a broker that a client's connection has. Requests are written by the client's reader;
// answers are read by whoever sends to the client (L2), one after another, as they were asked.
type upstream struct {
	addr   string
	nc     net.Conn
	socket *listener.Socket

	// the reader's
	out   *[]byte
	armed time.Time // the write deadline

	// the sender's
	buf  *[]byte // nil while nothing is read
	r, w int     // unread bytes
	left int     // bytes of the present answer that are not taken
	nap  [128]byte
}

// buffers have readSize bytes, or collect gather bytes.
var (
	readBuffers  = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}
	writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, gather+direct); return &b }}
)

func newUpstream(addr string, nc net.Conn) *upstream {
	return &upstream{addr: addr, nc: nc, socket: listener.NewSocket(nc)}
}

// send collects one request.
func (u *upstream) send(frame []byte, now time.Time) error {
	if u.out == nil {
		u.out = writeBuffers.Get().(*[]byte)
	}
	*u.out = binary.BigEndian.AppendUint32(*u.out, uint32(len(frame)))
	if len(frame) <= direct {
		if *u.out = append(*u.out, frame...); len(*u.out) >= gather {
			return u.flush(now)
		}
		return nil
	}
	u.arm(now)
	if _, err := u.socket.Write(*u.out, true); err != nil {
		return err
	}
	*u.out = (*u.out)[:0]
	_, err := u.socket.Write(frame, false)
	return err
}

// flush writes what is collected.
func (u *upstream) flush(now time.Time) error {
	if u.out == nil {
		return nil
	}
	u.arm(now)
	_, err := u.socket.Write(*u.out, false)
	*u.out = (*u.out)[:0]
	writeBuffers.Put(u.out)
	u.out = nil
	return err
}

// arm moves the write deadline on, not at every write.
func (u *upstream) arm(now time.Time) {
	if u.armed.Sub(now) < writeTimeout*3/4 {
		u.armed = now.Add(writeTimeout)
		_ = u.nc.SetWriteDeadline(u.armed) // fails only on a closed socket, and so will the write
	}
}

// whole says that the next answer is there to its end.
func (u *upstream) whole() bool {
	if u.w-u.r < 8 {
		return false
	}
	n := int(int32(binary.BigEndian.Uint32((*u.buf)[u.r:])))
	return n >= 0 && n <= u.w-u.r-4
}

// begin waits for the next answer and leaves it with its first bytes there: its correlation id is next.
func (u *upstream) begin() error {
	for u.w-u.r < 8 {
		if err := u.fill(8); err != nil {
			return err
		}
	}
	u.left = int(int32(binary.BigEndian.Uint32((*u.buf)[u.r:])))
	u.r += 4
	if u.left < 4 {
		return fmt.Errorf("%w: a length of %d", errUpstream, u.left)
	}
	return nil
}

// fill reads once; need bytes must fit behind r. Without a buffer it waits with a few bytes that cost nothing.
func (u *upstream) fill(need int) error {
	if u.buf == nil {
		n, err := u.socket.Read(u.nap[:])
		if err != nil {
			return err
		}
		u.buf = readBuffers.Get().(*[]byte)
		u.r, u.w = 0, copy(*u.buf, u.nap[:n])
		return nil
	}
	if u.r+need > readSize || u.r == u.w {
		u.w = copy(*u.buf, (*u.buf)[u.r:u.w])
		u.r = 0
	}
	n, err := u.socket.Read((*u.buf)[u.w:])
	u.w += n
	return err
}

// rest gives the buffer back when nothing is in it.
func (u *upstream) rest() {
	if u.buf != nil && u.r == u.w {
		readBuffers.Put(u.buf)
		u.buf = nil
	}
}

// Left is what remains of the present answer.
func (u *upstream) Left() int { return u.left }

// Next takes n bytes of the present answer; they alias the buffer.
func (u *upstream) Next(n int) ([]byte, error) {
	if n > u.left || n > readSize {
		return nil, fmt.Errorf("%w: it ends too early", errUpstream)
	}
	for u.w-u.r < n {
		if err := u.fill(n); err != nil {
			return nil, cut(err)
		}
	}
	b := (*u.buf)[u.r : u.r+n : u.r+n]
	u.r += n
	u.left -= n
	return b, nil
}

// read takes len(p) bytes of the present answer.
func (u *upstream) read(p []byte) error {
	if len(p) > u.left {
		return fmt.Errorf("%w: it ends too early", errUpstream)
	}
	u.left -= len(p)
	if u.r < u.w {
		n := copy(p, (*u.buf)[u.r:u.w])
		u.r += n
		p = p[n:]
	}
	for len(p) > 0 {
		n, err := u.socket.Read(p)
		if err != nil {
			return cut(err)
		}
		p = p[n:]
	}
	return nil
}

// cut makes the end of the connection inside an answer an error.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// append takes n bytes behind dst.
func (u *upstream) append(dst []byte, n int) ([]byte, error) {
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	return dst, u.read(dst[at:])
}

// piece is the next n bytes of the present answer, as something to send.
type piece struct {
	u *upstream
	n int
}

// Len is the number of bytes.
func (p piece) Len() int { return p.n }

// SendTo leaves the bytes to ReadAt.
func (p piece) SendTo(syscall.RawConn, int64, int64) (int64, error) { return 0, errors.ErrUnsupported }

// ReadAt reads on; off only ever is where the last call ended.
func (p piece) ReadAt(b []byte, _ int64) (int, error) {
	if err := p.u.read(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
