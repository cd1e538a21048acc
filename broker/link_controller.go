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
//
// A controller that is stopped or cut off answers nothing, and its connections do not end. Whoever waits for it gives up as
// soon as this node knows of another one: by raft's word if it takes part in it, else by the first answer of that one.

// controllers is what this node knows of where controllers are.
type controllers struct {
	configured []string // addresses, from the configuration

	mu      sync.Mutex
	last    string                     // where the active one answered; empty: nowhere yet
	heard   map[metadata.NodeID]string // addresses at which controllers said who they are
	moves   uint64                     // how often another one was heard of
	waiting map[*question]struct{}
}

func newControllers() *controllers {
	return &controllers{heard: map[metadata.NodeID]string{}, waiting: map[*question]struct{}{}}
}

// question is one that a controller has not answered yet.
type question struct {
	addr     string
	patience time.Duration // that it has once another controller is known
	moves    uint64        // when it was asked
	end      context.CancelCauseFunc
	late     *time.Timer // ends it; nil: no other controller is known
}

// errMoved ends questions to a controller that has a successor.
var errMoved = fmt.Errorf("%w: there is another one", kerr.NotController)

// ask begins a question, which answered ends.
func (c *controllers) ask(ctx context.Context, addr string, patience time.Duration) (context.Context, *question) {
	ctx, end := context.WithCancelCause(ctx)
	q := &question{addr: addr, patience: patience, end: end}
	c.mu.Lock()
	q.moves = c.moves
	c.waiting[q] = struct{}{}
	c.mu.Unlock()
	return ctx, q
}

// answered ends a question. If the active controller has answered it is remembered; true: it is another one than before. An
// answer to what was asked before the last move says nothing.
func (c *controllers) answered(q *question, active bool) (moved bool) {
	c.mu.Lock()
	delete(c.waiting, q)
	switch {
	case active && q.moves == c.moves:
		moved = c.last != q.addr
		c.last = q.addr
	case !active && c.last == q.addr:
		c.last = ""
	}
	late := q.late
	c.mu.Unlock()
	if late != nil {
		late.Stop()
	}
	q.end(nil)
	return moved
}

// moved says that the active controller is at an address, or in this process if that is empty: what others were asked is
// given up.
func (c *controllers) moved(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = addr
	c.moves++
	for q := range c.waiting {
		if q.addr != addr && q.late == nil {
			q.late = time.AfterFunc(q.patience, func() { q.end(errMoved) })
		}
	}
}

// ledBy is told by raft who leads.
func (b *Broker) ledBy(id metadata.NodeID) {
	addr := ""
	if id != b.cfg.NodeID {
		if addr = b.controllerAddr(id); addr == "" {
			return
		}
	}
	b.controllers.moved(addr)
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

// activeAddrs lists where the active controller may be, the likeliest first. Whom raft takes for the leader is the only one,
// though it may take a moment until it decides: the others would say no, or nothing, if they are stopped.
func (b *Broker) activeAddrs() []string {
	if b.controller != nil {
		switch id := b.controller.Leader(); {
		case id == b.cfg.NodeID:
			return nil
		case id >= 0:
			if addr := b.controllerAddr(id); addr != "" {
				return []string{addr}
			}
		}
	}
	return b.controllerAddrs()
}

// controllerAddrs lists where controllers may be, the likeliest to be active first.
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

// eachController tries ask with every address until it has its answer; done says so. One that does not answer is given up
// when there is another one: with patience, if it is better to hear what it did than to ask again.
func (b *Broker) eachController(ctx context.Context, patience time.Duration, ask func(ctx context.Context, addr string) (done bool, err error)) error {
	failure := errNoController
	for _, addr := range b.activeAddrs() {
		asking, q := b.controllers.ask(ctx, addr, patience)
		done, err := ask(asking, addr)
		if b.controllers.answered(q, done) && b.controller == nil {
			b.controllers.moved(addr)
		}
		if done {
			return err
		}
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
	err := b.eachController(ctx, 0, func(ctx context.Context, addr string) (bool, error) {
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
	case *kmsg.AssignReplicasToDirsResponse:
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
	b.controllers = newControllers()
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
