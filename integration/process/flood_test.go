//go:build process

package process

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/abuse"
	"cordwood/protocol/record"
)

// Floods, section J of the bad inputs: each in a process of its own, which must hold afterwards what it held before.

var flood = flag.Int("flood", 20_000, "how many requests a flood has (make abuse: 1000000)")

// pour sends requests made by next, on so many connections, as fast as the answers allow, and hands the answers to got.
func pour(t *testing.T, n *Node, connections, total int, next func(i int) kmsg.Request, got func(kmsg.Response)) {
	t.Helper()
	var all sync.WaitGroup
	for k := range connections {
		all.Add(1)
		go func() {
			defer all.Done()
			if err := pourOne(n, k, connections, total, next, got); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
}

// pourOne keeps up to 64 requests in flight.
func pourOne(n *Node, first, step, total int, next func(i int) kmsg.Request, got func(kmsg.Response)) error {
	c, err := abuse.Dial(n.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return err
	}
	sent := make(chan kmsg.Request, 64)
	failed := make(chan error, 1)
	go func() {
		defer close(sent)
		for i := first; i < total; i += step {
			q := next(i)
			sent <- q
			if err := c.Send(q); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	correlation := int32(0)
	for q := range sent {
		correlation++
		resp, err := c.Receive(q, correlation)
		if err != nil {
			c.Close()
			for range sent { // let the sender end
			}
			return errors.Join(fmt.Errorf("request %d: %w", correlation, err), <-failed)
		}
		got(resp)
	}
	return <-failed
}

// codes counts answers by their error.
type codes struct {
	mu sync.Mutex
	m  map[string]int
}

func (c *codes) add(code int16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]int{}
	}
	if e, ok := kerr.ErrorForCode(code).(*kerr.Error); ok {
		c.m[e.Message]++
	} else {
		c.m["no error"]++
	}
}

// only checks that nothing but the named errors came.
func (c *codes) only(t *testing.T, want ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("answers: %v", c.m)
	for name, n := range c.m {
		if !strings.Contains(" "+strings.Join(want, " ")+" ", " "+name+" ") {
			t.Errorf("%d times %s", n, name)
		}
	}
}

func TestConnectionsPerSecondOfOneAddressAreLimited(t *testing.T) { // bad input 130
	n, _ := fortress(t)
	n.Stop()
	n.args = append(n.args, "--override", "max.connection.creation.rate=50")
	n.Start()
	good, err := abuse.Dial(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	start := n.Rest()
	began, let := time.Now(), 0
	for range 1000 {
		c, err := abuse.Dial(n.Addr)
		if err != nil {
			continue // the backlog is full
		}
		if c.Alive() == nil {
			let++
		}
		c.Close()
	}
	took := time.Since(began)
	if most := 50 * (took.Seconds() + 2); float64(let) > most || let == 0 {
		t.Errorf("%d of 1,000 connections were let in within %s, at most %.0f expected", let, took, most)
	}
	if err := good.Alive(); err != nil {
		t.Errorf("who was there before: %v", err)
	}
	if n.Metric(`cordwood_connections_closed_total{reason="rate"}`) < 100 {
		t.Error("the refused ones are not counted")
	}
	flat(t, n, start, fmt.Sprintf("%d connections in %s", 1000, took.Round(time.Millisecond)))
	time.Sleep(time.Second) // a second's worth of connections is allowed again
	again, err := abuse.Dial(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := again.Alive(); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestConnectionsOfOneAddressAreLimited(t *testing.T) { // bad input 130
	n := New(t, t.TempDir(), "--override", "max.connections.per.ip=10")
	n.Start()
	var open []*abuse.Conn
	for i := range 15 {
		c, err := abuse.Dial(n.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Alive(); (err == nil) != (i < 10) {
			t.Errorf("connection %d: %v", i, err)
		}
		open = append(open, c)
	}
	for _, c := range open[:10] {
		if err := c.Alive(); err != nil {
			t.Errorf("who was let in: %v", err)
		}
	}
}

func TestFetchSessionsWithoutEndAreEvicted(t *testing.T) { // bad input 135
	n, _ := fortress(t)
	start := n.Rest()
	var got codes
	pour(t, n, 4, *flood, func(int) kmsg.Request {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.ReplicaID, q.MaxBytes = 12, -1, 1<<20
		f := kmsg.NewFetchRequestTopic()
		f.Topic = "victim"
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = 1, 1, -1, -1
		f.Partitions = append(f.Partitions, p)
		q.Topics = append(q.Topics, f)
		return q
	}, func(r kmsg.Response) { got.add(r.(*kmsg.FetchResponse).ErrorCode) })
	got.only(t, "no error")
	if sessions := n.Metric("cordwood_fetch_sessions"); sessions > 1000 {
		t.Errorf("%v sessions are kept", sessions)
	}
	flat(t, n, start, fmt.Sprintf("%d fetch sessions", *flood))
}

func joinRequest(version int16, group string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.ProtocolType = version, group, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 6000, 6000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", make([]byte, 1000)
	q.Protocols = append(q.Protocols, p)
	return q
}

func TestGroupsAndMembersWithoutEndAreBounded(t *testing.T) { // bad input 136
	n, _ := fortress(t, "--override", "group.max.size=10")
	start := n.Rest()
	for what, name := range map[string]func(i int) string{
		"groups":  func(i int) string { return fmt.Sprint("flood-", i) },
		"members": func(int) string { return "crowd" },
	} {
		var got codes
		pour(t, n, 4, *flood, func(i int) kmsg.Request { return joinRequest(9, name(i)) },
			func(r kmsg.Response) { got.add(r.(*kmsg.JoinGroupResponse).ErrorCode) })
		got.only(t, "MEMBER_ID_REQUIRED", "GROUP_MAX_SIZE_REACHED")
		flat(t, n, start, fmt.Sprintf("%d %s", *flood, what))
	}
	// Members that are taken in without an id: ten at most.
	var got codes
	pour(t, n, 40, 40, func(int) kmsg.Request { return joinRequest(3, "full") },
		func(r kmsg.Response) { got.add(r.(*kmsg.JoinGroupResponse).ErrorCode) })
	got.only(t, "GROUP_MAX_SIZE_REACHED", "UNKNOWN_MEMBER_ID", "no error")
	// As in Kafka those count that wait for the generation, so one of the generation before may be there beside them.
	if refused := got.m["GROUP_MAX_SIZE_REACHED"]; refused < 29 {
		t.Errorf("%d of 40 members were refused, the group has room for 10", refused)
	}
	flat(t, n, start, "a full group")
}

func TestARebalanceStormIsTheStormingGroupsOwn(t *testing.T) { // bad input 137
	n, _ := fortress(t)
	start := n.Rest()
	quiet := n.Client(kgo.ConsumerGroup("quiet"), kgo.ConsumeTopics("victim"), kgo.SessionTimeout(6*time.Second))
	if r := quiet.PollFetches(Context(t, 20*time.Second)).Records(); len(r) == 0 {
		t.Fatal("the quiet group consumes nothing")
	}
	member, generation := quiet.GroupMetadata()
	stop := make(chan struct{})
	var storm sync.WaitGroup
	rounds := make([]int, 16)
	for k := range rounds {
		storm.Add(1)
		go func() {
			defer storm.Done()
			for rounds[k] = 0; ; rounds[k]++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := joinAndLeave(n, time.Now().Add(200*time.Millisecond)); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	beats, err := abuse.Dial(n.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer beats.Close()
	slowest, count := time.Duration(0), 0
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); count++ {
		q := kmsg.NewPtrHeartbeatRequest()
		q.Version, q.Group, q.MemberID, q.Generation = 4, "quiet", member, generation
		began := time.Now()
		resp, err := beats.Ask(q)
		if err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(began))
		if code := resp.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
			t.Fatalf("the quiet group's heartbeat: %v", kerr.ErrorForCode(code))
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	storm.Wait()
	total := 0
	for _, r := range rounds {
		total += r
	}
	t.Logf("%d joins, %d heartbeats, the slowest took %s", total, count, slowest)
	if slowest > time.Second {
		t.Errorf("a heartbeat took %s", slowest)
	}
	if _, now := quiet.GroupMetadata(); now != generation {
		t.Errorf("the quiet group was rebalanced: generation %d, before %d", now, generation)
	}
	quiet.Close()
	beats.Close()
	flat(t, n, start, "a rebalance storm")
}

// joinAndLeave joins the storming group, waits until then for a generation, and leaves.
func joinAndLeave(n *Node, until time.Time) error {
	c, err := abuse.Dial(n.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	q := joinRequest(9, "storm")
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	q.MemberID = resp.(*kmsg.JoinGroupResponse).MemberID
	if err := c.Send(q); err != nil {
		return err
	}
	if err := c.SetReadDeadline(until); err != nil {
		return err
	}
	if _, err := c.Receive(q, 2); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	other, err := abuse.Dial(n.Addr)
	if err != nil {
		return err
	}
	defer other.Close()
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Version, leave.Group = 5, "storm"
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = q.MemberID
	leave.Members = append(leave.Members, m)
	_, err = other.Ask(leave)
	return err
}

func TestProducerIDsWithoutEnd(t *testing.T) { // bad input 138
	n, _ := fortress(t)
	start := n.Rest()
	var mu sync.Mutex
	highest, answers := int64(-1), 0
	pour(t, n, 4, *flood, func(int) kmsg.Request {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.Version, q.ProducerID, q.ProducerEpoch = 4, -1, -1
		return q
	}, func(r kmsg.Response) {
		mu.Lock()
		defer mu.Unlock()
		if id := r.(*kmsg.InitProducerIDResponse); id.ErrorCode == 0 {
			answers++
			highest = max(highest, id.ProducerID)
		} else {
			t.Error(kerr.ErrorForCode(id.ErrorCode))
		}
	})
	if answers != *flood || highest < int64(*flood)-1 {
		t.Errorf("%d ids, the highest %d", answers, highest)
	}
	flat(t, n, start, fmt.Sprintf("%d producer ids", *flood))
}

// A partition remembers 100,000 producers; those beyond cost nothing more.
func TestProducersOfAPartitionAreForgottenOldestFirst(t *testing.T) { // bad input 138
	n, _ := fortress(t)
	admin := n.Admin()
	if _, err := admin.CreateTopic(Context(t, 20*time.Second), 1, 1, nil, "producers"); err != nil {
		t.Fatal(err)
	}
	admin.Close()
	var got codes
	pourProducers := func(from, to int) {
		pour(t, n, 4, to-from, func(i int) kmsg.Request {
			b := record.NewBuilder(record.BuilderOptions{Producer: &record.Producer{ID: int64(from + i)}})
			b.Append(time.Now().UnixMilli(), nil, []byte("v"), nil)
			batch, err := b.Build()
			if err != nil {
				t.Error(err)
			}
			q := kmsg.NewPtrProduceRequest()
			q.Version, q.Acks, q.TimeoutMillis = 9, 1, 10_000
			topic, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
			topic.Topic, p.Records = "producers", batch
			topic.Partitions = append(topic.Partitions, p)
			q.Topics = append(q.Topics, topic)
			return q
		}, func(r kmsg.Response) { got.add(r.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode) })
	}
	pourProducers(0, 120_000)
	full := n.Rest()
	pourProducers(120_000, 240_000)
	got.only(t, "no error")
	flat(t, n, full, "120,000 producers more")
}

func TestTopicsCreatedAndDeletedInALoopLeaveNothing(t *testing.T) { // bad input 141
	n, _ := fortress(t, "--override", "log.segment.delete.delay.ms=100")
	start, before := n.Rest(), directories(t, n.Dir)
	admin := n.Admin()
	cl := n.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	loops := min(*times, 300)
	for i := range loops {
		topic := fmt.Sprint("loop-", i%7) // names come back, with new ids
		if _, err := admin.CreateTopic(Context(t, 20*time.Second), 4, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
		for p := range int32(4) {
			r := &kgo.Record{Topic: topic, Partition: p, Value: []byte("v")}
			if err := cl.ProduceSync(Context(t, 20*time.Second), r).FirstErr(); err != nil {
				t.Fatalf("loop %d: %v", i, err)
			}
		}
		if _, err := admin.DeleteTopic(Context(t, 20*time.Second), topic); err != nil {
			t.Fatal(err)
		}
		cl.PurgeTopicsFromClient(topic)
	}
	cl.Close()
	admin.Close()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := directories(t, n.Dir)
		if len(left) == len(before) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d directories are left: %v", len(left), left)
		}
	}
	flat(t, n, start, fmt.Sprintf("%d topics created and deleted", loops))
}

// directories lists what is in a data directory.
func directories(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// A million partitions are refused at once, and so is what counts to more than memory.
func TestTopicsOfTooManyPartitionsAreRefused(t *testing.T) { // bad input 140
	n, _ := fortress(t)
	start := n.Rest()
	admin := n.Admin()
	for partitions, want := range map[int32]*kerr.Error{1_000_000: kerr.PolicyViolation, math.MaxInt32: kerr.PolicyViolation, -2: kerr.InvalidPartitions} {
		resp, err := admin.CreateTopic(Context(t, 20*time.Second), partitions, 1, nil, "many")
		if !errors.Is(errors.Join(err, resp.Err), want) {
			t.Errorf("%d partitions: %v %v", partitions, err, resp.Err)
		}
	}
	if topics, err := admin.ListTopics(Context(t, 20*time.Second)); err != nil || topics.Has("many") {
		t.Errorf("%v %v", topics.Names(), err)
	}
	admin.Close()
	flat(t, n, start, "refused topics")
}
