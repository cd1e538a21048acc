package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Kafka's throttle: a rate for each broker, and for each topic the replicas it counts for.
const (
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
)

// unthrottled is no rate at all; 0 is one with which nothing moves.
const unthrottled = -1

// parseRate reads bytes per second: 1000000, 500K, 50M, 1G.
func parseRate(text string) (int64, error) {
	digits, unit := strings.TrimSpace(text), int64(1)
	for suffix, size := range map[string]int64{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if cut, ok := strings.CutSuffix(strings.ToUpper(digits), suffix); ok {
			digits, unit = cut, size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, usageErrorf("--throttle %q: write bytes per second, as in 1000000, 500K, 50M or 1G", text)
	}
	return n * unit, nil
}

// throttled is what to set for some moves: who has the records is limited in sending, who gets them in fetching.
type throttled struct {
	brokers            []int32
	leaders, followers map[string][]string // by topic: partition:broker
}

func throttleFor(moves []replicaMove) throttled {
	out := throttled{leaders: map[string][]string{}, followers: map[string][]string{}}
	for _, m := range moves {
		if len(m.adding()) == 0 {
			continue
		}
		for _, id := range m.from {
			out.leaders[m.topic] = append(out.leaders[m.topic], fmt.Sprintf("%d:%d", m.index, id))
		}
		for _, id := range m.adding() {
			out.followers[m.topic] = append(out.followers[m.topic], fmt.Sprintf("%d:%d", m.index, id))
		}
		out.brokers = append(append(out.brokers, m.from...), m.adding()...)
	}
	slices.Sort(out.brokers)
	out.brokers = slices.Compact(out.brokers)
	return out
}

// throttle limits the moves to so many bytes per second and broker.
func (c *clusterClient) throttle(ctx context.Context, v *clusterView, moves []replicaMove, rate int64) error {
	t := throttleFor(moves)
	t.brokers = slices.DeleteFunc(t.brokers, func(id int32) bool { return !v.live(id) })
	if len(t.brokers) == 0 {
		return nil
	}
	text := strconv.FormatInt(rate, 10)
	done, err := c.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Name: leaderRate, Value: &text}, {Name: followerRate, Value: &text}}, t.brokers...)
	for _, r := range done {
		if err == nil && r.Err != nil {
			err = refused("broker "+r.Name, r.Err, r.ErrMessage)
		}
	}
	if err != nil {
		return fmt.Errorf("no throttle was set and nothing moved: %w; leave --throttle away where brokers take none", err)
	}
	for _, topic := range sortedKeys(t.leaders) {
		leaders, followers := strings.Join(t.leaders[topic], ","), strings.Join(t.followers[topic], ",")
		err := c.alterTopic(ctx, topic, []kadm.AlterConfig{
			{Op: kadm.AppendConfig, Name: leaderReplicas, Value: &leaders}, {Op: kadm.AppendConfig, Name: followerReplicas, Value: &followers},
		})
		if err != nil {
			return fmt.Errorf("the throttle could not be set whole, and nothing moved: %w; `cordwood cluster reassign wait` takes it away", err)
		}
	}
	return nil
}

func (c *clusterClient) alterTopic(ctx context.Context, topic string, changes []kadm.AlterConfig) error {
	done, err := c.AlterTopicConfigs(ctx, changes, topic)
	for _, r := range done {
		if err == nil && r.Err != nil {
			err = refused("topic "+topic, r.Err, r.ErrMessage)
		}
	}
	return err
}

// unthrottle takes every throttle away, as kafka-reassign-partitions --verify does, unless reassignments are still in
// progress. It returns what it took away.
func (c *clusterClient) unthrottle(ctx context.Context, v *clusterView) (gone []string, err error) {
	if slices.ContainsFunc(v.partitions, func(p clusterPartition) bool { return p.reassigning() }) {
		return nil, nil
	}
	var topics []string
	for _, p := range v.partitions {
		topics = append(topics, p.topic)
	}
	topics = slices.Compact(topics)
	values, err := c.topicConfigs(ctx, topics, leaderReplicas, followerReplicas)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if values[topic][leaderReplicas] == "" && values[topic][followerReplicas] == "" {
			continue
		}
		if err := c.alterTopic(ctx, topic, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: leaderReplicas}, {Op: kadm.DeleteConfig, Name: followerReplicas}}); err != nil {
			return gone, err
		}
		gone = append(gone, "topic "+topic)
	}
	var live, limited []int32
	for _, b := range v.brokers {
		if b.live {
			live = append(live, b.id)
		}
	}
	configs, err := c.DescribeBrokerConfigs(ctx, live...)
	if err != nil {
		return gone, err
	}
	for _, r := range configs {
		for _, k := range r.Configs {
			if id, err := strconv.ParseInt(r.Name, 10, 32); err == nil && k.Source.String() == "DYNAMIC_BROKER_CONFIG" && (k.Key == leaderRate || k.Key == followerRate) {
				limited = append(limited, int32(id))
			}
		}
	}
	slices.Sort(limited)
	if limited = slices.Compact(limited); len(limited) == 0 {
		return gone, nil
	}
	done, err := c.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: leaderRate}, {Op: kadm.DeleteConfig, Name: followerRate}}, limited...)
	for _, r := range done {
		if err == nil && r.Err != nil {
			err = refused("broker "+r.Name, r.Err, r.ErrMessage)
		}
	}
	for _, id := range limited {
		gone = append(gone, fmt.Sprintf("broker %d", id))
	}
	return gone, err
}
