package broker

import (
	"context"
	"strconv"
	"time"

	"go.uber.org/zap"

	"cordwood/controller"
	"cordwood/controller/decide"
	"cordwood/metadata"
)

// requestTimeoutMax bounds how long an administrative request may wait, whatever it says.
const requestTimeoutMax = 5 * time.Minute

// decided runs a decision at the active controller and returns its reply once this broker's own image shows it (B4).
func decided[R any](ctx context.Context, b *Broker, f func(img *metadata.Image, now time.Time) (decide.Outcome[R], error)) (R, error) {
	reply, index, err := controller.Do(ctx, b.controller, f)
	if err != nil {
		return reply, err
	}
	return reply, b.awaitImage(ctx, index)
}

// adminContext bounds an administrative request by its own timeout.
func adminContext(ctx context.Context, millis int32) (context.Context, context.CancelFunc) {
	wait := time.Duration(millis) * time.Millisecond
	if wait <= 0 || wait > requestTimeoutMax {
		wait = requestTimeoutMax
	}
	return context.WithTimeout(ctx, wait)
}

// rules is what decisions must know of this broker's settings.
func (b *Broker) rules() *decide.Rules {
	return &decide.Rules{
		Partitions: b.cfg.NumPartitions, ReplicationFactor: max(b.cfg.ReplicationFactor, 0),
		TopicConfig: b.cfg.Topic, Configured: true, BrokerKey: describeBrokerKey,
		InternalFactor: func(topic string) int16 {
			if topic == offsetsTopic {
				return b.cfg.Offsets.ReplicationFactor
			}
			return 0
		},
	}
}

// autoCreate creates topics with the defaults and waits until this broker shows them with a leader. Failures are
// left to the caller, which looks at the image.
func (b *Broker) autoCreate(ctx context.Context, names []string) {
	req := decide.CreateTopicsRequest{Internal: true, Rules: b.rules(), NewID: b.controller.NewTopicID}
	for _, name := range names {
		t := decide.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
		if name == offsetsTopic {
			t = b.offsetsTopicSpec()
		}
		req.Topics = append(req.Topics, t)
	}
	_, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.CreateTopicsReply], error) {
		return decide.CreateTopics(img, req, now)
	})
	if err != nil {
		b.log.Warn("automatic creation of topics", zap.Int("topics", len(names)), zap.Error(err))
		return
	}
	for _, name := range names {
		b.awaitLeaders(ctx, name)
	}
}

// offsetsTopicSpec is how __consumer_offsets is made: compacted, with as many replicas as there are live brokers, at
// most offsets.topic.replication.factor.
func (b *Broker) offsetsTopicSpec() decide.NewTopic {
	live := int16(0)
	for broker := range b.image().Brokers() {
		if broker.Live() {
			live++
		}
	}
	set := func(k, v string) decide.ConfigEntry { return decide.ConfigEntry{Key: k, Value: &v} }
	return decide.NewTopic{
		Name: offsetsTopic, Partitions: b.cfg.Offsets.Partitions,
		ReplicationFactor: max(1, min(b.cfg.Offsets.ReplicationFactor, live)),
		Configs: []decide.ConfigEntry{
			set("cleanup.policy", "compact"), set("compression.type", "producer"),
			set("segment.bytes", strconv.FormatInt(b.cfg.Offsets.SegmentBytes, 10)),
		},
	}
}

// awaitLeaders waits until every partition of a topic has a leader here or elsewhere, or ctx ends.
func (b *Broker) awaitLeaders(ctx context.Context, name string) {
	for {
		p := b.published.Load()
		if t := p.image.Topic(name); t == nil || allLed(t) {
			return
		}
		select {
		case <-p.next:
		case <-ctx.Done():
			return
		}
	}
}

func allLed(t *metadata.Topic) bool {
	for _, p := range t.Partitions {
		if p.Leader < 0 {
			return false
		}
	}
	return true
}

// refusal splits an error of one item into what the answer holds.
func refusal(r *decide.Refusal) (int16, *string) {
	if r == nil {
		return 0, nil
	}
	return r.Code.Code, &r.Message
}

func nodeIDs(ids []int32) []metadata.NodeID {
	out := make([]metadata.NodeID, len(ids))
	for i, id := range ids {
		out[i] = metadata.NodeID(id)
	}
	return out
}
