package broker

import (
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// Answers that refuse because somebody else leads say who does (KIP-951), but only if metadata has told this broker of a
// newer leadership than the replica's own: a leader whose lease is over knows of nobody.

var noHint = protocol.CurrentLeader{ID: -1, Epoch: -1}

// leaderHint names the leader of a partition that this broker does not lead; p is nil if it hosts no replica.
func (s *session) leaderHint(p *partition.Partition, t *metadata.Topic, index int32) (protocol.CurrentLeader, protocol.NodeEndpoint, bool) {
	if t == nil || t.Partition(index) == nil {
		return noHint, protocol.NodeEndpoint{}, false
	}
	m := t.Partition(index)
	if p != nil {
		if role, epoch := p.Role(); epoch > m.LeaderEpoch || epoch == m.LeaderEpoch && role == partition.Leader {
			return noHint, protocol.NodeEndpoint{}, false
		}
	}
	node := s.b.view().live(m.Leader)
	if m.Leader == s.b.cfg.NodeID || node == nil {
		return noHint, protocol.NodeEndpoint{}, false
	}
	host, port, ok := s.advertised(node)
	if !ok {
		return noHint, protocol.NodeEndpoint{}, false
	}
	return protocol.CurrentLeader{ID: int32(m.Leader), Epoch: m.LeaderEpoch}, endpointOf(node, host, port), true
}

func endpointOf(node *metadata.Broker, host string, port int32) protocol.NodeEndpoint {
	return protocol.NodeEndpoint{NodeID: int32(node.ID), Host: host, Port: port, Rack: node.Rack}
}

// addNode names an address once.
func addNode(nodes []protocol.NodeEndpoint, n protocol.NodeEndpoint) []protocol.NodeEndpoint {
	for i := range nodes {
		if nodes[i].NodeID == n.NodeID {
			return nodes
		}
	}
	return append(nodes, n)
}

// topicAt finds a topic as a request names it.
func topicAt(img *metadata.Image, name []byte, id [16]byte, byID bool) *metadata.Topic {
	if byID {
		return img.TopicByID(id)
	}
	return img.TopicOf(name)
}

// hint is what a fetch is told of a partition that is refused.
func (r *fetchReply) hint(f *fetchPart) protocol.CurrentLeader {
	err := f.err
	if err == nil {
		err = f.read.Err
	}
	if code := codeOf(err); r.request.Version < 16 || code != kerr.NotLeaderForPartition.Code && code != kerr.FencedLeaderEpoch.Code {
		return noHint
	}
	leader, node, ok := r.s.leaderHint(f.p, topicAt(r.s.b.image(), f.topic, f.topicID, true), f.index)
	if ok {
		r.nodes = addNode(r.nodes, node)
	}
	return leader
}

// hint is what a produce is told of a partition that is refused.
func (r *produceReply) hint(p *producePart) protocol.CurrentLeader {
	if r.version < 10 || codeOf(p.err) != kerr.NotLeaderForPartition.Code {
		return noHint
	}
	leader, node, ok := r.s.leaderHint(p.p, topicAt(r.s.b.image(), p.topic, p.topicID, r.version >= 13), p.index)
	if ok {
		r.nodes = addNode(r.nodes, node)
	}
	return leader
}
