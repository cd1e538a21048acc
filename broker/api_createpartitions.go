package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// CreatePartitions (key 37), versions 0-3: raises the number of partitions of topics.
func (b *Broker) createPartitions(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.CreatePartitionsRequest)
	resp := q.ResponseKind().(*kmsg.CreatePartitionsResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	req := decide.CreatePartitionsRequest{ValidateOnly: q.ValidateOnly, Rules: b.rules()}
	spent := r.mutations(3)
	defer spent.tell(&resp.ThrottleMillis)
	for _, in := range q.Topics {
		t := decide.MorePartitions{Name: in.Topic, Count: in.Count}
		for _, a := range in.Assignment {
			t.Assignments = append(t.Assignments, nodeIDs(a.Replicas))
		}
		if !q.ValidateOnly {
			if err := spent.charge(b.morePartitions(&t)); err != nil {
				resp.Topics = append(resp.Topics, ungrownTopic(t.Name, err))
				continue
			}
		}
		req.Topics = append(req.Topics, t)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.CreatePartitionsReply], error) {
		return decide.CreatePartitions(img, req, now)
	})
	if err != nil {
		for _, t := range req.Topics {
			resp.Topics = append(resp.Topics, ungrownTopic(t.Name, err))
		}
		return resp, nil
	}
	for _, t := range reply.Topics {
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = t.Name
		out.ErrorCode, out.ErrorMessage = refusal(t.Err)
		resp.Topics = append(resp.Topics, out)
		if t.Err == nil && !q.ValidateOnly {
			b.awaitLeaders(ctx, t.Name)
		}
	}
	return resp, nil
}

func ungrownTopic(name string, err error) kmsg.CreatePartitionsResponseTopic {
	out := kmsg.NewCreatePartitionsResponseTopic()
	out.Topic, out.ErrorCode, out.ErrorMessage = name, codeOf(err), messageOf(err)
	return out
}
