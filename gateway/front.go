package gateway

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"cordwood/broker/listener"
	"cordwood/protocol"
)

// front is an address that clients reach: the first one (bootstrap; with a host per broker the only one), or a broker's.
type front struct {
	g    *Gateway
	node int32
	asks string // the address as the configuration has it, host:port
	l    *listener.Listener
}

// label names a front in metrics and logs.
func (f *front) label() string {
	if f.node == bootstrap {
		return "bootstrap"
	}
	return "broker-" + strconv.Itoa(int(f.node))
}

// port is the bound one.
func (f *front) port() int32 {
	if a, ok := f.l.Addr().(*net.TCPAddr); ok {
		return int32(a.Port)
	}
	return 0
}

// bind opens a front; it serves once started.
func (g *Gateway) bind(node int32, addr string) (*front, error) {
	c := g.config()
	f := &front{g: g, node: node, asks: addr}
	cfg := listener.Config{
		Name: f.label(), Kind: protocol.Client, Addr: addr, Handler: f, Log: g.log, Lookup: protocol.LookupRelayed,
		MaxFrame: c.MaxFrame, IdleTimeout: c.IdleTimeout, DrainTimeout: c.DrainTimeout,
		MaxConnections: c.MaxConnections, MaxPerIP: c.MaxPerIP, ConnectionRate: float64(c.ConnectionRate), Memory: g.memory,
	}
	if c.Protocol == "SSL" {
		cfg.TLS = g.certs.server()
	}
	l, err := listener.New(cfg)
	if err != nil {
		return nil, err
	}
	f.l = l
	return f, nil
}

// start serves a front until the gateway stops or the front is drained and its last client gone. Under g.mu.
func (g *Gateway) start(f *front) {
	g.serving.Add(1)
	go func() {
		defer g.serving.Done()
		if err := f.l.Run(g.ctx); err != nil {
			g.fail(fmt.Errorf("%s: %w", f.label(), err))
		}
		g.mu.Lock()
		g.past.add(f.l.Stats())
		delete(g.leaving, f)
		g.mu.Unlock()
	}()
}

// meet notes where a broker is, and sees to its front.
func (g *Gateway) meet(id int32, host []byte, port int32) {
	if g.nodes.learn(id, host, port) {
		g.log.Info("a broker", zap.Int32("node", id), zap.ByteString("host", host), zap.Int32("port", port))
	}
	if g.config().PortBase < 0 {
		return
	}
	if _, ok := g.nodes.addr(id); !ok {
		return // there are too many
	}
	g.mu.RLock()
	has := g.fronts[id] != nil
	g.mu.RUnlock()
	if has {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fronts[id] == nil && !g.draining {
		g.openFor(id)
	}
}

// openFor binds and starts a broker's front. What fails is tried again with the next look. Under g.mu.
func (g *Gateway) openFor(id int32) {
	addr, err := g.config().brokerAddr(id)
	var f *front
	if err == nil {
		f, err = g.bind(id, addr)
	}
	if err != nil {
		g.counts.failed[failBind].Add(1)
		g.log.Error("no address for a broker; free the port, or choose another gateway.port.base", zap.Int32("node", id), zap.Error(err))
		return
	}
	g.fronts[id] = f
	g.start(f)
	g.log.Info("address for a broker", zap.Int32("node", id), zap.Stringer("addr", f.l.Addr()))
}

// brokerAddr is where a broker's front is bound, with a port per broker.
func (c *Config) brokerAddr(id int32) (string, error) {
	host, _, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return "", err
	}
	port := c.portOf(id)
	if port > 65535 {
		return "", errors.New("its port would be " + strconv.Itoa(port))
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func (c *Config) portOf(id int32) int {
	if c.PortBase == 0 {
		return 0
	}
	return c.PortBase + int(id)
}

// name says how clients reach a broker that an answer places at host and port (protocol.Naming).
func (g *Gateway) name(id int32, host []byte, port int32) (string, int32) {
	g.meet(id, host, port)
	c := g.config()
	g.mu.RLock()
	first, own := g.fronts[bootstrap], g.fronts[id]
	g.mu.RUnlock()
	advertisedHost, advertisedPort := c.advertised(first.port())
	if c.PortBase < 0 {
		return hostOfNode(c.HostPattern, id), advertisedPort
	}
	if own == nil {
		return advertisedHost, int32(c.portOf(id)) // nobody is there yet, but nobody else's address may leave
	}
	return advertisedHost, own.port()
}

// advertised is where clients reach the first front, which is bound to port.
func (c *Config) advertised(port int32) (string, int32) {
	addr := c.Advertised
	if addr == "" {
		addr = c.Addr
	}
	host, text, err := net.SplitHostPort(addr)
	if n, perr := strconv.Atoi(text); err == nil && perr == nil && n > 0 {
		port = int32(n)
	}
	return host, port
}

func hostOfNode(pattern string, id int32) string {
	return strings.Replace(pattern, "{node}", strconv.Itoa(int(id)), 1)
}

// nodeOfHost reads the broker's id from the name a client asked for; any other name is the first address.
func nodeOfHost(pattern, host string) int32 {
	before, after, ok := strings.Cut(pattern, "{node}")
	if !ok {
		return bootstrap
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	digits, found := strings.CutPrefix(host, before)
	digits, end := strings.CutSuffix(digits, after)
	id, err := strconv.ParseInt(digits, 10, 32)
	if !found || !end || err != nil || id < 0 || strconv.Itoa(int(id)) != digits {
		return bootstrap
	}
	return int32(id)
}

// longestHost bounds the names that answers get.
func (g *Gateway) longestHost() int {
	c := g.config()
	host, _ := c.advertised(0)
	return max(len(host), len(c.HostPattern)+10)
}

// leave ends a front: nobody new; who is there goes on. Under g.mu.
func (g *Gateway) leave(f *front) {
	g.leaving[f] = true
	f.l.Drain()
}

// refit makes the fronts follow a new configuration. New addresses are bound before old ones are given up. Under g.mu.
func (g *Gateway) refit(was, is *Config) error {
	if was.Addr != is.Addr {
		f, err := g.bind(bootstrap, is.Addr)
		if err != nil {
			return err
		}
		g.leave(g.fronts[bootstrap])
		g.fronts[bootstrap] = f
		g.start(f)
	}
	if was.PortBase == is.PortBase && was.Addr == is.Addr {
		return nil
	}
	for id, f := range g.fronts {
		if id == bootstrap {
			continue
		}
		if addr, err := is.brokerAddr(id); is.PortBase < 0 || err != nil || addr != f.asks {
			g.leave(f)
			delete(g.fronts, id)
		}
	}
	for _, n := range g.nodes.list() {
		if is.PortBase >= 0 && g.fronts[n.id] == nil {
			g.openFor(n.id)
		}
	}
	return nil
}

// listenerStats sums what listeners counted.
type listenerStats struct {
	accepted, requests, bytesIn, bytesOut int64
	closed                                map[string]int64
}

func (s *listenerStats) add(l listener.Stats) {
	s.accepted += l.Accepted
	s.requests += l.Requests
	s.bytesIn += l.BytesIn
	s.bytesOut += l.BytesOut
	for why, n := range l.Closed {
		s.closed[why] += n
	}
}
