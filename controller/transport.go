package controller

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// transport is raft's network transport with four more things.
//
// It keeps what the voters answer: raft's own VerifyLeader is content with an answer to a
// heartbeat that was sent before the question, and a leader that was stopped for half a
// minute finds such answers when it wakes (Z30).
//
// It has one more way in: a node that is the only voter tells itself to lead, at once.
// Waiting for a heartbeat would be waiting for nobody.
//
// It tells the log which peers answer, so that there an outage has an end.
//
// And it keeps away who is no voter (strangers).
type transport struct {
	*raft.NetworkTransport
	rpcs  chan raft.RPC
	admit func(command any) error
	end   func() (uint64, error) // of this node's log
	log   logger

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
	log := newLogger(n.log, &n.outages)
	return &transport{rpcs: make(chan raft.RPC), admit: n.admit, end: n.store.LastIndex, log: log, contacts: map[raft.ServerID]contact{}, NetworkTransport: raft.NewNetworkTransportWithConfig(
		&raft.NetworkTransportConfig{Stream: n.stream, MaxPool: raftMaxPool, Timeout: raftTimeout, Logger: log})}
}

// SetHeartbeatHandler takes raft's shortcut for heartbeats.
func (t *transport) SetHeartbeatHandler(serve func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		if t.admits(rpc) {
			serve(rpc)
		}
	})
}

// admits answers a message that raft must not see.
func (t *transport) admits(rpc raft.RPC) bool {
	err := t.admit(rpc.Command)
	if err != nil {
		rpc.Respond(nil, err) // what follows a refused snapshot is no message: it ends the connection
	}
	return err == nil
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
	if err != nil {
		return err
	}
	w := heavy
	if len(args.Entries) == 0 && args.PrevLogEntry == 0 && args.LeaderCommitIndex == 0 { // as raft tells its heartbeats
		w = light
	}
	t.log.answered(string(id), w)
	if resp.Term != args.Term {
		return nil
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

func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	err := t.NetworkTransport.RequestVote(id, target, args, resp)
	if err == nil {
		t.log.answered(string(id), light)
	}
	return err
}

func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	err := t.NetworkTransport.RequestPreVote(id, target, args, resp)
	if err == nil {
		t.log.answered(string(id), light)
	}
	return err
}

func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
	if err == nil {
		t.log.answered(string(id), heavy)
	}
	return err
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
			if !t.admits(rpc) {
				continue
			}
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
