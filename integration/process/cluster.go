//go:build process

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/netns"
)

// Cluster is several nodes, each broker and controller.
type Cluster struct {
	t     testing.TB
	Nodes []*Node // node i has the id i+1

	controllers []string // addresses of their controller listeners
}

// NewCluster prepares a cluster of n nodes on this host; args are further arguments of serve.
func NewCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	addrs := freeAddrs(t, 2*n)
	return newCluster(t, addrs[:n], addrs[n:], args...)
}

// NewClusterIn prepares a cluster of n nodes, each on a host of its own: node i+1 on host i.
func NewClusterIn(t testing.TB, lab *netns.Lab, n int, args ...string) *Cluster {
	t.Helper()
	var controllers, brokers []string
	for i := range n {
		controllers = append(controllers, lab.Addr(i)+":9093")
		brokers = append(brokers, lab.Addr(i)+":9092")
	}
	c := newCluster(t, controllers, brokers, args...)
	for i, node := range c.Nodes {
		node.namespace = lab.Namespace(i)
	}
	return c
}

func newCluster(t testing.TB, controllers, brokers []string, args ...string) *Cluster {
	t.Helper()
	c, dir := &Cluster{t: t, controllers: controllers}, t.TempDir()
	var voters []string
	for i, addr := range controllers {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addr))
	}
	for i := range controllers {
		node := New(t, filepath.Join(dir, fmt.Sprint(i+1)), append([]string{
			"--override", fmt.Sprintf("node.id=%d", i+1), "--override", "controller.quorum.voters=" + strings.Join(voters, ","),
			"--override", fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", brokers[i], controllers[i]),
		}, args...)...)
		c.Nodes = append(c.Nodes, node)
	}
	return c
}

// freeAddrs finds loopback addresses nobody listens on. They are given back before they are used: whoever takes one
// meanwhile makes the test fail at its start. They lie below the ports that the kernel gives to outgoing connections, which
// would take one now and then, most of all while its node is down and others try to reach it.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	const first, ports, tries = 20_000, 10_000, 1000
	var out []string
	for range tries {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(ports)))
		if err != nil {
			continue
		}
		defer l.Close()
		if out = append(out, l.Addr().String()); len(out) == n {
			return out
		}
	}
	t.Fatalf("%d of %d free ports in %d tries", len(out), n, tries)
	return nil
}

// Start starts every node and waits until all serve: none of them can before most of them are there.
func (c *Cluster) Start() {
	c.t.Helper()
	errs := make([]error, len(c.Nodes))
	var all sync.WaitGroup
	for i, n := range c.Nodes {
		all.Go(func() { errs[i] = n.TryStart(30 * time.Second) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		c.Log()
		c.t.Fatal(err)
	}
}

// Addrs are the addresses for clients.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Addr)
	}
	return out
}

// Client is a client of all nodes.
func (c *Cluster) Client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	return c.Nodes[0].Client(append([]kgo.Opt{kgo.SeedBrokers(c.Addrs()...), kgo.RecordDeliveryTimeout(time.Minute)}, opts...)...)
}

// Log shows the last of what every node said.
func (c *Cluster) Log() {
	c.t.Helper()
	for i, n := range c.Nodes {
		c.t.Logf("node %d:\n%s", i+1, n.Log())
	}
}

// Node is the node with an id.
func (c *Cluster) Node(id int32) *Node { return c.Nodes[id-1] }

// Leader waits for a leader other than not of a topic's first partition, and returns its node id.
func (c *Cluster) Leader(ctx context.Context, adm *kadm.Client, topic string, not int32) int32 {
	c.t.Helper()
	leader := int32(0)
	c.await(ctx, "a leader of "+topic, func() error {
		p, err := partition(ctx, adm, topic, 0)
		if leader = p.Leader; err == nil && (leader <= 0 || leader == not) {
			err = fmt.Errorf("it is %d", leader)
		}
		return err
	})
	return leader
}

// AwaitInSync waits until every replica of every partition of the topics is in its ISR.
func (c *Cluster) AwaitInSync(ctx context.Context, adm *kadm.Client, topics ...string) {
	c.t.Helper()
	c.await(ctx, "all replicas in sync", func() error {
		listed, err := adm.ListTopicsWithInternal(ctx, topics...)
		for _, topic := range listed {
			err = errors.Join(err, topic.Err)
			for _, p := range topic.Partitions {
				if len(p.ISR) < len(p.Replicas) {
					err = errors.Join(err, fmt.Errorf("%s-%d: %v of %v", topic.Topic, p.Partition, p.ISR, p.Replicas))
				}
			}
		}
		return err
	})
}

// Controller waits until there is an active controller, and returns its node id.
func (c *Cluster) Controller(ctx context.Context, cl *kgo.Client) int32 {
	c.t.Helper()
	q := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
	q.Topics = append(q.Topics, topic)
	leader := int32(0)
	c.await(ctx, "an active controller", func() error {
		r, err := q.RequestWith(ctx, cl)
		switch {
		case err != nil:
			return err
		case r.ErrorCode != 0 || len(r.Topics) == 0 || len(r.Topics[0].Partitions) == 0:
			return fmt.Errorf("no answer: %w", kerr.ErrorForCode(r.ErrorCode))
		}
		leader = r.Topics[0].Partitions[0].LeaderID
		return kerr.ErrorForCode(r.Topics[0].Partitions[0].ErrorCode)
	})
	return leader
}

// Lead makes a node the leader of a partition. All replicas must be in sync.
func (c *Cluster) Lead(ctx context.Context, adm *kadm.Client, topic string, number, node int32) {
	c.t.Helper()
	c.await(ctx, fmt.Sprintf("node %d leads %s-%d", node, topic, number), func() error {
		p, err := partition(ctx, adm, topic, number)
		if err != nil || p.Leader == node {
			return err
		}
		var move kadm.AlterPartitionAssignmentsReq
		move.Assign(topic, number, preferring(p.Replicas, node))
		moved, err := adm.AlterPartitionAssignments(ctx, move)
		if err = errors.Join(err, moved.Error()); err != nil {
			return err
		}
		var who kadm.TopicsSet
		who.Add(topic, number)
		_, err = adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, who)
		return errors.Join(err, fmt.Errorf("node %d leads", p.Leader))
	})
}

// preferring puts one replica first.
func preferring(replicas []int32, first int32) []int32 {
	out := []int32{first}
	for _, r := range replicas {
		if r != first {
			out = append(out, r)
		}
	}
	return out
}

func partition(ctx context.Context, adm *kadm.Client, topic string, number int32) (kadm.PartitionDetail, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, topic)
	if err == nil {
		err = topics[topic].Err
	}
	p, known := topics[topic].Partitions[number]
	if err == nil && !known {
		err = fmt.Errorf("%s has %d partitions", topic, len(topics[topic].Partitions))
	}
	return p, err
}

// await asks again until there is no reason left why not; there is no event to wait for at a cluster.
func (c *Cluster) await(ctx context.Context, what string, reason func() error) {
	c.t.Helper()
	for {
		why := reason()
		if why == nil {
			return
		}
		if ctx.Err() != nil {
			c.Log()
			c.t.Fatalf("waited in vain for %s: %v", what, why)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
