package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// view asks the nodes of a cluster, each by itself.
type view struct {
	c  cluster
	cl *kgo.Client
}

// look has f ask; it has a minute.
func look(c cluster, f func(ctx context.Context, v *view) error) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.leaders()...), kgo.RequestRetries(3))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f(ctx, &view{c, cl}); err != nil {
		return fmt.Errorf("%s: %w", c.name(), err)
	}
	return nil
}

func (v *view) ask(ctx context.Context, node int32, q kmsg.Request) (kmsg.Response, error) {
	return v.cl.Broker(int(node)).Request(ctx, q)
}

// spreadTopic makes a topic with three replicas of each partition, of which two must be in sync; partition p is led by
// number p modulo three of the nodes. It returns when all replicas are in sync and all leaders serve.
func spreadTopic(c cluster, topic string, partitions int, configs map[string]string) error {
	return look(c, func(ctx context.Context, v *view) error {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.TimeoutMillis = 60_000
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1
		for p := range partitions {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition = int32(p)
			for i := range clusterSize {
				a.Replicas = append(a.Replicas, int32((p+i)%clusterSize)+1)
			}
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		settings := map[string]string{"min.insync.replicas": "2", "file.delete.delay.ms": "500"}
		for k, value := range configs {
			settings[k] = value
		}
		for k, value := range settings {
			x := kmsg.NewCreateTopicsRequestTopicConfig()
			x.Name, x.Value = k, &value
			t.Configs = append(t.Configs, x)
		}
		q.Topics = append(q.Topics, t)
		if err := v.create(ctx, q); err != nil {
			return err
		}
		return v.await(ctx, func() error { return v.usable(ctx, topic, partitions, true) })
	})
}

// create sends a request that creates topics to whoever decides.
func (v *view) create(ctx context.Context, q *kmsg.CreateTopicsRequest) error {
	r, err := q.RequestWith(ctx, v.cl)
	if err != nil {
		return err
	}
	for _, t := range r.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return fmt.Errorf("create topic %s: %w", t.Topic, err)
		}
	}
	return nil
}

// await asks again until there is no reason left why not.
func (v *view) await(ctx context.Context, reason func() error) error {
	for last := error(nil); ; time.Sleep(5 * time.Millisecond) {
		err := reason()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("waited in vain: %w", cmp.Or(last, err)) // this time may have failed for lack of time
		}
		last = err
	}
}

// leading is what one node says about who leads the partitions of the topics.
func (v *view) leading(ctx context.Context, node int32, topics ...string) ([]kmsg.MetadataResponseTopic, error) {
	q := kmsg.NewPtrMetadataRequest()
	for _, t := range topics {
		q.Topics = append(q.Topics, kmsg.MetadataRequestTopic{Topic: &t})
	}
	r, err := v.ask(ctx, node, q)
	if err != nil {
		return nil, err
	}
	return r.(*kmsg.MetadataResponse).Topics, nil
}

// usable says why a topic is not: every node names a leader of each partition, and each leader says where its partitions end;
// inSync: and all replicas are in sync.
func (v *view) usable(ctx context.Context, topic string, partitions int, inSync bool) error {
	for node := range int32(clusterSize) {
		topics, err := v.leading(ctx, node+1, topic)
		if err != nil {
			return err
		}
		if n := len(topics[0].Partitions); n != partitions {
			return fmt.Errorf("node %d knows %d of %d partitions", node+1, n, partitions)
		}
		mine := map[string][]int32{}
		for _, p := range topics[0].Partitions {
			if p.ErrorCode != 0 || p.Leader < 1 || inSync && len(p.ISR) < clusterSize {
				return fmt.Errorf("node %d says of %s-%d: leader %d, in sync %v, error %d", node+1, topic, p.Partition, p.Leader, p.ISR, p.ErrorCode)
			}
			if p.Leader == node+1 {
				mine[topic] = append(mine[topic], p.Partition)
			}
		}
		if err := v.serves(ctx, node+1, mine); err != nil {
			return err
		}
	}
	return nil
}

// serves says why a node does not lead partitions: it does not say where they end.
func (v *view) serves(ctx context.Context, node int32, partitions map[string][]int32) error {
	q := kmsg.NewPtrListOffsetsRequest()
	for topic, all := range partitions {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, p := range all {
			x := kmsg.NewListOffsetsRequestTopicPartition()
			x.Partition, x.Timestamp = p, -1
			t.Partitions = append(t.Partitions, x)
		}
		q.Topics = append(q.Topics, t)
	}
	if len(q.Topics) == 0 {
		return nil
	}
	r, err := v.ask(ctx, node, q)
	if err != nil {
		return err
	}
	for _, t := range r.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("node %d does not lead %s-%d: %w", node, t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}

// controller is the node that decides.
func (v *view) controller(ctx context.Context) (node int32, err error) {
	q := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic, t.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
	q.Topics = append(q.Topics, t)
	err = v.await(ctx, func() error {
		r, err := q.RequestWith(ctx, v.cl)
		if err != nil {
			return err
		}
		if len(r.Topics) == 0 || len(r.Topics[0].Partitions) == 0 || r.Topics[0].Partitions[0].LeaderID < 1 {
			return errors.New("no active controller")
		}
		node = r.Topics[0].Partitions[0].LeaderID
		return nil
	})
	return node, err
}
