package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// electedInfo is a partition and who led it before and leads it now; -1: nobody.
type electedInfo struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int32  `json:"from"`
	To        int32  `json:"to"`
}

// toElect are the partitions an election is for: those led by another than their preferred leader, or by nobody.
func toElect(v *clusterView, topics []string, unclean bool) (out []electedInfo) {
	for _, p := range v.partitions {
		switch {
		case len(p.replicas) == 0, len(topics) > 0 && !slices.Contains(topics, p.topic):
		case unclean && p.leader < 0:
			out = append(out, electedInfo{p.topic, p.index, -1, -1})
		case !unclean && p.leader != p.replicas[0]:
			out = append(out, electedInfo{p.topic, p.index, p.leader, p.replicas[0]})
		}
	}
	return out
}

func clusterElect(t *terminal, f *clientFlags) *cobra.Command {
	ask := confirmation{t: t, f: f}
	preferred, unclean, all := false, false, false
	cmd := &cobra.Command{
		Use:   "elect (--preferred | --unclean) (TOPIC... | --all) [--dry-run] [--yes]",
		Short: "Give partitions back to their preferred leaders, or a leader at any price",
		Long: `Give partitions back to their preferred leaders (the first of their replicas), if these are in sync; or, with
--unclean, give partitions that nobody leads a replica that runs for a leader, whatever it lacks: RECORDS THAT WERE
ACKNOWLEDGED MAY BE LOST. Start the brokers that ` + "`cordwood cluster health`" + ` names first.`,
		RunE: func(cmd *cobra.Command, topics []string) error {
			switch {
			case preferred == unclean:
				return usageErrorf("which leaders? Give either --preferred or --unclean")
			case all == (len(topics) > 0):
				return usageErrorf("of which partitions? Name topics, or give --all")
			}
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.look(ctx, c)
				if err != nil {
					return err
				}
				for _, topic := range topics {
					if !slices.ContainsFunc(v.partitions, func(p clusterPartition) bool { return p.topic == topic }) {
						return fmt.Errorf("topic %s: there is none of this name; see `cordwood topic list`", topic)
					}
				}
				list := toElect(v, topics, unclean)
				if len(list) == 0 {
					return nothingToDo(t, f, "elected")
				}
				if goOn, err := ask.goOn(electionTable(list, unclean)); err != nil || !goOn {
					return err
				}
				if err := f.within(ctx, func(ctx context.Context) error { return c.wants(ctx, kmsg.ElectLeaders, "then run this command again") }); err != nil {
					return err
				}
				return electLeaders(ctx, t, f, c, list, unclean)
			})
		},
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().BoolVar(&preferred, "preferred", false, "elect preferred leaders")
	cmd.Flags().BoolVar(&unclean, "unclean", false, "elect whoever runs where nobody leads; records may be lost")
	cmd.Flags().BoolVar(&all, "all", false, "of every topic")
	ask.register(cmd)
	return cmd
}

func electionTable(list []electedInfo, unclean bool) *table {
	out := &table{head: []string{"TOPIC", "PARTITION", "LEADER", "WILL BE"}}
	for _, e := range list {
		will := fmt.Sprint(e.To)
		if unclean {
			will = "any replica that runs; records may be lost"
		}
		out.add(e.Topic, e.Partition, leaderText(e.From), will)
	}
	return out
}

func leaderText(id int32) string {
	if id < 0 {
		return "-"
	}
	return fmt.Sprint(id)
}

func electLeaders(ctx context.Context, t *terminal, f *clientFlags, c *clusterClient, list []electedInfo, unclean bool) error {
	var refusedOnes map[partitionID]error
	err := f.within(ctx, func(ctx context.Context) (err error) {
		refusedOnes, err = c.elect(ctx, list, unclean)
		return err
	})
	if err != nil {
		return err
	}
	v, err := f.until(ctx, c, briefWait, func(v *clusterView) bool {
		return !slices.ContainsFunc(list, func(e electedInfo) bool {
			p := v.partition(partitionID{e.Topic, e.Partition})
			return p != nil && p.leader == e.From && refusedOnes[p.partitionID] == nil
		})
	})
	if err != nil {
		return err
	}
	elected, out, failed := []electedInfo{}, &table{}, problems{}
	for _, e := range list {
		id := partitionID{e.Topic, e.Partition}
		if err := refusedOnes[id]; err != nil {
			failed.add(err)
		} else if p := v.partition(id); p != nil && p.leader < 0 {
			failed.add(fmt.Errorf("%s: nobody leads it yet; `cordwood cluster health` says what is missing", id))
		} else if p != nil {
			e.To = p.leader
			elected = append(elected, e)
			out.add("elected", id, leaderText(e.From)+" -> "+leaderText(e.To))
		}
	}
	return failed.after(f.print(t.out, map[string]any{"elected": elected}, out))
}

// elect asks for leaders and returns which partitions were refused, and why.
func (c *clusterClient) elect(ctx context.Context, list []electedInfo, unclean bool) (map[partitionID]error, error) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.TimeoutMillis = int32(adminWait.Milliseconds())
	if unclean {
		req.ElectionType = 1
	}
	for _, e := range slices.SortedFunc(slices.Values(list), func(a, b electedInfo) int { return cmp.Compare(a.Topic, b.Topic) }) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != e.Topic {
			topic := kmsg.NewElectLeadersRequestTopic()
			topic.Topic = e.Topic
			req.Topics = append(req.Topics, topic)
		}
		topic := &req.Topics[len(req.Topics)-1]
		topic.Partitions = append(topic.Partitions, e.Partition)
	}
	resp, err := req.RequestWith(ctx, c.kgo)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, refused("the election", err, "")
	}
	out := map[partitionID]error{}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			id, message := partitionID{topic.Topic, p.Partition}, ""
			if p.ErrorMessage != nil {
				message = *p.ErrorMessage
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !errors.Is(err, kerr.ElectionNotNeeded) {
				out[id] = refused(id.String(), err, message)
			}
		}
	}
	return out, nil
}
