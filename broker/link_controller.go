package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/protocol"
)

// The active controller is in this process or in another one, and may move at any time:
//
//	registration, heartbeat, ISR changes,    ┌── active here? ──▶ the handler of the request itself
//	producer ids, the metadata feed      ──▶ ┤
//	                                         └── else over broker/peer: where it was last, whom raft takes for the
//	                                             leader, then every other controller there may be
//
// Both ways a request is the message that goes over the wire and an answer the one that comes back, so that what holds
// for a cluster is what runs on a lone node.

// controllers is what this node knows of where controllers are.
type controllers struct {
	configured []string // addresses, from the configuration

	mu    sync.Mutex
	last  string                     // where the active one answered; empty: nowhere yet
	heard map[metadata.NodeID]string // addresses at which controllers said who they are
}

// found remembers where the active controller is.
func (c *controllers) found(addr string) {
	c.mu.Lock()
	c.last = addr
	c.mu.Unlock()
}

// lost forgets it.
func (c *controllers) lost(addr string) {
	c.mu.Lock()
	if c.last == addr {
		c.last = ""
	}
	c.mu.Unlock()
}

// is remembers that a controller answers at an address.
func (c *controllers) is(id metadata.NodeID, addr string) {
	c.mu.Lock()
	c.heard[id] = addr
	c.mu.Unlock()
}

// latest is where the active controller answered last; empty: nowhere yet.
func (c *controllers) latest() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *controllers) where(id metadata.NodeID) (addr string, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr, known = c.heard[id]
	return addr, known
}

// isActive reports whether this process decides.
func (b *Broker) isActive() bool { return b.controller != nil && b.controller.Active() }

// controllerAddr is where a controller's listener is reached; empty: unknown.
func (b *Broker) controllerAddr(id metadata.NodeID) string {
	for _, v := range b.cfg.Voters {
		if v.ID == id {
			return v.Addr
		}
	}
	if addr, known := b.controllers.where(id); known {
		return addr
	}
	if broker := b.image().Broker(id); broker != nil {
		for _, name := range b.cfg.controllerNames() {
			if e := broker.Endpoint(name); e != nil {
				return endpointAddr(e)
			}
		}
	}
	return ""
}

func endpointAddr(e *metadata.Endpoint) string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// controllerAddrs lists where the active controller may be, the likeliest first.
func (b *Broker) controllerAddrs() []string {
	var out []string
	add := func(addr string) {
		if addr != "" && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if b.controller != nil {
		if id := b.controller.Leader(); id >= 0 && id != b.cfg.NodeID {
			add(b.controllerAddr(id))
		}
	}
	add(b.controllers.latest())
	for _, addr := range b.controllers.configured {
		add(addr)
	}
	for _, v := range b.image().Voters() {
		if v.ID != b.cfg.NodeID {
			add(b.controllerAddr(v.ID))
		}
	}
	return out
}

// errNoController says that nobody answered as the active controller.
var errNoController = fmt.Errorf("%w: no active controller answers", kerr.NotController)

// eachController tries ask with every address until it has its answer; done says so.
func (b *Broker) eachController(ctx context.Context, ask func(addr string) (done bool, err error)) error {
	failure := errNoController
	for _, addr := range b.controllerAddrs() {
		done, err := ask(addr)
		if done {
			b.controllers.found(addr)
			return err
		}
		b.controllers.lost(addr)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			failure = fmt.Errorf("%w: %w", errNoController, err)
		}
	}
	return failure
}

// toController asks the active controller, wherever it is, once. An error says that no answer of it came: the request
// may have been done. The answer may hold any error code but NOT_CONTROLLER.
func (b *Broker) toController(ctx context.Context, q kmsg.Request) (kmsg.Response, error) {
	if b.isActive() {
		answer, err := b.handlers[q.Key()].serve(ctx, &request{b: b, header: &protocol.Header{Key: q.Key(), Version: q.GetVersion()}, msg: q})
		if err != nil || answerCode(answer) != kerr.NotController.Code {
			return answer, err
		}
	}
	var answer kmsg.Response
	err := b.eachController(ctx, func(addr string) (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, b.answerWait(q))
		defer cancel()
		got, err := b.peers.Ask(ctx, addr, peer.Control, q)
		if err != nil {
			return false, err
		}
		answer = got
		return answerCode(got) != kerr.NotController.Code, nil
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// answerWait is how long one controller may take to answer. A heartbeat must find the successor of one that is stopped or
// cut off while the lease of the heartbeat before it lasts, which is 0.8 of a session. It ends the connection then, and with
// it what else waits there.
func (b *Broker) answerWait(q kmsg.Request) time.Duration {
	if _, isHeartbeat := q.(*kmsg.BrokerHeartbeatRequest); isHeartbeat {
		return b.cfg.SessionTimeout / 3
	}
	return b.cfg.SessionTimeout
}

// answerCode is the error code of a whole answer of the controller.
func answerCode(r kmsg.Response) int16 {
	switch r := r.(type) {
	case *kmsg.BrokerRegistrationResponse:
		return r.ErrorCode
	case *kmsg.BrokerHeartbeatResponse:
		return r.ErrorCode
	case *kmsg.AlterPartitionResponse:
		return r.ErrorCode
	case *kmsg.AllocateProducerIDsResponse:
		return r.ErrorCode
	case *kmsg.EnvelopeResponse:
		return r.ErrorCode
	}
	return 0
}

// refusedBy is the error in an answer, nil if there is none.
func refusedBy(r kmsg.Response) error { return kerr.ErrorForCode(answerCode(r)) }

// openPeers makes the connections to other nodes; none is dialed before somebody asks.
func (b *Broker) openPeers() error {
	b.controllers = &controllers{heard: map[metadata.NodeID]string{}}
	self := ""
	for _, v := range b.cfg.Voters {
		if v.ID == b.cfg.NodeID {
			self = v.Addr
		}
	}
	for _, addr := range b.cfg.controllers() {
		if addr != self && !b.cfg.IsLone() {
			b.controllers.configured = append(b.controllers.configured, addr)
		}
	}
	b.peers = peer.NewPool(peer.Config{
		Dial: b.cfg.Dial, ClientID: fmt.Sprintf("cordwood-%d", b.cfg.NodeID), Log: b.log.Named("peers"),
		Lost: b.lostPeer,
	})
	return nil
}

// isRetriable reports whether asking the controller again may help.
func isRetriable(err error) bool {
	return errors.Is(err, kerr.NotController) || errors.Is(err, context.DeadlineExceeded) || !isRefusal(err)
}

func isRefusal(err error) bool {
	var k *kerr.Error
	return errors.As(err, &k)
}
