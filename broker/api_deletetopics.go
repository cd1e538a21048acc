package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// DeleteTopics (key 20), versions 1-6. 5 error message, 6 by id too.
//
// The name is free at once; the files go after file.delete.delay.ms (trap 40).
func (b *Broker) deleteTopics(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DeleteTopicsRequest)
	resp := q.ResponseKind().(*kmsg.DeleteTopicsResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	var refs []decide.TopicRef
	spent := r.mutations(5)
	defer spent.tell(&resp.ThrottleMillis)
	add := func(ref decide.TopicRef) {
		if b.cfg.DeleteTopics {
			if err := spent.charge(b.lostPartitions(ref)); err != nil {
				resp.Topics = append(resp.Topics, deletedTopic(ref, codeOf(err), messageOf(err)))
				return
			}
		}
		refs = append(refs, ref)
	}
	for _, name := range q.TopicNames {
		add(decide.TopicRef{Name: name})
	}
	for _, t := range q.Topics {
		ref := decide.TopicRef{ID: t.TopicID}
		if t.Topic != nil {
			ref.Name = *t.Topic
		}
		add(ref)
	}
	var reply decide.DeleteTopicsReply
	err := error(kerr.TopicDeletionDisabled)
	if b.cfg.DeleteTopics {
		reply, err = decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.DeleteTopicsReply], error) {
			return decide.DeleteTopics(img, decide.DeleteTopicsRequest{Topics: refs}, now)
		})
	}
	if err != nil {
		for _, ref := range refs {
			resp.Topics = append(resp.Topics, deletedTopic(ref, codeOf(err), messageOf(err)))
		}
		return resp, nil
	}
	for _, t := range reply.Topics {
		code, message := refusal(t.Err)
		resp.Topics = append(resp.Topics, deletedTopic(t.TopicRef, code, message))
	}
	return resp, nil
}

func deletedTopic(ref decide.TopicRef, code int16, message *string) kmsg.DeleteTopicsResponseTopic {
	out := kmsg.NewDeleteTopicsResponseTopic()
	out.TopicID, out.ErrorCode, out.ErrorMessage = ref.ID, code, message
	if ref.Name != "" {
		out.Topic = kmsg.StringPtr(ref.Name)
	}
	return out
}
