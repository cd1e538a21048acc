package controller

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"cordwood/metadata"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// raft believes what it is told: a term in the heartbeat of a node that never was a voter deposes the leader, and a
// request to elect makes a follower run (bad input 121). So nobody speaks to raft but those that this node has reason to
// take for voters:
//
//	message ──▶ in raft's configuration, recorded, or raft's leader? ──yes──▶ raft
//	               │ no
//	               └──▶ refused; once a second the nodes that this one knows are asked whom they have recorded
//
// They are asked because a node that was away while all the others were replaced knows none of the voters that have its
// log. What answers is believed: this node dials it at an address of its operator or of its image.

const (
	// maxTermStep bounds by how much a term may exceed this node's: an election takes longer than a millisecond, and a
	// term near 2^64 would leave none for the next one.
	maxTermStep = 1 << 32
	acquaint    = time.Second // between two rounds of questions
)

// strangers is who else speaks to this node.
type strangers struct {
	met   chan raft.ServerID              // somebody unknown; holds one
	known atomic.Pointer[[]raft.ServerID] // whom others have recorded
}

// admit says why a message of another node does not reach raft; nil: it does.
func (n *Node) admit(command any) error {
	r := n.raft.Load()
	c, ok := command.(raft.WithRPCHeader)
	if r == nil || !ok {
		return errOutside
	}
	from := raft.ServerID(c.GetRPCHeader().ID)
	if !n.isVoter(r, from) {
		select {
		case n.strangers.met <- from:
		default:
		}
		return fmt.Errorf("controller: node %q is no voter", from)
	}
	if term, own := termOf(command), r.CurrentTerm(); term > own && term-own > maxTermStep {
		return fmt.Errorf("controller: node %q claims term %d, this is %d", from, term, own)
	}
	return nil
}

// isVoter is true for whom this node has reason to believe. A leader that removes itself goes on until that is committed.
func (n *Node) isVoter(r *raft.Raft, id raft.ServerID) bool {
	if id == "" {
		return false
	}
	if _, leader := r.LeaderWithID(); leader == id {
		return true
	}
	if c := r.GetConfiguration(); c.Error() == nil && inQuorum(c.Configuration(), nodeOf(id)) {
		return true
	}
	if slices.ContainsFunc(n.Hello().Voters, func(v metadata.Voter) bool { return serverOf(v.ID) == id }) {
		return true
	}
	known := n.strangers.known.Load()
	return known != nil && slices.Contains(*known, id)
}

// termOf is the term of a message, 0 if it has none.
func termOf(command any) uint64 {
	switch c := command.(type) {
	case *raft.AppendEntriesRequest:
		return c.Term
	case *raft.RequestVoteRequest:
		return c.Term
	case *raft.RequestPreVoteRequest:
		return c.Term
	case *raft.InstallSnapshotRequest:
		return c.Term
	case *raft.TimeoutNowRequest:
		return 0
	}
	return math.MaxUint64 // a message of another version of raft
}

// meet asks around, whenever somebody unknown speaks, until ctx ends.
func (n *Node) meet(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case id := <-n.strangers.met:
			n.log.Warn("raft's messages of a node that is no voter are refused", zap.String("event", "CW-0420"), zap.String("node", string(id)))
		}
		if n.cfg.Greet == nil {
			continue
		}
		mine := n.Hello()
		var known []raft.ServerID
		for _, h := range n.cfg.Greet(ctx, mine) {
			if h.Stage != Started || h.ClusterID != mine.ClusterID {
				continue
			}
			for _, v := range h.Voters {
				known = append(known, serverOf(v.ID))
			}
		}
		n.strangers.known.Store(&known)
		select {
		case <-ctx.Done():
		case <-time.After(acquaint):
		}
	}
}
