package nameserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/broker/nameserver/zone"
	"cordwood/metadata"
)

// Config says what a server serves.
type Config struct {
	Addr string // host:port to bind, UDP and TCP; empty host: all interfaces; port 0: any
	Zone zone.Config
	// Informed reports whether what this node knows of the cluster is up to date. It is asked for each query: quick, lock-free.
	Informed func() bool
	// Lookup finds the addresses of a name that a broker advertises; nil: the system's resolver.
	Lookup      func(ctx context.Context, host string) ([]netip.Addr, error)
	LookupEvery time.Duration // 0: 5 s
	Log         *zap.Logger
}

// Server is one bound address, over UDP and TCP, and the zone it serves.
type Server struct {
	cfg       Config
	udp       *net.UDPConn
	tcp       *net.TCPListener
	responder *responder
	counts    counts
	slots     chan struct{} // one for each connection there may be

	zone   atomic.Pointer[zone.Zone]
	wanted chan struct{} // there may be other names to look up
	mu     sync.Mutex    // the next zone is being made
}

// Open binds the address; Run serves it.
func Open(cfg Config) (*Server, error) {
	if cfg.Lookup == nil {
		cfg.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.LookupEvery == 0 {
		cfg.LookupEvery = lookupEvery
	}
	s := &Server{cfg: cfg, responder: newResponder(cfg.Zone), slots: make(chan struct{}, maxConnections), wanted: make(chan struct{}, 1)}
	s.zone.Store(zone.New(cfg.Zone))
	var err error
	for range bindTries {
		if s.tcp, s.udp, err = bind(cfg.Addr); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("dns: %w", err)
}

// bindTries is how often a port that is free for TCP is looked for until it is so for UDP, too.
const bindTries = 5

func bind(addr string) (*net.TCPListener, *net.UDPConn, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	tcp := l.(*net.TCPListener)
	host, _, err := net.SplitHostPort(addr)
	if err == nil {
		_, port, _ := net.SplitHostPort(tcp.Addr().String())
		addr = net.JoinHostPort(host, port) // the very port, where any was asked for
	}
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, nil, errors.Join(err, tcp.Close())
	}
	udp := c.(*net.UDPConn)
	if err := askDestination(udp); err != nil {
		return nil, nil, errors.Join(err, tcp.Close(), udp.Close())
	}
	_ = udp.SetReadBuffer(readBuffer) // what the kernel grants
	return tcp, udp, nil
}

// Addr is the bound address, the same for UDP and TCP.
func (s *Server) Addr() string { return s.tcp.Addr().String() }

// Show serves another image from now on, and another place of the active controller.
func (s *Server) Show(img *metadata.Image, at zone.Controller) {
	s.change(func(z *zone.Zone) *zone.Zone {
		if img.Index() > z.Index() {
			z = z.At(img)
		}
		return z.With(at)
	})
	select {
	case s.wanted <- struct{}{}:
	default: // it is to be looked at already
	}
}

// change makes the next zone of the present one.
func (s *Server) change(next func(*zone.Zone) *zone.Zone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone.Store(next(s.zone.Load()))
}

// Run serves until ctx ends. It returns when nothing of the server is left.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serveUDP(ctx) })
	g.Go(func() error { return s.serveTCP(ctx) })
	g.Go(func() error { s.lookUp(ctx); return nil })
	g.Go(func() error {
		<-ctx.Done()
		s.Close()
		return nil
	})
	return g.Wait()
}

// Close gives the address back. Run does so at its end.
func (s *Server) Close() {
	_ = s.tcp.Close() // nothing is lost with them
	_ = s.udp.Close()
}

// respond answers one message. A panic costs its message, not the process.
func (s *Server) respond(q query, into []byte) (reply []byte) {
	defer func() {
		if p := recover(); p != nil {
			s.counts.add(outcome{verdict: failed})
			s.cfg.Log.Error("dns: a query panicked", zap.Any("panic", p), zap.Binary("query", q.wire), zap.Stack("stack"))
			reply = nil
		}
	}()
	z := s.zone.Load()
	if !z.Known() || !s.cfg.Informed() {
		z = nil
	}
	reply, what := s.responder.answer(z, q, into)
	s.counts.add(what)
	return reply
}

// pause waits a moment after a socket's error, unless ctx ends.
func pause(ctx context.Context) {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
