package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func groupCommand(t *terminal) *cobra.Command {
	f := new(clientFlags)
	cmd := family("group", "List, describe, delete and reposition consumer groups")
	f.register(cmd)
	cmd.AddCommand(groupList(t, f), groupDescribe(t, f), groupDelete(t, f), groupSeek(t, f))
	return cmd
}

// groupInfo is a group as list shows it.
type groupInfo struct {
	Group        string `json:"group"`
	State        string `json:"state"`
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func groupList(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the groups", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				groups, err := adm.ListGroups(ctx)
				if err != nil {
					return err
				}
				list, out := []groupInfo{}, &table{head: []string{"GROUP", "STATE", "TYPE", "COORDINATOR"}}
				for _, g := range groups.Sorted() {
					list = append(list, groupInfo{g.Group, g.State, g.ProtocolType, g.Coordinator})
					out.add(g.Group, g.State, g.ProtocolType, g.Coordinator)
				}
				return f.print(t.out, list, out)
			})
		},
	}
}

// memberInfo is a member of a group and what was assigned to it.
type memberInfo struct {
	Member   string `json:"member"`
	Instance string `json:"instance,omitempty"`
	Client   string `json:"client"`
	Host     string `json:"host"`
	Assigned string `json:"assigned"`
}

// lagInfo is a partition a group consumes. Committed is -1 where it has no offset yet.
type lagInfo struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

type describedGroup struct {
	groupInfo
	Protocol string       `json:"protocol"`
	Members  []memberInfo `json:"members"`
	Lag      []lagInfo    `json:"lag"`
	TotalLag int64        `json:"total_lag"`
}

func groupDescribe(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "describe GROUP...", Short: "Show a group's state, members, offsets and lag", Args: arguments(1, -1, "the name of a group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				groups, err := adm.Lag(ctx, args...)
				if err != nil {
					return err
				}
				list, tables := []describedGroup{}, []*table{}
				for _, g := range groups.Sorted() {
					if err := g.Error(); err != nil {
						return refused("group "+g.Group, err, "")
					}
					if g.State == "Dead" {
						return fmt.Errorf("group %s: there is none of this name; see `cordwood group list`", g.Group)
					}
					d := newDescribedGroup(g)
					list, tables = append(list, d), append(tables, d.tables()...)
				}
				return f.print(t.out, list, tables...)
			})
		},
	}
}

func newDescribedGroup(g kadm.DescribedGroupLag) describedGroup {
	d := describedGroup{
		groupInfo: groupInfo{g.Group, g.State, g.ProtocolType, g.Coordinator.NodeID},
		Protocol:  g.Protocol, Members: []memberInfo{}, Lag: []lagInfo{}, TotalLag: g.Lag.Total(),
	}
	for _, m := range g.Members {
		i := memberInfo{Member: m.MemberID, Client: m.ClientID, Host: m.ClientHost}
		if m.InstanceID != nil {
			i.Instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, topic := range a.Topics {
				slices.Sort(topic.Partitions)
				i.Assigned += fmt.Sprintf(" %s:%s", topic.Topic, joinIDs(topic.Partitions))
			}
			i.Assigned = strings.TrimSpace(i.Assigned)
		}
		d.Members = append(d.Members, i)
	}
	for _, l := range g.Lag.Sorted() {
		i := lagInfo{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
		if l.Member != nil {
			i.Member = l.Member.MemberID
		}
		if l.Err != nil {
			i.Error = l.Err.Error()
		}
		d.Lag = append(d.Lag, i)
	}
	return d
}

func (d describedGroup) tables() []*table {
	head := &table{}
	head.add("group", d.Group)
	head.add("state", d.State)
	head.add("protocol", d.ProtocolType+" "+d.Protocol)
	head.add("coordinator", d.Coordinator)
	head.add("lag", d.TotalLag)
	members := &table{head: []string{"MEMBER", "CLIENT", "HOST", "ASSIGNED"}}
	for _, m := range d.Members {
		members.add(m.Member, m.Client, m.Host, m.Assigned)
	}
	lag := &table{head: []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG"}}
	for _, l := range d.Lag {
		if l.Error != "" {
			lag.add(l.Topic, l.Partition, l.Error)
			continue
		}
		committed := any(l.Committed)
		if l.Committed < 0 {
			committed = "-"
		}
		lag.add(l.Topic, l.Partition, committed, l.End, l.Lag)
	}
	tables := []*table{head}
	if len(d.Members) > 0 {
		tables = append(tables, members)
	}
	return append(tables, lag)
}

func groupDelete(t *terminal, f *clientFlags) *cobra.Command {
	ask := confirmation{t: t, f: f}
	cmd := &cobra.Command{
		Use: "delete GROUP... [--dry-run] [--yes]", Short: "Delete groups without members, with their offsets", Args: arguments(1, -1, "the name of a group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				what := &table{}
				for _, g := range args {
					what.add("delete", g, "with its committed offsets")
				}
				if goOn, err := ask.goOn(what); err != nil || !goOn {
					return err
				}
				gone, err := adm.DeleteGroups(ctx, args...)
				if err != nil {
					return err
				}
				names, done, failed := []string{}, &table{}, problems{}
				for _, g := range gone.Sorted() {
					if g.Err != nil {
						failed.add(refused("group "+g.Group, g.Err, g.ErrMessage))
						continue
					}
					names = append(names, g.Group)
					done.add("deleted", g.Group)
				}
				return failed.after(f.print(t.out, map[string]any{"deleted": names}, done))
			})
		},
	}
	ask.register(cmd)
	return cmd
}
