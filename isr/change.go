package isr

import (
	"fmt"
	"slices"

	"cordwood/metadata"
)

// State says whether a change of the ISR is outstanding, and which way it goes.
type State uint8

const (
	Committed State = iota // none
	Expanding              // the controller was asked to add members
	Shrinking              // the controller was asked to remove members
)

func (s State) String() string {
	switch s {
	case Committed:
		return "Committed"
	case Expanding:
		return "Expanding"
	case Shrinking:
		return "Shrinking"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Member is one member of a proposed ISR.
type Member struct {
	ID metadata.NodeID
	// BrokerEpoch is the registration whose fetches the leader accepted; -1 when the member has not fetched in
	// this leader epoch, or is the leader itself: the sender fills in the registered epoch.
	BrokerEpoch int64
}

// Proposal is an AlterPartition request (R6) in the tracker's words.
type Proposal struct {
	LeaderEpoch, PartitionEpoch int32
	ISR                         []Member
}

func (p *Proposal) same(q *Proposal) bool {
	if p.LeaderEpoch != q.LeaderEpoch || p.PartitionEpoch != q.PartitionEpoch || len(p.ISR) != len(q.ISR) {
		return false
	}
	for i := range p.ISR {
		if p.ISR[i] != q.ISR[i] {
			return false
		}
	}
	return true
}

func (p *Proposal) contains(id metadata.NodeID) bool {
	for i := range p.ISR {
		if p.ISR[i].ID == id {
			return true
		}
	}
	return false
}

// expand proposes the ISR plus one follower. The effective ISR holds the follower from now on, before the
// controller has answered: it may already be a candidate for leadership when the answer arrives (Z11).
func (t *Tracker) expand(r *replica) *Proposal {
	p := t.proposal(func(q *replica) bool { return q.member || q == r })
	t.state = Expanding
	if mutant != 11 {
		r.member = true
	}
	return p
}

// shrink proposes the ISR without the members that are not caught up; nil when all are. The leaving members
// stay in the effective ISR until the change is committed.
func (t *Tracker) shrink(leaving func(*replica) bool) *Proposal {
	any := false
	for i := range t.followers {
		r := &t.followers[i]
		any = any || r.member && leaving(r)
	}
	if !any {
		return nil
	}
	t.state = Shrinking
	return t.proposal(func(r *replica) bool { return r.member && !leaving(r) })
}

// proposal makes a proposal of the leader and the followers that are to stay, in the order of assignment.
func (t *Tracker) proposal(in func(*replica) bool) *Proposal {
	p := &Proposal{LeaderEpoch: t.p.LeaderEpoch, PartitionEpoch: t.p.PartitionEpoch}
	p.ISR = make([]Member, 0, len(t.p.Replicas))
	for _, id := range t.p.Replicas {
		if id == t.self {
			p.ISR = append(p.ISR, Member{ID: id, BrokerEpoch: unknown})
		} else if r := t.follower(id); in(r) {
			p.ISR = append(p.ISR, Member{ID: id, BrokerEpoch: r.brokerEpoch})
		}
	}
	t.pending = p
	return p
}

// settle makes the committed ISR the effective one and forgets the proposal.
func (t *Tracker) settle() {
	t.state, t.pending = Committed, nil
	for i := range t.followers {
		t.followers[i].member = slices.Contains(t.p.ISR, t.followers[i].id)
	}
}
