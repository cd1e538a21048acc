package group

import (
	"bytes"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// SyncGroup, versions 0 to 5. The reply is a *kmsg.SyncGroupResponse; a follower's is parked until the leader's
// assignment is there. The request may be reused afterwards.
func (m *Machine) SyncGroup(req *kmsg.SyncGroupRequest, token uint64, now time.Time) machine.Result {
	m.begin(now)
	refuse := func(code *kerr.Error) machine.Result { return m.end(syncRefused(req.Version, code)) }
	if err := m.checkName(req.Group, false); err != nil {
		return refuse(err)
	}
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		return refuse(kerr.InconsistentGroupProtocol)
	}
	g := m.groups[req.Group]
	if g == nil || g.state == Empty {
		return refuse(kerr.UnknownMemberID)
	}
	p, err := g.authentic(req.MemberID, req.InstanceID)
	switch {
	case err != nil:
		return refuse(err)
	case req.Generation != g.generation:
		return refuse(kerr.IllegalGeneration)
	case differ(req.ProtocolType, &g.protocolType), differ(req.Protocol, g.protocol):
		return refuse(kerr.InconsistentGroupProtocol)
	}
	switch g.state {
	case PreparingRebalance:
		return refuse(kerr.RebalanceInProgress)
	case Stable:
		m.payDebt(g, p)
		return m.end(g.synced(p, req.Version))
	}
	m.answerSync(p, kerr.RebalanceInProgress) // an earlier one, given up by the client (M3)
	p.sync = parked{token, req.Version, true}
	m.payDebt(g, p)
	if g.leader == p.id {
		m.assign(g, req.GroupAssignment)
	}
	return m.end(nil)
}

func differ(a, b *string) bool { return a != nil && b != nil && *a != *b }

// assign takes the leader's assignment: it is written down, and when that is committed everybody who waits gets theirs.
// Members that the leader left out get nothing; names that are no members are ignored.
func (m *Machine) assign(g *group, assignment []kmsg.SyncGroupRequestGroupAssignment) {
	for _, p := range g.members {
		p.assignment = nil
	}
	for i := range assignment {
		if p := g.members[assignment[i].MemberID]; p != nil {
			p.assignment = bytes.Clone(assignment[i].MemberAssignment)
		}
	}
	m.enter(g, Stable)
	e := groupEntry(g)
	if len(e.Key)+len(e.Value) > m.cfg.MaxEntryBytes {
		g.state = CompletingRebalance
		m.dropAssignments(g, kerr.UnknownServerError)
		m.prepareRebalance(g, "the assignment does not fit into the metadata entry")
		return
	}
	m.emit(e)
	m.event(g, "group is stable", "")
	for _, p := range g.inOrder() {
		if p.sync.on {
			m.answer(p.sync.token, g.synced(p, p.sync.version))
			p.sync = parked{}
			m.arm(&p.session, p.sessionTimeout)
		}
	}
}

// dropAssignments refuses every parked SyncGroup.
func (m *Machine) dropAssignments(g *group, code *kerr.Error) {
	for _, p := range g.inOrder() {
		p.assignment = nil
		if p.sync.on {
			m.answerSync(p, code)
			m.arm(&p.session, p.sessionTimeout)
		}
	}
}

func (g *group) synced(p *member, version int16) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	protocolType := g.protocolType // a copy: the answer is written while the group goes on
	r.Version, r.ProtocolType, r.Protocol, r.MemberAssignment = version, &protocolType, g.protocol, p.assignment
	return r
}

func syncRefused(version int16, code *kerr.Error) *kmsg.SyncGroupResponse {
	r := kmsg.NewPtrSyncGroupResponse()
	r.Version, r.ErrorCode = version, code.Code
	return r
}

// answerSync refuses a member's parked sync, if there is one.
func (m *Machine) answerSync(p *member, code *kerr.Error) {
	if p.sync.on {
		m.answer(p.sync.token, syncRefused(p.sync.version, code))
		p.sync = parked{}
	}
}

// Heartbeat, versions 0 to 4. The reply is a *kmsg.HeartbeatResponse.
func (m *Machine) Heartbeat(req *kmsg.HeartbeatRequest, now time.Time) machine.Result {
	m.begin(now)
	r := kmsg.NewPtrHeartbeatResponse()
	r.Version = req.Version
	if err := m.heartbeat(req); err != nil {
		r.ErrorCode = err.Code
	}
	return m.end(r)
}

func (m *Machine) heartbeat(req *kmsg.HeartbeatRequest) *kerr.Error {
	if err := m.checkName(req.Group, false); err != nil {
		return err
	}
	g := m.groups[req.Group]
	if g == nil {
		return kerr.UnknownMemberID
	}
	p, err := g.authentic(req.MemberID, req.InstanceID)
	if err != nil {
		return err
	}
	if req.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	m.arm(&p.session, p.sessionTimeout)
	if g.state == PreparingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}

// LeaveGroup, versions 0 to 5: one member, from version 3 on several. The reply is a *kmsg.LeaveGroupResponse.
func (m *Machine) LeaveGroup(req *kmsg.LeaveGroupRequest, now time.Time) machine.Result {
	m.begin(now)
	r := kmsg.NewPtrLeaveGroupResponse()
	r.Version = req.Version
	if err := m.checkName(req.Group, false); err != nil {
		r.ErrorCode = err.Code
		return m.end(r)
	}
	leaving := req.Members
	if req.Version < 3 {
		leaving = []kmsg.LeaveGroupRequestMember{{MemberID: req.MemberID}}
	}
	g := m.groups[req.Group]
	left := 0
	for i := range leaving {
		l := &leaving[i]
		err := kerr.UnknownMemberID
		if g != nil {
			err = m.leave(g, l)
		}
		answer := kmsg.LeaveGroupResponseMember{MemberID: l.MemberID, InstanceID: l.InstanceID}
		if err != nil {
			answer.ErrorCode = err.Code
		} else {
			left++
		}
		r.Members = append(r.Members, answer)
	}
	if req.Version < 3 {
		r.ErrorCode, r.Members = r.Members[0].ErrorCode, nil
	}
	if left > 0 && g.state != Empty {
		m.rebalance(g, "members left")
	}
	if g != nil {
		m.settle(g)
	}
	return m.end(r)
}

// leave removes one member, named by its id or, by an administrator, by its instance id alone.
func (m *Machine) leave(g *group, l *kmsg.LeaveGroupRequestMember) *kerr.Error {
	id := l.MemberID
	if id == "" {
		if l.InstanceID == nil {
			return kerr.UnknownMemberID
		}
		id = g.static[*l.InstanceID]
	}
	if g.pending[id] != nil {
		m.unpend(g, id)
		return nil
	}
	p, err := g.authentic(id, l.InstanceID)
	if err != nil {
		return err
	}
	m.remove(g, p)
	why := "not provided"
	if l.Reason != nil {
		why = (*l.Reason)[:min(len(*l.Reason), 255)]
	}
	m.event(g, "member removed", "member "+p.id+" left: "+why)
	return nil
}
