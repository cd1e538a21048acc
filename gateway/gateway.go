package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"cordwood/broker/listener"
)

// Gateway is a router between clients and the brokers of one cluster.
type Gateway struct {
	// set once
	log    *zap.Logger
	ready  func(Addrs)
	certs  certificates
	nodes  *nodes
	prober *prober
	memory *listener.Memory
	http   *httpServer
	ctx    context.Context // ends when the gateway is to stop
	stop   context.CancelFunc

	cfg     atomic.Pointer[Config] // changed under reload
	counts  counts
	serving sync.WaitGroup // one per front

	reload sync.Mutex // one reload or reading of certificates at a time; files are read under it, and nothing else waits for it

	mu       sync.RWMutex
	fronts   map[int32]*front
	leaving  map[*front]bool // drained, with clients left
	past     listenerStats   // of fronts that are gone
	draining bool
	failed   error // of a front that could not go on
}

// Addrs is where a gateway is reached.
type Addrs struct {
	Listeners map[string]string `json:"listeners"`
	Brokers   map[int32]string  `json:"brokers,omitempty"` // with a port per broker
	HTTP      string            `json:"http,omitempty"`
	PID       int               `json:"pid"`
}

// Open reads the certificates and binds the first address. Nothing is served before Run. The error is
// an ErrConfig where only another configuration helps.
func Open(cfg Config) (*Gateway, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	g := &Gateway{
		log: cfg.Log, ready: cfg.Ready, nodes: newNodes(cfg.Upstream), memory: listener.NewMemory(requestMemory(cfg.MaxFrame)),
		fronts: map[int32]*front{}, leaving: map[*front]bool{}, past: listenerStats{closed: map[string]int64{}},
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.prober = newProber(g)
	g.cfg.Store(&cfg)
	if cfg.Protocol == "SSL" {
		use, err := g.certs.read(cfg.TLS)
		if err != nil {
			return nil, err
		}
		use()
	} else if host, _, _ := net.SplitHostPort(cfg.Addr); !loopback(host) {
		g.log.Warn("the listener is plaintext and not on a loopback address: whoever reaches it may read and change what passes", zap.String("addr", cfg.Addr))
	}
	f, err := g.bind(bootstrap, cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("%w: listeners=%s://%s: %w", ErrConfig, cfg.Protocol, cfg.Addr, err)
	}
	g.fronts[bootstrap] = f
	if err := g.listenHTTP(); err != nil {
		f.l.Drain()
		return nil, err
	}
	return g, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// requestMemory bounds the read buffers of all clients beyond their smallest size.
func requestMemory(largest int) int64 { return max(256<<20, 2*int64(largest)) }

func (g *Gateway) config() *Config { return g.cfg.Load() }

// Run serves until ctx ends; then nobody new is let in, and requests under way have the drain time to be answered. It returns
// when the last goroutine is gone.
func (g *Gateway) Run(ctx context.Context) error {
	g.mu.Lock()
	g.start(g.fronts[bootstrap])
	g.mu.Unlock()
	var all sync.WaitGroup
	all.Go(func() { g.prober.run(g.ctx, g.isReady) })
	web, closeWeb := context.WithCancel(context.Background())
	defer closeWeb()
	if g.http != nil {
		all.Go(func() {
			if err := g.http.run(web); err != nil {
				g.fail(err)
			}
		})
	}
	select {
	case <-ctx.Done():
	case <-g.ctx.Done():
	}
	g.mu.Lock()
	g.draining = true
	g.mu.Unlock()
	g.stop()
	g.serving.Wait()
	closeWeb() // the last scrape sees the drain
	all.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed
}

// fail stops the gateway.
func (g *Gateway) fail(err error) {
	g.mu.Lock()
	g.failed = errors.Join(g.failed, err)
	g.mu.Unlock()
	g.stop()
}

func (g *Gateway) isReady() {
	if g.ready == nil {
		return
	}
	a := Addrs{Listeners: map[string]string{}, Brokers: map[int32]string{}, PID: os.Getpid()}
	g.mu.RLock()
	for id, f := range g.fronts {
		if id == bootstrap {
			a.Listeners[g.config().Protocol] = f.l.Addr().String()
		} else {
			a.Brokers[id] = f.l.Addr().String()
		}
	}
	g.mu.RUnlock()
	if g.http != nil {
		a.HTTP = g.http.listener.Addr().String()
	}
	g.ready(a)
}

// Reload changes to another configuration. After an error the present one goes on. What only counts after a restart is logged.
func (g *Gateway) Reload(is Config) error {
	g.reload.Lock()
	defer g.reload.Unlock()
	was := g.config()
	is.Log, is.Ready = was.Log, was.Ready
	if keys := needRestart(was, &is); len(keys) > 0 {
		g.log.Warn("some keys count after a restart only", zap.Strings("keys", keys))
		is.Protocol, is.DrainTimeout, is.HTTPAddr, is.IdleTimeout = was.Protocol, was.DrainTimeout, was.HTTPAddr, was.IdleTimeout
		is.MaxFrame, is.MaxConnections, is.MaxPerIP, is.ConnectionRate = was.MaxFrame, was.MaxConnections, was.MaxPerIP, was.ConnectionRate
	}
	var use func()
	if is.Protocol == "SSL" {
		var err error
		if use, err = g.certs.read(is.TLS); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cfg.Store(&is) // fronts are bound as it says
	if err := g.refit(was, &is); err != nil {
		g.cfg.Store(was)
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if use != nil {
		use()
	}
	g.nodes.setSeeds(is.Upstream)
	g.log.Info("configuration read again", zap.Strings("upstream", is.Upstream))
	return nil
}

// State is what an operator who asks wants to know first.
func (g *Gateway) State() []zap.Field {
	open := int64(0)
	g.mu.RLock()
	for _, f := range g.fronts {
		open += f.l.Stats().Open
	}
	for f := range g.leaving {
		open += f.l.Stats().Open
	}
	g.mu.RUnlock()
	up, down := []int32{}, []int32{}
	for _, n := range g.nodes.list() {
		if n.up {
			up = append(up, n.id)
		} else {
			down = append(down, n.id)
		}
	}
	return []zap.Field{zap.Int64("connections", open), zap.Int32s("brokers_up", up), zap.Int32s("brokers_down", down),
		zap.Int64("upstream_connections", g.counts.upstreams.Load())}
}

// readCertificates reads the files of the listener again.
func (g *Gateway) readCertificates() {
	g.reload.Lock()
	defer g.reload.Unlock()
	if c := g.config(); c.Protocol == "SSL" {
		switch use, err := g.certs.read(c.TLS); {
		case err != nil:
			g.log.Error("certificates not read again: the old ones go on", zap.Error(err))
		case use != nil:
			use()
			g.log.Info("certificates read again")
		}
	}
}
