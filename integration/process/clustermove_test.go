//go:build process

package process

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createOn makes a topic of one partition on the given nodes.
func createOn(ctx context.Context, cl *kgo.Client, topic string, configs map[string]string, replicas ...int32) error {
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = replicas
	t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, kmsg.StringPtr(v)
		t.Configs = append(t.Configs, c)
	}
	q.Topics = append(q.Topics, t)
	r, err := q.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(r.Topics[0].ErrorCode)
}

// partition waits until the only partition of a topic is as wanted.
func (c *Cluster) partition(adm *kadm.Client, topic string, wanted func(kadm.PartitionDetail) bool) {
	c.t.Helper()
	ctx := Context(c.t, time.Minute)
	for {
		topics, err := adm.ListTopics(ctx, topic)
		if err == nil && len(topics[topic].Partitions) == 1 && wanted(topics[topic].Partitions[0]) {
			return
		}
		if ctx.Err() != nil {
			c.t.Fatalf("%+v, %v", topics[topic], err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// write produces so many records of a size and wants all of them acknowledged.
func (c *Cluster) write(topic string, count, size int) {
	c.t.Helper()
	cl := c.Client(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	for i := range count {
		cl.Produce(context.Background(), &kgo.Record{Value: append(fmt.Appendf(nil, "%08d", i), make([]byte, size)...)}, func(_ *kgo.Record, err error) {
			if err != nil {
				c.t.Error(err)
			}
		})
	}
	if err := cl.Flush(Context(c.t, time.Minute)); err != nil {
		c.t.Fatal(err)
	}
}

// The last replica in sync is gone: nobody leads, and no election of preferred leaders helps. An operator takes the replica
// that is there, at the price of what it lacks.
func TestAnUncleanElectionIsForWhoeverRuns(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	adm := kadm.NewClient(c.Client())
	if err := createOn(Context(t, time.Minute), c.Client(), "t", map[string]string{"min.insync.replicas": "1"}, 1, 2); err != nil {
		t.Fatal(err)
	}
	c.write("t", 10, 10)
	c.partition(adm, "t", func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 })
	c.Nodes[1].Kill()
	c.partition(adm, "t", func(p kadm.PartitionDetail) bool { return p.Leader == 1 && len(p.ISR) == 1 })
	c.write("t", 5, 10) // node 2 lacks these
	c.wants(0, []int{1, 3}, []string{"elect", "--unclean", "t", "--yes"}, "nothing to do")
	c.Nodes[0].Kill()
	c.Nodes[1].Start()
	alive := []int{2, 3}
	c.partition(adm, "t", func(p kadm.PartitionDetail) bool { return p.Leader == -1 })
	c.fenced(1) // before, it is only late
	c.wants(1, alive, []string{"health"}, "t-0")
	code, out, errs := c.command(alive, "elect", "--preferred", "t", "--yes")
	if code == 0 || !strings.Contains(out+errs, "t-0") {
		t.Errorf("the preferred leader is down, exit code %d\n%s%s", code, out, errs)
	}
	c.wants(0, alive, []string{"elect", "--unclean", "t", "--dry-run"}, "any replica that runs; records may be lost")
	c.wants(0, alive, []string{"elect", "--unclean", "t", "--yes"}, "elected  t-0  - -> 2")
	c.wants(0, alive, []string{"elect", "--unclean", "t", "--yes"}, "nothing to do")
	if end := c.Nodes[1].end("t", 0); end != 10 {
		t.Errorf("node 2 has %d records, it had 10", end)
	}
	c.write("t", 3, 10)
	c.Nodes[0].Start() // it gives up what nobody but itself had
	c.wants(0, []int{1, 2, 3}, []string{"health", "--wait", "60s"}, "state  healthy")
	c.wants(0, []int{1, 2, 3}, []string{"elect", "--preferred", "t", "--yes"}, "elected  t-0  2 -> 1")
	if end := c.Nodes[0].end("t", 0); end != 13 {
		t.Errorf("%d records, not 13", end)
	}
}

// fenced waits until the controller has fenced a broker.
func (c *Cluster) fenced(node int32) {
	c.t.Helper()
	cl := c.Client()
	defer cl.Close()
	q := kmsg.NewPtrDescribeClusterRequest()
	q.EndpointType, q.IncludeFencedBrokers = 1, true
	c.await(Context(c.t, time.Minute), fmt.Sprintf("broker %d is fenced", node), func() error {
		r, err := q.RequestWith(context.Background(), cl)
		if err != nil {
			return err
		}
		for _, b := range r.Brokers {
			if b.NodeID == node && !b.IsFenced {
				return errors.New("it is not")
			}
		}
		return nil
	})
}

// A throttle holds a move to its rate, a rate of 0 holds it up whole, and nothing of it is left behind.
func TestAThrottledMoveTakesItsTime(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	cl := c.Client()
	adm := kadm.NewClient(cl)
	if err := createOn(Context(t, time.Minute), cl, "t", nil, 1); err != nil {
		t.Fatal(err)
	}
	const count, size = 5000, 1000 // 5 MB
	c.write("t", count, size)
	all := []int{1, 2, 3}
	c.wants(1, all, []string{"reassign", "--topics", "t", "--to", "2", "--throttle", "0", "--timeout", "3s", "--yes"}, "not done after 3s")
	c.wants(0, all, []string{"reassign", "list"}, "t      0          1     2")
	c.wants(0, all, []string{"reassign", "--cancel", "--yes"}, "cancelled  t-0")
	c.partition(adm, "t", func(p kadm.PartitionDetail) bool { return len(p.Replicas) == 1 && p.Replicas[0] == 1 })
	c.unthrottled(t, adm)
	began := time.Now()
	c.wants(0, all, []string{"reassign", "--topics", "t", "--to", "2", "--throttle", "1M", "--yes"}, "1 of 1 partitions moved")
	if took := time.Since(began); took < 3*time.Second || took > 30*time.Second {
		t.Errorf("5 MB at 1 MB/s, with a second's bytes at once, took %s", took)
	}
	c.partition(adm, "t", func(p kadm.PartitionDetail) bool { return len(p.Replicas) == 1 && p.Leader == 2 })
	c.unthrottled(t, adm)
	if end := c.Nodes[1].end("t", 0); end != count {
		t.Errorf("%d of %d records moved", end, count)
	}
}

// unthrottled wants no throttle anywhere.
func (c *Cluster) unthrottled(t *testing.T, adm *kadm.Client) {
	t.Helper()
	brokers, err := adm.DescribeBrokerConfigs(Context(t, time.Minute), 1, 2, 3)
	topics, err2 := adm.DescribeTopicConfigs(Context(t, time.Minute), "t")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, r := range append(brokers, topics...) {
		for _, k := range r.Configs {
			if strings.Contains(k.Key, "throttled") && strings.HasPrefix(k.Source.String(), "DYNAMIC") {
				t.Errorf("%s has %s=%s", r.Name, k.Key, k.MaybeValue())
			}
		}
	}
}
