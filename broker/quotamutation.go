package broker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// mutations is what the changes of one request cost of its client's controller_mutation_rate: one for each partition
// that is created or deleted (KIP-599).
//
//	versions from strictSince on    an exhausted quota refuses the rest: THROTTLING_QUOTA_EXCEEDED
//	older ones                      everything is done, and costs time
type mutations struct {
	b      *Broker
	quota  *clientQuota
	strict bool
	wait   time.Duration
}

// neverStrict is for requests whose errors cannot speak of quotas.
const neverStrict = 1<<15 - 1

func (r *request) mutations(strictSince int16) *mutations {
	return &mutations{b: r.b, quota: r.quota, strict: r.header.Version >= strictSince}
}

// charge takes n; nothing is charged for what will change nothing.
func (m *mutations) charge(n int) error {
	if m.quota == nil || n <= 0 {
		return nil
	}
	wait, ok := m.quota.mutate(m.b.uptime(), n, m.strict)
	m.wait = max(m.wait, wait)
	if !ok {
		return kerr.ThrottlingQuotaExceeded
	}
	return nil
}

// tell puts the throttle into the answer, from where it comes to the connection.
func (m *mutations) tell(throttle *int32) { *throttle = millis(m.wait) }

// newPartitions is how many partitions a creation makes; 0 if it will be refused for its name.
func (b *Broker) newPartitions(t *decide.NewTopic) int {
	switch {
	case b.image().Topic(t.Name) != nil:
		return 0
	case len(t.Assignments) > 0:
		return len(t.Assignments)
	case t.Partitions < 0:
		return int(b.cfg.NumPartitions)
	}
	return int(t.Partitions)
}

// morePartitions is how many partitions a growth adds.
func (b *Broker) morePartitions(t *decide.MorePartitions) int {
	topic := b.image().Topic(t.Name)
	if topic == nil {
		return 0
	}
	return int(t.Count) - len(topic.Partitions)
}

// lostPartitions is how many partitions go with a topic.
func (b *Broker) lostPartitions(ref decide.TopicRef) int {
	t := b.image().Topic(ref.Name)
	if ref.Name == "" {
		t = b.image().TopicByID(metadata.TopicID(ref.ID))
	}
	if t == nil {
		return 0
	}
	return len(t.Partitions)
}
