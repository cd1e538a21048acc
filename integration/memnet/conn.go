package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// conn is one end of a connection.
type conn struct {
	n             *Network
	host          *Host
	local, remote *net.TCPAddr
	in, out       *stream
	peer          *conn

	// guarded by Network.mu
	closed          bool
	readBy, writeBy time.Time
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) between(a, b netip.Addr) bool {
	return c.host.ip == a && c.peer.host.ip == b || c.host.ip == b && c.peer.host.ip == a
}

func (c *conn) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read waits for bytes that have arrived.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, wake, until, err := c.tryRead(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, c.fail("read", err)
		}
		await(wake, until)
	}
}

func (c *conn) tryRead(b []byte) (n int, wake <-chan struct{}, until time.Time, err error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	now := time.Now()
	switch {
	case c.closed:
		return 0, nil, until, net.ErrClosed
	case passed(c.readBy, now):
		return 0, nil, until, os.ErrDeadlineExceeded
	case len(b) == 0:
		return 0, nil, until, nil
	}
	n, until, err = c.in.take(now, b)
	return n, c.in.readable.wait(), earlier(until, c.readBy), err
}

// Write waits for room for all of b.
func (c *conn) Write(b []byte) (written int, err error) {
	for {
		n, wake, until, err := c.tryWrite(b[written:])
		written += n
		if err != nil || written == len(b) {
			return written, c.fail("write", err)
		}
		if n == 0 {
			await(wake, until)
		}
	}
}

func (c *conn) tryWrite(b []byte) (n int, wake <-chan struct{}, until time.Time, err error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	now := time.Now()
	switch {
	case c.closed:
		return 0, nil, until, net.ErrClosed
	case passed(c.writeBy, now):
		return 0, nil, until, os.ErrDeadlineExceeded
	case passed(c.out.refused, now):
		return 0, nil, until, syscall.ECONNRESET
	case c.out.ended:
		return 0, nil, until, syscall.EPIPE
	case c.out.broken && c.peer.host.on && len(b) > 0:
		c.out.answerReset(now, c.in)
	}
	n = c.out.send(now, b)
	return n, c.out.writable.wait(), earlier(c.out.refused, c.writeBy), nil
}

// CloseWrite tells the peer that nothing more comes; reading goes on.
func (c *conn) CloseWrite() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.out.end(time.Now(), io.EOF)
	return nil
}

// Close ends the connection: what was written arrives, what was not read is lost.
func (c *conn) Close() error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.close()
	return nil
}

// close is Close, with mu held.
func (c *conn) close() {
	if c.closed {
		return
	}
	now := time.Now()
	c.out.end(now, io.EOF)
	c.in.refuse(now.Add(c.out.link.Latency))
	c.forget()
}

// vanish is the end of a connection whose host lost power. mu is held.
func (c *conn) vanish(now time.Time) {
	c.in.breakOff(now)
	c.out.breakOff(now)
	c.forget()
}

// forget ends this end's own use of the connection. mu is held.
func (c *conn) forget() {
	c.closed = true
	c.in.readable.fire()
	c.out.writable.fire()
	delete(c.n.conns, c)
}

func (c *conn) SetDeadline(t time.Time) error {
	return c.setDeadlines(func() { c.readBy, c.writeBy = t, t })
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.setDeadlines(func() { c.readBy = t })
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadlines(func() { c.writeBy = t })
}

func (c *conn) setDeadlines(set func()) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	set()
	c.in.readable.fire()
	c.out.writable.fire()
	return nil
}

func passed(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// await waits for a wake or a time; zero is never.
func await(wake <-chan struct{}, until time.Time) {
	if until.IsZero() {
		<-wake
		return
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-wake:
	case <-t.C:
	}
}
