package decide

import (
	"fmt"
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Reassignment (R13) is nothing but fields of the partition's record:
//
//	Replicas = target + Removing      Adding, Removing ⊂ Replicas      nobody else knows of it
//
//	alter:    Replicas 1,2        -> target 2,3: Replicas 2,3,1   Adding 3   Removing 1
//	complete: 3 is in the ISR     -> Replicas 2,3                 Adding -   Removing -
//	cancel:                       -> Replicas 2,1                 Adding -   Removing -

// Reassignment is the target of one partition; nil Replicas cancel what is in progress.
type Reassignment struct {
	Topic    string
	Index    int32
	Replicas []metadata.NodeID
}

// AlterReassignmentsRequest starts, changes and cancels reassignments.
type AlterReassignmentsRequest struct {
	Partitions        []Reassignment
	AllowFactorChange bool
	Rules             *Rules
}

// ReassignedPartition is the answer for one partition.
type ReassignedPartition struct {
	Topic string
	Index int32
	Err   *Refusal
}

// AlterReassignmentsReply answers AlterReassignments, in the order of the request.
type AlterReassignmentsReply struct{ Partitions []ReassignedPartition }

// AlterReassignments decides every partition for itself.
func AlterReassignments(img *metadata.Image, req AlterReassignmentsRequest, now time.Time) (Outcome[AlterReassignmentsReply], error) {
	var out Outcome[AlterReassignmentsReply]
	r := reassigner{img: img, req: &req, use: &dirUse{img: img}}
	seen := map[PartitionRef]bool{}
	for _, target := range req.Partitions {
		at := PartitionRef{target.Topic, target.Index}
		var change metadata.Change
		var err *Refusal
		if seen[at] {
			err = refuse(kerr.InvalidRequest, "Partition %s:%d is named twice in this request.", target.Topic, target.Index)
		} else {
			change, err = r.decide(&target)
		}
		seen[at] = true
		if change != nil {
			out.Changes = append(out.Changes, change)
		}
		out.Reply.Partitions = append(out.Reply.Partitions, ReassignedPartition{Topic: target.Topic, Index: target.Index, Err: err})
	}
	return out, nil
}

// reassigner is one AlterReassignments under way.
type reassigner struct {
	img *metadata.Image
	req *AlterReassignmentsRequest
	use *dirUse
}

// decide returns the change of one partition's record, nil when it is as wanted already.
func (r *reassigner) decide(target *Reassignment) (metadata.Change, *Refusal) {
	t := r.img.Topic(target.Topic)
	if t == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find a topic named %s.", target.Topic)
	}
	old := t.Partition(target.Index)
	if old == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find partition %s:%d.", target.Topic, target.Index)
	}
	config, bad := r.req.Rules.topic(r.img, r.img.Config(metadata.ResourceTopic, t.Name))
	if bad != nil {
		return nil, refuse(kerr.InvalidConfig, "%s", bad)
	}
	p := old.Clone()
	var err *Refusal
	if target.Replicas == nil {
		err = r.cancel(target, &p)
	} else {
		err = r.retarget(target, &p)
	}
	if err != nil {
		return nil, err
	}
	if !slices.Equal(p.Replicas, old.Replicas) {
		p.Dirs = r.directories(old, p.Replicas)
	}
	p.MinISR = config.EffectiveMinISR(settled(&p))
	finish(&p, &config)
	complete(&p)
	if leaves(old, &p) {
		p.LeaderEpoch = old.LeaderEpoch + 1 // a replica that left may not be followed any more (R13)
	}
	elect(t, &p, standing(r.img, r.req.Rules, nobody, nobody))
	return settle(t, target.Index, p), nil
}

// reassigning reports whether a reassignment is in progress.
func reassigning(p *metadata.Partition) bool { return len(p.Adding)+len(p.Removing) > 0 }

// settled counts the replicas that count for the minimum ISR: a reassignment must not ask more of a partition, nor
// promise less, before it is complete.
func settled(p *metadata.Partition) int { return len(p.Replicas) - len(p.Adding) }

// retarget gives the partition the replicas that were asked for, with those that have to leave behind them.
func (r *reassigner) retarget(target *Reassignment, p *metadata.Partition) *Refusal {
	if err := checkAssignment(r.img, target.Replicas); err != nil {
		return err
	}
	have := slices.DeleteFunc(slices.Clone(p.Replicas), in(p.Removing))
	if !r.req.AllowFactorChange && len(have) != len(target.Replicas) {
		return refuse(kerr.InvalidReplicationFactor, "The replication factor is changed from %d to %d", len(have), len(target.Replicas))
	}
	if slices.Equal(have, target.Replicas) {
		return nil // it is so, or will be
	}
	original := slices.DeleteFunc(slices.Clone(p.Replicas), in(p.Adding))
	adding := slices.DeleteFunc(slices.Clone(target.Replicas), in(original))
	for _, n := range adding {
		if !slices.Contains(p.Replicas, n) && !r.img.Broker(n).Live() {
			return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker %d, but it is fenced or in controlled shutdown.", n)
		}
		if !slices.Contains(p.Replicas, n) && r.img.Decommissioning(n) {
			return refuse(kerr.InvalidReplicaAssignment, "%s", leavesForGood(n))
		}
	}
	// What was to be added and is not wanted any more goes at once, unless it holds records that count.
	removing := slices.DeleteFunc(slices.Clone(p.Replicas), func(n metadata.NodeID) bool {
		return slices.Contains(target.Replicas, n) ||
			!slices.Contains(original, n) && !slices.Contains(p.ISR, n) && !slices.Contains(p.ELR, n) && !slices.Contains(p.LastKnownELR, n)
	})
	p.Replicas = append(slices.Clone(target.Replicas), removing...)
	p.Adding, p.Removing = adding, removing
	return nil
}

// cancel goes back to the replicas there were before.
func (r *reassigner) cancel(target *Reassignment, p *metadata.Partition) *Refusal {
	if !reassigning(p) {
		return refuse(kerr.NoReassignmentInProgress, "%s", kerr.NoReassignmentInProgress.Description)
	}
	drop := in(p.Adding)
	isr := slices.DeleteFunc(slices.Clone(p.ISR), drop)
	if len(isr) == 0 && len(p.ISR) > 0 {
		return refuse(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because it would require an unclean leader election.", target.Topic, target.Index)
	}
	p.Replicas = slices.DeleteFunc(p.Replicas, drop)
	p.ISR, p.ELR, p.LastKnownELR = isr, slices.DeleteFunc(p.ELR, drop), slices.DeleteFunc(p.LastKnownELR, drop)
	if p.Leader != metadata.NoNode && drop(p.Leader) {
		p.Leader = metadata.NoNode
	}
	p.Adding, p.Removing = nil, nil
	if len(p.ISR)+len(p.ELR)+len(p.LastKnownELR) == 0 {
		return refuse(kerr.InvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d: nobody would be left who could recover it.", target.Topic, target.Index)
	}
	return nil
}

// finish completes a reassignment whose new replicas are all in sync, if enough of the ISR stays (R13). The leader may
// be among those who leave: an election must follow.
func finish(p *metadata.Partition, config *metadata.TopicConfig) {
	if !reassigning(p) || slices.ContainsFunc(p.Adding, func(n metadata.NodeID) bool { return !slices.Contains(p.ISR, n) }) {
		return
	}
	gone := in(p.Removing)
	isr := slices.DeleteFunc(slices.Clone(p.ISR), gone)
	minISR := config.EffectiveMinISR(len(p.Replicas) - len(p.Removing))
	if len(isr) < int(minISR) {
		return
	}
	dirs := []metadata.DirID(nil)
	for i, n := range p.Replicas {
		if len(p.Dirs) > 0 && !gone(n) {
			dirs = append(dirs, p.Dirs[i])
		}
	}
	p.Replicas, p.Dirs, p.ISR, p.MinISR = slices.DeleteFunc(slices.Clone(p.Replicas), gone), dirs, isr, minISR
	if p.Leader != metadata.NoNode && gone(p.Leader) {
		p.Leader = metadata.NoNode
	}
	p.Adding, p.Removing = nil, nil
}

// directories keeps the directory of every replica that stays and picks one for those that come.
func (r *reassigner) directories(old *metadata.Partition, replicas []metadata.NodeID) []metadata.DirID {
	out, told := make([]metadata.DirID, len(replicas)), false
	for i, n := range replicas {
		out[i] = old.Dir(n)
		if b := r.img.Broker(n); !slices.Contains(old.Replicas, n) && b != nil && len(b.Dirs) > 0 {
			out[i] = r.use.least(b.Dirs)
		}
		told = told || !out[i].IsZero()
	}
	if !told {
		return nil
	}
	return out
}

// leaves reports whether a replica of the old record is not one any more.
func leaves(old, p *metadata.Partition) bool {
	return slices.ContainsFunc(old.Replicas, func(n metadata.NodeID) bool { return !slices.Contains(p.Replicas, n) })
}

func in(set []metadata.NodeID) func(metadata.NodeID) bool {
	set = slices.Clone(set)
	return func(n metadata.NodeID) bool { return slices.Contains(set, n) }
}

// leavesForGood is why a broker gets no replicas.
func leavesForGood(n metadata.NodeID) string {
	return fmt.Sprintf("The manual partition assignment includes broker %d, but it is being decommissioned.", n)
}

// checkAssignment refuses replicas that cannot be those of any partition.
func checkAssignment(img *metadata.Image, replicas []metadata.NodeID) *Refusal {
	if len(replicas) == 0 {
		return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list.")
	}
	for i, n := range replicas {
		if img.Broker(n) == nil {
			return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", n)
		}
		if slices.Contains(replicas[:i], n) {
			return refuse(kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker %d more than once.", n)
		}
	}
	return nil
}

// PartitionReassignment is one reassignment in progress.
type PartitionReassignment struct {
	Topic     string
	Index     int32
	Partition *metadata.Partition
}

// Reassignments lists what is in progress, by topic and index; nil wanted: everywhere, else of the partitions it
// accepts.
func Reassignments(img *metadata.Image, wanted func(topic string, index int32) bool) []PartitionReassignment {
	var out []PartitionReassignment
	for t := range img.Topics() {
		for n, p := range t.Partitions {
			if reassigning(p) && (wanted == nil || wanted(t.Name, int32(n))) {
				out = append(out, PartitionReassignment{Topic: t.Name, Index: int32(n), Partition: p})
			}
		}
	}
	return out
}
