package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sync/errgroup"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/protocol"
)

// boundListener is one address this broker serves, and what it tells clients about addresses.
type boundListener struct {
	cfg  ListenerConfig
	b    *Broker
	l    *listener.Listener
	kind protocol.Listener
}

func (l *boundListener) internal() bool { return l.kind&protocol.Internal != 0 }

// servesBrokers reports whether followers may fetch here.
func (l *boundListener) servesBrokers() bool {
	return l.internal() || l.cfg.Name == l.b.cfg.amongBrokers()
}

// Open makes the session of a new connection.
func (l *boundListener) Open(c *listener.Conn) listener.Session {
	l.b.metrics.connectionOpened()
	return &session{b: l.b, c: c, l: l}
}

// reservedFiles are held back for the internal listener: as many connections as a quorum of five and its brokers open
// at once when they find each other again.
const reservedFiles = 16

// listen binds every listener; nothing is accepted yet.
func (b *Broker) listen() error {
	memory := listener.NewMemory(requestMemory(b.cfg.RequestMaxBytes))
	for _, cfg := range b.cfg.Listeners {
		rateOf := b.connectionRate
		bound := &boundListener{cfg: cfg, b: b, kind: cfg.Kind}
		if bound.servesBrokers() {
			bound.kind |= protocol.Replicas
		}
		maxConnections, perIP, rate := b.cfg.MaxConnections, b.cfg.MaxPerIP, float64(b.cfg.ConnectionRate)
		reserve := 0
		if bound.internal() { // the brokers' own connections are never refused, nor starved by clients (bad input 145)
			maxConnections, perIP, rate, rateOf, reserve = 0, 0, 0, nil, reservedFiles
		}
		l, err := listener.New(listener.Config{
			Name: cfg.Name, Kind: cfg.Kind, Addr: cfg.Addr, Listen: b.cfg.Listen, MaxFrame: b.cfg.RequestMaxBytes,
			ReserveFiles: reserve, IdleTimeout: b.cfg.ConnectionsMaxIdle, MaxConnections: maxConnections, MaxPerIP: perIP, ConnectionRate: rate, RateOf: rateOf,
			Memory: memory, Log: b.log.Named(cfg.Name), Handler: bound,
		})
		if err != nil {
			return fmt.Errorf("%w: listeners=%s://%s: %w", ErrConfig, cfg.Name, cfg.Addr, err)
		}
		bound.l = l
		b.listeners = append(b.listeners, bound)
	}
	return nil
}

// requestMemory bounds the bytes of requests in memory, over all connections.
func requestMemory(maxRequest int) int64 { return max(256<<20, 2*int64(maxRequest)) }

// serve accepts on every listener until ctx ends and all connections are gone.
func (b *Broker) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range b.listeners {
		g.Go(func() error { return l.l.Run(ctx) })
	}
	return g.Wait()
}

// endpoints are this broker's registered addresses, one per listener; the last is that for other brokers.
func (b *Broker) endpoints() ([]metadata.Endpoint, error) {
	var out []metadata.Endpoint
	var last metadata.Endpoint
	for _, l := range b.listeners {
		host, port, err := l.registered()
		if err != nil {
			return nil, err
		}
		e := metadata.Endpoint{Name: l.cfg.Name, Host: host, Port: port}
		if l.cfg.Name == b.cfg.amongBrokers() {
			last = e
			continue
		}
		out = append(out, e)
	}
	return append(out, last), nil
}

// brokerAddr is where a broker is reached by other brokers: each registers that listener last. Empty: unknown.
func brokerAddr(broker *metadata.Broker) string {
	if broker == nil || len(broker.Listeners) == 0 {
		return ""
	}
	return endpointAddr(&broker.Listeners[len(broker.Listeners)-1])
}

// registered is the address other brokers and, without a better one, clients are told.
func (l *boundListener) registered() (string, int32, error) {
	if l.cfg.Advertised != "" {
		return splitAddr(l.cfg.Advertised)
	}
	host, port, err := splitAddr(l.l.Addr().String())
	if err != nil {
		return "", 0, err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = RoutableHost()
	}
	return host, port, nil
}

func splitAddr(addr string) (string, int32, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port of %q: %w", addr, err)
	}
	return host, int32(port), nil
}

// remoteHost is the client's address without its port.
func (s *session) remoteHost() string {
	if a, ok := addrPort(s.c.RemoteAddr()); ok {
		return a.Addr().String()
	}
	return s.c.RemoteAddr().String()
}

// advertised is the address of a broker for the client of this connection: as registered for this listener, or, for
// this broker under advertised.listeners=auto, the address by which the client evidently came in.
func (s *session) advertised(broker *metadata.Broker) (host string, port int32, ok bool) {
	e := broker.Endpoint(s.l.cfg.Name)
	if e == nil {
		return "", 0, false
	}
	if broker.ID == s.b.cfg.NodeID && s.l.cfg.Advertised == "" {
		host, port := Advertise(s.c.LocalAddr(), s.c.RemoteAddr(), e.Host, e.Port)
		return host, port, true
	}
	return e.Host, e.Port, true
}
