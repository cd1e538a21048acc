//go:build process

package process

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	moved = flag.Int("moved", 32, "MiB of the partition that is moved (make reassign: 2048)")
	slow  = flag.Int("slow", 4, "seconds that the throttle makes one copy take; the leader sends two (make reassign: 40)")
)

// A partition is moved to other nodes and back while a producer writes to it: throttled, undone in the middle, moved again
// through kill -9 of a new replica, the leader and the controller, and back at full speed. Whatever was copied before a kill
// need not be copied again, and no acknowledged record is lost, doubled or out of order.
func TestAPartitionIsMovedUnderLoadThroughKillsAndBack(t *testing.T) {
	t.Logf("seed %d", *seed)
	m := newMove(t)
	m.fill()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.load.Run(ctx, m.cl) }()

	rate := m.size() / int64(*slow)
	m.throttle(rate)
	m.to(3, 4)
	began, had := time.Now(), m.copied(3)+m.copied(4)
	m.until("a fifth is there", func() bool { return m.copied(3) > m.size()/5 })
	if got := m.copied(3) + m.copied(4) - had; float64(got) > 1.2*float64(rate)*(1+time.Since(began).Seconds()) {
		t.Errorf("%d bytes were sent in %s, the throttle is %d a second", got, time.Since(began), rate)
	}
	if _, out, errs := m.c.command([]int{1, 2, 3, 4}, "reassign", "list"); !strings.Contains(out, "moved  0          1,2   3,4") {
		t.Errorf("the move is not told of:\n%s%s", out, errs)
	} else {
		t.Log(out)
	}
	m.cancel()
	m.until("the copies are gone", func() bool { return m.copied(3) == 0 && m.copied(4) == 0 })

	m.to(3, 4)
	for _, kill := range []func() int{func() int { return 3 }, m.leader, m.controller} {
		before := m.copied(3)
		m.until("more is there", func() bool { return m.copied(3) > before+m.size()/10 })
		m.kill(kill())
	}
	m.throttle(0)
	m.until("it is on 3 and 4", func() bool { return m.isOn(3, 4) })
	began = time.Now()
	m.to(1, 2)
	m.until("it is back on 1 and 2", func() bool { return m.isOn(1, 2) })
	t.Logf("%d MiB moved back to two nodes in %s", m.size()>>20, time.Since(began).Round(time.Millisecond))
	if streamed := m.streamed(1) + m.streamed(2); streamed < m.size() {
		t.Errorf("of two copies of %d bytes %d came from sealed segments", m.size(), streamed)
	}

	cancel()
	<-done
	if err := m.cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := m.load.Check(t, m.c.Nodes[0])
	t.Log(r)
	if _, failed := m.load.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
}

// move is the partition that is moved.
type move struct {
	t    *testing.T
	c    *Cluster
	adm  *kadm.Client
	cl   *kgo.Client
	load *Load
	rng  *rand.Rand
}

const movedTopic = "moved"

func newMove(t *testing.T) *move {
	segment := min(max(*moved/32, 1), 64) << 20
	c := NewCluster(t, 4, "--override", fmt.Sprintf("log.segment.bytes=%d", segment))
	c.Start()
	m := &move{t: t, c: c, adm: kadm.NewClient(c.Client()), load: NewLoad(movedTopic), rng: rand.New(rand.NewPCG(*seed, 4))}
	m.cl = c.Client(append(LoadOptions(), kgo.SeedBrokers(c.Addrs()...), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	all := "*"
	q := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = movedTopic, -1, -1
	assigned := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	assigned.Replicas = []int32{1, 2}
	topic.ReplicaAssignment = append(topic.ReplicaAssignment, assigned)
	for _, side := range []string{"leader", "follower"} {
		k := kmsg.NewCreateTopicsRequestTopicConfig()
		k.Name, k.Value = side+".replication.throttled.replicas", &all
		topic.Configs = append(topic.Configs, k)
	}
	q.Topics, q.TimeoutMillis = append(q.Topics, topic), 20_000
	if r, err := q.RequestWith(Context(t, time.Minute), m.cl); err != nil || r.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	return m
}

func (m *move) size() int64 { return int64(*moved) << 20 }

// fill writes large records, and goes on with small ones at a pace that a throttled copy keeps up with.
func (m *move) fill() {
	m.load.Size = 64 << 10
	m.load.Stop = m.size() / int64(m.load.Size)
	m.load.Run(context.Background(), m.cl)
	if err := m.cl.Flush(Context(m.t, time.Minute)); err != nil {
		m.t.Fatal(err)
	}
	m.load.Size, m.load.Pace, m.load.Stop = 512, 2*time.Millisecond, 0
}

// throttle bounds the copies on every node, in bytes a second; 0 ends that.
func (m *move) throttle(rate int64) {
	m.t.Helper()
	var set []kadm.AlterConfig
	for _, side := range []string{"leader", "follower"} {
		c := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: side + ".replication.throttled.rate"}
		if rate > 0 {
			text := strconv.FormatInt(rate, 10)
			c.Op, c.Value = kadm.SetConfig, &text
		}
		set = append(set, c)
	}
	if r, err := m.adm.AlterBrokerConfigs(Context(m.t, time.Minute), set); err != nil || r[0].Err != nil {
		m.t.Fatal(err, r)
	}
}

func (m *move) to(replicas ...int32) {
	m.t.Helper()
	var q kadm.AlterPartitionAssignmentsReq
	q.Assign(movedTopic, 0, replicas)
	r, err := m.adm.AlterPartitionAssignments(Context(m.t, time.Minute), q)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *move) cancel() {
	m.t.Helper()
	var q kadm.AlterPartitionAssignmentsReq
	q.CancelAssign(movedTopic, 0)
	r, err := m.adm.AlterPartitionAssignments(Context(m.t, time.Minute), q)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	if !m.isOn(1, 2) {
		m.t.Error("a cancelled move is not undone")
	}
}

// partition is as metadata has it.
func (m *move) partition() kadm.PartitionDetail {
	topics, err := m.adm.ListTopics(Context(m.t, 20*time.Second), movedTopic)
	if err != nil {
		return kadm.PartitionDetail{}
	}
	return topics[movedTopic].Partitions[0]
}

// isOn reports whether these nodes, and no others, have it and are in sync.
func (m *move) isOn(replicas ...int32) bool {
	p := m.partition()
	slices.Sort(p.ISR)
	return slices.Equal(p.Replicas, replicas) && slices.Equal(p.ISR, replicas)
}

func (m *move) leader() int { return int(m.partition().Leader) }

func (m *move) controller() int {
	q, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(Context(m.t, 20*time.Second), m.cl)
	if err != nil {
		m.t.Fatal(err)
	}
	return int(q.ControllerID)
}

// copied is the bytes that a node has of it; -1: it does not say.
func (m *move) copied(node int32) int64 {
	dirs, err := m.adm.DescribeBrokerLogDirs(Context(m.t, 20*time.Second), node, nil)
	if err != nil {
		return -1
	}
	size := int64(0)
	dirs.EachPartition(func(p kadm.DescribedLogDirPartition) {
		if p.Topic == movedTopic {
			size += p.Size
		}
	})
	return size
}

// streamed is what a node's metrics say of sealed segments, since its start.
func (m *move) streamed(node int) int64 {
	m.t.Helper()
	_, after, found := strings.Cut(m.c.Nodes[node-1].get("/metrics"), "\ncordwood_replica_streamed_bytes_total ")
	line, _, _ := strings.Cut(after, "\n")
	n, err := strconv.ParseFloat(line, 64)
	if !found || err != nil {
		m.t.Fatalf("metric %q of node %d: %v", line, node, err)
	}
	return int64(n)
}

// kill ends a node as kill -9 does and starts it again a moment later. What a new replica had copied is still there.
func (m *move) kill(node int) {
	m.t.Helper()
	had := m.copied(3)
	m.c.Nodes[node-1].Kill()
	time.Sleep(time.Duration(m.rng.IntN(500)) * time.Millisecond)
	m.c.Nodes[node-1].Start()
	left := int64(0)
	m.until("node 3 is back", func() bool { left = m.copied(3); return left > 0 })
	m.t.Logf("node %d was killed: %d MiB were copied, %d MiB are left", node, had>>20, left>>20)
	if lost := had - left; lost > 80<<20 || left < had/3 {
		m.t.Errorf("%d of %d bytes are to be copied again", lost, had)
	}
}

// until waits for something that takes its time.
func (m *move) until(what string, f func() bool) {
	m.t.Helper()
	began := time.Now()
	for ; !f(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute+time.Duration(*moved)*200*time.Millisecond {
			for i, n := range m.c.Nodes {
				m.t.Logf("node %d:\n%s", i+1, n.Log())
			}
			m.t.Fatalf("not in %s: %s; %+v", time.Since(began), what, m.partition())
		}
	}
}
