package group

import (
	"cmp"
	"maps"
	"slices"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// OffsetCommit, versions 2 to 10. The reply is a *kmsg.OffsetCommitResponse with the request's topics and partitions.
// From version 10 on the caller fills in Topic besides TopicID; it may fill in TopicID for older versions: it is kept.
func (m *Machine) OffsetCommit(req *kmsg.OffsetCommitRequest, now time.Time) machine.Result {
	m.begin(now)
	g := m.groups[req.Group]
	refused := m.mayCommit(g, req)
	if refused == nil && g != nil && g.state != Empty {
		if p := g.members[req.MemberID]; p != nil { // a commit shows that the member lives
			m.arm(&p.session, p.sessionTimeout)
		}
	}
	expires := int64(-1)
	if req.Version <= 4 && req.RetentionTimeMillis >= 0 {
		expires = addMillis(m.wall(), req.RetentionTimeMillis)
	}
	r := kmsg.NewPtrOffsetCommitResponse()
	r.Version = req.Version
	r.Topics = make([]kmsg.OffsetCommitResponseTopic, 0, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		answer := kmsg.OffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		answer.Partitions = make([]kmsg.OffsetCommitResponseTopicPartition, 0, len(t.Partitions))
		for j := range t.Partitions {
			code := refused
			if code == nil {
				code = m.commit(req.Group, t, &t.Partitions[j], expires)
			}
			p := kmsg.OffsetCommitResponseTopicPartition{Partition: t.Partitions[j].Partition}
			if code != nil {
				p.ErrorCode = code.Code
			}
			answer.Partitions = append(answer.Partitions, p)
		}
		r.Topics = append(r.Topics, answer)
	}
	return m.end(r)
}

func addMillis(at, d int64) int64 {
	if at+d < at {
		return 1<<63 - 1
	}
	return at + d
}

// mayCommit is trap 46: members commit for their generation; anybody does for a group without members.
func (m *Machine) mayCommit(g *group, req *kmsg.OffsetCommitRequest) *kerr.Error {
	if err := m.checkName(req.Group, true); err != nil {
		return err
	}
	if g == nil {
		switch {
		case req.Generation < 0:
			return nil // a consumer that assigns itself, or an administrator
		case req.Version >= 9:
			return kerr.GroupIDNotFound
		}
		return kerr.IllegalGeneration
	}
	if req.Generation < 0 && g.state == Empty {
		return nil
	}
	if req.Generation < 0 && req.MemberID == "" && req.InstanceID == nil {
		return kerr.UnknownMemberID
	}
	if _, err := g.authentic(req.MemberID, req.InstanceID); err != nil {
		return err
	}
	if req.Generation != g.generation {
		return kerr.IllegalGeneration
	}
	if g.state == CompletingRebalance {
		return kerr.RebalanceInProgress
	}
	return nil
}

// commit writes one offset down, or says why not (bad input 143).
func (m *Machine) commit(group string, t *kmsg.OffsetCommitRequestTopic, p *kmsg.OffsetCommitRequestTopicPartition, expires int64) *kerr.Error {
	if p.Offset < 0 || p.Partition < 0 {
		return kerr.InvalidRequest
	}
	var metadata string
	if p.Metadata != nil {
		metadata = *p.Metadata
	}
	if longer(metadata, m.cfg.MaxOffsetMetadata) {
		return kerr.OffsetMetadataTooLarge
	}
	m.emit(offsetEntry(group, t.Topic, p.Partition, offset{
		at: p.Offset, leaderEpoch: max(p.LeaderEpoch, -1), metadata: metadata,
		committed: m.wall(), expires: expires, topicID: t.TopicID,
	}))
	return nil
}

// longer counts as Java does: in UTF-16 units, of which there are at most as many as bytes.
func longer(s string, limit int) bool {
	return len(s) > limit && (len(s) > 3*limit || len(utf16.Encode([]rune(s))) > limit)
}

// OffsetFetch serves one group of an OffsetFetch, versions 1 to 10; Topics nil means all. The reply is a
// *kmsg.OffsetFetchResponseGroup. An unknown group, topic or partition has no offset, which is no error. The caller
// fills in Topic besides TopicID from version 10 on; an offset that was committed for another topic of the same name, as
// far as both ids are known, is none.
func (m *Machine) OffsetFetch(req *kmsg.OffsetFetchRequestGroup, now time.Time) machine.Result {
	m.begin(now)
	r := kmsg.NewOffsetFetchResponseGroup()
	r.Group = req.Group
	if err := m.checkName(req.Group, true); err != nil {
		r.ErrorCode = err.Code
		return m.end(&r)
	}
	var offsets map[string]map[int32]offset
	if g := m.groups[req.Group]; g != nil {
		offsets = g.hard.offsets
	}
	if req.Topics == nil {
		r.Topics = allOffsets(offsets)
		return m.end(&r)
	}
	r.Topics = make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		answer := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic, TopicID: t.TopicID}
		answer.Partitions = make([]kmsg.OffsetFetchResponseGroupTopicPartition, 0, len(t.Partitions))
		for _, partition := range t.Partitions {
			o, ok := offsets[t.Topic][partition]
			if !ok || otherTopic(o.topicID, t.TopicID) {
				o = offset{at: -1, leaderEpoch: -1}
			}
			answer.Partitions = append(answer.Partitions, fetched(partition, o))
		}
		r.Topics = append(r.Topics, answer)
	}
	return m.end(&r)
}

// otherTopic says that two ids are known and differ: the topic was deleted and made anew.
func otherTopic(a, b [16]byte) bool {
	var unknown [16]byte
	return a != unknown && b != unknown && a != b
}

func fetched(partition int32, o offset) kmsg.OffsetFetchResponseGroupTopicPartition {
	return kmsg.OffsetFetchResponseGroupTopicPartition{
		Partition: partition, Offset: o.at, LeaderEpoch: o.leaderEpoch, Metadata: &o.metadata,
	}
}

// allOffsets lists what a group has committed, in order.
func allOffsets(offsets map[string]map[int32]offset) []kmsg.OffsetFetchResponseGroupTopic {
	all := make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(offsets))
	for topic, parts := range offsets {
		t := kmsg.OffsetFetchResponseGroupTopic{Topic: topic}
		for _, partition := range slices.Sorted(maps.Keys(parts)) {
			t.TopicID = parts[partition].topicID
			t.Partitions = append(t.Partitions, fetched(partition, parts[partition]))
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b kmsg.OffsetFetchResponseGroupTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return all
}

// OffsetDelete, version 0. The reply is a *kmsg.OffsetDeleteResponse.
func (m *Machine) OffsetDelete(req *kmsg.OffsetDeleteRequest, now time.Time) machine.Result {
	m.begin(now)
	r := kmsg.NewPtrOffsetDeleteResponse()
	r.Version = req.Version
	err := m.checkName(req.Group, false)
	g := m.groups[req.Group]
	switch {
	case err != nil:
	case g == nil:
		err = kerr.GroupIDNotFound
	case g.state != Empty && !g.isConsumer():
		err = kerr.NonEmptyGroup // nobody but its members knows what it consumes
	}
	if err != nil {
		r.ErrorCode = err.Code
		return m.end(r)
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		answer := kmsg.OffsetDeleteResponseTopic{Topic: t.Topic}
		subscribed := g.subscribes(t.Topic)
		for j := range t.Partitions {
			p := kmsg.OffsetDeleteResponseTopicPartition{Partition: t.Partitions[j].Partition}
			if subscribed {
				p.ErrorCode = kerr.GroupSubscribedToTopic.Code
			} else if _, ok := g.hard.offsets[t.Topic][p.Partition]; ok {
				m.emit(offsetTombstone(g.id, t.Topic, p.Partition))
			}
			answer.Partitions = append(answer.Partitions, p)
		}
		r.Topics = append(r.Topics, answer)
	}
	return m.end(r)
}
