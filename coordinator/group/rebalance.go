package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (m *Machine) enter(g *group, s State) {
	g.state, g.since = s, m.wall()
}

// rebalance begins a rebalance, or goes on with the one under way.
func (m *Machine) rebalance(g *group, why string) {
	if g.state == PreparingRebalance {
		m.maybeCompleteJoin(g)
		return
	}
	m.prepareRebalance(g, why)
}

// prepareRebalance begins the join phase: every member has to join again, in time. The first rebalance of an Empty group
// waits for more members to come.
func (m *Machine) prepareRebalance(g *group, why string) {
	if g.state == CompletingRebalance {
		m.dropAssignments(g, kerr.RebalanceInProgress)
	}
	m.clearDebts(g)
	g.initial = g.state == Empty
	m.enter(g, PreparingRebalance)
	m.event(g, "rebalance begins", why)
	if !g.initial {
		m.completeJoinOrWait(g)
		return
	}
	g.grew = false
	g.delay = m.cfg.InitialRebalanceDelay
	g.remaining = max(g.rebalanceTimeout()-g.delay, 0)
	m.arm(&g.joinTimer, g.delay)
}

func (m *Machine) completeJoinOrWait(g *group) {
	if g.allJoined() {
		m.completeJoin(g)
		return
	}
	m.arm(&g.joinTimer, g.rebalanceTimeout())
}

// maybeCompleteJoin ends the join phase when nobody is missing; the initial one lasts its time.
func (m *Machine) maybeCompleteJoin(g *group) {
	if g.state == PreparingRebalance && !g.initial && g.allJoined() {
		m.completeJoin(g)
	}
}

// joinPhaseOver: the join timer fired. While members keep coming the initial wait is extended, up to the rebalance timeout
// in all (trap 44).
func (m *Machine) joinPhaseOver(g *group) {
	if g.initial && g.grew && g.remaining > 0 {
		g.grew = false
		delay := min(m.cfg.InitialRebalanceDelay, g.remaining)
		g.remaining = max(g.remaining-g.delay, 0)
		g.delay = delay
		m.arm(&g.joinTimer, delay)
		return
	}
	m.completeJoin(g)
}

// completeJoin begins the next generation with those who joined. Static members stay even when they did not.
func (m *Machine) completeJoin(g *group) {
	m.disarm(&g.joinTimer)
	for _, p := range g.inOrder() {
		if !p.join.on && p.instance == nil {
			m.remove(g, p)
			m.event(g, "member removed", "member "+p.id+" did not join in time")
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		// Only static members are left and none of them is here: wait until one comes or their sessions end.
		m.arm(&g.joinTimer, max(g.rebalanceTimeout(), time.Second))
		return
	}
	g.generation = nextGeneration(g.generation)
	if len(g.members) == 0 {
		m.becomeEmpty(g)
		return
	}
	name := g.elect()
	g.protocol = &name
	g.learnSubscriptions()
	m.enter(g, CompletingRebalance)
	m.event(g, "generation begins", "protocol "+name+", leader "+g.leader)
	for _, p := range g.inOrder() {
		if p.join.on {
			m.answer(p.join.token, g.joined(p, p.join.version))
			p.join = parked{}
		}
		p.fresh, p.owes = false, true
		m.arm(&p.session, p.sessionTimeout)
	}
	g.joins, g.debts = 0, len(g.members)
	m.arm(&g.syncTimer, g.rebalanceTimeout())
}

// electLeader keeps the leader if it joined, else takes the first member that did.
func (g *group) electLeader() bool {
	if p := g.members[g.leader]; p != nil && p.join.on {
		return true
	}
	p := g.first(func(p *member) bool { return p.join.on })
	if p == nil {
		return false
	}
	g.leader = p.id
	return true
}

// becomeEmpty writes down that nobody is left, unless the group was never written down.
func (m *Machine) becomeEmpty(g *group) {
	g.protocol, g.leader = nil, ""
	g.learnSubscriptions()
	m.enter(g, Empty)
	m.event(g, "group is empty", "")
	if g.hard.exists() {
		m.emit(groupEntry(g))
	}
	m.settle(g)
}

// remove ends a membership. Parked requests of the member get UNKNOWN_MEMBER_ID, so that a client that is still there
// joins anew.
func (m *Machine) remove(g *group, p *member) {
	m.answerJoin(g, p, kerr.UnknownMemberID, "")
	m.answerSync(p, kerr.UnknownMemberID)
	m.disarm(&p.session)
	g.drop(p)
}

// lose removes a member and does what follows from it.
func (m *Machine) lose(g *group, p *member, why string) {
	m.remove(g, p)
	m.event(g, "member removed", why)
	switch {
	case g.state != PreparingRebalance:
		m.prepareRebalance(g, why)
	case g.allJoined():
		m.completeJoin(g)
	}
}

// sessionOver: a member was not heard of for its session timeout.
func (m *Machine) sessionOver(g *group, id string) {
	p := g.members[id]
	if p.holds() {
		return // the timer starts again with the answer
	}
	m.lose(g, p, "member "+id+" was not heard of in time")
}

// pendingOver: a member id was not used in time.
func (m *Machine) pendingOver(g *group, id string) {
	delete(g.pending, id)
	m.pending--
	if g.state == PreparingRebalance && g.allJoined() {
		m.completeJoin(g)
	}
	m.settle(g)
}

// syncPhaseOver: who still owes a SyncGroup is no member any more.
func (m *Machine) syncPhaseOver(g *group) {
	for _, p := range g.inOrder() {
		if p.owes {
			m.remove(g, p)
			m.event(g, "member removed", "member "+p.id+" sent no SyncGroup in time")
		}
	}
	m.prepareRebalance(g, "members sent no SyncGroup in time")
}

func (m *Machine) clearDebts(g *group) {
	m.disarm(&g.syncTimer)
	if g.debts == 0 {
		return
	}
	for _, p := range g.members {
		p.owes = false
	}
	g.debts = 0
}

// payDebt notes a member's SyncGroup.
func (m *Machine) payDebt(g *group, p *member) {
	if p.owes {
		p.owes = false
		g.debts--
	}
	if g.debts == 0 {
		m.disarm(&g.syncTimer)
	}
}
