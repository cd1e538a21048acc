package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"cordwood/metadata"

	"github.com/hashicorp/raft"
)

// raftMaxPool and raftTimeout are of the connections between voters.
const (
	raftMaxPool = 3
	raftTimeout = 10 * time.Second
)

// stream gives raft its connections. Outgoing ones are dialed by node id; incoming ones
// are handed over by the internal listener, which has authenticated them: raft's own
// protocol does not (R17).
type stream struct {
	self metadata.NodeID
	dial func(ctx context.Context, to metadata.NodeID) (net.Conn, error)
	in   chan net.Conn
	done chan struct{}

	mu     sync.Mutex
	closed bool
	given  map[*inbound]bool // handed over and not closed yet
}

// inbound is a connection that was handed over. raft reads it until it breaks, so a stop
// must close it.
type inbound struct {
	net.Conn
	s *stream
}

func (c *inbound) Close() error {
	c.s.mu.Lock()
	delete(c.s.given, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

func newStream(self metadata.NodeID, dial func(context.Context, metadata.NodeID) (net.Conn, error)) *stream {
	return &stream{self: self, dial: dial, in: make(chan net.Conn), done: make(chan struct{}), given: map[*inbound]bool{}}
}

// address is what a node is called inside raft: its id, which outlives its network address.
type address metadata.NodeID

func (a address) Network() string { return "node" }
func (a address) String() string  { return strconv.Itoa(int(a)) }

func (s *stream) Addr() net.Addr { return address(s.self) }

func (s *stream) Accept() (net.Conn, error) {
	select {
	case c := <-s.in:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and every connection that was handed over.
func (s *stream) Close() error {
	s.mu.Lock()
	given := s.given
	s.given = map[*inbound]bool{}
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	s.mu.Unlock()
	var errs []error
	for c := range given {
		errs = append(errs, c.Conn.Close())
	}
	return errors.Join(errs...)
}

func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := strconv.ParseInt(string(to), 10, 32)
	if err != nil || s.dial == nil {
		return nil, fmt.Errorf("controller: no way to node %q", to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dial(ctx, metadata.NodeID(id))
}

// handOver gives raft a connection; it belongs to raft from then on, unless it comes back
// with an error.
func (s *stream) handOver(ctx context.Context, conn net.Conn) error {
	c := &inbound{conn, s}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.given[c] = true
	s.mu.Unlock()
	select {
	case s.in <- c:
		return nil
	case <-s.done:
		return net.ErrClosed
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.given, c)
		s.mu.Unlock()
		return ctx.Err()
	}
}
