package decide

import (
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// goOffline takes directories away from a broker that says it cannot use them any more: the leaderships and ISR
// memberships of the replicas in them go in the same entry (R16). What such a directory held may lack its tail when it
// is seen again, whatever the broker's clean-shutdown file will say, so its replicas are no candidates either. A broker
// without any directory is fenced.
func goOffline(img *metadata.Image, b *metadata.Broker, req *HeartbeatRequest) []metadata.Change {
	online := slices.DeleteFunc(slices.Clone(b.Dirs), func(d metadata.DirID) bool { return slices.Contains(req.OfflineDirs, d) })
	if len(online) == len(b.Dirs) {
		return nil // it was said before
	}
	changes := []metadata.Change{metadata.BrokerDirsChanged{ID: b.ID, Epoch: b.Epoch, Dirs: online}}
	if len(online) == 0 && !b.Fenced {
		changes = append(changes, metadata.BrokerFenced{ID: b.ID, Epoch: b.Epoch})
	}
	left := &metadata.Broker{Dirs: online}
	self := only(b.ID)
	c := standing(img, req.Rules, self, nobody) // where the rule applies, this broker cannot be elected
	return append(changes, everywhere(img, self, func(t *metadata.Topic, p *metadata.Partition) {
		if len(online) > 0 && left.HasDir(p.Dir(b.ID)) {
			return
		}
		withdraw(p, lost{gone: self, unclean: self})
		elect(t, p, c)
	})...)
}

// replaceDir gives a replica whose directory is gone another one, to be filled from the
// leader. The last replica anybody could recover from keeps its old one: an empty
// directory must never pass for the data (that takes an operator).
func replaceDir(p *metadata.Partition, req *RegisterBrokerRequest) {
	others := len(p.ISR) + len(p.ELR) + len(without(p.LastKnownELR, req.ID))
	if others == 0 {
		return
	}
	p.LastKnownELR = without(p.LastKnownELR, req.ID)
	p.Dirs = slices.Clone(p.Dirs)
	at := slices.Index(p.Replicas, req.ID)
	p.Dirs[at] = metadata.DirID{}
	if len(req.Dirs) == 1 {
		p.Dirs[at] = req.Dirs[0]
	}
}

// ReplicaDir says that a broker keeps its replica of a partition in that directory.
type ReplicaDir struct {
	Topic metadata.TopicID
	Index int32
	Dir   metadata.DirID
}

// AssignReplicasRequest is what a broker chose, or moved, by itself (KIP-858).
type AssignReplicasRequest struct {
	Broker   metadata.NodeID
	Epoch    int64
	Replicas []ReplicaDir
	Rules    *Rules
}

// AssignedReplica is the answer for one replica.
type AssignedReplica struct {
	ReplicaDir
	Err *Refusal
}

// AssignReplicasReply answers AssignReplicas, in the order of the request.
type AssignReplicasReply struct{ Replicas []AssignedReplica }

// AssignReplicas records in which directories a broker keeps its replicas. One that is not online holds a replica nobody can
// use: it is treated as if it had been recorded there when the directory went (R16).
func AssignReplicas(img *metadata.Image, req AssignReplicasRequest, now time.Time) (Outcome[AssignReplicasReply], error) {
	var out Outcome[AssignReplicasReply]
	b, err := registered(img, req.Broker, req.Epoch)
	if err != nil {
		return out, err
	}
	seen := map[partitionKey]bool{}
	for _, r := range req.Replicas {
		answer := AssignedReplica{ReplicaDir: r}
		at := partitionKey{r.Topic, r.Index}
		if seen[at] {
			answer.Err = refuse(kerr.InvalidRequest, "Partition %s-%d is named twice in this request.", r.Topic, r.Index)
		} else {
			var change metadata.Change
			if change, answer.Err = assign(img, b, &r, req.Rules); change != nil {
				out.Changes = append(out.Changes, change)
			}
		}
		seen[at] = true
		out.Reply.Replicas = append(out.Reply.Replicas, answer)
	}
	return out, nil
}

func assign(img *metadata.Image, b *metadata.Broker, r *ReplicaDir, rules *Rules) (metadata.Change, *Refusal) {
	t := img.TopicByID(r.Topic)
	if t == nil {
		return nil, refuse(kerr.UnknownTopicID, "This server does not host this topic ID.")
	}
	old := t.Partition(r.Index)
	if old == nil {
		return nil, refuse(kerr.UnknownTopicOrPartition, "Unable to find partition %s-%d.", t.Name, r.Index)
	}
	at := slices.Index(old.Replicas, b.ID)
	switch {
	case at < 0:
		return nil, refuse(kerr.NotLeaderForPartition, "Broker %d is not a replica of %s-%d.", b.ID, t.Name, r.Index)
	case r.Dir.IsZero() || isOthers(img, b.ID, r.Dir):
		return nil, refuse(kerr.LogDirNotFound, "Broker %d does not have directory %s.", b.ID, r.Dir)
	}
	p := old.Clone()
	if len(p.Dirs) == 0 {
		p.Dirs = make([]metadata.DirID, len(p.Replicas))
	}
	p.Dirs[at] = r.Dir
	if !b.HasDir(r.Dir) {
		self := only(b.ID)
		withdraw(&p, lost{gone: self, unclean: self})
		elect(t, &p, standing(img, rules, nobody, nobody))
	}
	return settle(t, r.Index, p), nil
}

// isOthers reports whether a directory is known as another broker's.
func isOthers(img *metadata.Image, id metadata.NodeID, dir metadata.DirID) bool {
	for b := range img.Brokers() {
		if b.ID != id && slices.Contains(b.Dirs, dir) {
			return true
		}
	}
	return false
}
