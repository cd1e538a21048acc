//go:build process

package failover

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/check"
	"cordwood/integration/netns"
)

// A leader that is silent and not known to be dead: its session must end. Whoever asks then for a leader finds the next
// one; a client in the middle of a request gives up on it first.
const (
	freshLimit   = 4 * time.Second
	runningLimit = 6 * time.Second
)

// impatient gives up on a broker two seconds after it asked. It dials no longer than it waits for other answers: franz-go's
// ten seconds, twice for each try, would be all that is seen where the client is cut off from the leader, too.
var impatient = []kgo.Opt{quick, kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second), kgo.DialTimeout(time.Second)}

// silencing is a way to silence a leader and to end that.
type silencing struct {
	name       string
	controller bool // it is the active controller, too
	begin, end func(f *field, leader int32)
	reachable  bool // clients can still talk to it
}

func TestAPausedLeaderIsSucceeded(t *testing.T) {
	begin := func(f *field, leader int32) { f.c.Node(leader).Pause() }
	end := func(f *field, leader int32) { f.c.Node(leader).Resume() }
	silence(t, newField(t, nil, 1), []silencing{
		{name: "SIGSTOP of a leader", begin: begin, end: end},
		{name: "SIGSTOP of a leader that is the active controller", controller: true, begin: begin, end: end},
	})
}

func TestALeaderThatIsCutOffIsSucceeded(t *testing.T) {
	lab, err := netns.New(t, 3)
	if err != nil {
		t.Skip("links are not cut: ", err)
	}
	cut := func(do func(leader int, others []int) error) func(*field, int32) {
		return func(f *field, leader int32) {
			if err := do(int(leader-1), lab.Others(int(leader-1))); err != nil {
				f.t.Fatal(err)
			}
		}
	}
	heal := cut(func(int, []int) error { return lab.Heal() })
	all := cut(func(leader int, others []int) error { return lab.Separate(leader, append(others, netns.Outside)...) })
	nodes := cut(func(leader int, others []int) error { return lab.Separate(leader, others...) })
	silence(t, newField(t, lab, 1), []silencing{
		{name: "a leader cut off from everybody", begin: all, end: heal},
		{name: "a leader and active controller cut off from everybody", controller: true, begin: all, end: heal},
		{name: "a leader cut off from the other nodes", begin: nodes, end: heal, reachable: true},
		{name: "nothing that a leader sends reaches the other nodes", begin: cut(func(leader int, others []int) error { return lab.Cut(leader, others...) }),
			end: heal, reachable: true},
		{name: "nothing that the other nodes send reaches a leader", begin: cut(func(leader int, others []int) error {
			for _, o := range others {
				if err := lab.Cut(o, leader); err != nil {
					return err
				}
			}
			return nil
		}), end: heal, reachable: true},
	})
}

// silence measures, in rounds, how long a client that is just starting and one that is running wait, and asks the old
// leader all the while, and when it comes back.
func silence(t *testing.T, f *field, ways []silencing) {
	s := f.produce(0, impatient...)
	for _, way := range ways {
		fresh := &figure{name: way.name + ", a fresh producer", p99: freshLimit}
		running := &figure{name: way.name + ", a running producer", p99: runningLimit}
		for range *faults {
			leader := f.controller()
			if !way.controller {
				leader = leader%3 + 1
			}
			f.c.Lead(f.within(time.Minute), f.adm, topic, 0, leader)
			s.resumed(time.Now())
			w := f.witness(leader)
			s.resumed(time.Now()) // what the witness has written with acks=1 is committed now
			began := time.Now()
			way.begin(f, leader)
			asking := f.ask(w, way.reachable)
			took := f.freshAck(leader, began)
			s.resumed(began)
			fresh.times, running.times = append(fresh.times, took), append(running.times, s.silence(began.Add(-50*time.Millisecond)))
			parked := f.park(w)
			way.end(f, leader)
			asking()
			parked()
			f.settle()
		}
		measured(t, fresh)
		measured(t, running)
	}
	s.stop()
	if failed := s.failures(); len(failed) > 0 {
		t.Errorf("%d records failed, the first: %v", len(failed), failed[0])
	}
	f.judge()
}

// freshAck starts a producer every 100 ms, as a client would that has just been started, until one of them is
// acknowledged, and says how long after began that was. They know of the other nodes: a seed that hangs costs a client its
// time to dial, which says nothing of the cluster.
func (f *field) freshAck(leader int32, began time.Time) time.Duration {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	acked := make(chan time.Time, 1000)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var seeds []string
	for i, n := range f.c.Nodes {
		if int32(i+1) != leader {
			seeds = append(seeds, n.Addr)
		}
	}
	for {
		process := f.process()
		clients.Go(func() {
			cl, err := kgo.NewClient(quick, kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic))
			if err != nil {
				panic(err)
			}
			done := make(chan struct{})
			sendOne(f.record, process, cl, 0, 0, func(err error) {
				if err == nil {
					acked <- time.Now()
				}
				close(done)
			})
			select {
			case <-done:
			case <-ctx.Done():
			}
			cl.Close()
			<-done
		})
		select {
		case at := <-acked:
			return at.Sub(began)
		case <-ctx.Done():
			f.c.Log()
			f.t.Fatal("no fresh producer is acknowledged within a minute")
		case <-tick.C:
		}
	}
}

// witness holds connections to one node and asks it what only the leader may answer.
type witness struct {
	node     int32
	reader   *kgo.Client
	producer *kgo.Client // acks=1, and it never tries twice
	process  int
	sent     int64
}

// witness opens the connections while the node leads.
func (f *field) witness(node int32) *witness {
	f.t.Helper()
	w := &witness{node: node, process: f.process(), reader: f.c.Client(impatient...), producer: f.c.Client(kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.ProducerLinger(0))}
	f.eventually("others know that the node is back", func(ctx context.Context) error {
		w.reader.ForceMetadataRefresh()
		_, err := w.reader.Broker(int(node)).Request(ctx, kmsg.NewPtrApiVersionsRequest())
		return err
	})
	// The controller says that it leads; the node hears of it a moment later.
	f.eventually("the node knows that it leads", func(context.Context) error { return w.end(f) })
	f.eventually("the node takes records", func(context.Context) error { return w.produce(f) })
	return w
}

// end asks the node for the end of the partition.
func (w *witness) end(f *field) error {
	q := kmsg.NewPtrListOffsetsRequest()
	q.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	q.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	op := f.record.Invoke(check.Op{Process: w.process, Do: check.End})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	raw, err := w.reader.Broker(int(w.node)).Request(ctx, q)
	if err != nil {
		op.Info()
		return err
	}
	told := raw.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(told.ErrorCode); err != nil {
		op.Fail()
		return err
	}
	op.OK(check.Step{Key: check.KeyOf(topic, 0), Offset: told.Offset})
	return nil
}

// produce sends one record to whom the producer takes for the leader, which is the node until it is told otherwise.
func (w *witness) produce(f *field) error {
	w.sent++
	result := make(chan error, 1)
	sendOne(f.record, w.process, w.producer, 0, w.sent, func(err error) { result <- err })
	return <-result
}

// ask asks a node that can be reached again and again, until the returned function is called: whatever it tells must be
// true (R18). One that cannot be reached is not asked.
func (f *field) ask(w *witness, reachable bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	if reachable {
		asking.Go(func() {
			for ctx.Err() == nil {
				_ = w.end(f)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	return func() { cancel(); asking.Wait() }
}

// park sends requests to a leader that has a successor by now, and the returned function waits for what became of them:
// they lie in its socket while it is stopped, and are the first that it sees when it goes on (Z36). A record
// acknowledged by it alone would be lost, which is what the history shows.
func (f *field) park(w *witness) (wait func()) {
	var asking sync.WaitGroup
	asking.Go(func() { _ = w.end(f) })
	asking.Go(func() { _ = w.produce(f) })
	time.Sleep(50 * time.Millisecond) // for them to leave
	return func() {
		asking.Wait()
		w.reader.Close()
		w.producer.Close()
	}
}
