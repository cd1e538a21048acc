package memnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// Host is a machine with one IP address.
type Host struct {
	n  *Network
	ip netip.Addr

	// guarded by Network.mu
	on        bool
	lives     int // how often all that ran here has ended
	listeners map[uint16]*listener
	ports     uint16 // the last one given to a dial or to a listener that did not care
}

func (h *Host) String() string { return h.ip.String() }

// Process is what runs on a host until Kill or PowerOff. Listen and Dial are what broker.Config and kgo.Dialer take.
type Process struct {
	h    *Host
	life int
}

// Start starts a process.
func (h *Host) Start() *Process {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return &Process{h, h.lives}
}

// gone: a process that has ended reaches nobody any more (M5). mu is held.
func (p *Process) gone() bool { return p.life != p.h.lives }

const (
	backlog     = 128               // connections not yet accepted
	dialTimeout = 127 * time.Second // Linux' own patience
)

// free gives a port that nobody listens on. mu is held.
func (h *Host) free() uint16 {
	for {
		if h.ports++; h.ports < 50000 {
			h.ports = 50000
		}
		if h.listeners[h.ports] == nil {
			return h.ports
		}
	}
}

// Listen binds a port of the host; an address without an IP, or an unspecified one, is the host's.
func (p *Process) Listen(network, addr string) (net.Listener, error) {
	h := p.h
	at, err := h.resolve(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	if p.gone() {
		return nil, &net.OpError{Op: "listen", Net: network, Err: net.ErrClosed}
	}
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), h.free())
	}
	bound := net.TCPAddrFromAddrPort(at)
	if h.listeners[at.Port()] != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: bound, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{h: h, addr: bound}
	h.listeners[at.Port()] = l
	return l, nil
}

// resolve reads host:port as seen from this host.
func (h *Host) resolve(addr string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" || host == "localhost" {
		host = h.ip.String()
	}
	at, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return at, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(h.ip, at.Port())
	}
	return at, nil
}

// Dial connects to a listener of any host.
func (p *Process) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h := p.h
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, syscall.ETIMEDOUT)
	defer cancel()
	fail := func(err error) (net.Conn, error) {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			if err = context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) {
				err = os.ErrDeadlineExceeded // as net has it: a time-out to net.Error
			}
		}
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	at, err := h.resolve(addr)
	if err != nil {
		return fail(err)
	}
	to := at.Addr()
	if to.IsLoopback() {
		to = h.ip
	}
	if err := p.travel(ctx, pair{h.ip, to}); err != nil {
		return fail(err)
	}
	c := p.connect(to, at)
	if err := p.travel(ctx, pair{to, h.ip}); err != nil {
		if c != nil {
			_ = c.Close() // nobody has it
		}
		return fail(err)
	}
	if c == nil {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return c, nil
}

// travel waits as long as a packet of a dial that is sent now is under way.
func (p *Process) travel(ctx context.Context, way pair) error {
	n := p.h.n
	for {
		n.mu.Lock()
		l := n.link(way)
		open := p.passable(l, way)
		latency, changed := l.Latency, n.changed.wait()
		n.mu.Unlock()
		if open {
			if latency == 0 {
				return ctx.Err()
			}
			changed = nil
		} else {
			latency = dialTimeout
		}
		t := time.NewTimer(latency)
		select {
		case <-t.C:
			n.mu.Lock()
			arrived := open && p.passable(l, way)
			n.mu.Unlock()
			if arrived {
				return nil
			}
		case <-changed:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

// isOn: an address without a host is silent. mu is held.
func (n *Network) isOn(ip netip.Addr) bool { return n.hosts[ip] != nil && n.hosts[ip].on }

// passable says whether a packet of this process' dial gets through. mu is held.
func (p *Process) passable(l *link, way pair) bool {
	return !l.cut && !p.gone() && p.h.n.isOn(way.from) && p.h.n.isOn(way.to)
}

// connect puts a connection into the backlog of a listener; nil: refused.
func (p *Process) connect(to netip.Addr, at netip.AddrPort) *conn {
	from, n := p.h, p.h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	host := n.hosts[to]
	l := host.listeners[at.Port()]
	if p.gone() || l == nil || len(l.waiting) >= backlog {
		return nil
	}
	client := netip.AddrPortFrom(from.ip, from.free())
	if at.Addr().IsLoopback() {
		client = netip.AddrPortFrom(at.Addr(), client.Port())
	}
	there, back := n.newStream(from.ip, to, client, at), n.newStream(to, from.ip, at, client)
	a := &conn{n: n, host: from, local: net.TCPAddrFromAddrPort(client), remote: net.TCPAddrFromAddrPort(at), in: back, out: there}
	b := &conn{n: n, host: host, local: a.remote, remote: a.local, in: there, out: back}
	a.peer, b.peer = b, a
	n.conns[a], n.conns[b] = struct{}{}, struct{}{}
	l.waiting = append(l.waiting, b)
	l.acceptable.fire()
	return a
}

// Kill ends the host's processes: their listeners and connections close, as kill -9 has it.
func (h *Host) Kill() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.lives++
	h.closeListeners()
	for c := range h.n.conns {
		if c.host == h {
			c.close()
		}
	}
}

// PowerOff ends the host without a word to anybody.
func (h *Host) PowerOff() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.on = false
	h.lives++
	h.closeListeners()
	now := time.Now()
	for c := range h.n.conns {
		if c.host == h {
			c.vanish(now)
		}
	}
	h.n.changed.fire()
}

// PowerOn lets the host be reached again.
func (h *Host) PowerOn() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.on = true
	h.n.changed.fire()
}

// closeListeners closes all listeners. mu is held.
func (h *Host) closeListeners() {
	for _, l := range h.listeners {
		l.close()
	}
}

// listener is a bound port.
type listener struct {
	h    *Host
	addr *net.TCPAddr

	// guarded by Network.mu
	waiting    []*conn
	closed     bool
	acceptable signal
}

func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, closed, wake := l.next()
		switch {
		case closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
		case c != nil:
			return c, nil
		}
		<-wake
	}
}

func (l *listener) next() (c *conn, closed bool, wake <-chan struct{}) {
	l.h.n.mu.Lock()
	defer l.h.n.mu.Unlock()
	if l.closed || len(l.waiting) == 0 {
		return nil, l.closed, l.acceptable.wait()
	}
	c, l.waiting = l.waiting[0], l.waiting[1:]
	return c, false, nil
}

func (l *listener) Close() error {
	l.h.n.mu.Lock()
	defer l.h.n.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.close()
	return nil
}

// close unbinds the port; connections nobody accepted end. mu is held.
func (l *listener) close() {
	l.closed = true
	delete(l.h.listeners, uint16(l.addr.Port))
	for _, c := range l.waiting {
		c.close()
	}
	l.waiting = nil
	l.acceptable.fire()
}
