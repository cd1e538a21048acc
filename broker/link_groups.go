package broker

import (
	"context"
	"crypto/rand"
	"time"

	"go.uber.org/zap"

	"cordwood/coordinator"
	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol/record"
)

// groupLog gives a coordinator shard its partition of the offsets topic: appends with acks=all, and reads below the
// high watermark.
type groupLog struct {
	p     *partition.Partition
	epoch int32
}

func (l groupLog) Append(batch record.Batch) (last int64, epoch int32, err error) {
	a := partition.Append{Batch: batch, Acks: -1}
	l.p.AppendIn(l.epoch, []*partition.Append{&a})
	return a.Last, a.Epoch, a.Err
}

// Await returns when last is committed; the error says why it never will be (leadership lost, too few in sync).
func (l groupLog) Await(ctx context.Context, last int64, epoch int32) error {
	woken := make(chan struct{}, 1)
	w := partition.Waiter{Wake: func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}}
	defer w.Cancel()
	for {
		if done, err := l.p.Acked(last, epoch); done {
			return err
		}
		if !l.p.AwaitAck(&w, last, epoch) {
			continue
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Read fills buf with whole batches from offset on; a first batch larger than buf gets a buffer of its own.
func (l groupLog) Read(offset int64, buf []byte) ([]byte, error) {
	var out partition.ReadResult
	l.p.Read(partition.ReadRequest{
		Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: max(cap(buf), 64<<10), Whole: true,
	}, &out)
	if out.Err != nil {
		return nil, out.Err
	}
	defer out.Slice.Release()
	n := out.Slice.Len()
	if n > cap(buf) {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	if n == 0 {
		return buf, nil
	}
	_, err := out.Slice.ReadAt(buf, 0)
	return buf, err
}

func (l groupLog) Start() int64 { return l.p.Start() }
func (l groupLog) End() int64   { return l.p.End() }

// openGroups makes the coordinator of consumer groups; it leads nothing yet.
func (b *Broker) openGroups() error {
	b.groups = coordinator.New(coordinator.Config{
		Topic: offsetsTopic,
		NewMachine: func(int32) machine.Machine {
			return group.New(group.Config{
				MinSessionTimeout: b.cfg.Group.MinSessionTimeout, MaxSessionTimeout: b.cfg.Group.MaxSessionTimeout,
				InitialRebalanceDelay: initialDelay(b.cfg.Group.InitialRebalanceDelay), MaxSize: b.cfg.Group.MaxSize,
				MaxOffsetMetadata: b.cfg.Offsets.MetadataMaxBytes, OffsetsRetention: b.cfg.Offsets.Retention,
				OffsetsRetentionCheck: b.cfg.Offsets.RetentionCheck, Rand: rand.Reader,
				Wall: func(time.Time) time.Time { return b.now() },
			})
		},
		Codecs: b.codecs, CommitTimeout: b.cfg.Offsets.CommitTimeout, Log: b.log.Named("groups"), Now: b.cfg.Now,
	})
	return nil
}

// moveShards starts the shards whose partitions this broker began to lead, and ends those it no longer leads.
func (b *Broker) moveShards(old, img *metadata.Image) {
	before, after := old.Topic(offsetsTopic), img.Topic(offsetsTopic)
	if after == nil && before == nil {
		return
	}
	count := 0
	for _, t := range []*metadata.Topic{before, after} {
		if t != nil {
			count = max(count, len(t.Partitions))
		}
	}
	for i := range count {
		was, is := led(before, i, b.cfg.NodeID), led(after, i, b.cfg.NodeID)
		if was == is {
			continue
		}
		if was != nil && (is == nil || was.LeaderEpoch != is.LeaderEpoch) {
			b.groups.Resigned(int32(i), was.LeaderEpoch)
		}
		if is == nil || was != nil && was.LeaderEpoch == is.LeaderEpoch {
			continue
		}
		if p := b.partitions.ByID(after.ID, int32(i)); p != nil {
			b.groups.Elected(int32(i), is.LeaderEpoch, groupLog{p, is.LeaderEpoch})
		} else {
			b.log.Error("led partition of the offsets topic is not hosted", zap.Int("partition", i))
		}
	}
}

// led is a partition's record if the node leads it, else nil.
func led(t *metadata.Topic, i int, node metadata.NodeID) *metadata.Partition {
	if t == nil || i >= len(t.Partitions) || t.Partitions[i].Leader != node {
		return nil
	}
	return t.Partitions[i]
}

// forgetTopics removes the committed offsets of deleted topics.
func (b *Broker) forgetTopics(deleted []*metadata.Topic) {
	if len(deleted) == 0 {
		return
	}
	var gone []group.Topic
	for _, t := range deleted {
		gone = append(gone, group.Topic{Name: t.Name, ID: t.ID})
	}
	for _, shard := range b.groups.Led() {
		b.background(func(ctx context.Context) {
			_, err := b.onShard(ctx, shard, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
				return m.TopicsDeleted(gone, now)
			})
			if err != nil && !ended(err) {
				b.log.Warn("offsets of deleted topics", zap.Int32("shard", shard), zap.Error(err))
			}
		})
	}
}

// initialDelayMin is the least a new group waits for further members. Members that start together come within a few
// milliseconds of each other; whoever is late makes the group rebalance, which the first one learns only by its next
// heartbeat, seconds later. Kafka's timers take about as long where no wait is configured, and clients' tests count on it.
const initialDelayMin = 10 * time.Millisecond

func initialDelay(configured time.Duration) time.Duration { return max(configured, initialDelayMin) }
