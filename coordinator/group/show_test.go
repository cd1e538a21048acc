package group

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// show prints a reply with short member names.
func (p *player) show(reply any) string {
	switch r := reply.(type) {
	case int16:
		return codeName(r)
	case *kmsg.JoinGroupResponse:
		return p.showJoin(r)
	case *kmsg.SyncGroupResponse:
		return list(codeName(r.ErrorCode), named("protocol", r.Protocol), text("assignment", string(r.MemberAssignment)))
	case *kmsg.HeartbeatResponse:
		return codeName(r.ErrorCode)
	case *kmsg.LeaveGroupResponse:
		s := codeName(r.ErrorCode)
		for _, l := range r.Members {
			s += fmt.Sprintf(" %s:%s", p.name(l.MemberID), codeName(l.ErrorCode))
		}
		return s
	case *kmsg.OffsetCommitResponse:
		return "committed" + showTopics(r.Topics, func(t kmsg.OffsetCommitResponseTopic) (s string) {
			for _, o := range t.Partitions {
				s += fmt.Sprintf(" %s:%d=%s", t.Topic, o.Partition, codeName(o.ErrorCode))
			}
			return s
		})
	case *kmsg.OffsetFetchResponseGroup:
		return codeName(r.ErrorCode) + showTopics(r.Topics, func(t kmsg.OffsetFetchResponseGroupTopic) (s string) {
			for _, o := range t.Partitions {
				s += fmt.Sprintf(" %s:%d=%d", t.Topic, o.Partition, o.Offset)
				if o.LeaderEpoch >= 0 {
					s += fmt.Sprintf("@%d", o.LeaderEpoch)
				}
			}
			return s
		})
	case *kmsg.OffsetDeleteResponse:
		return codeName(r.ErrorCode) + showTopics(r.Topics, func(t kmsg.OffsetDeleteResponseTopic) (s string) {
			for _, o := range t.Partitions {
				s += fmt.Sprintf(" %s:%d=%s", t.Topic, o.Partition, codeName(o.ErrorCode))
			}
			return s
		})
	case *kmsg.DescribeGroupsResponseGroup:
		s := list(codeName(r.ErrorCode), r.State, text("type", r.ProtocolType), text("protocol", r.Protocol))
		for _, d := range r.Members {
			s += fmt.Sprintf(" %s(%s)", p.name(d.MemberID), list(named("instance", d.InstanceID), d.ClientID, d.ClientHost,
				text("assignment", string(d.MemberAssignment)), fmt.Sprintf("metadata=%dB", len(d.ProtocolMetadata))))
		}
		return s
	case []kmsg.ListGroupsResponseGroup:
		s := fmt.Sprintf("%d groups", len(r))
		for _, g := range r {
			s += fmt.Sprintf(" %s(%s)", g.Group, list(g.ProtocolType, g.GroupState, g.GroupType))
		}
		return s
	}
	return fmt.Sprintf("%T", reply)
}

func showTopics[T any](topics []T, one func(T) string) string {
	var s strings.Builder
	for _, t := range topics {
		s.WriteString(one(t))
	}
	return s.String()
}

func (p *player) showJoin(r *kmsg.JoinGroupResponse) string {
	s := list(codeName(r.ErrorCode), "member="+p.name(r.MemberID))
	if r.ErrorCode != 0 {
		return s
	}
	s += fmt.Sprintf(" generation=%d protocol=%s leader=%s", r.Generation, *r.Protocol, p.name(r.LeaderID))
	if r.SkipAssignment {
		s += " skip-assignment"
	}
	for i, m := range r.Members {
		if i == 0 {
			s += " members"
		}
		s += " " + p.name(m.MemberID)
		if m.InstanceID != nil {
			s += "/" + *m.InstanceID
		}
	}
	return s
}

func named(key string, v *string) string {
	if v == nil {
		return ""
	}
	return key + "=" + *v
}

func text(key, v string) string {
	if v == "" {
		return ""
	}
	return key + "=" + v
}

// showEntry prints what an entry says, read with kmsg and so independently of the machine.
func (p *player) showEntry(e machine.Entry) string {
	var gk kmsg.GroupMetadataKey
	if err := gk.ReadFrom(e.Key); err == nil && gk.Version == 2 {
		var v kmsg.GroupMetadataValue
		if e.Value == nil {
			return "group " + gk.Group + " tombstone"
		}
		if err := v.ReadFrom(e.Value); err != nil {
			return err.Error()
		}
		leader := "-"
		if v.Leader != nil {
			leader = p.name(*v.Leader)
		}
		s := list("group", gk.Group, fmt.Sprintf("v%d generation=%d", v.Version, v.Generation), text("type", v.ProtocolType),
			named("protocol", v.Protocol), "leader="+leader)
		for _, m := range v.Members {
			s += fmt.Sprintf(" %s(%s)", p.name(m.MemberID), list(named("instance", m.InstanceID), text("assignment", string(m.Assignment))))
		}
		return s
	}
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(e.Key); err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("offset %s %s:%d", k.Group, k.Topic, k.Partition)
	if e.Value == nil {
		return s + " tombstone"
	}
	var v kmsg.OffsetCommitValue
	if err := v.ReadFrom(e.Value); err != nil {
		return err.Error()
	}
	return s + fmt.Sprintf(" v%d = %d", v.Version, v.Offset)
}
