package bubble

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
)

const (
	topic      = "t"
	group      = "g"
	partitions = 2
	patience   = 30 * time.Second // of one operation
)

// load is the clients of a run.
type load struct {
	c       *cluster
	r       *recorder.Recorder
	ctx     context.Context // ends when they stop
	clients sync.WaitGroup
}

func key(partition int32) check.Key { return check.KeyOf(topic, partition) }

func (l *load) run(process int, seed uint64, client func(process int, rng *rand.Rand)) {
	rng := rand.New(rand.NewPCG(seed, uint64(process)))
	l.clients.Go(func() { client(process, rng) })
}

// pause waits a random time up to most; false when the load is over.
func (l *load) pause(rng *rand.Rand, most time.Duration) bool {
	t := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// produce pipelines numbered records with idempotence.
func (l *load) produce(process int, rng *rand.Rand) {
	cl := l.c.connect(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(50),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	// The client holds a mutex while it asks for its id, and virtual time stands still for who waits for a mutex: it asks
	// before there is anybody to wait.
	if _, _, err := cl.ProducerID(l.ctx); err != nil {
		l.c.fails("producer %d gets no id: %v", process, err)
	}
	for i := int64(0); l.pause(rng, 5*time.Millisecond); i++ {
		r := &kgo.Record{Topic: topic, Partition: rng.Int32N(partitions),
			Value: binary.BigEndian.AppendUint64(nil, uint64(int64(process)<<32|i))}
		step := check.Step{Key: key(r.Partition), Value: value(r), Offset: check.Unknown}
		op := l.r.Invoke(check.Op{Process: process, Do: check.Send, Steps: []check.Step{step}})
		cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if err != nil {
				op.Info()
				return
			}
			step.Offset = r.Offset
			op.OK(step)
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		l.c.fails("producer %d is not answered: %v", process, err)
	}
}

func value(r *kgo.Record) int64 { return int64(binary.BigEndian.Uint64(r.Value)) }

// poll records one poll.
func (l *load) poll(ctx context.Context, process int, cl *kgo.Client) []*kgo.Record {
	op := l.r.Invoke(check.Op{Process: process, Do: check.Poll})
	records := cl.PollFetches(ctx).Records()
	steps := make([]check.Step, 0, len(records))
	for _, r := range records {
		steps = append(steps, check.Step{Key: key(r.Partition), Read: true, Value: value(r), Offset: r.Offset})
	}
	op.OK(steps...)
	return records
}

// read follows both partitions from their start.
func (l *load) read(process int, rng *rand.Rand) {
	cl := l.follow(process)
	defer cl.Close()
	for l.pause(rng, 50*time.Millisecond) {
		l.poll(l.ctx, process, cl)
	}
}

// follow is a client that reads everything.
func (l *load) follow(process int) *kgo.Client {
	start := map[int32]kgo.Offset{}
	assign := check.Op{Process: process, Do: check.Assign}
	for p := range int32(partitions) {
		start[p] = kgo.NewOffset().AtStart()
		assign.Keys = append(assign.Keys, key(p))
	}
	l.r.Invoke(assign).OK()
	return l.c.connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: start}), kgo.FetchMaxWait(500*time.Millisecond))
}

// consume reads as a member of a group and commits what it has read.
func (l *load) consume(process int, rng *rand.Rand) {
	l.r.Invoke(check.Op{Process: process, Do: check.Subscribe, Keys: []check.Key{key(0), key(1)}}).OK()
	cl := l.c.connect(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(), kgo.FetchMaxWait(500*time.Millisecond))
	defer cl.Close()
	for l.pause(rng, 100*time.Millisecond) {
		if records := l.poll(l.ctx, process, cl); len(records) > 0 {
			l.commit(process, cl, records)
		}
	}
}

func (l *load) commit(process int, cl *kgo.Client, records []*kgo.Record) {
	next := map[int32]kgo.EpochOffset{}
	for _, r := range records {
		next[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	}
	commit := check.Op{Process: process, Do: check.Commit, Group: group}
	for p, o := range next {
		commit.Steps = append(commit.Steps, check.Step{Key: key(p), Offset: o.Offset})
	}
	op := l.r.Invoke(commit)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var refused error
	cl.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: next},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			refused = err
			for i := 0; err == nil && i < len(resp.Topics); i++ {
				for _, p := range resp.Topics[i].Partitions {
					refused = errors.Join(refused, kerr.ErrorForCode(p.ErrorCode))
				}
			}
		})
	if refused != nil {
		op.Info()
		return
	}
	op.OK()
}

// probe asks for ends and committed offsets.
func (l *load) probe(process int, rng *rand.Rand) {
	cl := l.c.connect()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for l.pause(rng, 100*time.Millisecond) {
		l.ends(process, admin)
		l.committed(process, admin)
	}
}

// ends asks for the ends of both partitions.
func (l *load) ends(process int, admin *kadm.Client) []check.Step {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	op := l.r.Invoke(check.Op{Process: process, Do: check.End})
	listed, err := admin.ListEndOffsets(ctx, topic)
	var steps []check.Step
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			steps = append(steps, check.Step{Key: key(o.Partition), Offset: o.Offset})
		}
	})
	if err != nil && len(steps) == 0 {
		op.Info()
		return nil
	}
	op.OK(steps...)
	return steps
}

func (l *load) committed(process int, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	op := l.r.Invoke(check.Op{Process: process, Do: check.Committed, Group: group})
	told, err := admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		op.Info()
		return
	}
	var steps []check.Step
	told.Each(func(o kadm.OffsetResponse) {
		if o.Err == nil {
			steps = append(steps, check.Step{Key: key(o.Partition), Offset: o.At})
		}
	})
	op.OK(steps...)
}

// readAll reads both partitions up to their ends, in bounded time (U2).
func (l *load) readAll(process int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cl := l.c.connect()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	var ends []check.Step
	for ends = l.ends(process, admin); len(ends) < partitions && wait(ctx, 50*time.Millisecond); {
		ends = l.ends(process, admin)
	}
	l.committed(process, admin)
	reader := l.follow(process)
	defer reader.Close()
	missing := int64(0)
	for _, e := range ends {
		missing += e.Offset
	}
	for missing > 0 && wait(ctx, time.Millisecond) {
		missing -= int64(len(l.poll(ctx, process, reader)))
	}
	if len(ends) < partitions || missing > 0 {
		l.c.fails("a minute after the last fault %d ends are known and %d records are missing", len(ends), missing)
	}
}
