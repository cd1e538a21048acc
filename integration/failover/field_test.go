//go:build process

package failover

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
	"cordwood/integration/netns"
	"cordwood/integration/process"
)

const (
	topic   = "t"
	session = 3 * time.Second // broker.session.timeout.ms
	pace    = time.Millisecond
)

// field is a cluster of three nodes with a topic on all of them, and the history of its clients.
type field struct {
	t          *testing.T
	c          *process.Cluster
	lab        *netns.Lab // nil: all nodes are on this host
	partitions int32
	id         kadm.TopicID // of the topic
	cl         *kgo.Client
	adm        *kadm.Client
	record     *recorder.Recorder
	clients    int // processes of the history so far
}

func newField(t *testing.T, lab *netns.Lab, partitions int32) *field {
	t.Helper()
	f := &field{t: t, lab: lab, partitions: partitions, record: recorder.New()}
	if lab == nil {
		f.c = process.NewCluster(t, 3)
	} else {
		f.c = process.NewClusterIn(t, lab, 3)
	}
	f.c.Start()
	f.cl = f.c.Client()
	f.adm = kadm.NewClient(f.cl)
	r, err := f.adm.CreateTopic(f.within(time.Minute), partitions, 3, nil, topic)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	f.id = r.ID
	f.settle()
	return f
}

func (f *field) within(most time.Duration) context.Context { return process.Context(f.t, most) }

// settle waits until everything is in sync and every node knows the same leaders: one that was cut off goes on naming
// itself for a moment to whoever asks it.
func (f *field) settle() {
	f.t.Helper()
	f.c.AwaitInSync(f.within(time.Minute), f.adm, topic)
	f.eventually("all nodes name the same leaders", func(ctx context.Context) error {
		var first []int32
		for i := range f.c.Nodes {
			epochs, err := f.epochs(ctx, int32(i+1))
			if err != nil {
				f.cl.ForceMetadataRefresh()
				return err
			}
			if i == 0 {
				first = epochs
			}
			if !slices.Equal(epochs, first) {
				return fmt.Errorf("node 1 knows the leader epochs %v, node %d %v", first, i+1, epochs)
			}
		}
		return nil
	})
}

// epochs are the leader epochs of all partitions that one node knows.
func (f *field) epochs(ctx context.Context, node int32) ([]int32, error) {
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
	raw, err := f.cl.Broker(int(node)).Request(ctx, q)
	if err != nil {
		return nil, err
	}
	told := raw.(*kmsg.MetadataResponse).Topics[0]
	if err := kerr.ErrorForCode(told.ErrorCode); err != nil {
		return nil, err
	}
	epochs := make([]int32, f.partitions)
	for _, p := range told.Partitions {
		epochs[p.Partition] = p.LeaderEpoch
	}
	return epochs, nil
}

// rest waits until a session is over in which a broker was taken for dead: until then the next one would not be (R19).
func (f *field) rest(since time.Time) {
	time.Sleep(time.Until(since.Add(session + 200*time.Millisecond)))
}

// eventually does something again and again until it succeeds.
func (f *field) eventually(what string, do func(context.Context) error) {
	f.t.Helper()
	for ctx := f.within(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := do(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			f.c.Log()
			f.t.Fatalf("not within a minute: %s: %v", what, err)
		}
	}
}

func (f *field) controller() int32 {
	f.t.Helper()
	return f.c.Controller(f.within(time.Minute), f.cl)
}

// process numbers one more process of the history.
func (f *field) process() int { f.clients++; return f.clients }

// judge reads everything and checks the history: nothing is lost, doubled, out of order or stale.
func (f *field) judge() {
	f.t.Helper()
	f.settle()
	f.c.Nodes[0].ReadAll(f.record, f.process(), topic, f.partitions)
	r := check.Check(f.record.History())
	f.t.Log(r)
	if len(r.Errors()) > 0 || r.Acked == 0 {
		f.t.Error(r)
	}
}

// stream is a producer that sends a record every millisecond, whatever becomes of them.
type stream struct {
	f         *field
	process   int
	partition int32
	cl        *kgo.Client
	stop      func()

	mu     sync.Mutex
	acks   []ack // as they came
	failed []error
	wake   chan struct{} // closed and replaced by every acknowledgement
}

type ack struct{ sent, acked time.Time }

// produce starts a stream to a partition with a client of the given options; it ends with stop.
func (f *field) produce(partition int32, opts ...kgo.Opt) *stream {
	f.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.c.Addrs()...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &stream{f: f, process: f.process(), partition: partition, cl: cl, wake: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		if err := cl.Flush(f.within(time.Minute)); err != nil {
			f.t.Error(err)
		}
		cl.Close()
	})
	f.t.Cleanup(s.stop)
	go func() {
		defer close(ended)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for n := int64(0); ; n++ {
			select {
			case <-tick.C:
				s.send(n)
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

func (s *stream) send(n int64) {
	sent := time.Now()
	sendOne(s.f.record, s.process, s.cl, s.partition, n, func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.failed = append(s.failed, err)
			return
		}
		s.acks = append(s.acks, ack{sent, time.Now()})
		close(s.wake)
		s.wake = make(chan struct{})
	})
}

// sendOne produces the nth record of a process and writes down what becomes of it.
func sendOne(record *recorder.Recorder, process int, cl *kgo.Client, partition int32, n int64, done func(error)) {
	step := recorder.Sent(check.KeyOf(topic, partition), int64(process)<<40|n)
	op := record.Invoke(check.Op{Process: process, Do: check.Send, Steps: []check.Step{step}})
	value := binary.BigEndian.AppendUint64(make([]byte, 0, 1024), uint64(step.Value))
	cl.Produce(context.Background(), &kgo.Record{Partition: partition, Value: value[:1024]}, func(r *kgo.Record, err error) {
		if err != nil {
			op.Info()
		} else {
			step.Offset = r.Offset
			op.OK(step)
		}
		done(err)
	})
}

// resumed waits for the acknowledgement of a record that was sent after a moment.
func (s *stream) resumed(since time.Time) {
	s.f.t.Helper()
	for limit := time.After(time.Minute); ; {
		s.mu.Lock()
		ok, wake := len(s.acks) > 0 && s.acks[len(s.acks)-1].sent.After(since), s.wake
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-wake:
		case <-limit:
			s.f.c.Log()
			s.f.t.Fatalf("nothing is acknowledged a minute after the fault")
		}
	}
}

// silence is the longest time without an acknowledgement since a moment.
func (s *stream) silence(since time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	longest := time.Duration(0)
	for i := len(s.acks) - 1; i > 0 && s.acks[i].acked.After(since); i-- {
		longest = max(longest, s.acks[i].acked.Sub(s.acks[i-1].acked))
	}
	return longest
}

// failures are the errors of records that were given up.
func (s *stream) failures() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}
