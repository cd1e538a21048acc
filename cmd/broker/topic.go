package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker"
)

func topicCommand(t *terminal) *cobra.Command {
	f := new(clientFlags)
	cmd := family("topic", "List, create, describe, delete and configure topics")
	f.register(cmd)
	cmd.AddCommand(topicList(t, f), topicCreate(t, f), topicDescribe(t, f), topicDelete(t, f), topicConfig(t, f), topicAddPartitions(t, f))
	return cmd
}

// topicInfo is a topic as list shows it.
type topicInfo struct {
	Name       string `json:"name"`
	ID         string `json:"id"`
	Internal   bool   `json:"internal"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
}

func newTopicInfo(d kadm.TopicDetail) topicInfo {
	return topicInfo{Name: d.Topic, ID: topicID(d.ID), Internal: d.IsInternal, Partitions: len(d.Partitions), Replicas: d.Partitions.NumReplicas()}
}

// topicID writes an id as Kafka's tools and files do.
func topicID(id kadm.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func topicList(t *terminal, f *clientFlags) *cobra.Command {
	internal := false
	cmd := &cobra.Command{
		Use: "list [--internal]", Short: "List the topics", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				topics, err := adm.ListTopicsWithInternal(ctx)
				if err != nil {
					return err
				}
				list, out := []topicInfo{}, &table{head: []string{"TOPIC", "PARTITIONS", "REPLICAS"}}
				for _, d := range topics.Sorted() {
					if d.IsInternal && !internal {
						continue
					}
					i := newTopicInfo(d)
					list = append(list, i)
					out.add(i.Name, i.Partitions, i.Replicas)
				}
				return f.print(t.out, list, out)
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also the broker's own topics")
	return cmd
}

// partitionInfo is a partition as describe shows it. End offsets are exclusive.
type partitionInfo struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       int64   `json:"start"`
	End         int64   `json:"end"`
	Error       string  `json:"error,omitempty"`
}

// described is a topic as describe shows it.
type described struct {
	topicInfo
	DNSLabel       string            `json:"dns_label"`
	Configs        map[string]string `json:"configs"` // set for this topic
	PartitionsList []partitionInfo   `json:"partition_list"`
}

func topicDescribe(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "describe TOPIC...", Short: "Show a topic's partitions, replicas, offsets and own configs",
		Args: arguments(1, -1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				list, err := describeTopics(ctx, adm, args)
				if err != nil {
					return err
				}
				var tables []*table
				for _, d := range list {
					tables = append(tables, d.tables()...)
				}
				return f.print(t.out, list, tables...)
			})
		},
	}
}

func describeTopics(ctx context.Context, adm *kadm.Client, names []string) ([]described, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if d := topics[name]; d.Err != nil {
			return nil, refused("topic "+name, d.Err, "")
		}
	}
	starts, err := adm.ListStartOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err != nil {
		return nil, err
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return nil, err
	}
	all, err := adm.ListTopicsWithInternal(ctx) // a label depends on the names of the others
	if err != nil {
		return nil, err
	}
	var list []described
	for _, d := range topics.Sorted() {
		out := described{topicInfo: newTopicInfo(d), DNSLabel: broker.TopicLabel(d.Topic, d.ID, maps.Keys(all)), Configs: map[string]string{}, PartitionsList: []partitionInfo{}}
		rc, _ := configs.On(d.Topic, nil)
		for _, c := range rc.Configs {
			if c.Source.String() == ownConfig {
				out.Configs[c.Key] = c.MaybeValue()
			}
		}
		for _, p := range d.Partitions.Sorted() {
			i := partitionInfo{
				Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: orEmpty(p.Replicas), ISR: orEmpty(p.ISR), Start: -1, End: -1,
			}
			start, _ := starts.Lookup(d.Topic, p.Partition)
			end, ok := ends.Lookup(d.Topic, p.Partition)
			switch {
			case p.Err != nil:
				i.Error = p.Err.Error()
			case end.Err != nil:
				i.Error = end.Err.Error()
			case ok:
				i.Start, i.End = start.Offset, end.Offset
			}
			out.PartitionsList = append(out.PartitionsList, i)
		}
		list = append(list, out)
	}
	return list, nil
}

// tables are the summary of a topic and its partitions.
func (d described) tables() []*table {
	head := &table{}
	head.add("topic", d.Name)
	head.add("id", d.ID)
	head.add("dns label", d.DNSLabel)
	head.add("partitions", d.Partitions)
	head.add("replicas", d.Replicas)
	records := int64(0)
	out := &table{head: []string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "RECORDS"}}
	for _, p := range d.PartitionsList {
		if p.Error != "" {
			out.add(p.Partition, p.Leader, p.LeaderEpoch, joinIDs(p.Replicas), joinIDs(p.ISR), p.Error)
			continue
		}
		out.add(p.Partition, p.Leader, p.LeaderEpoch, joinIDs(p.Replicas), joinIDs(p.ISR), p.Start, p.End, p.End-p.Start)
		records += p.End - p.Start
	}
	head.add("records", records)
	for _, k := range sortedKeys(d.Configs) {
		head.add("config", k+"="+d.Configs[k])
	}
	return []*table{head, out}
}

func topicCreate(t *terminal, f *clientFlags) *cobra.Command {
	partitions, replicas := int32(-1), int16(-1)
	var settings []string
	cmd := &cobra.Command{
		Use: "create TOPIC... [-p N] [-r N] [-c KEY=VALUE]...", Short: "Create topics",
		Example: "  cordwood topic create orders -p 12 -c retention.ms=86400000",
		Args:    arguments(1, -1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			configs, err := parseSettings(settings)
			if err != nil {
				return err
			}
			if partitions == 0 || partitions < -1 || replicas == 0 || replicas < -1 {
				return usageErrorf("a topic has at least one partition and one replica")
			}
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				made, err := adm.CreateTopics(ctx, partitions, replicas, configs, args...)
				if err != nil {
					return err
				}
				list, out, failed := []topicInfo{}, &table{}, problems{}
				for _, name := range sortedKeys(made) {
					c := made[name]
					if c.Err != nil {
						failed.add(refusedConfig("topic "+c.Topic, c.Err, c.ErrMessage, sortedKeys(configs)))
						continue
					}
					list = append(list, topicInfo{Name: c.Topic, ID: topicID(c.ID), Partitions: int(c.NumPartitions), Replicas: int(c.ReplicationFactor)})
					out.add("created", c.Topic, fmt.Sprintf("partitions %d", c.NumPartitions), fmt.Sprintf("replicas %d", c.ReplicationFactor))
				}
				return failed.after(f.print(t.out, list, out))
			})
		},
	}
	cmd.Flags().Int32VarP(&partitions, "partitions", "p", partitions, "number of partitions; -1: the broker's default")
	cmd.Flags().Int16VarP(&replicas, "replicas", "r", replicas, "replicas of each partition; -1: the broker's default")
	cmd.Flags().StringArrayVarP(&settings, "config", "c", nil, "topic config as `key=value`; repeatable")
	return cmd
}

// parseSettings reads key=value arguments. What they mean is the broker's business, which may know other keys.
func parseSettings(list []string) (map[string]*string, error) {
	out := map[string]*string{}
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, usageErrorf("%q: write a config as key=value", s)
		}
		out[key] = &value
	}
	return out, nil
}

// refusedConfig is refused, with a better name where the broker did not know one of the keys.
func refusedConfig(subject string, err error, message string, keys []string) error {
	if errors.Is(err, kerr.InvalidConfig) {
		for _, key := range keys {
			if near := broker.SuggestTopicKey(key); near != "" && broker.LookupTopicKey(key) == nil {
				return fmt.Errorf("%s: no topic has a config %s; did you mean %s?", subject, key, near)
			}
		}
	}
	return refused(subject, err, message)
}

func topicAddPartitions(t *terminal, f *clientFlags) *cobra.Command {
	total := 0
	cmd := &cobra.Command{
		Use: "add-partitions TOPIC -p N", Short: "Give a topic more partitions, so that it has N",
		Long: "Give a topic more partitions, so that it has N. Records with a key may go to another partition from then on;\npartitions cannot be taken away again.",
		Args: arguments(1, 1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if total < 1 {
				return usageErrorf("-p N: how many partitions shall the topic have?")
			}
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				changed, err := adm.UpdatePartitions(ctx, total, args[0])
				if err != nil {
					return err
				}
				for _, c := range changed {
					if c.Err != nil {
						return refused("topic "+c.Topic, c.Err, c.ErrMessage)
					}
				}
				out := &table{}
				out.add("changed", args[0], fmt.Sprintf("partitions %d", total))
				return f.print(t.out, map[string]any{"name": args[0], "partitions": total}, out)
			})
		},
	}
	cmd.Flags().IntVarP(&total, "partitions", "p", 0, "partitions the topic shall have")
	return cmd
}
