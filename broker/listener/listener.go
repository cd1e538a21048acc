package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol"
)

// Handler opens a session for every accepted connection.
type Handler interface{ Open(c *Conn) Session }

// Session serves the frames of one connection.
type Session interface {
	// Burst serves complete frames (without length prefix) in order. They alias the read buffer and are valid until
	// it returns. It calls Conn.Reply for each answer, in order. An error closes the connection; answers handed over
	// before it still leave.
	Burst(frames [][]byte) error
	// Close is called once, after the connection's goroutines are done.
	Close()
}

// Config says what a listener accepts and how long it waits.
type Config struct {
	Name    string
	Kind    protocol.Listener
	Addr    string
	Listen  func(network, addr string) (net.Listener, error) // nil: net.Listen
	Handler Handler
	Log     *zap.Logger                   // nil: none
	TLS     *tls.Config                   // nil: plaintext
	Lookup  func(key int16) *protocol.API // the keys served, for their largest frames; nil: protocol.Lookup

	HandshakeTimeout time.Duration // of TLS; 0: 10 s

	MaxFrame     int           // largest frame without its length prefix; 0: 100 MiB
	IdleTimeout  time.Duration // no byte and no answer due; 0: 10 min, negative: never
	FrameTimeout time.Duration // from the first byte of a frame to its last; 0: 30 s
	WriteTimeout time.Duration // a client that takes nothing; 0: 30 s
	DrainTimeout time.Duration // for queued answers when a connection ends; 0: 2 s

	MaxConnections int     // 0: no limit
	MaxPerIP       int     // 0: no limit
	ConnectionRate float64 // new connections per second and client address; 0: no limit
	// RateOf, if set, says the same of one address, 0 for nothing; the smaller one counts. Called under a lock: quick.
	RateOf       func(netip.Addr) float64
	ReserveFiles int     // descriptors held back for this listener when the process runs out of them
	Memory       *Memory // read buffers above the smallest size; nil: no limit; may be shared by listeners
}

func (c *Config) fill() {
	if c.Listen == nil {
		c.Listen = net.Listen
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Lookup == nil {
		c.Lookup = protocol.Lookup
	}
	setDefault(&c.HandshakeTimeout, 10*time.Second)
	if c.MaxFrame <= 0 {
		c.MaxFrame = 100 << 20
	}
	setDefault(&c.IdleTimeout, 10*time.Minute)
	setDefault(&c.FrameTimeout, 30*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.DrainTimeout, 2*time.Second)
}

func setDefault(d *time.Duration, value time.Duration) {
	switch {
	case *d == 0:
		*d = value
	case *d < 0:
		*d = never
	}
}

// never is longer than any process runs.
const never = 20 * 365 * 24 * time.Hour

// Listener is one bound address and its connections.
type Listener struct {
	// set once
	cfg     Config
	ln      net.Listener
	drained chan struct{} // closed by the first Drain
	drain   sync.Once
	reserve *reserve
	report  *reporter

	counts counters
	serves sync.WaitGroup // one per connection

	mu     sync.Mutex
	nextID uint64
	conns  map[*Conn]struct{}
	peers  peers
}

// New binds the listener's address; Run serves it.
func New(cfg Config) (*Listener, error) {
	cfg.fill()
	ln, err := cfg.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", cfg.Name, err)
	}
	log := cfg.Log.With(zap.String("listener", cfg.Name))
	l := &Listener{
		cfg:     cfg,
		ln:      ln,
		drained: make(chan struct{}),
		reserve: newReserve(cfg.ReserveFiles),
		report:  newReporter(log),
		conns:   map[*Conn]struct{}{},
		peers:   newPeers(cfg.MaxPerIP, cfg.ConnectionRate),
	}
	l.peers.rateOf = cfg.RateOf
	return l, nil
}

// Name is the listener's configured name.
func (l *Listener) Name() string { return l.cfg.Name }

// Kind says which API keys the listener serves.
func (l *Listener) Kind() protocol.Listener { return l.cfg.Kind }

// Addr is the bound address.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// Drain stops accepting. Connections go on.
func (l *Listener) Drain() {
	l.drain.Do(func() {
		close(l.drained)
		_ = l.ln.Close() // the socket is gone either way
		l.reserve.close()
	})
}

// Run accepts until ctx ends, Drain is called or the socket fails, and returns when all connections are gone. The end
// of ctx ends them: queued answers get DrainTimeout.
func (l *Listener) Run(ctx context.Context) error {
	accepted := make(chan error, 1)
	go func() { accepted <- l.accept() }()
	var err error
	select {
	case err = <-accepted:
		l.Drain()
	case <-ctx.Done():
		l.Drain()
		err = <-accepted
	}
	gone := make(chan struct{})
	go func() { l.serves.Wait(); close(gone) }()
	select {
	case <-gone:
	case <-ctx.Done():
		l.stop(gone)
	}
	return err
}

// stop ends all connections: politely first, by force after DrainTimeout.
func (l *Listener) stop(gone <-chan struct{}) {
	for _, c := range l.open() {
		c.stop()
	}
	force := time.NewTimer(l.cfg.DrainTimeout)
	defer force.Stop()
	select {
	case <-gone:
	case <-force.C:
		for _, c := range l.open() {
			c.close(reasonShutdown, nil)
		}
		<-gone
	}
}

func (l *Listener) open() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Conn, 0, len(l.conns))
	for c := range l.conns {
		all = append(all, c)
	}
	return all
}

// accept runs until the listener drains (nil) or its socket fails for good.
func (l *Listener) accept() error {
	var pause backoff
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			pause.reset()
			l.admit(nc)
			continue
		}
		select {
		case <-l.drained:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("listener %s: accept: %w", l.cfg.Name, err)
		}
		// Out of descriptors or memory, or a connection that died in the backlog: it passes (bad input 145).
		l.counts.acceptErrors.Add(1)
		l.report.line(reasonAccept, zap.Error(err))
		if outOfFiles(err) && l.reserve.release() {
			continue
		}
		if !pause.wait(l.drained) {
			return nil
		}
	}
}

// admit starts a connection, or closes it when a limit is reached.
func (l *Listener) admit(nc net.Conn) {
	addr := peerAddr(nc.RemoteAddr())
	now := time.Now()
	l.mu.Lock()
	why, ok := l.peers.admit(addr, now)
	if ok && l.cfg.MaxConnections > 0 && len(l.conns) >= l.cfg.MaxConnections {
		l.peers.leave(addr)
		why, ok = reasonMaxConnections, false
	}
	if !ok {
		l.mu.Unlock()
		l.counts.closed[why].Add(1)
		l.report.line(why, zap.Stringer("remote", nc.RemoteAddr()))
		_ = nc.Close() // refused: nothing to lose
		return
	}
	l.nextID++
	c := newConn(l, nc, l.nextID, addr)
	l.conns[c] = struct{}{}
	l.serves.Add(1)
	l.mu.Unlock()
	l.counts.accepted.Add(1)
	go c.run()
}

// remove forgets a connection whose goroutines are done.
func (l *Listener) remove(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.peers.leave(c.peer)
	l.mu.Unlock()
	l.reserve.refill()
	l.serves.Done()
}

// backoff is the pause of an accept loop that fails: 5 ms, doubled up to 1 s.
type backoff struct{ d time.Duration }

func (b *backoff) reset() { b.d = 0 }

// wait pauses; false when stop was closed meanwhile.
func (b *backoff) wait(stop <-chan struct{}) bool {
	b.d = min(max(2*b.d, 5*time.Millisecond), time.Second)
	t := time.NewTimer(b.d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
