package decide

import (
	"slices"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// What is around the controller in a random run: brokers that know older images, logs, and leaders with their own view
// of the ISR, which propose changes whose answers are late, repeated or lost. Leaders follow R3 to R8 in the simplest
// form that is right; package isr has the real ones.

// process is one life of a broker.
type process struct {
	epoch   int64                    // granted
	seen    *metadata.Image          // the newest it knows
	broken  map[metadata.DirID]bool  // directories it cannot use any more
	leading map[partitionKey]*leader // what it believes to lead
}

// leader is what a leader knows of one partition in one leader epoch.
type leader struct {
	view    metadata.Partition
	start   int // of the epoch
	hw      int
	pending *ISRChange
	ends    map[metadata.NodeID]int // what followers hold, in this epoch
	epochs  map[metadata.NodeID]int64
}

// log is a replica: its records, and how many of them count as being on disk.
type log struct {
	records []int
	durable int
}

func (c *chaos) log(key partitionKey, n metadata.NodeID) *log {
	if c.logs[key] == nil {
		c.logs[key] = map[metadata.NodeID]*log{}
	}
	if c.logs[key][n] == nil {
		c.logs[key][n] = &log{}
	}
	return c.logs[key][n]
}

func prefix(a, b []int) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// usable reports whether the broker runs and has the directory of its replica.
func (c *chaos) usable(p *metadata.Partition, n metadata.NodeID) bool {
	d := p.Dir(n)
	return c.procs[n] != nil && slices.Contains(c.disks(n), d) && !c.procs[n].broken[d]
}

// learn brings a broker's image up to date and begins and ends its leaderships (R7, R8).
func (c *chaos) learn(b metadata.NodeID) {
	pr := c.procs[b]
	pr.seen = c.img
	for key, l := range pr.leading {
		if p := c.img.TopicByID(key.topic).Partition(key.index); p == nil || p.Leader != b || p.LeaderEpoch != l.view.LeaderEpoch || !c.usable(p, b) {
			delete(pr.leading, key)
		}
	}
	c.each(func(key partitionKey, t *metadata.Topic, p *metadata.Partition) {
		if !slices.Contains(p.Replicas, b) {
			delete(c.logs[key], b) // R13: only what this broker knows to be gone
		}
		switch l := pr.leading[key]; {
		case p.Leader != b || !c.usable(p, b):
		case l == nil:
			if by, known := c.led[key][p.LeaderEpoch]; known && by != b {
				c.t.Fatalf("%v: %d and %d lead in epoch %d (I6)", key, by, b, p.LeaderEpoch)
			}
			if c.led[key] == nil {
				c.led[key] = map[int32]metadata.NodeID{}
			}
			c.led[key][p.LeaderEpoch] = b
			pr.leading[key] = &leader{view: *p, start: len(c.log(key, b).records), ends: map[metadata.NodeID]int{}, epochs: map[metadata.NodeID]int64{}}
		default:
			l.adopt(p)
		}
	})
}

// adopt takes committed metadata, from the feed or from an answer.
func (l *leader) adopt(p *metadata.Partition) {
	if p.LeaderEpoch == l.view.LeaderEpoch && p.PartitionEpoch > l.view.PartitionEpoch {
		l.view, l.pending = *p, nil
	}
}

// maxISR is who the high watermark waits for: joining members count at once.
func (l *leader) maxISR() []metadata.NodeID {
	out := slices.Clone(l.view.ISR)
	if l.pending != nil {
		for _, m := range l.pending.ISR {
			if !slices.Contains(out, m.ID) {
				out = append(out, m.ID)
			}
		}
	}
	return out
}

// lead lets everybody who believes to lead append, count and propose.
func (c *chaos) lead() {
	for _, b := range c.brokers() {
		if c.procs[b] == nil {
			continue
		}
		for _, key := range c.ledBy(b) {
			l := c.procs[b].leading[key]
			if own := c.log(key, b); c.rng.IntN(2) == 0 {
				c.record++
				own.records = append(own.records, c.record)
			}
			c.advance(key, b, l)
			if l.pending == nil && c.rng.IntN(3) == 0 {
				c.propose(key, b, l)
			}
			if l.pending != nil && c.rng.IntN(2) == 0 {
				c.send(b, l)
			}
		}
	}
}

// ledBy is what a broker believes to lead, in a fixed order.
func (c *chaos) ledBy(b metadata.NodeID) []partitionKey {
	var out []partitionKey
	c.each(func(key partitionKey, _ *metadata.Topic, _ *metadata.Partition) {
		if c.procs[b].leading[key] != nil {
			out = append(out, key)
		}
	})
	return out
}

// advance is R5; what it acknowledges must be on every leader to come (I3).
func (c *chaos) advance(key partitionKey, b metadata.NodeID, l *leader) {
	if len(l.view.ISR) < int(l.view.MinISR) {
		return
	}
	own := c.log(key, b)
	hw := len(own.records)
	for _, n := range l.maxISR() {
		if n != b {
			hw = min(hw, l.ends[n]) // 0 before its first fetch
		}
	}
	if l.hw = max(l.hw, hw); l.hw == 0 {
		return
	}
	own.durable = max(own.durable, l.hw)
	acked := c.acked[key]
	if n := prefix(acked, own.records); n < min(len(acked), l.hw) && !l.view.Relaxed {
		c.t.Fatalf("%v: %d acknowledges other records at %d than were before: %+v", key, b, n, l.view)
	}
	if l.hw > len(acked) {
		c.acked[key] = slices.Clone(own.records[:l.hw])
		c.count.acked++
	}
}

// fetch lets a follower copy from the leader it knows, if that one knows itself as such (R3, R4).
func (c *chaos) fetch(key partitionKey, n metadata.NodeID) {
	follower := c.procs[n]
	t := follower.seen.TopicByID(key.topic)
	p := t.Partition(key.index)
	if p == nil || p.Leader == metadata.NoNode || p.Leader == n || !slices.Contains(p.Replicas, n) || !c.usable(p, n) || c.procs[p.Leader] == nil {
		return
	}
	at := c.procs[p.Leader]
	l := at.leading[key]
	if l == nil || l.view.LeaderEpoch != p.LeaderEpoch || !slices.Contains(l.view.Replicas, n) {
		return
	}
	if b := at.seen.Broker(n); b == nil || follower.epoch < b.Epoch || follower.epoch < l.epochs[n] {
		return // an earlier life (Z8)
	}
	mine, its := c.log(key, n), c.log(key, p.Leader)
	same := prefix(mine.records, its.records)
	end := same + c.rng.IntN(len(its.records)-same+1)
	mine.records = slices.Clone(its.records[:end])
	mine.durable = end
	l.ends[n], l.epochs[n] = end, follower.epoch
}

// propose is R6: shrink by anybody, expand by who has enough.
func (c *chaos) propose(key partitionKey, b metadata.NodeID, l *leader) {
	seen := c.procs[b].seen
	isr := slices.DeleteFunc(slices.Clone(l.view.ISR), func(n metadata.NodeID) bool { return n != b && c.rng.IntN(8) == 0 })
	if len(isr) == len(l.view.ISR) {
		for _, n := range l.view.Replicas {
			end, fetched := l.ends[n]
			r := seen.Broker(n)
			if fetched && !slices.Contains(isr, n) && end >= l.start && end >= l.hw && r.Live() && r.Epoch == l.epochs[n] {
				isr = append(isr, n)
				break
			}
		}
	}
	if len(isr) == len(l.view.ISR) && !l.view.Recovering {
		return
	}
	change := &ISRChange{Topic: key.topic, Index: key.index, LeaderEpoch: l.view.LeaderEpoch, PartitionEpoch: l.view.PartitionEpoch}
	for _, n := range isr {
		m := ISRMember{ID: n, BrokerEpoch: l.epochs[n]}
		if r := seen.Broker(n); r != nil && m.BrokerEpoch == 0 {
			m.BrokerEpoch = r.Epoch
		}
		change.ISR = append(change.ISR, m)
	}
	l.pending = change
}

// send asks the controller; the answer may be lost.
func (c *chaos) send(b metadata.NodeID, l *leader) {
	out, err := AlterPartition(c.img, AlterPartitionRequest{Broker: b, Epoch: c.procs[b].epoch, Changes: []ISRChange{*l.pending}, Rules: c.rules}, c.now)
	if err != nil {
		return // another life of the broker, which knows already
	}
	answer := do(c.world, out, nil).Partitions[0]
	if c.rng.IntN(3) == 0 {
		return
	}
	switch {
	case answer.Err == nil:
		c.count.applied++
		l.adopt(answer.Partition)
	case answer.Err.Code == kerr.IneligibleReplica:
		c.count.ineligible++
		l.pending = nil
	case answer.Err.Code == kerr.InvalidUpdateVersion, answer.Err.Code == kerr.FencedLeaderEpoch, answer.Err.Code == kerr.NewLeaderElected,
		answer.Err.Code == kerr.InvalidRequest, answer.Err.Code == kerr.UnknownTopicID:
		// pending until metadata come
	default:
		c.t.Fatalf("the answer to %+v: %v", l.pending, answer.Err)
	}
}
