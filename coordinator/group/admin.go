package group

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// ListGroups serves the shard's part of a ListGroups, versions 0 to 5. The reply is a []kmsg.ListGroupsResponseGroup.
func (m *Machine) ListGroups(req *kmsg.ListGroupsRequest, now time.Time) machine.Result {
	m.begin(now)
	list := []kmsg.ListGroupsResponseGroup{}
	if len(req.TypesFilter) > 0 && !names(req.TypesFilter, "classic") {
		return m.end(list)
	}
	for id, g := range m.groups {
		if len(req.StatesFilter) == 0 || names(req.StatesFilter, g.state.String()) {
			list = append(list, kmsg.ListGroupsResponseGroup{
				Group: id, ProtocolType: g.protocolType, GroupState: g.state.String(), GroupType: "classic",
			})
		}
	}
	slices.SortFunc(list, func(a, b kmsg.ListGroupsResponseGroup) int { return cmp.Compare(a.Group, b.Group) })
	return m.end(list)
}

func names(filter []string, name string) bool {
	return slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(strings.TrimSpace(f), name) })
}

// DescribeGroup serves one group of a DescribeGroups, versions 0 to 6. The reply is a *kmsg.DescribeGroupsResponseGroup.
func (m *Machine) DescribeGroup(version int16, id string, now time.Time) machine.Result {
	m.begin(now)
	r := kmsg.NewDescribeGroupsResponseGroup()
	r.Group, r.State = id, dead
	if err := m.checkName(id, true); err != nil {
		r.ErrorCode = err.Code
		return m.end(&r)
	}
	g := m.groups[id]
	if g == nil {
		if version >= 6 {
			why := "Group " + id + " not found."
			r.ErrorCode, r.ErrorMessage = kerr.GroupIDNotFound.Code, &why
		}
		return m.end(&r)
	}
	r.State, r.ProtocolType = g.state.String(), g.protocolType
	if g.state == Stable {
		r.Protocol = *g.protocol
	}
	for _, p := range g.inOrder() {
		d := kmsg.DescribeGroupsResponseGroupMember{
			MemberID: p.id, InstanceID: p.instance, ClientID: p.client.ID, ClientHost: p.client.Host,
			MemberAssignment: p.assignment,
		}
		if g.state == Stable {
			d.ProtocolMetadata = p.metadata(*g.protocol)
		}
		r.Members = append(r.Members, d)
	}
	return m.end(&r)
}

// DeleteGroup serves one group of a DeleteGroups, versions 0 to 3. The reply is the error code, an int16.
func (m *Machine) DeleteGroup(id string, now time.Time) machine.Result {
	m.begin(now)
	g := m.groups[id]
	err := m.checkName(id, true)
	switch {
	case err != nil:
	case g == nil:
		err = kerr.GroupIDNotFound
	case g.state != Empty:
		err = kerr.NonEmptyGroup
	}
	if err != nil {
		return m.end(err.Code)
	}
	for topic, parts := range g.hard.offsets {
		for partition := range parts {
			m.emit(offsetTombstone(id, topic, partition))
		}
	}
	if g.hard.meta != nil {
		m.emit(machine.Entry{Key: groupKey(id)})
	}
	m.sortEntries(0)
	for member := range g.pending {
		m.unpend(g, member)
	}
	m.settle(g)
	return m.end(int16(0))
}
