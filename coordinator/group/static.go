package group

import (
	"github.com/twmb/franz-go/pkg/kerr"
)

// replaceStatic lets a restarted static member come back under a new id (trap 45). If the protocol stays the same, a Stable
// group goes on without a rebalance: the member keeps its assignment. The old id is fenced at once.
func (m *Machine) replaceStatic(g *group, j *join, old *member, id string) *kerr.Error {
	if g.bytes-old.size()+memberSize(old.client, old.instance, j.protocols) > m.cfg.MaxGroupBytes {
		return kerr.GroupMaxSizeReached
	}
	leader := g.leader
	p := m.rename(g, old, id)
	before := *p
	m.arm(&p.session, p.sessionTimeout)
	m.takeOver(g, j, p)
	switch {
	case g.state == Stable && g.elect() == *g.protocol:
		return m.keepAssignment(g, j, p, &before, leader)
	case g.state == Stable:
		m.rebalance(g, "static member "+p.id+" came back with another protocol: "+j.reason)
	case g.state == CompletingRebalance:
		// The leader may be assigning to the old id at this moment; the new one would get nothing.
		m.prepareRebalance(g, "static member "+p.id+" came back: "+j.reason)
	default:
		m.maybeCompleteJoin(g)
	}
	return nil
}

// rename puts a member under another id. Who waits under the old one is fenced.
func (m *Machine) rename(g *group, old *member, id string) *member {
	m.answerJoin(g, old, kerr.FencedInstanceID, old.id)
	m.answerSync(old, kerr.FencedInstanceID)
	m.disarm(&old.session)
	p := *old
	p.id, p.fresh = id, false
	p.session = timer{kind: timerSession, group: g, member: id}
	delete(g.members, old.id)
	g.members[id] = &p
	g.static[*p.instance] = id
	if g.leader == old.id {
		g.leader = id
	}
	return &p
}

// keepAssignment writes the new id down and answers. A leader that comes back is told to skip the assignment; before
// version 9 it could not be told and is made to think that it follows, because a Stable group takes no new assignment.
func (m *Machine) keepAssignment(g *group, j *join, p, before *member, leader string) *kerr.Error {
	e := groupEntry(g)
	if len(e.Key)+len(e.Value) > m.cfg.MaxEntryBytes {
		g.count(p, -1)
		p.protocols, p.rebalanceTimeout, p.sessionTimeout = before.protocols, before.rebalanceTimeout, before.sessionTimeout
		g.count(p, +1)
		m.remove(g, p)
		m.rebalance(g, "static member "+p.id+" does not fit into the metadata entry")
		return nil
	}
	m.emit(e)
	r := g.joined(p, j.version)
	if j.version >= 9 {
		r.SkipAssignment = g.leader == p.id
	} else {
		r.LeaderID, r.Members = leader, nil
	}
	m.answer(p.join.token, r)
	p.join = parked{}
	g.joins--
	m.arm(&p.session, p.sessionTimeout)
	return nil
}
