package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// Changes of metadata are decided by the active controller, and any broker takes them:
//
//	client ──▶ broker: active here? ──yes──▶ handler ──▶ decider
//	              │ no
//	              ▼
//	           Envelope { request with its header, principal, client's address } ──▶ active controller: handler
//	              │                                                                         │
//	              ▼                                                                         │
//	           image has reached the raft index of the answer ◀── answer, raft index ◀──────┘
//	              │
//	client ◀──────┘
//
// A controller that steps down meanwhile makes the broker ask again, until the request's own timeout is over: then the
// client is told REQUEST_TIMED_OUT. NOT_CONTROLLER never reaches it.
//
// So does one that has a successor and does not answer for another sixth of a session: it is stopped or cut off. One that lives
// answers within that time, for what it committed as well, and a request is not repeated for which there is an answer. What
// the silent one did, and its answer was lost, its successor sees: it decides only when it has applied all that was committed
// before, and nothing of its predecessor can be after. A repeated request then finds itself done, TOPIC_ALREADY_EXISTS at worst, as it
// does after a connection that broke (and as with Kafka's brokers, which repeat it as well).

// tagIndex is our own tag in the answer to an Envelope: the raft index at which the answer holds, eight bytes.
const tagIndex = 20000

// origin is who sent a request that came in an envelope.
type origin struct {
	principal kmsg.DefaultPrincipalData
	host      string
}

// internalPrincipal is the type of the principal that a broker has on its own behalf.
const internalPrincipal = "Broker"

// elsewhere notes that a decision was refused because this node is not the active controller (any more).
type elsewhere struct{ atomic.Bool }

type elsewhereKey struct{}

// noteElsewhere is for whoever runs decisions.
func noteElsewhere(ctx context.Context, err error) {
	if e, ok := ctx.Value(elsewhereKey{}).(*elsewhere); ok && errors.Is(err, kerr.NotController) {
		e.Store(true)
	}
}

// decidedHere runs a handler; false: its answer is that of a node that does not decide.
func decidedHere(ctx context.Context, h handler, r *request) (kmsg.Response, bool, error) {
	e := new(elsewhere)
	resp, err := h(context.WithValue(ctx, elsewhereKey{}, e), r)
	return resp, !e.Load(), err
}

// forwarded makes a handler that decides into one that any broker can serve.
func (b *Broker) forwarded(h handler) handler {
	return func(ctx context.Context, r *request) (kmsg.Response, error) {
		if b.isActive() {
			if resp, here, err := decidedHere(ctx, h, r); here || b.cfg.IsLone() {
				return resp, err
			}
		}
		bounded, cancel := adminContext(ctx, requestTimeout(r.msg))
		defer cancel()
		for {
			if resp, err := b.forward(bounded, r); err == nil {
				return resp, nil
			}
			if !sleep(bounded, retryPause) {
				break
			}
			if b.isActive() {
				if resp, here, err := decidedHere(bounded, h, r); here {
					return resp, err
				}
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return h(bounded, r) // too late: every part of its answer is REQUEST_TIMED_OUT
	}
}

// requestTimeout is how long the client waits, in milliseconds.
func requestTimeout(q kmsg.Request) int32 {
	if t, ok := q.(kmsg.TimeoutRequest); ok {
		return t.Timeout()
	}
	return int32(forwardTimeout / time.Millisecond)
}

// forwardTimeout is for requests that do not say.
const forwardTimeout = 30 * time.Second

// forward sends a request to the active controller and waits until this broker's image shows what the answer says (B4).
func (b *Broker) forward(ctx context.Context, r *request) (kmsg.Response, error) {
	e := kmsg.NewPtrEnvelopeRequest()
	f := kmsg.NewRequestFormatter()
	if !r.header.ClientIDNull {
		f = kmsg.NewRequestFormatter(kmsg.FormatterClientID(r.clientID()))
	}
	e.RequestData = f.AppendRequest(nil, r.msg, r.header.CorrelationID)[4:]
	from := r.origin()
	e.RequestPrincipal = from.principal.AppendTo(nil)
	e.ClientHostAddress = []byte(from.host)
	var answer *kmsg.EnvelopeResponse
	err := b.eachController(ctx, b.cfg.SessionTimeout/6, func(ctx context.Context, addr string) (bool, error) {
		got, err := b.peers.Forward(ctx, addr, e)
		if err != nil {
			return false, err
		}
		answer = got.(*kmsg.EnvelopeResponse)
		return answer.ErrorCode != kerr.NotController.Code, nil
	})
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	if err != nil {
		return nil, err
	}
	resp := r.msg.ResponseKind()
	if err := readEnveloped(resp, answer.ResponseData); err != nil {
		return nil, err
	}
	index := uint64(0)
	answer.UnknownTags.Each(func(tag uint32, value []byte) {
		if tag == tagIndex && len(value) == 8 {
			index = binary.BigEndian.Uint64(value)
		}
	})
	return resp, b.awaitImage(ctx, index)
}

// readEnveloped reads an answer behind its header.
func readEnveloped(resp kmsg.Response, data []byte) error {
	in := kbin.Reader{Src: data}
	in.Int32() // the correlation id
	if resp.IsFlexible() {
		if tags := in.Uvarint(); tags != 0 {
			return errors.New("an answer from the controller with tags in its header")
		}
	}
	if !in.Ok() {
		return errors.New("an answer from the controller without a header")
	}
	return resp.ReadFrom(in.Src)
}

// envelope (key 58): a request that another broker took for the active controller.
func (b *Broker) envelope(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.EnvelopeRequest)
	resp := q.ResponseKind().(*kmsg.EnvelopeResponse)
	if !b.isActive() {
		resp.ErrorCode = kerr.NotController.Code
		return resp, nil
	}
	inner, a, err := b.open(q)
	if err != nil {
		return nil, fmt.Errorf("%w: Envelope: %w", errClose, err)
	}
	answer, here, err := decidedHere(ctx, a.decide, inner)
	switch {
	case err != nil:
		return nil, err
	case !here:
		resp.ErrorCode = kerr.NotController.Code
		return resp, nil
	}
	answer.SetVersion(inner.header.Version)
	resp.ResponseData = protocol.AppendResponse(nil, inner.header, answer)[4:]
	resp.UnknownTags.Set(tagIndex, binary.BigEndian.AppendUint64(nil, b.controller.Image().Index()))
	return resp, nil
}

// open takes a request out of its envelope. Only what brokers forward is accepted (bad input 116).
func (b *Broker) open(q *kmsg.EnvelopeRequest) (*request, *api, error) {
	r := &request{b: b, header: new(protocol.Header), arrived: time.Now()}
	body, err := protocol.ParseHeader(q.RequestData, r.header)
	if err != nil {
		return nil, nil, err
	}
	a := b.handlers[r.header.Key]
	if a == nil || a.decide == nil {
		return nil, nil, fmt.Errorf("api key %d is not forwarded", r.header.Key)
	}
	if r.msg, err = protocol.Decode(r.header, body); err != nil {
		return nil, nil, err
	}
	from := &origin{host: string(q.ClientHostAddress)}
	if err := from.principal.ReadFrom(q.RequestPrincipal); err != nil {
		return nil, nil, fmt.Errorf("principal: %w", err)
	}
	r.from = from
	if t := b.quotas.Load(); t != nil && from.principal.Type != internalPrincipal {
		if limits := t.resolve(from.principal.Name, r.clientID()); limits.some {
			r.quota = limits
		}
	}
	return r, a, nil
}

// origin is who sent the request.
func (r *request) origin() *origin {
	if r.from != nil {
		return r.from
	}
	return &origin{principal: kmsg.DefaultPrincipalData{Type: "User", Name: anonymous}, host: r.s.remoteHost()}
}

// isInternal reports whether a broker sent the request on its own behalf.
func (r *request) isInternal() bool {
	return r.from != nil && r.from.principal.Type == internalPrincipal
}

// byItself makes a request of this broker's own.
func (b *Broker) byItself(q kmsg.Request) *request {
	return &request{
		b: b, header: &protocol.Header{Key: q.Key(), Version: q.GetVersion(), ClientIDNull: true}, msg: q, arrived: time.Now(),
		from: &origin{principal: kmsg.DefaultPrincipalData{Type: internalPrincipal, Name: fmt.Sprint(b.cfg.NodeID)}},
	}
}
