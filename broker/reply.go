package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/listener"
	"cordwood/controller/decide"
	"cordwood/protocol"
)

// request is what a handler gets: one decoded message and where it came from.
type request struct {
	b       *Broker
	s       *session // nil: the request did not come from a client's connection
	header  *protocol.Header
	msg     kmsg.Request
	from    *origin // nil: the session's client
	arrived time.Time
	quota   *clientQuota // nil: none
}

// clientID is the name the client gave itself; never logged unescaped.
func (r *request) clientID() string { return string(r.header.ClientID) }

// handler answers one request. A nil response sends nothing; an error closes the connection.
type handler func(ctx context.Context, r *request) (kmsg.Response, error)

// api is one row of the broker's dispatch table.
type api struct {
	serve    handler
	decide   handler // what the active controller does with it; nil: it is not forwarded
	blocking bool    // may wait for the controller or a coordinator: runs on the connection's writer
}

// plainReply is the reply of every request but Produce and Fetch: its handler runs when it is at the head of the
// connection's queue.
type plainReply struct {
	s       *session
	header  protocol.Header
	api     *api
	req     kmsg.Request
	arrived time.Time
	quota   *clientQuota  // nil: none
	busy    time.Duration // spent on it here
	tooNew  bool          // ApiVersions above our range (trap 1)

	resp kmsg.Response
	err  error
}

func (r *plainReply) Blocking() bool      { return r.api.blocking }
func (r *plainReply) Park(func()) bool    { return false }
func (r *plainReply) Deadline() time.Time { return time.Time{} }
func (r *plainReply) Done()               {}

// Ready runs the handler; it is called once and always finishes.
func (r *plainReply) Ready(time.Time) bool {
	if r.tooNew {
		return true
	}
	ctx := r.s.c.Context()
	var began time.Duration
	if r.quota != nil {
		began = r.s.b.uptime()
	}
	r.resp, r.err = r.api.serve(ctx, &request{b: r.s.b, s: r.s, header: &r.header, msg: r.req, arrived: r.arrived, quota: r.quota})
	if r.quota != nil && r.resp != nil && r.err == nil {
		if !r.api.blocking { // the others wait for somebody: that is no work
			r.busy += r.s.b.uptime() - began
		}
		r.charge()
	}
	return true
}

func (r *plainReply) Write(o *listener.Out) error {
	if r.err != nil {
		return fmt.Errorf("%s: %w", protocol.Lookup(r.header.Key).Name, r.err)
	}
	buf := o.Buf()
	if r.tooNew {
		*buf = protocol.AppendApiVersionsUnsupported(*buf, r.header.CorrelationID)
		return nil
	}
	if r.resp == nil {
		return nil
	}
	*buf = protocol.AppendResponse(*buf, &r.header, r.resp)
	r.s.b.metrics.answered(r.header.Key, time.Since(r.arrived))
	return nil
}

// codeOf is the error code a client gets for err: the kerr code inside, or UNKNOWN_SERVER_ERROR.
func codeOf(err error) int16 {
	if err == nil {
		return 0
	}
	var k *kerr.Error
	if errors.As(err, &k) {
		return k.Code
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return kerr.RequestTimedOut.Code
	}
	return kerr.UnknownServerError.Code
}

// messageOf is the text that goes with codeOf, nil without an error.
func messageOf(err error) *string {
	if err == nil {
		return nil
	}
	if refused := decide.Refused(err); refused != nil {
		return &refused.Message // the code is told beside it
	}
	m := err.Error()
	var k *kerr.Error
	if errors.As(err, &k) && err == error(k) {
		m = k.Description
	}
	return &m
}
