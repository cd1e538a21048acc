package group

import (
	"time"

	"cordwood/coordinator/machine"
)

// expireOffsets is trap 46: offsets of a group whose members left expire some time after the group became Empty, those of
// a group that only keeps offsets some time after the commit, and so do those of topics that a Stable group of consumers
// does not subscribe to. An Empty group without offsets goes.
func (m *Machine) expireOffsets() {
	n := len(m.out.Entries)
	for _, g := range m.groups {
		if m.expireGroup(g) && g.state == Empty && g.hard.meta != nil && len(g.pending) == 0 {
			m.emit(machine.Entry{Key: groupKey(g.id)})
		}
	}
	m.sortEntries(n)
}

// expireGroup says whether no offset is left.
func (m *Machine) expireGroup(g *group) bool {
	now, retention := m.wall(), m.cfg.OffsetsRetention.Milliseconds()
	fromEmpty := g.protocolType != "" && g.state == Empty && g.since >= 0
	kept := g.protocolType != "" && g.state != Empty && !(g.isConsumer() && g.subscribedKnown && g.state == Stable)
	none := true
	for topic, parts := range g.hard.offsets {
		kept := kept || g.subscribes(topic)
		for partition, o := range parts {
			base := o.committed
			if fromEmpty {
				base = g.since
			}
			expired := now-base >= retention
			if o.expires >= 0 {
				expired = now >= o.expires
			}
			if kept || !expired {
				none = false
				continue
			}
			m.emit(offsetTombstone(g.id, topic, partition))
		}
	}
	return none
}

// Topic names a topic for TopicsDeleted. A zero ID means any.
type Topic struct {
	Name string
	ID   [16]byte
}

// TopicsDeleted removes the offsets of topics that are no more. An offset that is known to be for a newer topic of the
// same name stays. The reply is the number of offsets removed, an int.
func (m *Machine) TopicsDeleted(topics []Topic, now time.Time) machine.Result {
	m.begin(now)
	for _, g := range m.groups {
		for _, t := range topics {
			for partition, o := range g.hard.offsets[t.Name] {
				if !otherTopic(o.topicID, t.ID) {
					m.emit(offsetTombstone(g.id, t.Name, partition))
				}
			}
		}
	}
	m.sortEntries(0)
	return m.end(len(m.out.Entries))
}
