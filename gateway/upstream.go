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
	// relayFrom bytes of an answer or more go from socket to socket without a copy; fewer are cheaper to copy.
	relayFrom = 256 << 10
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

	armed time.Time // the write deadline; the reader's

	// the sender's
	buf  *[]byte // nil while nothing is read
	r, w int     // unread bytes
	left int     // bytes of the present answer that are not taken
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

func newUpstream(addr string, nc net.Conn) *upstream {
	return &upstream{addr: addr, nc: nc, socket: listener.NewSocket(nc)}
}

// send passes requests on as they came.
func (u *upstream) send(requests []byte, now time.Time) error {
	if len(requests) == 0 {
		return nil
	}
	if u.armed.Sub(now) < writeTimeout*3/4 { // not at every write
		u.armed = now.Add(writeTimeout)
		_ = u.nc.SetWriteDeadline(u.armed) // fails only on a closed socket, and so will the write
	}
	_, err := u.socket.Write(requests, false)
	return err
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

// fill reads once; need bytes must fit behind r.
func (u *upstream) fill(need int) error {
	if u.buf == nil {
		u.r, u.w = 0, 0
	} else if u.r+need > readSize {
		u.w = copy(*u.buf, (*u.buf)[u.r:u.w])
		u.r = 0
	}
	n, err := u.socket.ReadRoom(u)
	u.w += n
	return err
}

// Take is the room behind what is read.
func (u *upstream) Take() []byte {
	if u.buf == nil {
		u.buf = readBuffers.Get().(*[]byte)
	}
	return (*u.buf)[u.w:]
}

// Give gives the buffer back if there is nothing in it.
func (u *upstream) Give() { u.rest() }

// rest gives the buffer back when nothing is in it.
func (u *upstream) rest() {
	if u.buf != nil && u.r == u.w {
		readBuffers.Put(u.buf)
		u.buf, u.r, u.w = nil, 0, 0
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

// move sends the next n bytes of the present answer behind what o has collected; many at once go from socket to socket.
func (u *upstream) move(o *listener.Out, n int) error {
	if n < relayFrom {
		return o.Send(piece{u, n})
	}
	there := min(n, u.w-u.r)
	dst, err := u.append(*o.Buf(), there)
	if *o.Buf() = dst; err != nil {
		return err
	}
	n -= there
	switch err := o.Relay(u.nc, int64(n)); {
	case err == nil:
		u.left -= n
		return nil
	case !errors.Is(err, errors.ErrUnsupported):
		return cut(err)
	}
	return o.Send(piece{u, n})
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
