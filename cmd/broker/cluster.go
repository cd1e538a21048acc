package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func clusterCommand(t *terminal) *cobra.Command {
	f := new(clientFlags)
	cmd := family("cluster", "Look after a cluster: its health, brokers and controllers, and where replicas are")
	f.register(cmd)
	cmd.AddCommand(clusterStatus(t, f), clusterHealthCommand(t, f), clusterBrokers(t, f), clusterQuorum(t, f),
		clusterSafeToStop(t, f), clusterReassign(t, f), clusterElect(t, f), clusterDecommission(t, f), clusterRefill(t, f))
	return cmd
}

// cluster runs a command that asks a cluster about itself. It may last: each of its steps is bounded by within.
func (f *clientFlags) cluster(cmd *cobra.Command, do func(ctx context.Context, c *clusterClient) error) error {
	return interruptible(cmd, func(ctx context.Context) error {
		cl, err := f.client(ctx, kgo.RequestTimeoutOverhead(briefWait)) // a broker that hangs must not hold up what others can tell
		if err != nil {
			return err
		}
		defer cl.Close()
		adm := kadm.NewClient(cl)
		adm.SetTimeoutMillis(int32(adminWait.Milliseconds()))
		f.line = f.waiting()
		defer func() { f.line.end() }() // whichever is shown by then
		return do(ctx, &clusterClient{adm, cl})
	})
}

// within bounds a step of a command that may last.
func (f *clientFlags) within(ctx context.Context, do func(ctx context.Context) error) error {
	step, cancel := context.WithTimeout(ctx, adminWait)
	defer cancel()
	err := do(step)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("no answer from %s within %s; is the broker overloaded or just starting? Try again", strings.Join(f.brokers, ","), adminWait)
	}
	return err
}

// look takes a view of the cluster.
func (f *clientFlags) look(ctx context.Context, c *clusterClient) (v *clusterView, err error) {
	err = f.within(ctx, func(ctx context.Context) error {
		v, err = c.view(ctx)
		return err
	})
	return v, err
}

// pollEvery is how often a command that waits for a cluster looks at it.
const pollEvery = 500 * time.Millisecond

// until looks at the cluster again and again until done is satisfied or wait is over, and returns the last look.
func (f *clientFlags) until(ctx context.Context, c *clusterClient, wait time.Duration, done func(v *clusterView) bool) (*clusterView, error) {
	for end := time.Now().Add(wait); ; {
		v, err := f.look(ctx, c)
		if err == nil && (done(v) || !time.Now().Before(end)) {
			return v, nil
		}
		if err != nil && !time.Now().Before(end) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

// dirInfo is a data directory as brokers shows it. Sizes are -1 where they are not known.
type dirInfo struct {
	Path  string `json:"path"`
	Free  int64  `json:"free"`
	Total int64  `json:"total"`
	Error string `json:"error,omitempty"`
}

// brokerInfo is a broker as brokers shows it.
type brokerInfo struct {
	ID       int32     `json:"id"`
	Address  string    `json:"address"`
	Rack     string    `json:"rack,omitempty"`
	State    string    `json:"state"`
	Leaders  int       `json:"leaders"`
	Replicas int       `json:"replicas"`
	InSync   int       `json:"in_sync"`
	Bytes    int64     `json:"bytes"`
	Dirs     []dirInfo `json:"dirs"`
	Error    string    `json:"error,omitempty"`
}

func newBrokerInfos(v *clusterView) []brokerInfo {
	list := []brokerInfo{}
	for _, b := range v.brokers {
		i := brokerInfo{ID: b.id, Address: b.addr, Rack: b.rack, State: "down", Dirs: []dirInfo{}}
		switch {
		case b.leaves:
			i.State = "decommissioning"
		case b.live:
			i.State = "live"
		}
		if b.dirsErr != nil {
			i.Error = b.dirsErr.Error()
		}
		for _, d := range b.dirs {
			info := dirInfo{Path: d.path, Free: d.free, Total: d.total}
			if d.err != nil {
				info.Error = d.err.Error()
			}
			i.Dirs = append(i.Dirs, info)
		}
		for _, p := range v.partitions {
			if p.leader == b.id {
				i.Leaders++
			}
			if slices.Contains(p.replicas, b.id) {
				i.Replicas++
			}
			if slices.Contains(p.isr, b.id) {
				i.InSync++
			}
			i.Bytes += p.sizes[b.id]
		}
		list = append(list, i)
	}
	return list
}

// disks is a broker's directories in a few words.
func (i brokerInfo) disks() string {
	failed, free, total := 0, int64(0), int64(0)
	for _, d := range i.Dirs {
		if d.Error != "" {
			failed++
			continue
		}
		free, total = free+d.Free, total+d.Total
	}
	switch {
	case len(i.Dirs) == 0:
		return "-"
	case failed > 0:
		return fmt.Sprintf("%d of %d failed", failed, len(i.Dirs))
	case total <= 0:
		return "ok"
	}
	return fmt.Sprintf("%s free of %s", bytesText(free), bytesText(total))
}

func clusterBrokers(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "brokers", Short: "List the brokers, what they hold and the state of their disks", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.look(ctx, c)
				if err != nil {
					return err
				}
				list, out := newBrokerInfos(v), &table{head: []string{"BROKER", "ADDRESS", "RACK", "STATE", "LEADERS", "REPLICAS", "IN SYNC", "SIZE", "DISKS"}}
				for _, i := range list {
					rack := i.Rack
					if rack == "" {
						rack = "-"
					}
					out.add(i.ID, i.Address, rack, i.State, i.Leaders, i.Replicas, i.InSync, bytesText(i.Bytes), i.disks())
				}
				return f.print(t.out, list, out)
			})
		},
	}
}

// memberOfQuorum is a controller, or a broker that follows them, as quorum shows it.
type memberOfQuorum struct {
	ID      int32  `json:"id"`
	Role    string `json:"role"`
	Address string `json:"address,omitempty"`
	End     int64  `json:"end"`
	Lag     int64  `json:"lag"`
	Silent  int64  `json:"silent_ms"` // -1: never heard of since the leader leads
	Up      bool   `json:"up"`
}

// quorumInfo is what quorum shows.
type quorumInfo struct {
	Leader  int32            `json:"leader"`
	Epoch   int32            `json:"epoch"`
	Members []memberOfQuorum `json:"members"`
}

func newQuorumInfo(q *quorumView) quorumInfo {
	out := quorumInfo{Leader: q.leader, Epoch: q.epoch, Members: []memberOfQuorum{}}
	add := func(m quorumMember, role string) {
		silent := int64(-1)
		if m.known {
			silent = m.silent.Milliseconds()
		}
		out.Members = append(out.Members, memberOfQuorum{m.id, role, m.addr, m.end, m.lag, silent, m.up()})
	}
	for _, m := range q.voters {
		role := "voter"
		if m.id == q.leader {
			role = "leader"
		}
		add(m, role)
	}
	for _, m := range q.observers {
		add(m, "observer")
	}
	return out
}

func clusterQuorum(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "quorum", Short: "Show the controllers, who leads them and how far each is", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				q := c.quorum(ctx)
				if q.err != nil {
					return fmt.Errorf("the controllers do not answer: %w; more than half of them must run", q.err)
				}
				info, out := newQuorumInfo(&q), &table{head: []string{"NODE", "ROLE", "ADDRESS", "END", "LAG", "LAST HEARD"}}
				for _, m := range info.Members {
					heard, addr := "never", m.Address
					if m.Silent >= 0 {
						heard = (time.Duration(m.Silent) * time.Millisecond).String() + " ago"
					}
					if addr == "" {
						addr = "-"
					}
					out.add(m.ID, m.Role, addr, m.End, m.Lag, heard)
				}
				return f.print(t.out, info, out)
			})
		},
	}
}

// statusInfo is a cluster at a glance.
type statusInfo struct {
	ClusterID       string `json:"cluster_id"`
	State           string `json:"state"`
	Problems        int    `json:"problems"`
	Brokers         int    `json:"brokers"`
	LiveBrokers     int    `json:"live_brokers"`
	Controllers     int    `json:"controllers"`
	Controller      int32  `json:"controller"` // who leads them, -1: nobody
	Topics          int    `json:"topics"`
	Partitions      int    `json:"partitions"`
	Replicas        int    `json:"replicas"`
	Leaderless      int    `json:"leaderless"`
	UnderMinISR     int    `json:"under_min_isr"`
	UnderReplicated int    `json:"under_replicated"`
	OfflineReplicas int    `json:"offline_replicas"`
	Reassigning     int    `json:"reassigning"`
	Bytes           int64  `json:"bytes"`
}

func newStatusInfo(v *clusterView) statusInfo {
	h := judge(v)
	s := statusInfo{ClusterID: v.id, State: h.State, Brokers: len(v.brokers), Controllers: len(v.quorum.voters), Controller: v.quorum.leader, Partitions: len(v.partitions)}
	for _, p := range h.Problems {
		if p.Severity != justNotice {
			s.Problems++
		}
	}
	for _, b := range v.brokers {
		if b.live {
			s.LiveBrokers++
		}
	}
	for i := range v.partitions {
		p := &v.partitions[i]
		if i == 0 || p.topic != v.partitions[i-1].topic {
			s.Topics++
		}
		s.Replicas += len(p.replicas)
		s.OfflineReplicas += len(p.offline)
		for _, n := range p.sizes {
			s.Bytes += n
		}
		for _, counted := range []struct {
			yes bool
			n   *int
		}{{p.leader < 0, &s.Leaderless}, {len(p.isr) < p.minISR, &s.UnderMinISR}, {len(p.lagging()) > 0, &s.UnderReplicated}, {p.reassigning(), &s.Reassigning}} {
			if counted.yes {
				*counted.n++
			}
		}
	}
	return s
}

func (s statusInfo) table() *table {
	out := &table{}
	out.add("cluster", s.ClusterID)
	state := s.State
	if s.Problems > 0 {
		state += fmt.Sprintf(", problems %d: see `cordwood cluster health`", s.Problems)
	}
	out.add("state", state)
	out.add("brokers", fmt.Sprintf("%d of %d live", s.LiveBrokers, s.Brokers))
	controllers := fmt.Sprintf("%d, led by node %d", s.Controllers, s.Controller)
	if s.Controller < 0 {
		controllers = "no answer"
	}
	out.add("controllers", controllers)
	out.add("topics", s.Topics)
	out.add("partitions", s.Partitions)
	out.add("replicas", fmt.Sprintf("%d, offline %d", s.Replicas, s.OfflineReplicas))
	out.add("without leader", s.Leaderless)
	out.add("under min ISR", s.UnderMinISR)
	out.add("under-replicated", s.UnderReplicated)
	out.add("reassigning", s.Reassigning)
	out.add("size", bytesText(s.Bytes))
	return out
}

func clusterStatus(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show a cluster at a glance", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.look(ctx, c)
				if err != nil {
					return err
				}
				s := newStatusInfo(v)
				return f.print(t.out, s, s.table())
			})
		},
	}
}

// tableRows is how many problems of a kind a table shows; JSON has all.
const tableRows = 20

func clusterHealthCommand(t *terminal, f *clientFlags) *cobra.Command {
	wait := time.Duration(0)
	cmd := &cobra.Command{
		Use: "health [--wait DURATION]", Short: "Say whether a cluster is healthy, what is wrong and what to do", Args: noArguments,
		Long: `Say whether a cluster is healthy, what is wrong and what to do.

  healthy   every partition has a leader and all its replicas in sync, every broker, disk and controller is there
  degraded  everything is served, with less spare than it should have
  down      some partition refuses reads or acks=all writes, or there is no controller

Exit codes: 0 healthy (there may be notices), 1 degraded, down or no answer.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.starts = wait
			end := time.Now().Add(wait)
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.until(ctx, c, time.Until(end), func(v *clusterView) bool { return judge(v).State == healthy })
				if err != nil {
					return err
				}
				h := judge(v)
				if err := f.print(t.out, h, h.tables()...); err != nil {
					return err
				}
				if h.State != healthy {
					return fmt.Errorf("the cluster is %s", h.State)
				}
				return nil
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait for the cluster to become healthy, or to be there at all")
	return cmd
}

func (h clusterHealth) tables() []*table {
	head := &table{}
	head.add("state", h.State)
	out := &table{head: []string{"SEVERITY", "PROBLEM", "WHERE", "WHAT", "NEXT"}}
	if len(h.Problems) == 0 {
		return []*table{head}
	}
	seen := map[string]int{}
	for i, p := range h.Problems {
		if seen[p.Kind]++; seen[p.Kind] <= tableRows {
			out.add(p.Severity, p.Kind, p.Where, p.Detail, p.Next)
		}
		if last := i == len(h.Problems)-1 || h.Problems[i+1].Kind != p.Kind; last && seen[p.Kind] > tableRows {
			out.add(p.Severity, p.Kind, fmt.Sprintf("and %d more", seen[p.Kind]-tableRows), "--format json shows all", "")
		}
	}
	return []*table{head, out}
}

// bytesText writes a size for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 0 {
		return "?"
	}
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	size, unit := float64(n)/(1<<10), 0
	for ; size >= 1<<10 && unit < len(units)-1; unit++ {
		size /= 1 << 10
	}
	return fmt.Sprintf("%.1f %ciB", size, units[unit])
}
