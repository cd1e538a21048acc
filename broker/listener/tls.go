package listener

import (
	"crypto/tls"
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

// hangUp closes the socket. Over TLS the client is told that this is the end if it may still listen; the alert must not wait
// for one that takes nothing.
func (c *Conn) hangUp(why reason) {
	if t, ok := c.nc.(*tls.Conn); ok && !why.polite() {
		_ = t.NetConn().Close() // nothing is left to lose
		return
	}
	_ = c.nc.Close()
}
