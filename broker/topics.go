package broker

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// requestTimeoutMax bounds how long an administrative request may wait, whatever it says.
const requestTimeoutMax = 5 * time.Minute

// decided runs a decision at the controller of this process and returns its reply once this broker's own image shows it (B4).
func decided[R any](ctx context.Context, b *Broker, f func(img *metadata.Image, now time.Time) (decide.Outcome[R], error)) (R, error) {
	if ctx.Err() != nil {
		var none R
		return none, fmt.Errorf("%w: no active controller decided in time", kerr.RequestTimedOut)
	}
	reply, index, err := controllerDo(ctx, b, f)
	if err != nil {
		noteElsewhere(ctx, err)
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
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version = 7
	if at, bounded := ctx.Deadline(); bounded {
		q.TimeoutMillis = int32(max(time.Until(at), time.Millisecond) / time.Millisecond)
	}
	for _, name := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, -1, -1
		if name == offsetsTopic {
			b.specifyOffsetsTopic(&t)
		}
		q.Topics = append(q.Topics, t)
	}
	if _, err := b.handlers[q.Key()].serve(ctx, b.byItself(q)); err != nil {
		b.log.Warn("automatic creation of topics", zap.Int("topics", len(names)), zap.Error(err))
		return
	}
	for _, name := range names {
		b.awaitLeaders(ctx, name)
	}
}

// specifyOffsetsTopic says how __consumer_offsets is made: compacted, with as many replicas as there are brokers to hold them, at
// most offsets.topic.replication.factor.
func (b *Broker) specifyOffsetsTopic(t *kmsg.CreateTopicsRequestTopic) {
	live := int16(0)
	for broker := range b.image().Brokers() {
		if b.image().Placeable(broker.ID) {
			live++
		}
	}
	t.NumPartitions = b.cfg.Offsets.Partitions
	t.ReplicationFactor = max(1, min(b.cfg.Offsets.ReplicationFactor, live))
	for _, c := range [][2]string{
		{"cleanup.policy", "compact"}, {"compression.type", "producer"}, {"segment.bytes", strconv.FormatInt(b.cfg.Offsets.SegmentBytes, 10)},
	} {
		set := kmsg.NewCreateTopicsRequestTopicConfig()
		set.Name, set.Value = c[0], kmsg.StringPtr(c[1])
		t.Configs = append(t.Configs, set)
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
