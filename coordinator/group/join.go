package group

import (
	"bytes"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// join is one JoinGroup on its way through the rules.
type join struct {
	version      int16
	instance     *string
	client       Client
	protocolType string
	protocols    []protocol
	rebalance    time.Duration
	session      time.Duration
	reason       string
	parked       parked
}

// JoinGroup, versions 0 to 9. The reply is a *kmsg.JoinGroupResponse; it is parked until the join phase is over.
// The request may be reused afterwards.
func (m *Machine) JoinGroup(req *kmsg.JoinGroupRequest, c Client, token uint64, now time.Time) machine.Result {
	m.begin(now)
	refuse := func(code *kerr.Error, memberID string) machine.Result {
		return m.end(joinRefused(req.Version, code, memberID))
	}
	if err := m.checkName(req.Group, false); err != nil {
		return refuse(err, req.MemberID)
	}
	if s := millis(req.SessionTimeoutMillis); s < m.cfg.MinSessionTimeout || s > m.cfg.MaxSessionTimeout {
		return refuse(kerr.InvalidSessionTimeout, req.MemberID)
	}
	if req.InstanceID != nil && len(*req.InstanceID) > m.cfg.MaxGroupID {
		return refuse(kerr.InvalidRequest, req.MemberID)
	}
	protocols := protocolsOf(req)
	if memberSize(c, req.InstanceID, protocols) > m.cfg.MaxMemberBytes { // before anything of it is copied
		return refuse(kerr.GroupMaxSizeReached, req.MemberID)
	}
	j := newJoin(req, c, token, protocols)
	g := m.groups[req.Group]
	if g == nil {
		if req.MemberID != "" {
			return refuse(kerr.UnknownMemberID, req.MemberID)
		}
		if g = m.create(strings.Clone(req.Group)); g == nil {
			return refuse(kerr.GroupMaxSizeReached, "")
		}
	}
	defer m.settle(g)
	if !m.hasRoom(g, req.MemberID) {
		m.forget(g, req.MemberID)
		m.maybeCompleteJoin(g)
		return refuse(kerr.GroupMaxSizeReached, "")
	}
	var err *kerr.Error
	memberID := req.MemberID
	switch {
	case !g.accepts(j.protocolType, j.protocols):
		err = kerr.InconsistentGroupProtocol
	case memberID == "":
		memberID, err = m.joinNew(g, j)
	default:
		err = m.joinKnown(g, j, memberID)
	}
	if err != nil {
		return refuse(err, memberID)
	}
	return m.end(nil)
}

// protocolsOf are the request's protocols, which still belong to it. One that is named twice counts once.
func protocolsOf(req *kmsg.JoinGroupRequest) []protocol {
	seen := make(map[string]bool, len(req.Protocols))
	var list []protocol
	for i := range req.Protocols {
		p := &req.Protocols[i]
		if !seen[p.Name] {
			seen[p.Name] = true
			list = append(list, protocol{p.Name, p.Metadata})
		}
	}
	return list
}

// newJoin copies what outlives the request.
func newJoin(req *kmsg.JoinGroupRequest, c Client, token uint64, protocols []protocol) *join {
	j := &join{
		version:      req.Version,
		client:       Client{strings.Clone(c.ID), strings.Clone(c.Host)},
		protocolType: strings.Clone(req.ProtocolType),
		rebalance:    millis(req.RebalanceTimeoutMillis),
		session:      millis(req.SessionTimeoutMillis),
		reason:       "not provided",
		parked:       parked{token, req.Version, true},
	}
	if req.Version == 0 { // has no rebalance timeout
		j.rebalance = j.session
	}
	if req.InstanceID != nil {
		id := strings.Clone(*req.InstanceID)
		j.instance = &id
	}
	if req.Reason != nil && *req.Reason != "" {
		j.reason = strings.Clone((*req.Reason)[:min(len(*req.Reason), 255)])
	}
	for _, p := range protocols {
		j.protocols = append(j.protocols, protocol{strings.Clone(p.name), bytes.Clone(p.metadata)})
	}
	return j
}

// hasRoom bounds the group. In the join phase those that wait count, not the members: the group may have been larger
// than the bound before, and who comes back last is the one that has to go.
func (m *Machine) hasRoom(g *group, memberID string) bool {
	p := g.members[memberID]
	switch g.state {
	case Empty:
		return true
	case PreparingRebalance:
		return p != nil && p.join.on || g.joins < m.cfg.MaxSize
	default:
		return p != nil || len(g.members) < m.cfg.MaxSize
	}
}

// forget drops a member or pending member.
func (m *Machine) forget(g *group, memberID string) {
	if p := g.members[memberID]; p != nil {
		m.remove(g, p)
	}
	m.unpend(g, memberID)
}

// joinNew serves a client that has no member id yet. The answer is parked unless there is an error.
func (m *Machine) joinNew(g *group, j *join) (string, *kerr.Error) {
	id := m.memberID(g, j.client.ID, j.instance)
	switch {
	case id == "":
		return "", kerr.CoordinatorNotAvailable
	case j.instance != nil:
		if old := g.members[g.static[*j.instance]]; old != nil {
			return "", m.replaceStatic(g, j, old, id)
		}
		return "", m.addMember(g, j, id)
	case j.version >= 4: // two steps, so that a client that lost the answer leaves no member behind
		if m.pending >= m.cfg.MaxPendingMembers {
			return "", kerr.GroupMaxSizeReached
		}
		t := &timer{kind: timerPending, group: g, member: id}
		g.pending[id] = t
		m.pending++
		m.arm(t, j.session)
		return id, kerr.MemberIDRequired
	}
	return "", m.addMember(g, j, id)
}

// unpend takes back a member id that was handed out.
func (m *Machine) unpend(g *group, id string) {
	if t := g.pending[id]; t != nil {
		m.disarm(t)
		delete(g.pending, id)
		m.pending--
	}
}

// joinKnown serves a client that says which member it is.
func (m *Machine) joinKnown(g *group, j *join, id string) *kerr.Error {
	if g.pending[id] != nil {
		if j.instance != nil { // static members are never pending: let it start again
			return kerr.UnknownMemberID
		}
		return m.addMember(g, j, strings.Clone(id))
	}
	p, err := g.authentic(id, j.instance)
	if err != nil {
		return err
	}
	same := p.offers(j.protocols)
	switch {
	case g.state == CompletingRebalance && same, // it may have lost the answer
		g.state == Stable && same && g.leader != id: // nothing changed: it may go on with SyncGroup
		m.answer(j.parked.token, g.joined(p, j.version))
		return nil
	case g.state == Stable && g.leader == id:
		// The leader joins again when something changed that the metadata do not show, such as a topic's partitions.
		return m.updateMember(g, j, p, "leader "+id+" joins again: "+j.reason)
	}
	return m.updateMember(g, j, p, "member "+id+" joins again: "+j.reason)
}

// authentic finds the member that a request is about.
func (g *group) authentic(id string, instance *string) (*member, *kerr.Error) {
	if instance != nil {
		current, ok := g.static[*instance]
		if !ok {
			return nil, kerr.UnknownMemberID
		}
		if current != id {
			return nil, kerr.FencedInstanceID
		}
	}
	p := g.members[id]
	if p == nil {
		return nil, kerr.UnknownMemberID
	}
	return p, nil
}

// addMember makes the client a member and parks its join.
func (m *Machine) addMember(g *group, j *join, id string) *kerr.Error {
	if g.bytes+memberSize(j.client, j.instance, j.protocols) > m.cfg.MaxGroupBytes {
		return kerr.GroupMaxSizeReached
	}
	m.unpend(g, id)
	p := &member{
		id:               id,
		instance:         j.instance,
		client:           j.client,
		rebalanceTimeout: j.rebalance,
		sessionTimeout:   j.session,
		protocols:        j.protocols,
		fresh:            true,
	}
	if g.state == PreparingRebalance && g.initial {
		g.grew = true
	}
	g.add(p, j.protocolType)
	g.parkJoin(p, j.parked)
	m.arm(&p.session, newMemberTimeout)
	m.rebalance(g, "new member "+id+": "+j.reason)
	return nil
}

// updateMember takes over what a member says now, parks its join and rebalances.
func (m *Machine) updateMember(g *group, j *join, p *member, why string) *kerr.Error {
	if g.bytes-p.size()+memberSize(p.client, p.instance, j.protocols) > m.cfg.MaxGroupBytes {
		return kerr.GroupMaxSizeReached
	}
	m.takeOver(g, j, p)
	m.rebalance(g, why)
	return nil
}

func (m *Machine) takeOver(g *group, j *join, p *member) {
	// The client gave the earlier request up, or it would not ask again; answered it is all the same (M3).
	m.answerJoin(g, p, kerr.RebalanceInProgress, p.id)
	g.count(p, -1)
	p.protocols, p.rebalanceTimeout, p.sessionTimeout = j.protocols, j.rebalance, j.session
	g.count(p, +1)
	g.parkJoin(p, j.parked)
}

// joined is the answer that lets a member go on with SyncGroup.
func (g *group) joined(p *member, version int16) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	protocolType := g.protocolType // a copy: the answer is written while the group goes on
	r.Version, r.MemberID, r.Generation = version, p.id, g.generation
	r.ProtocolType, r.Protocol, r.LeaderID = &protocolType, g.protocol, g.leader
	if g.leader == p.id {
		r.Members = g.roster()
	}
	return r
}

// roster is what the leader needs for the assignment.
func (g *group) roster() []kmsg.JoinGroupResponseMember {
	roster := make([]kmsg.JoinGroupResponseMember, 0, len(g.members))
	for _, p := range g.inOrder() {
		roster = append(roster, kmsg.JoinGroupResponseMember{
			MemberID: p.id, InstanceID: p.instance, ProtocolMetadata: p.metadata(*g.protocol),
		})
	}
	return roster
}

// joinRefused is the answer with an error. Before version 7 the protocol may not be null.
func joinRefused(version int16, code *kerr.Error, memberID string) *kmsg.JoinGroupResponse {
	r := kmsg.NewPtrJoinGroupResponse()
	r.Version, r.ErrorCode, r.MemberID, r.Generation = version, code.Code, memberID, -1
	if version < 7 {
		r.Protocol = new(string)
	}
	return r
}

// answerJoin refuses a member's parked join, if there is one.
func (m *Machine) answerJoin(g *group, p *member, code *kerr.Error, memberID string) {
	if p.join.on {
		m.answer(p.join.token, joinRefused(p.join.version, code, memberID))
		p.join = parked{}
		g.joins--
	}
}
