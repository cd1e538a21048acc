package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
)

// ErrClosed is the answer of a pool that has ended.
var ErrClosed = errors.New("peer: closed")

// ErrNotServed: the other node does not know the request.
var ErrNotServed = errors.New("not served there")

// errRetired ends a client that nobody had used for a while; the pool makes a new one.
var errRetired = errors.New("peer: retired")

// Times of a connection. Within a cluster a node that does not answer in connectTimeout is as good as gone.
const (
	connectTimeout = 2 * time.Second
	writeTimeout   = 10 * time.Second
	askTimeout     = 30 * time.Second // of requests without a deadline
	backoffMin     = 20 * time.Millisecond
	backoffMax     = 500 * time.Millisecond
	retireAfter    = 5 * time.Minute
)

// Client is a connection to one node for one purpose.
type Client struct {
	// set once
	pool *Pool
	addr string
	wake chan struct{} // room for one: somebody wants a connection
	gone chan struct{} // closed when the client has ended

	mu      sync.Mutex
	conn    *connection
	attempt *attempt  // wanted or under way; nil: none
	failed  error     // of the last attempt; nil: it worked
	rest    time.Time // not dialed again before
	retired bool
}

// attempt is one try to connect; the fields are read after done is closed.
type attempt struct {
	done chan struct{}
	conn *connection
	err  error
}

func newClient(p *Pool, addr string) *Client {
	return &Client{pool: p, addr: addr, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// connection waits for a working one.
func (c *Client) connection(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	if c.retired {
		c.mu.Unlock()
		return nil, errRetired
	}
	if conn := c.conn; conn != nil && !conn.isBroken() {
		c.mu.Unlock()
		return conn, nil
	}
	if c.attempt == nil && c.failed != nil && time.Now().Before(c.rest) {
		err := c.failed
		c.mu.Unlock()
		return nil, err // who asks may have somebody else to ask
	}
	if c.attempt == nil {
		c.attempt = &attempt{done: make(chan struct{})}
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	a := c.attempt
	c.mu.Unlock()
	select {
	case <-a.done:
		return a.conn, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("connect to %s: %w", c.addr, context.Cause(ctx))
	case <-c.gone:
		return nil, ErrClosed
	}
}

// ask sends one request and waits for its answer's body, which is in room if it fits.
func (c *Client) ask(ctx context.Context, encode func(v versions) ([]byte, int16, error), room []byte) ([]byte, int16, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askTimeout)
		defer cancel()
	}
	conn, err := c.connection(ctx)
	if err != nil {
		return nil, 0, err
	}
	frame, version, err := encode(conn.versions)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", c.addr, err)
	}
	body, err := conn.ask(ctx, frame, room)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", c.addr, err)
	}
	return body, version, nil
}

// run is the client's goroutine: it connects when somebody wants it and then writes.
func (c *Client) run(ctx context.Context) {
	defer close(c.gone)
	wait := time.Duration(0)
	idle := time.NewTimer(retireAfter)
	defer idle.Stop()
	for {
		idle.Reset(retireAfter)
		select {
		case <-c.wake:
		case <-idle.C:
			if c.retire() {
				return
			}
			continue
		case <-ctx.Done():
			return
		}
		conn, err := c.connect(ctx)
		if err != nil {
			wait = min(max(2*wait, backoffMin), backoffMax)
			c.pool.failures.Add(1)
			c.pool.cfg.Log.Debug("no connection", zap.String("peer", c.addr), zap.Error(err))
			c.settle(nil, fmt.Errorf("connect to %s: %w", c.addr, err), wait)
			continue
		}
		wait = 0
		c.settle(conn, nil, 0)
		err = conn.run(ctx)
		if ctx.Err() == nil {
			c.pool.cfg.Log.Debug("connection to a peer ended", zap.String("peer", c.addr), zap.Error(err))
			if lost := c.pool.cfg.Lost; lost != nil {
				lost(c.addr)
			}
		}
	}
}

// settle tells those who wait for a connection how it went.
func (c *Client) settle(conn *connection, err error, rest time.Duration) {
	c.mu.Lock()
	a := c.attempt
	c.conn, c.attempt, c.failed, c.rest = conn, nil, err, time.Now().Add(rest)
	c.mu.Unlock()
	if a != nil {
		a.conn, a.err = conn, err
		close(a.done)
	}
}

// retire ends an unused client, unless somebody has come meanwhile.
func (c *Client) retire() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retired = c.attempt == nil
	return c.retired
}

// connect dials and learns what the other node serves.
func (c *Client) connect(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := c.pool.cfg.Dial(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	c.pool.dials.Add(1)
	conn := newConnection(nc, c.pool.cfg.MaxAnswer)
	if err := conn.handshake(ctx, c.pool.cfg.ClientID); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return conn, nil
}

// versions is what the other node serves, by key.
type versions map[int16]versionRange

type versionRange struct{ lowest, highest int16 }

// settleOn chooses the version for a request: the one it wants, or the highest below that the other node serves.
func (v versions) settleOn(r kmsg.Request) (int16, error) {
	served, ok := v[r.Key()]
	want := r.GetVersion()
	switch {
	case !ok:
		return 0, fmt.Errorf("%s is not served there", kmsg.NameForKey(r.Key()))
	case want < served.lowest:
		return 0, fmt.Errorf("%s version %d is no longer served there", kmsg.NameForKey(r.Key()), want)
	}
	return min(want, served.highest), nil
}

// dialer is the shape of net.Dialer.DialContext.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)
