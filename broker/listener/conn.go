package listener

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol"
)

// Reply is one answer. Exactly one goroutine touches it at a time: the reader until Conn.Reply has it queued, then the
// writer.
type Reply interface {
	// Blocking says that Ready may block, so that only the writer may call it. It then ends with Conn.Context.
	Blocking() bool
	// Ready is called when the answer is at the head of the queue, again after a wake and at the deadline; it tries to
	// finish. After true comes Write. At the deadline it must return true.
	Ready(now time.Time) bool
	// Park registers wake, to be called once when Ready may have changed; false: it already has. It may be called again
	// while an older registration stands (after a timer, or a wake meant for another answer): the new one replaces it.
	// wake may come late, even after Done, and must not be called under a lock that Ready or Park needs.
	Park(wake func()) bool
	// Deadline is when Ready is called although nobody woke; zero: never. It does not change.
	Deadline() time.Time
	// Write appends the answer's bytes. An error closes the connection, without the bytes appended for this answer.
	Write(o *Out) error
	// Done is the last call, after Write or instead of it: give resources back.
	Done()
}

// Conn is one accepted connection.
type Conn struct {
	// set once
	l       *Listener
	nc      net.Conn
	id      uint64
	peer    netip.Addr
	remote  net.Addr
	server  string // the name the client asked for in TLS
	session Session
	ctx     context.Context
	cancel  context.CancelFunc
	wake    func()        // leaves a token for the writer
	gone    chan struct{} // closed when the writer has returned

	stopping atomic.Bool // the listener wants the connection to end
	taken    atomic.Bool // the session has taken the connection over
	closing  atomic.Bool // close was called
	once     sync.Once   // guards why and cause
	why      reason
	cause    error

	q   queue
	out Out // owned as L2 says

	// owned by the reader
	socket     receiver
	in         input
	frames     [][]byte  // the present burst
	used       int       // its bytes in the read buffer
	answered   int       // answers handed over in it
	now        time.Time // when its bytes came
	frameStart time.Time // when we began to wait for the rest of a frame; zero: we do not
	armed      time.Time // the socket's read deadline
	current    Reply     // in Ready or Write
	writing    bool      // the writer was started
	takeOver   func(net.Conn)
	nap        [napBytes]byte
}

// napBytes are what a connection without a read buffer can wake up with.
const napBytes = 128

func newConn(l *Listener, nc net.Conn, id uint64, peer netip.Addr) *Conn {
	c := &Conn{l: l, nc: nc, id: id, peer: peer, remote: nc.RemoteAddr(), gone: make(chan struct{})}
	if l.cfg.TLS != nil {
		c.nc = tls.Server(nc, l.cfg.TLS)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.q.init()
	c.wake = func() { signal(c.q.wake) }
	c.socket.init(c.nc)
	c.out.init(c.nc, l.cfg.WriteTimeout, &l.counts)
	c.in.mem, c.in.gauge = l.cfg.Memory, &l.counts.buffers
	return c
}

// ID is unique in its listener.
func (c *Conn) ID() uint64 { return c.id }

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is the address the client reached.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// ServerName is the name the client asked for in its TLS handshake; empty if it named none.
func (c *Conn) ServerName() string { return c.server }

// Listener is where the connection was accepted.
func (c *Conn) Listener() *Listener { return c.l }

// Context ends when the connection does: its client is gone, or it was closed from our side and queued answers had their
// time.
func (c *Conn) Context() context.Context { return c.ctx }

// Now is when the bytes of the present burst arrived. From Burst only.
func (c *Conn) Now() time.Time { return c.now }

// Raw is the present burst as it came: its frames, each behind its length prefix. From Burst only, and valid as long as the frames.
func (c *Conn) Raw() []byte { return c.in.buf.b[c.in.r : c.in.r+c.used] }

// TakeOver hands the connection to fn, without deadlines, once everything before it is answered. fn owns it until it
// returns; then it is closed. It must end when the connection is closed under it. From Burst only, for the last frame of
// the burst: the peer waits for the answer before it sends anything else.
func (c *Conn) TakeOver(fn func(net.Conn)) { c.takeOver = fn }

// run is the reader goroutine: the connection's whole life.
func (c *Conn) run() {
	if why, err := c.shake(); err != nil {
		c.close(why, err)
	} else if c.session = c.open(); c.session != nil {
		c.end(c.serve())
		c.finish()
	} else {
		c.close(reasonPanic, nil)
	}
	c.reportClose()
	c.in.release()
	c.l.counts.closed[c.why].Add(1) // last: who sees it counted finds the log line
	c.l.remove(c)
}

// open asks the handler for a session; nil after a panic.
func (c *Conn) open() (s Session) {
	defer func() {
		if p := recover(); p != nil {
			c.reportPanic("opening a session", p, nil)
			s = nil
		}
	}()
	return c.l.cfg.Handler.Open(c)
}

// serve reads until the connection has to end and says why.
func (c *Conn) serve() (why reason, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.reportPanic("serving requests", p, c.frames)
			if r := c.current; r != nil {
				c.current = nil
				c.drop(r)
			}
			why, err = reasonPanic, nil
		}
	}()
	return c.read()
}

// end gives queued answers their time if the reason allows, then closes the connection.
func (c *Conn) end(why reason, err error) {
	if why.polite() && !c.closing.Load() {
		c.settle(c.l.cfg.DrainTimeout)
	}
	c.close(why, err)
}

// settle waits until every queued answer is sent, at most d; false if it is not.
func (c *Conn) settle(d time.Duration) bool {
	if c.q.length.Load() == 0 {
		return c.out.flush() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	for !c.q.drained() {
		select {
		case <-c.q.room:
		case <-t.C:
			return false
		}
	}
	return !c.closing.Load()
}

// finish drops what is left after close and returns when the writer is gone (L6, L7).
func (c *Conn) finish() {
	if c.writing {
		<-c.gone
	}
	for _, r := range c.q.drop() {
		c.drop(r)
	}
	c.out.release()
	defer func() {
		if p := recover(); p != nil {
			c.reportPanic("closing a session", p, nil)
		}
	}()
	c.session.Close()
}

// drop ends an answer that will not be written.
func (c *Conn) drop(r Reply) {
	defer func() {
		if p := recover(); p != nil {
			c.reportPanic("dropping an answer", p, nil)
		}
	}()
	r.Done()
}

// stop asks the reader to end the connection politely.
func (c *Conn) stop() {
	c.stopping.Store(true)
	if c.taken.Load() {
		c.close(reasonShutdown, nil)
		return
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket
}

// close ends the connection at once; the first reason counts.
func (c *Conn) close(why reason, err error) {
	c.once.Do(func() {
		c.why, c.cause = why, err
		c.closing.Store(true)
		c.cancel()
		c.hangUp(why)
		c.q.close()
	})
}

func (c *Conn) reportClose() {
	var refused *protocol.CloseError
	if errors.As(c.cause, &refused) && int(refused.Reason) < refusals {
		c.l.counts.refused[refused.Reason].Add(1)
	}
	fields := []zap.Field{zap.Stringer("remote", c.remote)}
	if c.cause != nil {
		fields = append(fields, zap.NamedError("cause", c.cause))
	}
	c.l.report.line(c.why, fields...)
}

// reportPanic logs a panic with a hash of the frames it may come from, never with their bytes.
func (c *Conn) reportPanic(doing string, p any, frames [][]byte) {
	h := sha256.New()
	for _, f := range frames {
		h.Write(f)
	}
	text := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		text = e.Error()
	}
	c.l.cfg.Log.Error("panic on a connection", zap.String("listener", c.l.cfg.Name), zap.String("doing", doing),
		zap.Stringer("remote", c.remote), zap.String("panic", text), zap.Int("frames", len(frames)),
		zap.String("sha256", hex.EncodeToString(h.Sum(nil)[:8])), zap.ByteString("stack", debug.Stack()))
}
