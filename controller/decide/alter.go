package decide

import (
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ISRMember is one member of a proposed ISR: the broker epoch is that of the registration whose fetches the leader
// counted, so that a member that began a new life meanwhile is told apart from it (R6(e), KIP-903).
type ISRMember struct {
	ID          metadata.NodeID
	BrokerEpoch int64
}

// ISRChange is what a leader proposes for one partition.
type ISRChange struct {
	Topic                       metadata.TopicID
	Index                       int32
	LeaderEpoch, PartitionEpoch int32
	ISR                         []ISRMember
	Recovering                  bool // the leader has not finished its recovery from an unclean election
}

// AlterPartitionRequest is what one broker proposes for the partitions it leads.
type AlterPartitionRequest struct {
	Broker  metadata.NodeID
	Epoch   int64
	Changes []ISRChange
	Rules   *Rules
}

// AlteredPartition is the answer for one partition. Partition is its record once this is committed; with an error it is
// nil, except for NEW_LEADER_ELECTED: the change was made, completed a reassignment, and took the leadership along.
type AlteredPartition struct {
	Topic     metadata.TopicID
	Index     int32
	Partition *metadata.Partition
	Err       *Refusal
}

// AlterPartitionReply answers AlterPartition, in the order of the request.
type AlterPartitionReply struct{ Partitions []AlteredPartition }

// AlterPartition lets leaders change the ISR of what they lead (R6). Each partition is decided for itself; a request of
// another life of the broker is refused whole.
func AlterPartition(img *metadata.Image, req AlterPartitionRequest, now time.Time) (Outcome[AlterPartitionReply], error) {
	var out Outcome[AlterPartitionReply]
	if _, err := registered(img, req.Broker, req.Epoch); err != nil {
		return out, err
	}
	seen := map[partitionKey]bool{}
	a := alterer{img: img, req: &req, candidates: standing(img, req.Rules, nobody, nobody)}
	for i := range req.Changes {
		c := &req.Changes[i]
		answer := AlteredPartition{Topic: c.Topic, Index: c.Index}
		at := partitionKey{c.Topic, c.Index}
		if seen[at] {
			answer.Err = refuse(kerr.InvalidRequest, "Partition %s-%d is named twice in this request.", c.Topic, c.Index)
		} else {
			var change metadata.Change
			change, answer.Partition, answer.Err = a.decide(c)
			if change != nil {
				out.Changes = append(out.Changes, change)
			}
		}
		seen[at] = true
		out.Reply.Partitions = append(out.Reply.Partitions, answer)
	}
	return out, nil
}

// alterer is one AlterPartition under way.
type alterer struct {
	img        *metadata.Image
	req        *AlterPartitionRequest
	candidates candidates
}

func (a *alterer) decide(c *ISRChange) (metadata.Change, *metadata.Partition, *Refusal) {
	t := a.img.TopicByID(c.Topic)
	if t == nil {
		return nil, nil, refuse(kerr.UnknownTopicID, "This server does not host this topic ID.")
	}
	old := t.Partition(c.Index)
	if old == nil {
		return nil, nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find partition %s-%d.", t.Name, c.Index)
	}
	if err := a.check(old, c); err != nil {
		return nil, nil, err
	}
	p := old.Clone()
	adopt(&p, c)
	if reassigning(&p) {
		if err := a.complete(t, &p); err != nil {
			return nil, nil, err
		}
	}
	change := settle(t, c.Index, p)
	if change == nil {
		return nil, old, nil // it is so already
	}
	made := change.(metadata.PartitionChanged).Partition
	if made.Leader != old.Leader {
		return change, &made, refuse(kerr.NewLeaderElected, "The change completed a reassignment; the leader is %d now.", made.Leader)
	}
	return change, &made, nil
}

// check is R6's validation, in its order: the leader does different things with different answers. What is ahead of
// this controller shows that the controller is behind (Z13).
func (a *alterer) check(p *metadata.Partition, c *ISRChange) *Refusal {
	switch {
	case mutant != 13 && (c.LeaderEpoch > p.LeaderEpoch || c.PartitionEpoch > p.PartitionEpoch):
		return refuse(kerr.NotController, "The request is of epochs %d/%d, this controller's are %d/%d.",
			c.LeaderEpoch, c.PartitionEpoch, p.LeaderEpoch, p.PartitionEpoch)
	case c.LeaderEpoch < p.LeaderEpoch:
		return refuse(kerr.FencedLeaderEpoch, "Leader epoch %d is older than %d.", c.LeaderEpoch, p.LeaderEpoch)
	case a.req.Broker != p.Leader:
		return refuse(kerr.InvalidRequest, "Broker %d is not the leader, %d is.", a.req.Broker, p.Leader)
	case c.PartitionEpoch < p.PartitionEpoch:
		return refuse(kerr.InvalidUpdateVersion, "Partition epoch %d is older than %d.", c.PartitionEpoch, p.PartitionEpoch)
	}
	for i, m := range c.ISR {
		switch {
		case slices.ContainsFunc(c.ISR[:i], func(o ISRMember) bool { return o.ID == m.ID }):
			return refuse(kerr.InvalidRequest, "The ISR holds %d twice.", m.ID)
		case !slices.Contains(p.Replicas, m.ID):
			return refuse(kerr.InvalidRequest, "The ISR holds %d, which is not one of the replicas %v.", m.ID, p.Replicas)
		}
	}
	switch {
	case !slices.ContainsFunc(c.ISR, func(m ISRMember) bool { return m.ID == p.Leader }):
		return refuse(kerr.InvalidRequest, "The ISR does not hold the leader %d.", p.Leader)
	case c.Recovering && len(c.ISR) > 1:
		return refuse(kerr.InvalidRequest, "Only the leader may be in the ISR while it recovers.")
	case c.Recovering && !p.Recovering:
		return refuse(kerr.InvalidRequest, "The partition does not recover.")
	}
	for _, m := range c.ISR {
		if err := a.ineligible(p, m); err != nil {
			return err
		}
	}
	return nil
}

// ineligible refuses members that may not be in any ISR (I7, Z8, Z10). It is the controller's word that counts: the
// leader asks by an image that may be older.
func (a *alterer) ineligible(p *metadata.Partition, m ISRMember) *Refusal {
	b := a.img.Broker(m.ID)
	switch {
	case b == nil:
		return refuse(kerr.IneligibleReplica, "Broker %d is not registered.", m.ID)
	case b.Epoch != m.BrokerEpoch:
		return refuse(kerr.IneligibleReplica, "Broker %d has epoch %d, not %d.", m.ID, b.Epoch, m.BrokerEpoch)
	case mutant == 10:
		return nil
	case !b.Live():
		return refuse(kerr.IneligibleReplica, "Broker %d is fenced or in controlled shutdown.", m.ID)
	case !b.HasDir(p.Dir(m.ID)):
		return refuse(kerr.IneligibleReplica, "Broker %d does not have directory %s online.", m.ID, p.Dir(m.ID))
	}
	return nil
}

// adopt makes the proposed ISR the partition's. Who leaves it stays eligible while the rest is too few to have moved
// the high watermark without it (I1, Z6).
func adopt(p *metadata.Partition, c *ISRChange) {
	var isr []metadata.NodeID
	for _, m := range c.ISR {
		isr = append(isr, m.ID)
	}
	joined := in(isr)
	if len(isr) != len(p.ISR) || slices.ContainsFunc(p.ISR, func(n metadata.NodeID) bool { return !joined(n) }) {
		left := slices.DeleteFunc(append(slices.Clone(p.ISR), p.ELR...), joined)
		if mutant == 6 {
			left = nil
		}
		p.ISR, p.ELR = isr, left
		p.LastKnownELR = slices.DeleteFunc(p.LastKnownELR, joined)
	}
	p.Recovering = c.Recovering
	complete(p)
}

// complete ends a reassignment whose new replicas are in sync now, within the decision that says so: there is no state
// in between for a crash to lose (R13).
func (a *alterer) complete(t *metadata.Topic, p *metadata.Partition) *Refusal {
	config, bad := a.req.Rules.topic(a.img, a.img.Config(metadata.ResourceTopic, t.Name))
	if bad != nil {
		return refuse(kerr.InvalidConfig, "%s", bad)
	}
	before := *p
	finish(p, &config)
	complete(p)
	if leaves(&before, p) {
		p.LeaderEpoch++ // a replica that left may not be followed any more
	}
	elect(t, p, a.candidates)
	return nil
}
