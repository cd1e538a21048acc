package decide

import (
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// MorePartitions is one topic of a CreatePartitions: Count is the new total, Assignments
// (nil: the controller chooses) the replicas of each new partition.
type MorePartitions struct {
	Name        string
	Count       int32
	Assignments [][]metadata.NodeID
}

// CreatePartitionsRequest asks for more partitions. Internal as in CreateTopicsRequest.
type CreatePartitionsRequest struct {
	Topics       []MorePartitions
	ValidateOnly bool
	Internal     bool
	Rules        *Rules
}

// GrownTopic is the answer for one topic.
type GrownTopic struct {
	Name string
	Err  *Refusal
}

// CreatePartitionsReply answers CreatePartitions.
type CreatePartitionsReply struct{ Topics []GrownTopic }

// CreatePartitions adds partitions at the end of topics.
func CreatePartitions(img *metadata.Image, req CreatePartitionsRequest, now time.Time) (Outcome[CreatePartitionsReply], error) {
	var out Outcome[CreatePartitionsReply]
	seen := map[string]int{}
	for _, t := range req.Topics {
		seen[t.Name]++
	}
	g := growth{img: img, req: &req, use: &dirUse{img: img}, budget: MaxPartitionsPerRequest}
	for _, t := range req.Topics {
		var changes []metadata.Change
		var err *Refusal
		if seen[t.Name] > 1 {
			err = refuse(kerr.InvalidRequest, "Duplicate topic name.")
		} else {
			changes, err = g.topic(t)
		}
		out.Reply.Topics = append(out.Reply.Topics, GrownTopic{Name: t.Name, Err: err})
		if err == nil && !req.ValidateOnly {
			out.Changes = append(out.Changes, changes...)
		}
	}
	return out, nil
}

// growth is one CreatePartitions under way.
type growth struct {
	img    *metadata.Image
	req    *CreatePartitionsRequest
	use    *dirUse
	budget int64 // partitions that may still be asked for
}

func (g *growth) topic(more MorePartitions) ([]metadata.Change, *Refusal) {
	t := g.img.Topic(more.Name)
	if t == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "This server does not host this topic-partition.")
	}
	have := int32(len(t.Partitions))
	switch {
	case metadata.InternalTopic(t.Name) && !g.req.Internal:
		// The partition of a group is a hash modulo this count: it must never change.
		return nil, refuse(kerr.InvalidTopicException, "The number of partitions of internal topic %s cannot be changed.", t.Name)
	case more.Count == have:
		return nil, refuse(kerr.InvalidPartitions, "Topic already has %d partition(s).", have)
	case more.Count < have:
		return nil, refuse(kerr.InvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", t.Name, have, more.Count)
	case more.Assignments != nil && len(more.Assignments) != int(more.Count-have):
		return nil, refuse(kerr.InvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.",
			more.Count-have, len(more.Assignments))
	}
	if g.budget -= int64(more.Count - have); g.budget < 0 {
		return nil, refuse(kerr.PolicyViolation, "Excessively large number of partitions per request.")
	}
	config, bad := g.req.Rules.topic(g.img, g.img.Config(metadata.ResourceTopic, t.Name))
	if bad != nil {
		return nil, refuse(kerr.InvalidConfig, "%s", bad)
	}
	m := maker{img: g.img, config: &config, placer: newPlacer(g.img, t.ID, g.use)}
	factor := len(t.Partitions[0].Replicas)
	var changes []metadata.Change
	for n := have; n < more.Count; n++ {
		var p metadata.Partition
		var err *Refusal
		if more.Assignments != nil {
			p, err = m.assigned(n, more.Assignments[n-have], factor)
		} else {
			p, err = m.placed(n, factor)
		}
		if err != nil {
			return nil, err
		}
		changes = append(changes, metadata.PartitionCreated{Topic: t.ID, Index: n, Partition: p})
	}
	return changes, nil
}

// maker makes the records of new partitions of one topic.
type maker struct {
	img    *metadata.Image
	config *metadata.TopicConfig
	placer *placer
}

// placed lets the placer choose the replicas.
func (m *maker) placed(index int32, factor int) (metadata.Partition, *Refusal) {
	if err := m.placer.fits(factor); err != nil {
		return metadata.Partition{}, err
	}
	return m.record(m.placer.place(int(index), factor)), nil
}

// assigned takes the replicas as asked; factor is that of the other partitions, 0 if this
// is the first.
func (m *maker) assigned(index int32, replicas []metadata.NodeID, factor int) (metadata.Partition, *Refusal) {
	if err := checkAssignment(m.img, replicas); err != nil {
		return metadata.Partition{}, err
	}
	if factor > 0 && len(replicas) != factor {
		return metadata.Partition{}, refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).",
			len(replicas), factor)
	}
	if at := slices.IndexFunc(replicas, m.img.Decommissioning); at >= 0 {
		return metadata.Partition{}, refuse(kerr.InvalidReplicaAssignment, "%s", leavesForGood(replicas[at]))
	}
	if !slices.ContainsFunc(replicas, m.live) {
		return metadata.Partition{}, refuse(kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", index)
	}
	return m.record(slices.Clone(replicas)), nil
}

func (m *maker) live(n metadata.NodeID) bool { return m.img.Broker(n).Live() }

// record is a new partition: its live replicas are in sync, for there is nothing to copy.
func (m *maker) record(replicas []metadata.NodeID) metadata.Partition {
	isr := slices.DeleteFunc(slices.Clone(replicas), func(n metadata.NodeID) bool { return !m.live(n) })
	return metadata.Partition{
		Replicas: replicas,
		Dirs:     m.placer.directories(replicas),
		ISR:      isr,
		Leader:   isr[0],
		MinISR:   m.config.EffectiveMinISR(len(replicas)),
		Durable:  m.config.FlushBeforeAck,
		Relaxed:  !m.config.FlushBeforeAck,
	}
}

// refit brings the partitions of a topic in line with its effective configs: the minimum
// ISR and the mode are part of the record, guarded by its epoch (Z35, Z37). A change
// re-applies I7 and nothing else: while the ISR is too small nobody is forgotten. An unclean
// election may be allowed now.
func refit(t *metadata.Topic, config *metadata.TopicConfig, c candidates) []metadata.Change {
	var out []metadata.Change
	for n, old := range t.Partitions {
		p := *old
		if mutant != 35 {
			p.MinISR = config.EffectiveMinISR(settled(&p))
		}
		p.Durable = config.FlushBeforeAck
		p.Relaxed = p.Relaxed || !p.Durable
		complete(&p)
		elect(t, &p, c)
		if c := settle(t, int32(n), p); c != nil {
			out = append(out, c)
		}
	}
	return out
}

// Reconcile brings every partition in line with the settings of this controller: its
// static configuration may have changed while it was down.
func Reconcile(img *metadata.Image, rules *Rules) Outcome[None] {
	base := rules.base(img)
	c := standing(img, rules, nobody, nobody)
	var out Outcome[None]
	for t := range img.Topics() {
		config, err := base.With(img.Config(metadata.ResourceTopic, t.Name))
		if err != nil {
			continue // set under other rules; what the partitions have stays
		}
		out.Changes = append(out.Changes, refit(t, &config, c)...)
	}
	return out
}
