package controller

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"
)

// verify returns nil if this node led at some moment after the call began, so that no
// other could have committed anything before it (Z30). Calls that come together share one
// round of heartbeats.
func (n *Node) verify(ctx context.Context) error {
	if mutant == 30 {
		return nil
	}
	answer := make(chan error, 1)
	select {
	case n.checks <- answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-n.gone:
		return notController()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-n.gone:
		return notController()
	}
}

// tell answers verify, beside the decider's queue (R18), until ctx ends.
func (n *Node) tell(ctx context.Context, r *raft.Raft, t *transport) {
	for {
		var asking []chan<- error
		select {
		case a := <-n.checks:
			asking = append(asking, a)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case a := <-n.checks:
				asking = append(asking, a)
			default:
				more = false
			}
		}
		var err error
		select {
		case err = <-n.ask(func() error { return stillLeads(r, t, serverOf(n.cfg.NodeID)) }):
		case <-n.guard.fatal:
			err = n.guard.cause
		case <-ctx.Done():
			err = errOver
		}
		if err != nil {
			err = notController()
		}
		for _, a := range asking {
			a <- err
		}
	}
}

var errNotLed = errors.New("controller: leadership cannot be proven")

// stillLeads asks raft as often as raft is content with answers from before the question.
func stillLeads(r *raft.Raft, t *transport, self raft.ServerID) error {
	question, term := t.next(), r.CurrentTerm()
	for {
		if err := r.VerifyLeader().Error(); err != nil {
			return err
		}
		c := r.GetConfiguration()
		if err := c.Error(); err != nil {
			return err
		}
		if r.CurrentTerm() != term {
			return errNotLed
		}
		if t.led(c.Configuration(), self, term, question) {
			return nil
		}
	}
}
