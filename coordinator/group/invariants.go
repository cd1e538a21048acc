package group

import (
	"bytes"
	"fmt"
	"maps"
)

// Check counts everything anew and says which invariant of the package comment is broken. It is for tests: it walks all
// groups. Entries of the last step must have been replayed.
func (m *Machine) Check() error {
	c := checker{m: m, timers: map[*timer]bool{}, tokens: map[uint64]bool{}}
	for id, g := range m.groups {
		if g.id != id {
			return fmt.Errorf("G12: group %q is kept as %q", g.id, id)
		}
		for _, check := range []func(*group) error{
			c.identities, c.states, c.requests, c.agreement, c.running, c.reasons,
		} {
			if err := check(g); err != nil {
				return fmt.Errorf("group %s, %s, generation %d: %w", id, g.state, g.generation, err)
			}
		}
	}
	return c.totals()
}

type checker struct {
	m                *Machine
	timers           map[*timer]bool // that should run
	tokens           map[uint64]bool
	unsaved, pending int
}

func (c *checker) identities(g *group) error {
	statics := 0
	for id, p := range g.members {
		if p.id != id {
			return fmt.Errorf("G1: member %q is kept as %q", p.id, id)
		}
		if p.instance == nil {
			continue
		}
		if statics++; g.static[*p.instance] != id {
			return fmt.Errorf("G1: instance %q belongs to %q, not to %q", *p.instance, g.static[*p.instance], id)
		}
	}
	if statics != len(g.static) {
		return fmt.Errorf("G1: %d static members, %d instance ids", statics, len(g.static))
	}
	for id, t := range g.pending {
		if g.members[id] != nil {
			return fmt.Errorf("G13: member %q is pending, too", id)
		}
		c.timers[t] = true
	}
	c.pending += len(g.pending)
	return nil
}

func (c *checker) states(g *group) error {
	switch n := len(g.members); {
	case g.state == Empty && n > 0, g.state >= CompletingRebalance && n == 0:
		return fmt.Errorf("G2: %d members", n)
	case g.hard.meta != nil && g.generation < g.hard.meta.generation && g.hard.meta.generation-g.generation < 1<<30:
		return fmt.Errorf("G11: generation %d is saved", g.hard.meta.generation)
	}
	if g.state < CompletingRebalance {
		return nil
	}
	if g.protocol == nil || g.members[g.leader] == nil {
		return fmt.Errorf("G5: protocol %v, leader %q", g.protocol, g.leader)
	}
	for id, p := range g.members {
		if !p.supports(*g.protocol) {
			return fmt.Errorf("G5: member %q does not support %q", id, *g.protocol)
		}
	}
	return nil
}

func (c *checker) requests(g *group) error {
	joins, debts := 0, 0
	for id, p := range g.members {
		if p.join.on {
			joins++
		}
		if p.owes {
			debts++
		}
		if p.join.on && g.state != PreparingRebalance || p.sync.on && g.state != CompletingRebalance {
			return fmt.Errorf("G3: member %q has a join %t, a sync %t", id, p.join.on, p.sync.on)
		}
		for _, r := range []parked{p.join, p.sync} {
			if r.on && c.tokens[r.token] {
				return fmt.Errorf("G10: token %d is parked twice", r.token)
			}
			if r.on {
				c.tokens[r.token] = true
			}
		}
	}
	if joins != g.joins {
		return fmt.Errorf("G3: %d parked joins, counted %d", joins, g.joins)
	}
	if debts != g.debts || debts > 0 && g.state < CompletingRebalance {
		return fmt.Errorf("G4: %d members owe a sync, counted %d", debts, g.debts)
	}
	return nil
}

// agreement of a Stable group with what is saved.
func (c *checker) agreement(g *group) error {
	if g.state != Stable {
		return nil
	}
	v := g.hard.meta
	if v == nil {
		return fmt.Errorf("G6: nothing is saved")
	}
	if v.generation != g.generation || v.protocolType != g.protocolType || *v.protocol != *g.protocol ||
		v.leader != nil && *v.leader != g.leader || len(v.members) != len(g.members) {
		return fmt.Errorf("G6: saved is generation %d, %s, %s, %d members", v.generation, v.protocolType, *v.protocol, len(v.members))
	}
	for i := range v.members {
		s := &v.members[i]
		p := g.members[s.id]
		if p == nil || differ(p.instance, s.instance) || !bytes.Equal(p.assignment, s.assigned) ||
			!bytes.Equal(p.metadata(*g.protocol), s.subscription) {
			return fmt.Errorf("G6: saved member %q differs", s.id)
		}
	}
	return nil
}

func (c *checker) running(g *group) error {
	for id, p := range g.members {
		if !p.session.running() && !p.holds() {
			return fmt.Errorf("G7: member %q has no session timer", id)
		}
		if p.session.running() {
			c.timers[&p.session] = true
		}
	}
	if g.joinTimer.running() != (g.state == PreparingRebalance) {
		return fmt.Errorf("G7: the join timer runs: %t", g.joinTimer.running())
	}
	if g.syncTimer.running() != (g.debts > 0) {
		return fmt.Errorf("G4: %d members owe a sync, the timer runs: %t", g.debts, g.syncTimer.running())
	}
	for _, t := range []*timer{&g.joinTimer, &g.syncTimer} {
		if t.running() {
			c.timers[t] = true
		}
	}
	return nil
}

func (c *checker) reasons(g *group) error {
	if !g.hard.exists() {
		c.unsaved++
		if g.state == Empty && len(g.pending) == 0 {
			return fmt.Errorf("G12: no reason to be here")
		}
	}
	votes, held := map[string]int{}, 0
	for _, p := range g.members {
		for i := range p.protocols {
			votes[p.protocols[i].name]++
		}
		held += p.size()
	}
	if !maps.Equal(votes, g.votes) || held != g.bytes {
		return fmt.Errorf("G8: votes %v, counted %v; bytes %d, counted %d", votes, g.votes, held, g.bytes)
	}
	return nil
}

func (c *checker) totals() error {
	m := c.m
	if c.unsaved != m.unsaved || c.pending != m.pending {
		return fmt.Errorf("G8: %d groups are unsaved, counted %d; %d members are pending, counted %d", c.unsaved, m.unsaved, c.pending, m.pending)
	}
	if m.loaded {
		c.timers[&m.cleanup] = true
	}
	for i, t := range m.timers {
		switch {
		case t.place != i+1:
			return fmt.Errorf("G9: timer %d is at place %d", t.place, i+1)
		case i > 0 && t.at.Before(m.timers[(i-1)/2].at):
			return fmt.Errorf("G9: place %d is earlier than its parent", i+1)
		case !c.timers[t]:
			return fmt.Errorf("G9: a timer of kind %d for %q runs for nothing", t.kind, t.member)
		}
		delete(c.timers, t)
	}
	if len(c.timers) > 0 {
		return fmt.Errorf("G9: %d timers do not run", len(c.timers))
	}
	return nil
}
