package listener

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The socket's own calls never block and move at most sendChunk bytes or one read buffer, so they are made without
// telling Go's scheduler. A call it knows of wakes the runtime's monitor thread, which from then on looks every 20 us
// whether the call hangs: one seventh of the processor time of a client with one request in flight.

// rawOf is the descriptor behind a connection; nil if it has none, as with TLS: then bytes go through net.Conn.
func rawOf(nc net.Conn) syscall.RawConn {
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// receiver reads from the socket. Its callback is bound once, so that reading allocates nothing.
type receiver struct {
	nc   net.Conn
	raw  syscall.RawConn
	step func(fd uintptr) bool

	p   []byte
	n   int
	err error
}

func (r *receiver) init(nc net.Conn) {
	r.nc, r.raw = nc, rawOf(nc)
	r.step = r.receive
}

// Read reads like net.Conn.
func (r *receiver) Read(p []byte) (int, error) {
	if r.raw == nil || len(p) == 0 {
		return r.nc.Read(p)
	}
	r.p, r.n, r.err = p, 0, nil
	err := r.raw.Read(r.step)
	r.p = nil
	return r.result(err)
}

// result is what a read that ended with err has brought.
func (r *receiver) result(err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}

// receive is the callback of RawConn.Read; false waits until bytes come.
func (r *receiver) receive(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&r.p[0])), uintptr(len(r.p)),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
		case unix.EAGAIN:
			return false
		case unix.EINTR:
			continue
		default:
			r.err = os.NewSyscallError("recv", errno)
		}
		return true
	}
}

// sender writes to the socket. Its callback is bound once, so that writing allocates nothing.
type sender struct {
	nc   net.Conn
	raw  syscall.RawConn
	step func(fd uintptr) bool

	p     []byte // what is left
	flags uintptr
	err   error
}

func (s *sender) init(nc net.Conn) {
	s.nc, s.raw = nc, rawOf(nc)
	s.step = s.send
}

// Write writes like net.Conn. more: the kernel may keep the bytes for those that follow at once, so that they share
// segments.
func (s *sender) Write(p []byte, more bool) (int, error) {
	if s.raw == nil {
		return s.nc.Write(p)
	}
	s.p, s.flags, s.err = p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil
	if more {
		s.flags |= unix.MSG_MORE
	}
	err := s.raw.Write(s.step)
	if err == nil {
		err = s.err
	}
	n := len(p) - len(s.p)
	s.p = nil
	return n, err
}

// send is the callback of RawConn.Write; false waits until the socket takes more.
func (s *sender) send(fd uintptr) bool {
	for len(s.p) > 0 {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&s.p[0])), uintptr(len(s.p)),
			s.flags, 0, 0)
		switch errno {
		case 0:
			s.p = s.p[n:]
		case unix.EAGAIN:
			return false
		case unix.EINTR:
		default:
			s.err = os.NewSyscallError("send", errno)
			return true
		}
	}
	return true
}

// Socket reads and writes a connection as the listener does its own, for a relay's other side. One goroutine may read while
// another writes.
type Socket struct {
	in   receiver
	out  sender
	lent func(fd uintptr) bool
	room Room
}

// Room is where bytes are read to. It is asked for when there may be some, and gets none while there are not, so that a
// connection that waits needs no memory.
type Room interface {
	Take() []byte // not empty
	Give()        // nothing was read into what was taken
}

// NewSocket returns the socket of a connection.
func NewSocket(nc net.Conn) *Socket {
	s := new(Socket)
	s.in.init(nc)
	s.out.init(nc)
	s.lent = s.receiveLent
	return s
}

// Read reads like net.Conn.
func (s *Socket) Read(p []byte) (int, error) { return s.in.Read(p) }

// ReadRoom reads once into r's room, when bytes are there.
func (s *Socket) ReadRoom(r Room) (int, error) {
	if s.in.raw == nil {
		return s.in.nc.Read(r.Take())
	}
	s.in.n, s.in.err, s.room = 0, nil, r
	err := s.in.raw.Read(s.lent)
	s.room = nil
	return s.in.result(err)
}

// receiveLent is the callback of RawConn.Read.
func (s *Socket) receiveLent(fd uintptr) bool {
	s.in.p = s.room.Take()
	done := s.in.receive(fd)
	if s.in.p = nil; !done {
		s.room.Give()
	}
	return done
}

// Write writes like net.Conn. more: bytes that belong to the same segments follow at once.
func (s *Socket) Write(p []byte, more bool) (int, error) { return s.out.Write(p, more) }
