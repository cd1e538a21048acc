package controller

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transport is raft's network transport with two more things.
//
// It keeps what the voters answer: raft's own VerifyLeader is content with an answer to a
// heartbeat that was sent before the question, and a leader that was stopped for half a
// minute finds such answers when it wakes (Z30).
//
// And it has one more way in: a node that is the only voter tells itself to lead, at once.
// Waiting for a heartbeat would be waiting for nobody.
type transport struct {
	*raft.NetworkTransport
	rpcs chan raft.RPC
	end  func() (uint64, error) // of this node's log

	mu       sync.Mutex
	asked    uint64 // orders what is sent and what is asked
	contacts map[raft.ServerID]contact
}

// contact is what a voter last answered while this node led.
type contact struct {
	term  uint64
	asked uint64    // of the newest message answered in that term
	last  uint64    // end of its log
	at    time.Time // when it answered
	whole time.Time // it had everything that was there then
}

func newTransport(n *Node) *transport {
	return &transport{rpcs: make(chan raft.RPC), end: n.store.LastIndex, contacts: map[raft.ServerID]contact{}, NetworkTransport: raft.NewNetworkTransportWithConfig(
		&raft.NetworkTransportConfig{Stream: n.stream, MaxPool: raftMaxPool, Timeout: raftTimeout, Logger: newLogger(n.log)})}
}

func (t *transport) Consumer() <-chan raft.RPC { return t.rpcs }

// Close ends all connections, the pooled ones too.
func (t *transport) Close() error {
	t.CloseStreams()
	return t.NetworkTransport.Close()
}

// next numbers a message or a question.
func (t *transport) next() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked++
	return t.asked
}

func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	asked, sent := t.next(), time.Now()
	end, _ := t.end()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err != nil || resp.Term != args.Term {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.contacts[id]
	if args.Term > c.term || args.Term == c.term && asked > c.asked {
		c.term, c.asked, c.last, c.at = args.Term, asked, resp.LastLog, time.Now()
		if resp.LastLog >= end {
			c.whole = sent
		}
		t.contacts[id] = c
	}
	return nil
}

// contact is what a voter last answered; the zero contact if it never did.
func (t *transport) contact(id raft.ServerID) contact {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.contacts[id]
}

// led reports whether a majority answered in that term to something sent after a question.
func (t *transport) led(c raft.Configuration, self raft.ServerID, term, question uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	voters, heard := 0, 0
	for _, s := range c.Servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if known := t.contacts[s.ID]; s.ID == self || known.term == term && known.asked > question {
			heard++
		}
	}
	return heard > voters/2
}

// run passes on what other voters ask, until ctx ends.
func (t *transport) run(ctx context.Context) {
	for {
		select {
		case rpc := <-t.NetworkTransport.Consumer():
			select {
			case t.rpcs <- rpc:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// leadAlone makes this node the leader if the whole cluster is this node.
func (t *transport) leadAlone(ctx context.Context, r *raft.Raft, self raft.ServerID) {
	c := r.GetConfiguration()
	if c.Error() != nil {
		return
	}
	voters := 0
	for _, s := range c.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
		if s.ID == self && s.Suffrage != raft.Voter {
			return
		}
	}
	if voters != 1 {
		return
	}
	rpc := raft.RPC{RespChan: make(chan raft.RPCResponse, 1),
		Command: &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: []byte(self)}}}
	select {
	case t.rpcs <- rpc:
	case <-ctx.Done():
	}
}
