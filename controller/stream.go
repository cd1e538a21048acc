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
	"github.com/twmb/franz-go/pkg/kerr"
)

// raftMaxPool and raftTimeout are of the connections between voters; a leader that hears no
// majority for raftLease gives up, a follower that hears no leader for raftHeartbeat asks
// for votes.
const (
	raftMaxPool = 3
	raftTimeout = 2 * time.Second

	raftHeartbeat = 150 * time.Millisecond
	raftLease     = 150 * time.Millisecond // no longer than the heartbeat timeout, which raft demands
)

// stream gives raft its connections. Outgoing ones are dialed by node id; incoming ones
// are handed over by the internal listener, which has authenticated them: raft's own
// protocol does not (R17).
type stream struct {
	self metadata.NodeID
	dial func(ctx context.Context, to metadata.NodeID) (net.Conn, error)
	in   chan net.Conn
	life context.Context // until Close
	end  context.CancelFunc

	mu     sync.Mutex
	closed bool
	given  map[*carried]bool // raft has them and has not closed them
}

// carried is a connection that raft has. Its goroutines wait in it until it breaks, so a
// stop must close it.
type carried struct {
	net.Conn
	s *stream
}

func (c *carried) Close() error {
	c.s.mu.Lock()
	delete(c.s.given, c)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// carry gives raft a connection; nil after Close.
func (s *stream) carry(conn net.Conn) *carried {
	c := &carried{conn, s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.given[c] = true
	return c
}

func newStream(self metadata.NodeID, dial func(context.Context, metadata.NodeID) (net.Conn, error)) *stream {
	life, end := context.WithCancel(context.Background())
	return &stream{self: self, dial: dial, in: make(chan net.Conn), life: life, end: end, given: map[*carried]bool{}}
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
	case <-s.life.Done():
		return nil, net.ErrClosed
	}
}

// Close ends Accept, every dial and every connection.
func (s *stream) Close() error {
	s.mu.Lock()
	given := s.given
	s.given = map[*carried]bool{}
	if !s.closed {
		s.closed = true
		s.end()
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
	ctx, cancel := context.WithTimeout(s.life, timeout)
	defer cancel()
	conn, err := s.dial(ctx, metadata.NodeID(id))
	if err != nil {
		if answer := (*kerr.Error)(nil); errors.As(err, &answer) {
			return nil, err // it is there, and refuses
		}
		return nil, unreachable{err}
	}
	if c := s.carry(conn); c != nil {
		return c, nil
	}
	return nil, errors.Join(net.ErrClosed, conn.Close())
}

// handOver gives raft a connection; it belongs to raft from then on, unless it comes back
// with an error.
func (s *stream) handOver(ctx context.Context, conn net.Conn) error {
	c := s.carry(conn)
	if c == nil {
		return net.ErrClosed
	}
	select {
	case s.in <- c:
		return nil
	case <-s.life.Done():
		return net.ErrClosed
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.given, c)
		s.mu.Unlock()
		return ctx.Err()
	}
}
