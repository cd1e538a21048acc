package decide

import (
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// PartitionRef names a partition by its topic's name.
type PartitionRef struct {
	Topic string
	Index int32
}

// ElectLeadersRequest asks for preferred leaders, or, with Unclean, for any leader at all: the operator's word that
// records may be lost (R12).
type ElectLeadersRequest struct {
	Partitions []PartitionRef
	All        bool // of every partition; those that need none are not answered
	Unclean    bool
	Rules      *Rules
}

// ElectedLeader is the answer for one partition.
type ElectedLeader struct {
	PartitionRef
	Leader metadata.NodeID // as it will be, without an error
	Err    *Refusal
}

// ElectLeadersReply answers ElectLeaders.
type ElectLeadersReply struct{ Partitions []ElectedLeader }

// ElectLeaders decides every partition for itself.
func ElectLeaders(img *metadata.Image, req ElectLeadersRequest, now time.Time) (Outcome[ElectLeadersReply], error) {
	var out Outcome[ElectLeadersReply]
	c := standing(img, req.Rules, nobody, nobody)
	asked := req.Partitions
	if req.All {
		asked = everyPartition(img)
	}
	seen := map[PartitionRef]bool{}
	for _, ref := range asked {
		if seen[ref] {
			continue // once is as good
		}
		seen[ref] = true
		answer := ElectedLeader{PartitionRef: ref, Leader: metadata.NoNode}
		var change metadata.Change
		if change, answer.Err = electOne(img, ref, req.Unclean, c); change != nil {
			out.Changes = append(out.Changes, change)
			answer.Leader = change.(metadata.PartitionChanged).Partition.Leader
		}
		if req.All && answer.Err != nil && answer.Err.Code == kerr.ElectionNotNeeded {
			continue
		}
		out.Reply.Partitions = append(out.Reply.Partitions, answer)
	}
	return out, nil
}

func everyPartition(img *metadata.Image) []PartitionRef {
	out := make([]PartitionRef, 0, img.PartitionCount())
	for t := range img.Topics() {
		for n := range t.Partitions {
			out = append(out, PartitionRef{t.Name, int32(n)})
		}
	}
	return out
}

func electOne(img *metadata.Image, ref PartitionRef, unclean bool, c candidates) (metadata.Change, *Refusal) {
	t := img.Topic(ref.Topic)
	if t == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "No such topic as %s", ref.Topic)
	}
	old := t.Partition(ref.Index)
	if old == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "No such partition as %s-%d", ref.Topic, ref.Index)
	}
	p := *old
	switch {
	case unclean && old.Leader != metadata.NoNode, !unclean && old.Leader == old.Preferred():
		return nil, refuse(kerr.ElectionNotNeeded, "%s", kerr.ElectionNotNeeded.Description)
	case unclean && !electClean(&p, c) && !electUnclean(&p, c):
		return nil, refuse(kerr.EligibleLeadersNotAvailable, "No replica of %s-%d is on a broker that is running.", ref.Topic, ref.Index)
	case !unclean && !electPreferred(&p, c):
		return nil, refuse(kerr.PreferredLeaderNotAvailable, "Broker %d is not in sync, not running, or being decommissioned.", old.Preferred())
	}
	return settle(t, ref.Index, p), nil
}

// electPreferred moves the leadership to the first replica, if it has everything and stays.
func electPreferred(p *metadata.Partition, c candidates) bool {
	first := p.Preferred()
	switch {
	case len(p.ISR) == 0: // no leader: whoever may be it is the best there is
		return electClean(p, c) && p.Leader == first
	case !slices.Contains(p.ISR, first) || !c.may(p, first) || c.leaves(first):
		return false
	}
	p.Leader = first
	return true
}

// MaxElections bounds one Rebalance: each moved leader costs its clients a round trip.
const MaxElections = 1000

// RebalanceReply says how many leaderships move, and whether more should.
type RebalanceReply struct {
	Elected int
	More    bool
}

// Rebalance gives leaderships back to preferred brokers (auto.leader.rebalance.enable): to those that lack more than so
// many percent of what they should lead (leader.imbalance.per.broker.percentage).
func Rebalance(img *metadata.Image, percent int) Outcome[RebalanceReply] {
	type balance struct{ preferred, missing int }
	brokers := map[metadata.NodeID]*balance{}
	for t := range img.Topics() {
		for _, p := range t.Partitions {
			b := brokers[p.Preferred()]
			if b == nil {
				b = &balance{}
				brokers[p.Preferred()] = b
			}
			if b.preferred++; p.Leader != p.Preferred() {
				b.missing++
			}
		}
	}
	var out Outcome[RebalanceReply]
	c := standing(img, nil, nobody, nobody)
	for t := range img.Topics() {
		for n, old := range t.Partitions {
			b := brokers[old.Preferred()]
			if old.Leader == old.Preferred() || old.Leader == metadata.NoNode || b.missing*100 <= percent*b.preferred {
				continue
			}
			p := *old
			if !electPreferred(&p, c) {
				continue
			}
			if out.Reply.Elected == MaxElections {
				out.Reply.More = true
				return out
			}
			out.Reply.Elected++
			out.Changes = append(out.Changes, settle(t, int32(n), p))
		}
	}
	return out
}
