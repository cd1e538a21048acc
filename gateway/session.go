package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"cordwood/broker/listener"
	"cordwood/protocol"
)

// session is a client's connection: what it sends goes to one broker, over a connection of its own.
type session struct {
	g    *Gateway
	c    *listener.Conn
	to   int32 // the broker's id, or bootstrap
	up   *upstream
	stop func() bool // of the connection's context

	asked    []*answer   // of the present burst
	answered atomic.Bool // something was sent to the client
}

// open begins a session on a connection of the front for a node; with hosts the name in the TLS handshake decides.
func (f *front) Open(c *listener.Conn) listener.Session {
	s := &session{g: f.g, c: c, to: f.node}
	if f.node == bootstrap {
		s.to = nodeOfHost(f.g.config().HostPattern, c.ServerName())
	}
	return s
}

// Burst passes requests on. What the relay does not pass ends the connection; what came before it is still answered.
func (s *session) Burst(frames [][]byte) error {
	if s.up == nil {
		if err := s.connect(); err != nil {
			s.g.counts.failed[failConnect].Add(1)
			return err
		}
	}
	refused := s.forward(frames)
	for i, a := range s.asked {
		s.asked[i] = nil
		s.c.Reply(a)
	}
	s.asked = s.asked[:0]
	return refused
}

// forward sends the requests on, in one write as they came, up to one that the relay does not pass. What their answers are goes
// to s.asked.
func (s *session) forward(frames [][]byte) error {
	raw, from, to := s.c.Raw(), 0, 0 // raw[from:to] is still to be sent
	for _, frame := range frames {
		a, way, err := s.look(frame)
		if err != nil {
			return errors.Join(s.send(raw[from:to]), err)
		}
		if a != nil {
			s.asked = append(s.asked, a)
		}
		next := to + prefix + len(frame)
		if way == keep {
			if err := s.send(raw[from:to]); err != nil {
				return err
			}
			from = next
		}
		to = next
	}
	return s.send(raw[from:to])
}

func (s *session) send(requests []byte) error {
	if err := s.up.send(requests, s.c.Now()); err != nil {
		return s.lost(err)
	}
	return nil
}

// prefix is the length before a frame.
const prefix = 4

// verdict says what becomes of a request.
type verdict bool

const (
	pass verdict = true
	keep verdict = false // the gateway answers
)

// look judges one request and returns its answer; nil if nobody answers it.
func (s *session) look(frame []byte) (*answer, verdict, error) {
	var h protocol.Header
	body, err := protocol.ParseRelayedHeader(frame, &h)
	if err != nil {
		return nil, keep, err
	}
	switch h.API.Key {
	case protocol.ApiVersions:
		if h.Unsupported() { // a broker that knows this version would name brokers in ways we do not
			a := newAnswer(s, &h)
			a.own = protocol.AppendApiVersionsUnsupported(nil, h.CorrelationID)
			return a, keep, nil
		}
	case protocol.Fetch:
		if err := refuseFollower(h.Version, body); err != nil {
			return nil, keep, err
		}
	case protocol.Produce:
		acks, err := protocol.Acks(h.Version, body)
		if err != nil {
			return nil, keep, err
		}
		if acks == 0 {
			return nil, pass, nil
		}
	}
	return newAnswer(s, &h), pass, nil
}

// fetches are requests as refuseFollower reads them.
var fetches = sync.Pool{New: func() any { return new(protocol.FetchRequest) }}

// refuseFollower ends a connection on which somebody fetches as a broker does (bad input 115): behind a gateway there is
// none, and a broker that trusts the gateway's network must not take a client for one.
func refuseFollower(version int16, body []byte) error {
	q := fetches.Get().(*protocol.FetchRequest)
	defer fetches.Put(q)
	if err := q.Decode(version, body); err != nil {
		return err
	}
	if q.ReplicaID >= 0 {
		return &protocol.CloseError{Reason: protocol.ReasonListener, Key: int16(protocol.Fetch), Version: version}
	}
	return nil
}

// connect opens the connection to the broker.
func (s *session) connect() error {
	ctx, cancel := context.WithTimeout(s.c.Context(), s.g.config().ConnectTimeout)
	defer cancel()
	addrs := []string{}
	if s.to == bootstrap {
		addrs = s.g.nodes.choose()
	} else {
		addr, ok := s.g.nodes.addr(s.to)
		if !ok { // the gateway has just started, or the broker has
			s.g.prober.now(ctx)
			if addr, ok = s.g.nodes.addr(s.to); !ok {
				return fmt.Errorf("no broker %d is known (%w)", s.to, listener.ErrReset)
			}
		}
		addrs = append(addrs, addr)
	}
	var nc net.Conn
	err := errors.New("no broker is known")
	for _, addr := range addrs {
		if nc, err = s.g.dial(ctx, addr); err == nil {
			s.up = newUpstream(addr, nc)
			s.stop = context.AfterFunc(s.c.Context(), func() { _ = nc.Close() }) // wakes who waits for an answer
			s.g.counts.upstreams.Add(1)
			return nil
		}
	}
	return fmt.Errorf("no connection to a broker (%w): %w", listener.ErrReset, err)
}

// lost is what becomes of the client's connection when that to the broker ends: the same. A client that has no answer yet is
// reset, as by a broker that went down while it was connecting.
func (s *session) lost(err error) error {
	if s.c.Context().Err() == nil {
		s.g.counts.failed[failLost].Add(1)
	}
	if !s.answered.Load() {
		return fmt.Errorf("connection to broker at %s (%w): %w", s.up.addr, listener.ErrReset, err)
	}
	return fmt.Errorf("connection to broker at %s: %w", s.up.addr, err)
}

// Close ends the connection to the broker.
func (s *session) Close() {
	if s.up == nil {
		return
	}
	s.stop()
	_ = s.up.nc.Close() // the client is gone
	s.g.counts.upstreams.Add(-1)
	if s.up.buf != nil {
		s.up.r = s.up.w
		s.up.rest()
	}
}
