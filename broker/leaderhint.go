package broker

import (
	"slices"

	"cordwood/metadata"
	"cordwood/protocol"
)

// leaderHints tells a client that came to the wrong broker, or with an old leader epoch, where to go, so that it need not
// ask for metadata first (KIP-951, trap 17). It is one answer's.
type leaderHints struct {
	s     *session
	nodes []protocol.NodeEndpoint // of the leaders told, each once
}

// leader is who leads a partition; (-1, -1) is not told.
func (h *leaderHints) leader(topic []byte, id [16]byte, index int32, byID bool) protocol.CurrentLeader {
	none := protocol.CurrentLeader{ID: -1, Epoch: -1}
	img := h.s.b.image()
	var t *metadata.Topic
	if byID {
		t = img.TopicByID(id)
	} else {
		t = img.TopicOf(topic)
	}
	if t == nil {
		return none
	}
	p := t.Partition(index)
	if p == nil || p.Leader < 0 {
		return none
	}
	broker := img.Broker(p.Leader)
	if broker == nil || broker.Fenced {
		return none
	}
	host, port, ok := h.s.advertised(broker)
	if !ok {
		return none
	}
	node := protocol.NodeEndpoint{NodeID: int32(broker.ID), Host: host, Port: port, Rack: broker.Rack}
	if !slices.Contains(h.nodes, node) {
		h.nodes = append(h.nodes, node)
	}
	return protocol.CurrentLeader{ID: int32(p.Leader), Epoch: p.LeaderEpoch}
}
