package controller

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// stillAway lies between two lines about a peer that stays away.
const stillAway = time.Minute

// outages makes one story of each peer that cannot be reached: raft tells of every call that fails, several a second for
// as long as the peer is away.
//
//	call failed ──▶ "is lost" ──calls fail──▶ "is still away", one a minute with their number ──call answered──▶ "is back"
type outages struct {
	mu    sync.Mutex
	peers map[string]*outage
}

// outage is the time from a peer's first failed call to the first that is answered.
type outage struct {
	began, last time.Time // of the calls that failed
	said        time.Time
	calls       int // that failed
	silent      int // since a line was written
	heavy       bool
}

// weight tells calls that carry entries or snapshots from heartbeats and votes: a peer that answers heartbeats but is too
// slow for entries is not back.
type weight bool

const (
	light weight = false
	heavy weight = true
)

// failed counts a call. say tells whether to write a line; o is the outage so far, with silent as it was before the line.
func (s *outages) failed(peer string, w weight, now time.Time) (o outage, say bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[peer]
	if p == nil {
		p = &outage{began: now}
		s.peers[peer] = p
	}
	p.calls++
	p.silent++
	p.last, p.heavy = now, p.heavy || w == heavy
	o = *p
	if say = p.calls == 1 || now.Sub(p.said) >= stillAway; say {
		p.said, p.silent = now, 0
	}
	return o, say
}

// answered ends the peer's outage, if there is one and this call is as heavy as those that failed.
func (s *outages) answered(peer string, w weight) (o outage, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[peer]
	if p == nil || p.heavy && w == light {
		return outage{}, false
	}
	delete(s.peers, peer)
	return *p, true
}

// calls are raft's messages about a call that failed, and the word before its peer.
var calls = map[string]struct {
	peer   string
	weight weight
}{
	"failed to heartbeat to":                  {"peer", light},
	"failed to make requestVote RPC":          {"target", light},
	"failed to appendEntries to":              {"peer", heavy},
	"failed to pipeline appendEntries":        {"peer", heavy},
	"failed to start pipeline replication to": {"peer", heavy},
	"failed to install snapshot":              {"peer", heavy},
	"failed to send snapshot to":              {"peer", heavy}, // the same failure once more
}

// lostCall recognises a line about a call that did not come through. What the peer itself answered is not one, nor is a
// message that raft may have in another version: those are written as they come.
func lostCall(msg string, args []any) (peer string, w weight, cause error, lost bool) {
	c, known := calls[msg]
	if !known {
		return "", light, nil, false
	}
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case c.peer:
			switch p := args[i+1].(type) {
			case raft.Server:
				peer = string(p.ID)
			case raft.ServerAddress: // the id, too: stream.address
				peer = string(p)
			case raft.ServerID:
				peer = string(p)
			case string:
				peer = p
			}
		case "error":
			cause, _ = args[i+1].(error)
		}
	}
	return peer, c.weight, cause, peer != "" && broken(cause)
}

// unreachable is an error of a dial.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// broken reports whether an error is of the connection, and not the peer's answer.
func broken(err error) bool {
	if c, ok := err.(interface{ Cause() error }); ok { // of raft's codec
		err = c.Cause()
	}
	for _, known := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, raft.ErrPipelineShutdown, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	var dial unreachable
	var network net.Error
	return errors.As(err, &dial) || errors.As(err, &network)
}
