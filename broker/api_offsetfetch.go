package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
	"cordwood/metadata"
)

// OffsetFetch (key 9), versions 1-10.
//
//	2  null topics = all, top-level error     7  require stable     9  member id and epoch (KIP-848)
//	5  leader epoch                           8  several groups    10  topic ids
//
// A group that does not exist has no offsets; that is not an error.
func (b *Broker) offsetFetch(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.OffsetFetchRequest)
	resp := q.ResponseKind().(*kmsg.OffsetFetchResponse)
	if q.Version >= 8 {
		for i := range q.Groups {
			resp.Groups = append(resp.Groups, b.fetchOffsets(ctx, q.Version, &q.Groups[i]))
		}
		return resp, nil
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = q.Group
	if q.Topics != nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for i := range q.Topics {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = q.Topics[i].Topic, q.Topics[i].Partitions
		g.Topics = append(g.Topics, t)
	}
	one := b.fetchOffsets(ctx, q.Version, &g)
	resp.ErrorCode = one.ErrorCode
	for i := range one.Topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = one.Topics[i].Topic
		for _, p := range one.Topics[i].Partitions {
			a := kmsg.NewOffsetFetchResponseTopicPartition()
			a.Partition, a.Offset, a.LeaderEpoch, a.Metadata, a.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			t.Partitions = append(t.Partitions, a)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp, nil
}

// fetchOffsets answers one group.
func (b *Broker) fetchOffsets(ctx context.Context, version int16, g *kmsg.OffsetFetchRequestGroup) kmsg.OffsetFetchResponseGroup {
	out := kmsg.NewOffsetFetchResponseGroup()
	out.Group = g.Group
	img := b.image()
	asked := *g
	var unknown []kmsg.OffsetFetchResponseGroupTopic
	if g.Topics != nil {
		asked.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range g.Topics {
		if named(img, version, &t.Topic, t.TopicID) {
			asked.Topics = append(asked.Topics, t)
		} else {
			unknown = append(unknown, noOffsets(&t, kerr.UnknownTopicID.Code))
		}
	}
	reply, err := b.onGroup(ctx, g.Group, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.OffsetFetch(&asked, now)
	})
	if err != nil {
		if out.ErrorCode = codeOf(err); out.ErrorCode == kerr.CoordinatorNotAvailable.Code {
			out.ErrorCode = kerr.NotCoordinator.Code // what older clients know to retry
		}
		for i := range g.Topics {
			if version < 2 { // no place for a top-level error
				out.Topics = append(out.Topics, noOffsets(&g.Topics[i], out.ErrorCode))
			}
		}
		return out
	}
	out = *reply.(*kmsg.OffsetFetchResponseGroup)
	if version >= 10 {
		out.Topics = withIDs(img, out.Topics)
	}
	out.Topics = append(out.Topics, unknown...)
	return out
}

// withIDs gives the topics of an answer their ids; a topic that is gone meanwhile is left out.
func withIDs(img *metadata.Image, in []kmsg.OffsetFetchResponseGroupTopic) []kmsg.OffsetFetchResponseGroupTopic {
	var out []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range in {
		if known := img.Topic(t.Topic); known != nil {
			t.TopicID = known.ID
			out = append(out, t)
		}
	}
	return out
}

func noOffsets(t *kmsg.OffsetFetchRequestGroupTopic, code int16) kmsg.OffsetFetchResponseGroupTopic {
	out := kmsg.NewOffsetFetchResponseGroupTopic()
	out.Topic, out.TopicID = t.Topic, t.TopicID
	for _, index := range t.Partitions {
		a := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		a.Partition, a.Offset, a.LeaderEpoch, a.Metadata, a.ErrorCode = index, -1, -1, kmsg.StringPtr(""), code
		out.Partitions = append(out.Partitions, a)
	}
	return out
}
