package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// blocker is a reason not to stop a broker.
type blocker struct {
	Where string `json:"where"`
	Why   string `json:"why"`
	Next  string `json:"next"`
}

// stopBlockers is why brokers cannot stop now, all of them together. Each partition must keep a leader and as many
// replicas in sync as acks=all wants, and the controllers their majority.
func stopBlockers(v *clusterView, ids []int32) []blocker {
	var out []blocker
	for i := range v.partitions {
		if b := stopsPartition(v, &v.partitions[i], ids); b != nil {
			out = append(out, *b)
		}
	}
	return append(out, stopsQuorum(v, ids)...)
}

func stopsPartition(v *clusterView, p *clusterPartition, ids []int32) *blocker {
	if len(common(p.replicas, ids)) == 0 {
		return nil
	}
	left := less(p.isr, ids)
	switch {
	case p.leader < 0:
		return &blocker{p.String(), "it has no leader, and may need this broker to get one", (&judgement{v: v}).whoCouldLead(p)}
	case len(p.isr) < p.minISR:
		return &blocker{p.String(), fmt.Sprintf("it is below min.insync.replicas already: %d in sync (%s) of %d", len(p.isr), joinIDs(p.isr), p.minISR), howToSpare(v, p, ids)}
	case len(p.replicas)-len(p.adding) == 1 && len(left) == 0:
		return &blocker{p.String(), "it would lose its leader: this is its only replica", raiseFactor(p.topic, max(2, min(3, len(v.brokers))))}
	case len(left) == 0:
		return &blocker{p.String(), "it would lose its leader: nobody else is in sync", howToSpare(v, p, ids)}
	case len(left) < p.minISR && len(left) < len(p.isr):
		return &blocker{p.String(), fmt.Sprintf("it would fall below min.insync.replicas: %d in sync (%s) of %d", len(left), joinIDs(left), p.minISR), howToSpare(v, p, ids)}
	}
	return nil
}

// howToSpare says what must happen before a partition can do without some brokers.
func howToSpare(v *clusterView, p *clusterPartition, ids []int32) string {
	late := less(p.lagging(), ids)
	if len(late) == 0 && len(common(p.replicas, ids)) > 1 {
		return "stop one broker after the other"
	}
	return (&judgement{v: v}).howToSync(late)
}

// stopsQuorum asks whether more than half of the controllers would still run. One that is a broker, too, and out of
// service as such is not counted: the quorum notices later than the brokers that a process is gone.
func stopsQuorum(v *clusterView, ids []int32) []blocker {
	q := &v.quorum
	if q.err != nil {
		return []blocker{{"controllers", fmt.Sprintf("they do not answer: %v", q.err), "start the controllers; more than half of them must run"}}
	}
	stops, left, silent := false, 0, []int32{}
	for _, m := range q.voters {
		switch {
		case slices.Contains(ids, m.id):
			stops = true
		case m.up() && (v.broker(m.id) == nil || v.live(m.id)):
			left++
		default:
			silent = append(silent, m.id)
		}
	}
	if !stops || left > len(q.voters)/2 {
		return nil
	}
	next := "add controllers"
	if len(silent) > 0 {
		next = "start " + strings.Replace(brokersText(silent), "broker", "node", 1)
	}
	return []blocker{{"controllers", fmt.Sprintf("%d of %d voters would be left, which is no majority", left, len(q.voters)), next}}
}

// parseIDs reads node ids, one an argument or several with commas.
func parseIDs(args []string) ([]int32, error) {
	var out []int32
	for _, arg := range args {
		for text := range strings.SplitSeq(arg, ",") {
			id, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32)
			if err != nil || id < 0 {
				return nil, usageErrorf("%q is no broker's id; `cordwood cluster brokers` lists them", text)
			}
			if !slices.Contains(out, int32(id)) {
				out = append(out, int32(id))
			}
		}
	}
	return out, nil
}

// knows reports the first of some ids that no broker has.
func (v *clusterView) knows(ids []int32) error {
	for _, id := range ids {
		if v.broker(id) == nil {
			return fmt.Errorf("there is no broker %d; there are: %s", id, joinIDs(v.brokerIDs()))
		}
	}
	return nil
}

func clusterSafeToStop(t *terminal, f *clientFlags) *cobra.Command {
	wait := time.Duration(0)
	cmd := &cobra.Command{
		Use: "safe-to-stop ID... [--wait DURATION]", Short: "Say whether brokers can stop, all named ones together, without refused requests",
		Long: `Say whether brokers can stop, all named ones together: whether every partition keeps a leader and
min.insync.replicas, and the controllers their majority.

Exit codes: 0 they can, 1 they cannot (the partitions that are in the way are listed) or no answer.`,
		Example: `  cordwood cluster safe-to-stop 2 --wait 5m && ssh node2 systemctl restart cordwood    one step of a rolling restart`,
		Args:    arguments(1, -1, "the id of a broker"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.until(ctx, c, wait, func(v *clusterView) bool { return v.knows(ids) != nil || len(stopBlockers(v, ids)) == 0 })
				if err == nil {
					err = v.knows(ids)
				}
				if err != nil {
					return err
				}
				return showBlockers(t, f, ids, stopBlockers(v, ids))
			})
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "how long to wait until they can stop")
	return cmd
}

func showBlockers(t *terminal, f *clientFlags, ids []int32, blockers []blocker) error {
	out := &table{}
	if len(blockers) == 0 {
		out.add(brokersText(ids), "safe to stop")
	} else {
		out.head = []string{"WHERE", "WHY", "NEXT"}
	}
	for i, b := range blockers {
		if i == tableRows {
			out.add(fmt.Sprintf("and %d more", len(blockers)-i), "--format json shows all", "")
			break
		}
		out.add(b.Where, b.Why, b.Next)
	}
	err := f.print(t.out, map[string]any{"brokers": ids, "safe": len(blockers) == 0, "blockers": orEmpty(blockers)}, out)
	if err == nil && len(blockers) > 0 {
		err = fmt.Errorf("not safe to stop %s: %d reasons", brokersText(ids), len(blockers))
	}
	return err
}
