package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// OffsetDelete (key 47), version 0: removes committed offsets of topics the group is not subscribed to.
func (b *Broker) offsetDelete(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.OffsetDeleteRequest)
	resp := q.ResponseKind().(*kmsg.OffsetDeleteResponse)
	img := b.image()
	known := *q
	known.Topics = nil
	var refused []kmsg.OffsetDeleteResponseTopic
	for i := range q.Topics {
		in := q.Topics[i]
		t := img.Topic(in.Topic)
		kept := in
		kept.Partitions = nil
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = in.Topic
		for _, p := range in.Partitions {
			if t != nil && p.Partition >= 0 && int(p.Partition) < len(t.Partitions) {
				kept.Partitions = append(kept.Partitions, p)
				continue
			}
			a := kmsg.NewOffsetDeleteResponseTopicPartition()
			a.Partition, a.ErrorCode = p.Partition, kerr.UnknownTopicOrPartition.Code
			out.Partitions = append(out.Partitions, a)
		}
		if len(kept.Partitions) > 0 {
			known.Topics = append(known.Topics, kept)
		}
		if len(out.Partitions) > 0 {
			refused = append(refused, out)
		}
	}
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.OffsetDelete(&known, now)
	})
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	resp = reply.(*kmsg.OffsetDeleteResponse)
	if resp.ErrorCode == 0 {
		resp.Topics = joinDeletions(resp.Topics, refused)
	}
	return resp, nil
}

// joinDeletions puts the refused partitions of a topic beside its others: clients keep one entry a topic.
func joinDeletions(decided, refused []kmsg.OffsetDeleteResponseTopic) []kmsg.OffsetDeleteResponseTopic {
	at := make(map[string]int, len(decided))
	for i := range decided {
		at[decided[i].Topic] = i
	}
	for _, t := range refused {
		if i, ok := at[t.Topic]; ok {
			decided[i].Partitions = append(decided[i].Partitions, t.Partitions...)
		} else {
			decided = append(decided, t)
		}
	}
	return decided
}
