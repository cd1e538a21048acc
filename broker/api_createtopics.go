package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// CreateTopics (key 19), versions 2-7. 4 defaults by -1, 5 the topic's configs in the answer, 7 its id.
//
// The answer leaves when this broker shows the topics, so that create and describe on one connection agree (trap 39).
func (b *Broker) createTopics(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.CreateTopicsRequest)
	resp := q.ResponseKind().(*kmsg.CreateTopicsResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	req := decide.CreateTopicsRequest{ValidateOnly: q.ValidateOnly, Internal: r.isInternal(), Rules: b.rules(), NewID: b.controller.NewTopicID}
	spent := r.mutations(6)
	defer spent.tell(&resp.ThrottleMillis)
	for i := range q.Topics {
		t := newTopic(&q.Topics[i])
		if !q.ValidateOnly {
			if err := spent.charge(b.newPartitions(&t)); err != nil {
				resp.Topics = append(resp.Topics, uncreatedTopic(t.Name, err))
				continue
			}
		}
		req.Topics = append(req.Topics, t)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.CreateTopicsReply], error) {
		return decide.CreateTopics(img, req, now)
	})
	if err != nil {
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, uncreatedTopic(req.Topics[i].Name, err))
		}
		return resp, nil
	}
	if !q.ValidateOnly {
		for _, t := range reply.Topics {
			if t.Err == nil {
				b.awaitLeaders(ctx, t.Name)
			}
		}
	}
	for _, t := range reply.Topics {
		resp.Topics = append(resp.Topics, b.createdTopic(&t))
	}
	return resp, nil
}

func uncreatedTopic(name string, err error) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.ErrorCode, out.ErrorMessage = name, codeOf(err), messageOf(err)
	return out
}

func newTopic(in *kmsg.CreateTopicsRequestTopic) decide.NewTopic {
	t := decide.NewTopic{Name: in.Topic, Partitions: in.NumPartitions, ReplicationFactor: in.ReplicationFactor}
	for _, a := range in.ReplicaAssignment {
		t.Assignments = append(t.Assignments, decide.Assignment{Index: a.Partition, Replicas: nodeIDs(a.Replicas)})
	}
	for _, c := range in.Configs {
		t.Configs = append(t.Configs, decide.ConfigEntry{Key: c.Name, Value: c.Value})
	}
	return t
}

// createdTopic is the answer for one topic, with its effective configs.
func (b *Broker) createdTopic(t *decide.CreatedTopic) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.TopicID = t.Name, t.ID
	out.NumPartitions, out.ReplicationFactor = -1, -1
	out.ErrorCode, out.ErrorMessage = refusal(t.Err)
	if t.Err != nil {
		return out
	}
	out.NumPartitions, out.ReplicationFactor = t.Partitions, t.ReplicationFactor
	for _, c := range b.topicConfigs(b.image(), t.Configs, int(t.ReplicationFactor)) {
		e := kmsg.NewCreateTopicsResponseTopicConfig()
		e.Name, e.Value, e.ReadOnly, e.Source, e.IsSensitive = c.key.Name, c.shown(), c.key.ReadOnly, int8(c.source), c.key.Sensitive
		out.Configs = append(out.Configs, e)
	}
	return out
}
