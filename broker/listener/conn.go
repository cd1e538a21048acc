package listener

import (
	"context"
	"net"
	"syscall"
	"time"
)

// Conn is one accepted connection.
type Conn struct{}

func (c *Conn) ID() uint64               { return 0 }
func (c *Conn) RemoteAddr() net.Addr     { return nil }
func (c *Conn) LocalAddr() net.Addr      { return nil }
func (c *Conn) Listener() *Listener      { return nil }
func (c *Conn) Context() context.Context { return nil }
func (c *Conn) Now() time.Time           { return time.Time{} }
func (c *Conn) Reply(r Reply)            {}

// TakeOver hands the connection to fn once everything before it is answered; fn owns it until it returns, then it
// is closed. Called from Burst, for the last frame of the burst; the peer waits for the answer before it sends on.
func (c *Conn) TakeOver(fn func(net.Conn)) {}

// Reply is one answer. Exactly one goroutine touches it at a time.
type Reply interface {
	Blocking() bool // true: Ready may block, so only the writer goroutine may call it
	Ready(now time.Time) bool
	// Park registers wake, to be called once when Ready may have changed; false: it already has. Called again after a
	// wake (even a spurious one): the new registration replaces the old.
	Park(wake func()) bool
	Deadline() time.Time
	Write(o *Out) error
	Done()
}

// Out collects the bytes of answers.
type Out struct{}

func (o *Out) Append(b []byte)     {}
func (o *Out) Buf() *[]byte        { return nil }
func (o *Out) Send(s Sender) error { return nil }

// Sender is a slice of a file that can reach a socket without a copy.
type Sender interface {
	Len() int
	SendTo(rc syscall.RawConn, off, n int64) (sent int64, err error) // errors.ErrUnsupported: it is copied instead
	ReadAt(p []byte, off int64) (int, error)
}
