package group

import (
	"strings"
	"time"

	"cordwood/coordinator/machine"
)

// hardGroup is what the log says about a group.
type hardGroup struct {
	meta    *metadata                   // nil: no metadata entry, or a tombstone
	offsets map[string]map[int32]offset // topic -> partition
}

func (h *hardGroup) exists() bool { return h.meta != nil || len(h.offsets) > 0 }

// Replay applies one entry (M1, M2). It keeps nothing of the entry's bytes. Each key is a state of its own, the last
// entry of a key decides: that is what makes a compacted log as good as the whole one.
func (m *Machine) Replay(e machine.Entry) error {
	err := m.replay(e)
	if err != nil {
		m.skipped++
	}
	return err
}

func (m *Machine) replay(e machine.Entry) error {
	kind, id, topic, partition, err := readKey(e.Key)
	if err != nil {
		return err
	}
	// Read the value before a group is made for it (M6).
	var (
		meta *metadata
		off  offset
	)
	if e.Value != nil {
		if kind == keyGroup {
			meta, err = readGroup(e.Value)
		} else {
			off, err = readOffset(e.Value)
		}
		if err != nil {
			return err
		}
	}
	g := m.groups[id]
	if g == nil {
		if e.Value == nil {
			return nil
		}
		g = newGroup(strings.Clone(id))
		m.groups[g.id] = g
		m.unsaved++
	}
	before := g.hard.exists()
	switch {
	case kind == keyGroup:
		g.hard.meta = meta
	case e.Value == nil:
		g.hard.removeOffset(topic, partition)
	default:
		g.hard.setOffset(topic, partition, off)
	}
	if after := g.hard.exists(); after != before {
		if after {
			m.unsaved--
		} else {
			m.unsaved++
		}
	}
	m.settle(g)
	return nil
}

func (h *hardGroup) setOffset(topic string, partition int32, o offset) {
	parts := h.offsets[topic]
	if parts == nil {
		if h.offsets == nil {
			h.offsets = map[string]map[int32]offset{}
		}
		parts = map[int32]offset{}
		h.offsets[strings.Clone(topic)] = parts
	}
	parts[partition] = o
}

func (h *hardGroup) removeOffset(topic string, partition int32) {
	parts := h.offsets[topic]
	delete(parts, partition)
	if len(parts) == 0 {
		delete(h.offsets, topic)
	}
}

// restore makes the soft state of a loaded group: Stable as it was saved, or Empty.
func (m *Machine) restore(g *group) {
	v := g.hard.meta
	if v == nil {
		return
	}
	g.since, g.generation, g.protocolType, g.protocol = v.since, v.generation, v.protocolType, v.protocol
	if len(v.members) > 0 {
		g.state = Stable
	}
	for i := range v.members {
		s := &v.members[i]
		p := &member{
			id:               s.id,
			instance:         s.instance,
			client:           s.client,
			rebalanceTimeout: millis(s.rebalance),
			sessionTimeout:   millis(s.session),
			protocols:        []protocol{{*v.protocol, s.subscription}},
			assignment:       s.assigned,
		}
		g.add(p, v.protocolType)
		m.arm(&p.session, p.sessionTimeout)
	}
	if v.leader != nil && g.members[*v.leader] != nil {
		g.leader = *v.leader
	}
	g.learnSubscriptions()
}

// millis is a number of milliseconds off the wire; negative ones count as none.
func millis(n int32) time.Duration { return time.Duration(max(n, 0)) * time.Millisecond }
