package group

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"time"
)

// State of a group. A group that is not in the table is Dead.
type State uint8

const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
)

var stateNames = [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}

func (s State) String() string { return stateNames[s] }

const dead = "Dead"

// parked is a request that waits for its answer.
type parked struct {
	token   uint64
	version int16
	on      bool
}

// protocol is one way of assigning partitions that a member offers, and what it says to the leader about itself.
type protocol struct {
	name     string
	metadata []byte
}

// member of a group. Its slices and strings are its own.
type member struct {
	id               string
	instance         *string // static members only
	client           Client
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocols        []protocol // in the member's order of preference
	assignment       []byte

	order   uint64 // of joining: makes every choice among members repeatable
	fresh   bool   // has not seen the end of a join phase yet
	owes    bool   // a SyncGroup of this generation
	join    parked
	sync    parked
	session timer
}

// holds says whether a parked request keeps the member's place, session or not. A fresh member's does not: its client
// may have gone, and it has no id to come back with.
func (p *member) holds() bool { return !p.fresh && (p.join.on || p.sync.on) }

func (p *member) metadata(name string) []byte {
	for i := range p.protocols {
		if p.protocols[i].name == name {
			return p.protocols[i].metadata
		}
	}
	return nil
}

func (p *member) supports(name string) bool {
	return slices.ContainsFunc(p.protocols, func(o protocol) bool { return o.name == name })
}

// offers says whether the member's protocols are exactly these, in this order.
func (p *member) offers(protocols []protocol) bool {
	return slices.EqualFunc(p.protocols, protocols, func(a, b protocol) bool {
		return a.name == b.name && bytes.Equal(a.metadata, b.metadata)
	})
}

// size is what the member makes us hold.
func (p *member) size() int { return memberSize(p.client, p.instance, p.protocols) }

func memberSize(c Client, instance *string, protocols []protocol) int {
	n := len(c.ID) + len(c.Host)
	if instance != nil {
		n += len(*instance)
	}
	for i := range protocols {
		n += 48 + len(protocols[i].name) + len(protocols[i].metadata)
	}
	return n
}

// classic is the soft state of a group.
type classic struct {
	state        State
	since        int64 // wall milliseconds when state began; -1 unknown
	generation   int32
	protocolType string  // "" for a group that only keeps offsets
	protocol     *string // chosen for the generation
	leader       string  // member id; "" for none

	members map[string]*member
	static  map[string]string // instance id -> member id
	pending map[string]*timer // member ids handed out, not used yet
	votes   map[string]int    // protocol name -> members that offer it
	joins   int               // parked joins
	debts   int               // members that owe a SyncGroup
	bytes   int               // sum of the members' sizes
	order   uint64            // of the next member

	joinTimer, syncTimer timer
	// The first rebalance of an Empty group waits longer while members keep coming.
	initial   bool          // this PreparingRebalance began in Empty
	grew      bool          // a member came since the timer was armed
	delay     time.Duration // the wait under way
	remaining time.Duration // how much longer it may become

	// The topics that the members of the generation subscribe to; known only for consumers.
	subscribed      map[string]struct{}
	subscribedKnown bool
}

func newGroup(id string) *group {
	g := &group{id: id, classic: classic{
		since:   -1,
		members: map[string]*member{},
		static:  map[string]string{},
		pending: map[string]*timer{},
		votes:   map[string]int{},
	}}
	g.joinTimer = timer{kind: timerJoin, group: g}
	g.syncTimer = timer{kind: timerSync, group: g}
	return g
}

// inOrder lists the members in the order of joining.
func (g *group) inOrder() []*member {
	all := make([]*member, 0, len(g.members))
	for _, p := range g.members {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *member) int { return cmp.Compare(a.order, b.order) })
	return all
}

// first is the member that joined first of those that fit; nil if none does.
func (g *group) first(fits func(*member) bool) *member {
	var best *member
	for _, p := range g.members {
		if fits(p) && (best == nil || p.order < best.order) {
			best = p
		}
	}
	return best
}

// add makes p a member. Its id is new, its instance id is free and it supports a protocol of the group.
func (g *group) add(p *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType, g.leader = protocolType, p.id
	}
	if p.instance != nil {
		g.static[*p.instance] = p.id
	}
	p.order = g.order
	g.order++
	p.session = timer{kind: timerSession, group: g, member: p.id}
	g.members[p.id] = p
	g.count(p, +1)
}

// drop ends the membership of p, whose parked requests are answered and whose timer is off.
func (g *group) drop(p *member) {
	delete(g.members, p.id)
	g.count(p, -1)
	if p.instance != nil {
		delete(g.static, *p.instance)
	}
	if p.owes {
		p.owes = false
		g.debts--
	}
	if g.leader == p.id {
		g.leader = "" // the join phase that follows finds another
	}
}

// count adds or takes away the member's votes and bytes.
func (g *group) count(p *member, by int) {
	for i := range p.protocols {
		name := p.protocols[i].name
		if g.votes[name] += by; g.votes[name] == 0 {
			delete(g.votes, name)
		}
	}
	g.bytes += by * p.size()
}

// parkJoin makes r the member's parked join.
func (g *group) parkJoin(p *member, r parked) {
	p.join = r
	g.joins++
}

// allJoined says that nobody is missing in the join phase.
func (g *group) allJoined() bool { return g.joins == len(g.members) && len(g.pending) == 0 }

// rebalanceTimeout is the largest of the members'.
func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, p := range g.members {
		d = max(d, p.rebalanceTimeout)
	}
	return d
}

// accepts says whether a member with these protocols can be part of the group.
func (g *group) accepts(protocolType string, protocols []protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return g.protocolType != "" && protocolType == g.protocolType && slices.ContainsFunc(protocols, func(o protocol) bool {
		return g.votes[o.name] == len(g.members)
	})
}

// elect chooses the protocol with the most votes among those that every member supports; each member votes for the
// first of them in its own order (trap 44). Of equal ones the one wins that got its first vote first.
func (g *group) elect() string {
	votes := map[string]int{}
	best, most := "", 0
	members := g.inOrder()
	vote := func(p *member) string {
		for i := range p.protocols {
			if name := p.protocols[i].name; g.votes[name] == len(members) {
				return name
			}
		}
		return ""
	}
	for _, p := range members {
		votes[vote(p)]++
	}
	for _, p := range members {
		if name := vote(p); votes[name] > most {
			best, most = name, votes[name]
		}
	}
	return best
}

// nextGeneration counts on; after the last number it begins again with 1.
func nextGeneration(n int32) int32 {
	if n == math.MaxInt32 {
		return 1
	}
	return n + 1
}

// isConsumer says whether the members speak the consumer protocol, whose metadata we can read.
func (g *group) isConsumer() bool { return g.protocolType == "consumer" }

// subscribes says whether members may still want the offsets of a topic. A consumer group whose subscriptions could
// not be read wants all (Kafka: ClassicGroup.isSubscribedToTopic).
func (g *group) subscribes(topic string) bool {
	if !g.subscribedKnown {
		return g.isConsumer()
	}
	_, ok := g.subscribed[topic]
	return ok
}
