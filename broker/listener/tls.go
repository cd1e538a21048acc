package listener

import (
	"crypto/tls"
	"errors"
	"net"
	"time"
)

// shake does the TLS handshake, if there is one to do, in its time (bad input 100).
func (c *Conn) shake() (reason, error) {
	t, ok := c.nc.(*tls.Conn)
	if !ok {
		return 0, nil
	}
	if err := t.SetDeadline(time.Now().Add(c.l.cfg.HandshakeTimeout)); err != nil {
		return reasonHandshake, err
	}
	if c.stopping.Load() { // stop may have set its deadline before ours
		return reasonShutdown, errStopping
	}
	if err := t.Handshake(); err != nil {
		if c.stopping.Load() {
			return reasonShutdown, errStopping
		}
		return reasonHandshake, err
	}
	c.server = t.ConnectionState().ServerName
	if err := t.SetWriteDeadline(time.Time{}); err != nil {
		return reasonHandshake, err
	}
	return 0, nil // the reader arms its own deadline
}

// ErrReset in a session's error says that the connection is to end as one to a host that is gone: by a reset. Answers that were
// sent before may be lost with it. Clients take an end of the stream before the first answer for a wrong configuration and
// do not come again; after a reset they do.
var ErrReset = errors.New("reset")

// hangUp closes the socket. Over TLS the client is told that this is the end if it may still listen; the alert must not wait
// for one that takes nothing.
func (c *Conn) hangUp(why reason) {
	nc := c.nc
	t, secret := nc.(*tls.Conn)
	reset := errors.Is(c.cause, ErrReset)
	if secret && (reset || !why.polite()) {
		nc = t.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // fails only on a closed socket
	}
	_ = nc.Close() // nothing is left to lose
}
