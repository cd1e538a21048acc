package broker

import (
	"slices"

	"cordwood/isr"
	"cordwood/metadata"
	"cordwood/partition"
)

// A consumer that names its rack is sent to a replica there, if replica.selector.class says so (KIP-392):
//
//	consumer (rack b) --> leader (rack a): the offset is in my log; in rack b there are followers in sync that have it too
//	                 <--  no records, preferred read replica: the one of them with the longest log
//	                 -->  follower (rack b): up to the high watermark that it knows
//	                 <--  records; NOT_LEADER_OR_FOLLOWER or OFFSET_OUT_OF_RANGE: the consumer asks the leader again
//
// Only a leader names one, and never itself (trap 33).

// nearestHolder is the holder with the longest log, the first of several, among those that are near; NoNode: none is.
func nearestHolder(holders []isr.Holder, near []metadata.NodeID) metadata.NodeID {
	best, end := metadata.NoNode, int64(-1)
	for _, h := range holders {
		if h.End > end && slices.Contains(near, h.ID) {
			best, end = h.ID, h.End
		}
	}
	return best
}

// near lists the members of the ISR in a rack that clients may be sent to. Whoever is in the leader's own rack stays there.
func (v view) near(rack string, p *metadata.Partition, reachable func(*metadata.Broker) bool) (ids []metadata.NodeID) {
	if leader := v.Broker(p.Leader); rack == "" || leader == nil || leader.Rack == rack {
		return nil
	}
	for _, id := range p.ISR {
		if b := v.live(id); b != nil && !b.ShuttingDown && b.Rack == rack && reachable(b) {
			ids = append(ids, id)
		}
	}
	return ids
}

// prefer names the replica that a consumer should read a partition from instead of here; NoNode: none. Whoever is about to leave
// sends nobody anywhere: the consumer is told of the next leader first.
func (r *fetchReply) prefer(f *fetchPart) metadata.NodeID {
	b := r.s.b
	if !b.cfg.RackAware || len(r.request.Rack) == 0 || b.lease.leaving() {
		return metadata.NoNode
	}
	role, epoch := f.p.Role()
	v := b.view()
	t := v.TopicByID(f.p.TopicID())
	if t == nil || role != partition.Leader {
		return metadata.NoNode
	}
	p := t.Partition(f.index)
	if p == nil || p.Leader != b.cfg.NodeID || p.LeaderEpoch != epoch {
		return metadata.NoNode
	}
	near := v.near(string(r.request.Rack), p, func(to *metadata.Broker) bool {
		_, _, ok := r.s.advertised(to)
		return ok
	})
	if len(near) == 0 {
		return metadata.NoNode
	}
	var room [8]isr.Holder
	return nearestHolder(f.p.Holders(f.ask.Offset, room[:0]), near)
}
