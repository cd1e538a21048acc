//go:build process

package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
	"cordwood/integration/process"
)

const (
	topic      = "t"
	group      = "g"
	partitions = 4
	pace       = 8 * time.Millisecond // between two records of one producer
)

// load is the clients of a run.
type load struct {
	t       testing.TB
	addrs   []string
	record  *recorder.Recorder
	ctx     context.Context // ends when they stop
	clients sync.WaitGroup
	started int            // processes of the history
	begun   sync.WaitGroup // producers without a first answer
	acked   atomic.Int64
	failed  atomic.Int64

	evidence *evidence
}

func (l *load) run(seed uint64, client func(me int, rng *rand.Rand)) {
	l.started++
	me := l.started
	rng := rand.New(rand.NewPCG(seed, uint64(me)))
	l.clients.Go(func() { client(me, rng) })
}

// client gives up on a broker after two seconds: with franz-go's own patience a paused node would stop most of the load.
func (l *load) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(l.addrs...), kgo.MetadataMinAge(10 * time.Millisecond), kgo.DialTimeout(time.Second),
		kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.RequestRetries(1000),
	}, opts...)...)
	if err != nil {
		panic(err) // options of ours
	}
	return cl
}

func (l *load) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.ctx.Done():
		return false
	}
}

func key(partition int32) check.Key { return check.KeyOf(topic, partition) }

// produce pipelines numbered records, and waits at the end until all are acknowledged. Faults begin after its first: franz-go
// fails what is buffered when a connection is closed under its first InitProducerId, for it takes that for missing SASL.
func (l *load) produce(me int, rng *rand.Rand) {
	cl := l.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(500),
		l.evidence.logger(fmt.Sprintf("producer-%d", me)))
	defer cl.Close()
	for n := int64(0); l.sleep(pace); n++ {
		step := recorder.Sent(key(rng.Int32N(partitions)), int64(me)<<40|n)
		l.send(cl, me, step)
		if n == 0 {
			_ = cl.Flush(l.ctx)
			l.begun.Done()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		l.t.Errorf("producer %d: not everything is acknowledged two minutes after the last fault: %v", me, err)
	}
}

func (l *load) send(cl *kgo.Client, me int, step check.Step) {
	op := l.record.Invoke(check.Op{Process: me, Do: check.Send, Steps: []check.Step{step}})
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 256), uint64(step.Value))
	r := &kgo.Record{Topic: topic, Value: value[:256]}
	for p := range int32(partitions) {
		if key(p) == step.Key {
			r.Partition = p
		}
	}
	cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		if err != nil {
			l.failed.Add(1)
			op.Info()
			return
		}
		l.acked.Add(1)
		step.Offset = r.Offset
		op.OK(step)
	})
}

// poll records one poll.
func (l *load) poll(me int, cl *kgo.Client) kgo.Fetches {
	op := l.record.Invoke(check.Op{Process: me, Do: check.Poll})
	fetches := cl.PollFetches(l.ctx)
	op.OK(process.Polled(fetches)...)
	fetches.EachError(func(_ string, p int32, err error) {
		if lost := new(kgo.ErrDataLoss); errors.As(err, &lost) {
			l.t.Errorf("process %d: partition %d: %v", me, p, err)
		}
	})
	return fetches
}

// read follows all partitions from their starts; with crashes, by a new client every few seconds that goes on where the
// last one was.
func (l *load) read(me int, rng *rand.Rand, crashes bool) {
	next := map[int32]kgo.Offset{}
	assign := check.Op{Process: me, Do: check.Assign}
	for p := range int32(partitions) {
		next[p] = kgo.NewOffset().AtStart()
		assign.Keys = append(assign.Keys, key(p))
	}
	for l.ctx.Err() == nil {
		l.record.Invoke(assign).OK()
		cl := l.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: next}), kgo.FetchMaxWait(500*time.Millisecond))
		for ends := time.Now().Add(between(rng, 2*time.Second, 10*time.Second)); l.sleep(20*time.Millisecond) && (!crashes || time.Now().Before(ends)); {
			l.poll(me, cl).EachRecord(func(r *kgo.Record) { next[r.Partition] = kgo.NewOffset().At(r.Offset + 1) })
		}
		cl.Close()
	}
}

// consume reads as a member of a group and commits what it has read.
func (l *load) consume(me int, _ *rand.Rand) {
	l.record.Invoke(check.Op{Process: me, Do: check.Subscribe}).OK()
	cl := l.client(kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond))
	defer cl.Close()
	for l.sleep(100 * time.Millisecond) {
		if fetches := l.poll(me, cl); fetches.NumRecords() > 0 {
			l.commit(me, cl, fetches)
		}
	}
}

func (l *load) commit(me int, cl *kgo.Client, fetches kgo.Fetches) {
	next := map[int32]kgo.EpochOffset{}
	fetches.EachRecord(func(r *kgo.Record) { next[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1} })
	commit := check.Op{Process: me, Do: check.Commit, Group: group}
	for p, o := range next {
		commit.Steps = append(commit.Steps, check.Step{Key: key(p), Offset: o.Offset})
	}
	op := l.record.Invoke(commit)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	refused := errors.New("no answer")
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
		op.Info() // also if it was refused: a try before that may have been taken
		return
	}
	op.OK()
}

// probe asks for ends and committed offsets.
func (l *load) probe(me int, _ *rand.Rand) {
	cl := l.client()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for l.sleep(100 * time.Millisecond) {
		l.ends(me, admin)
		l.committed(me, admin)
	}
}

func (l *load) ends(me int, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second)
	defer cancel()
	op := l.record.Invoke(check.Op{Process: me, Do: check.End})
	listed, _ := admin.ListEndOffsets(ctx, topic)
	var steps []check.Step
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err == nil {
			steps = append(steps, check.Step{Key: key(o.Partition), Offset: o.Offset})
		}
	})
	if len(steps) == 0 {
		op.Info()
		return
	}
	op.OK(steps...)
}

func (l *load) committed(me int, admin *kadm.Client) {
	ctx, cancel := context.WithTimeout(l.ctx, 5*time.Second)
	defer cancel()
	op := l.record.Invoke(check.Op{Process: me, Do: check.Committed, Group: group})
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
