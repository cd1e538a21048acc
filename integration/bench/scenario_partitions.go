package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a cluster carries while the time of its changes is measured.
const manyTopics, manyPerTopic = 5, 1000

// session is how long after a death another broker may be taken for dead at once (R19), with something to spare.
const session = 4 * time.Second

// clusterPartitions measures changes of a cluster with 5,000 partitions on three nodes: topics of 1,000 partitions are made,
// a broker dies, the active controller dies. Kafka is left out: its nodes need more descriptors than most machines allow.
func clusterPartitions(b *bench, s *scenario) (err error) {
	if b.bin == "" {
		return nil
	}
	c := newCordwoods(b)
	defer func() { err = errors.Join(err, c.wipe()) }()
	if err := c.start(); err != nil {
		return err
	}
	var topics []string
	for range manyTopics {
		topic := fmt.Sprintf("bench-many-%d", len(topics))
		topics = append(topics, topic)
		b.quiet()
		if err := look(c, func(ctx context.Context, v *view) error { return b.createMany(ctx, s, v, topic) }); err != nil {
			return err
		}
	}
	for range b.rounds {
		if err := b.deaths(s, c, topics); err != nil {
			return err
		}
	}
	return nil
}

// createMany makes one topic where the cluster chooses the replicas.
func (b *bench) createMany(ctx context.Context, s *scenario, v *view, topic string) error {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.TimeoutMillis = 60_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, manyPerTopic, clusterSize
	q.Topics = append(q.Topics, t)
	if _, err := v.leading(ctx, 1); err != nil { // the client has connected
		return err
	}
	began := time.Now()
	if err := v.create(ctx, q); err != nil {
		return err
	}
	b.report.add(s, "1,000 partitions created: answered", "ms", v.c.name(), milliseconds(time.Since(began)))
	if err := v.await(ctx, func() error { return v.usable(ctx, topic, manyPerTopic, false) }); err != nil {
		return err
	}
	b.report.add(s, "1,000 partitions created: all serve", "ms", v.c.name(), milliseconds(time.Since(began)))
	return nil
}

// deaths kills a broker that is not the active controller, then the active controller, each from a settled cluster.
func (b *bench) deaths(s *scenario, c cluster, topics []string) error {
	for _, deciding := range []bool{false, true} {
		if err := settle(c, topics); err != nil {
			return err
		}
		time.Sleep(b.rest)
		b.quiet()
		var victim int32
		err := look(c, func(ctx context.Context, v *view) (err error) {
			if victim, err = v.controller(ctx); err != nil {
				return err
			}
			if !deciding {
				victim = victim%clusterSize + 1
			}
			return b.death(ctx, s, v, victim, deciding, topics)
		})
		if err != nil {
			return err
		}
		if err := c.restart(victim); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) death(ctx context.Context, s *scenario, v *view, victim int32, deciding bool, topics []string) error {
	var others []int32
	for node := range int32(clusterSize) {
		if node+1 != victim {
			others = append(others, node+1)
			if _, err := v.leading(ctx, node+1, topics...); err != nil { // the client has connected
				return err
			}
		}
	}
	what := "a dead broker's leaderships moved"
	if deciding {
		what = "a dead controller's leaderships moved"
	}
	began := time.Now()
	if err := v.c.kill(victim); err != nil {
		return err
	}
	if deciding {
		if err := v.await(ctx, func() error { return v.change(ctx, others[0], topics[0]) }); err != nil {
			return err
		}
		b.report.add(s, "a dead controller's successor acknowledges a change", "ms", v.c.name(), milliseconds(time.Since(began)))
	}
	if err := v.await(ctx, func() error { return v.moved(ctx, others, topics) }); err != nil {
		return err
	}
	b.report.add(s, what, "ms", v.c.name(), milliseconds(time.Since(began)))
	return nil
}

// change has a node change the settings of a topic, for which it needs the active controller.
func (v *view) change(ctx context.Context, node int32, topic string) error {
	q := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	x := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	x.Name, x.Value = "retention.ms", kmsg.StringPtr(fmt.Sprint(time.Now().UnixMilli()))
	r.Configs = append(r.Configs, x)
	q.Resources = append(q.Resources, r)
	raw, err := v.ask(ctx, node, q)
	if err != nil {
		return err
	}
	for _, r := range raw.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		err = errors.Join(err, kerr.ErrorForCode(r.ErrorCode))
	}
	return err
}

// moved says why the partitions are not led by living nodes only: each of them names the leaders, and those serve.
func (v *view) moved(ctx context.Context, living []int32, topics []string) error {
	for _, node := range living {
		all, err := v.leading(ctx, node, topics...)
		if err != nil {
			return err
		}
		mine := map[string][]int32{}
		for _, t := range all {
			for _, p := range t.Partitions {
				switch p.Leader {
				case node:
					mine[*t.Topic] = append(mine[*t.Topic], p.Partition)
				case living[0], living[1]:
				default:
					return fmt.Errorf("node %d says that %s-%d is led by %d", node, *t.Topic, p.Partition, p.Leader)
				}
			}
		}
		if err := v.serves(ctx, node, mine); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until all replicas are in sync and gives the leaderships back to the preferred ones.
func settle(c cluster, topics []string) error {
	return look(c, func(ctx context.Context, v *view) error {
		for _, t := range topics {
			if err := v.await(ctx, func() error { return v.usable(ctx, t, manyPerTopic, true) }); err != nil {
				return err
			}
		}
		q := kmsg.NewPtrElectLeadersRequest()
		q.TimeoutMillis = 60_000
		r, err := q.RequestWith(ctx, v.cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("elect preferred leaders: %w", err)
		}
		return v.await(ctx, func() error { return v.preferred(ctx, topics) })
	})
}

// preferred says why partitions are not led by the first of their replicas.
func (v *view) preferred(ctx context.Context, topics []string) error {
	for node := range int32(clusterSize) {
		all, err := v.leading(ctx, node+1, topics...)
		if err != nil {
			return err
		}
		for _, t := range all {
			for _, p := range t.Partitions {
				if p.Leader != p.Replicas[0] {
					return fmt.Errorf("%s-%d is led by %d of %v", *t.Topic, p.Partition, p.Leader, p.Replicas)
				}
			}
		}
	}
	return nil
}
