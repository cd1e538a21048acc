package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// OffsetCommit (key 8), versions 2-10.
//
//	5  no retention time     6  leader epoch     7  instance id     10  topic ids
//
// Unknown topics and partitions are refused here, one by one; the group decides on the others.
func (b *Broker) offsetCommit(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.OffsetCommitRequest)
	resp := q.ResponseKind().(*kmsg.OffsetCommitResponse)
	img := b.image()
	known := *q
	known.Topics = nil
	for i := range q.Topics {
		in := q.Topics[i]
		refused := kmsg.NewOffsetCommitResponseTopic()
		kept := in
		kept.Partitions = nil
		code := kerr.UnknownTopicOrPartition.Code
		if !named(img, q.Version, &in.Topic, in.TopicID) {
			code = kerr.UnknownTopicID.Code
		}
		t := img.Topic(in.Topic)
		kept.Topic, refused.Topic, refused.TopicID = in.Topic, in.Topic, in.TopicID
		if t != nil {
			kept.TopicID = t.ID // committed with the offset, so that a topic made anew does not inherit it
		}
		for _, p := range in.Partitions {
			if t != nil && p.Partition >= 0 && int(p.Partition) < len(t.Partitions) {
				kept.Partitions = append(kept.Partitions, p)
				continue
			}
			a := kmsg.NewOffsetCommitResponseTopicPartition()
			a.Partition, a.ErrorCode = p.Partition, code
			refused.Partitions = append(refused.Partitions, a)
		}
		if len(kept.Partitions) > 0 {
			known.Topics = append(known.Topics, kept)
		}
		if len(refused.Partitions) > 0 {
			resp.Topics = append(resp.Topics, refused)
		}
	}
	if len(known.Topics) == 0 && len(q.Topics) > 0 {
		return resp, nil
	}
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.OffsetCommit(&known, now)
	})
	if err != nil {
		resp.Topics = joinCommits(failedCommits(&known, codeOf(err)), resp.Topics)
		return resp, nil
	}
	resp.Topics = joinCommits(reply.(*kmsg.OffsetCommitResponse).Topics, resp.Topics)
	return resp, nil
}

// joinCommits puts the refused partitions of a topic beside its others: clients keep one entry a topic.
func joinCommits(decided, refused []kmsg.OffsetCommitResponseTopic) []kmsg.OffsetCommitResponseTopic {
	if len(refused) == 0 {
		return decided
	}
	at := make(map[string]int, len(decided))
	for i := range decided {
		at[decided[i].Topic] = i
	}
	for _, t := range refused { // no name: an unknown id, of which nothing was decided
		if i, ok := at[t.Topic]; ok && t.Topic != "" {
			decided[i].Partitions = append(decided[i].Partitions, t.Partitions...)
		} else {
			decided = append(decided, t)
		}
	}
	return decided
}

// failedCommits gives every partition of a commit the same error.
func failedCommits(q *kmsg.OffsetCommitRequest, code int16) []kmsg.OffsetCommitResponseTopic {
	if code == kerr.CoordinatorLoadInProgress.Code && q.Version < 2 {
		code = kerr.CoordinatorNotAvailable.Code
	}
	var out []kmsg.OffsetCommitResponseTopic
	for i := range q.Topics {
		t := kmsg.NewOffsetCommitResponseTopic()
		t.Topic, t.TopicID = q.Topics[i].Topic, q.Topics[i].TopicID
		for _, p := range q.Topics[i].Partitions {
			a := kmsg.NewOffsetCommitResponseTopicPartition()
			a.Partition, a.ErrorCode = p.Partition, code
			t.Partitions = append(t.Partitions, a)
		}
		out = append(out, t)
	}
	return out
}
