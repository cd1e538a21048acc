package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/protocol"
)

// Purpose keeps apart what must not wait for each other.
type Purpose struct {
	Name string
	N    int // of several connections for one purpose
}

// The purposes there are. Every fetcher has one of its own, see Fetching.
var (
	Control    = Purpose{Name: "control"} // registration, heartbeats, AlterPartition: never parks
	Feed       = Purpose{Name: "feed"}
	Forwarding = Purpose{Name: "forward"} // taken in turn by Pool.Forward
)

// Fetching is the purpose of one fetcher of a node; n is its number there.
func Fetching(n int) Purpose { return Purpose{Name: "fetch", N: n} }

// Streaming is the purpose of one streamer of a node; n is its number there.
func Streaming(n int) Purpose { return Purpose{Name: "stream", N: n} }

// forwarders is how many requests may be forwarded to one node at a time.
const forwarders = 4

// Config of a pool.
type Config struct {
	Dial     dialer // default: net.Dialer
	ClientID string
	// MaxAnswer bounds an answer's bytes; default 128 MiB, for a batch may be as large as a request.
	MaxAnswer int
	Log       *zap.Logger
	// Lost, if set, is told when a connection that worked has ended. It must not wait.
	Lost func(addr string)
}

// Pool is the connections to all other nodes.
type Pool struct {
	cfg             Config
	ctx             context.Context
	cancel          context.CancelFunc
	dials, failures atomic.Int64
	running         sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	clients map[clientKey]*Client
	turns   map[string]chan int // free forwarding connections, by address
}

type clientKey struct {
	addr    string
	purpose Purpose
}

// NewPool makes an empty pool. It works at once; Run ends it.
func NewPool(cfg Config) *Pool {
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.MaxAnswer == 0 {
		cfg.MaxAnswer = 128 << 20
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	p := &Pool{cfg: cfg, clients: map[clientKey]*Client{}, turns: map[string]chan int{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Run returns when ctx has ended and every goroutine of the pool is gone.
func (p *Pool) Run(ctx context.Context) error {
	<-ctx.Done()
	p.Close()
	return nil
}

// Close ends every connection and waits for their goroutines.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.running.Wait()
}

// Stats is what the pool has done.
type Stats struct{ Clients, Dials, Failures int64 }

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Clients: int64(len(p.clients)), Dials: p.dials.Load(), Failures: p.failures.Load()}
}

// client finds or makes the client of a node and purpose.
func (p *Pool) client(key clientKey) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	c := p.clients[key]
	if c == nil {
		c = newClient(p, key.addr)
		p.clients[key] = c
		p.running.Go(func() {
			c.run(p.ctx)
			p.forget(key, c)
		})
	}
	return c, nil
}

func (p *Pool) forget(key clientKey, c *Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clients[key] == c {
		delete(p.clients, key)
	}
}

func (p *Pool) ask(ctx context.Context, addr string, on Purpose, encode func(versions) ([]byte, int16, error), room []byte) ([]byte, int16, error) {
	for {
		c, err := p.client(clientKey{addr, on})
		if err != nil {
			return nil, 0, err
		}
		body, version, err := c.ask(ctx, encode, room)
		if !errors.Is(err, errRetired) {
			return body, version, err
		}
		select {
		case <-c.gone:
			p.forget(clientKey{addr, on}, c)
		case <-ctx.Done():
			return nil, 0, context.Cause(ctx)
		}
	}
}

// Ask sends a request to the node at addr and decodes the answer. The request's version is the highest the caller can
// speak; the answer says which one was spoken. Byte fields of the answer are the caller's.
func (p *Pool) Ask(ctx context.Context, addr string, on Purpose, r kmsg.Request) (kmsg.Response, error) {
	return p.AskInto(ctx, addr, on, r, new([]byte))
}

// AskInto is Ask with memory for the answer, whose byte fields lie in it: they are valid until it is used again. It is
// replaced by more when the answer is larger, and by none after an error, for the connection may still write into it.
func (p *Pool) AskInto(ctx context.Context, addr string, on Purpose, r kmsg.Request, memory *[]byte) (kmsg.Response, error) {
	room := *memory
	*memory = nil
	body, version, err := p.ask(ctx, addr, on, encodeRequest(p.cfg.ClientID, r), room)
	if err != nil {
		return nil, err
	}
	*memory = body
	answer := r.ResponseKind()
	if err := decode(answer, version, body); err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return answer, nil
}

// AskOwn sends one of our own messages and returns the body of its answer.
func (p *Pool) AskOwn(ctx context.Context, addr string, on Purpose, key protocol.Key, body []byte) ([]byte, error) {
	answer, _, err := p.ask(ctx, addr, on, encodeOwn(key, body), nil)
	return answer, err
}

// Forward sends a request that may be parked at the other end: it has a connection for itself until it is answered.
func (p *Pool) Forward(ctx context.Context, addr string, r kmsg.Request) (kmsg.Response, error) {
	turn := p.turn(addr)
	select {
	case n := <-turn:
		defer func() { turn <- n }()
		return p.Ask(ctx, addr, Purpose{Name: Forwarding.Name, N: n}, r)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// turn is the free forwarding connections to a node.
func (p *Pool) turn(addr string) chan int {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.turns[addr]
	if c == nil {
		c = make(chan int, forwarders)
		for n := range forwarders {
			c <- n
		}
		p.turns[addr] = c
	}
	return c
}

// Stream dials a connection, sends one of our own messages on it and, after the answer, hands the connection over.
func (p *Pool) Stream(ctx context.Context, addr string, key protocol.Key, body []byte) (net.Conn, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := p.cfg.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	// No handshake: a node that does not know the key closes the connection. The answer is read without a buffer, for
	// what follows it belongs to the stream.
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	answer, err := exchange(nc, protocol.AppendOwnRequest(nil, key, 1, body), min(p.cfg.MaxAnswer, streamAnswerMax))
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close()
		return nil, nil, fmt.Errorf("%s: %w", addr, err)
	}
	return nc, answer, nil
}

// streamAnswerMax bounds what comes before a stream.
const streamAnswerMax = 64 << 10

func exchange(nc net.Conn, frame []byte, most int) ([]byte, error) {
	if _, err := nc.Write(frame); err != nil {
		return nil, err
	}
	id, body, err := readAnswer(nc, most)
	if err == nil && id != 1 {
		err = errOutOfTurn
	}
	return body, err
}
