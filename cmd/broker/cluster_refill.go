package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// refill makes one replica anew from its leader: the broker gives the old one up (it must have seen that it is no replica
// any more, else it would go on with what it has), then it becomes a replica again.
type refill struct {
	t  *terminal
	f  *clientFlags
	p  partitionID
	id int32
}

func clusterRefill(t *terminal, f *clientFlags) *cobra.Command {
	ask, accept := confirmation{t: t, f: f}, false
	cmd := &cobra.Command{
		Use:   "refill TOPIC-PARTITION BROKER --accept-data-loss [--dry-run] [--yes]",
		Short: "Throw away what a broker has of a partition, and copy it from the leader",
		Long: `Throw away what a broker has of a partition, and copy it from the leader. It is for a replica that stopped because its
leader lacks committed records (replica-halted in ` + "`cordwood cluster health`" + `, CW-0514 in the broker's log): after an unclean
election, or with a leader that lost its disk, the records that only this replica has ARE LOST by it. To keep them, copy the
partition's directory first: the broker renames it, and removes it after file.delete.delay.ms.`,
		Args: arguments(2, 2, "a partition, as in orders-3, and the id of a broker"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePartition(args[0])
			if err != nil {
				return err
			}
			ids, err := parseIDs(args[1:])
			if err != nil {
				return err
			}
			switch {
			case len(ids) != 1:
				return usageErrorf("one broker after the other: %q", args[1])
			case !accept && !ask.dryRun:
				return usageErrorf("records that only broker %d has will be lost: say so with --accept-data-loss", ids[0])
			}
			r := refill{t: t, f: f, p: p, id: ids[0]}
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error { return r.run(ctx, c, &ask) })
		},
	}
	cmd.Flags().BoolVar(&accept, "accept-data-loss", false, "records that only this replica has may be lost")
	ask.register(cmd)
	return cmd
}

// parsePartition reads a partition as it is printed everywhere.
func parsePartition(text string) (partitionID, error) {
	at := strings.LastIndexByte(text, '-')
	if at > 0 {
		if n, err := strconv.ParseInt(text[at+1:], 10, 32); err == nil && n >= 0 {
			return partitionID{text[:at], int32(n)}, nil
		}
	}
	return partitionID{}, usageErrorf("%q is no partition; write TOPIC-PARTITION, as in orders-3", text)
}

// refuses is why a replica cannot be made anew now; nil: it can.
func (r *refill) refuses(v *clusterView) error {
	p := v.partition(r.p)
	switch {
	case p == nil:
		return fmt.Errorf("there is no partition %s; see `cordwood topic describe %s`", r.p, r.p.topic)
	case !slices.Contains(p.replicas, r.id):
		return fmt.Errorf("broker %d has no replica of %s; those are on %s", r.id, r.p, joinIDs(p.replicas))
	case slices.Contains(p.isr, r.id):
		return fmt.Errorf("the replica of %s on broker %d is in sync: there is nothing to make anew", r.p, r.id)
	case p.leader < 0:
		return fmt.Errorf("nobody leads %s: there is nothing to copy from; %s", r.p, (&judgement{v: v}).whoCouldLead(p))
	case p.reassigning():
		return fmt.Errorf("replicas of %s are being moved; wait (cordwood cluster reassign wait), or cancel it", r.p)
	case !v.live(r.id):
		return fmt.Errorf("broker %d is down; start it first", r.id)
	case len(p.isr) < min(p.minISR, len(p.replicas)-1):
		return fmt.Errorf("%s has %d in sync (%s), fewer than %s: %s", r.p, len(p.isr), joinIDs(p.isr), minISRConfig, (&judgement{v: v}).howToSync(less(p.lagging(), []int32{r.id})))
	}
	return nil
}

func (r *refill) run(ctx context.Context, c *clusterClient, ask *confirmation) error {
	v, err := r.f.look(ctx, c)
	if err == nil {
		err = r.refuses(v)
	}
	if err != nil {
		return err
	}
	p := v.partition(r.p)
	before, what := slices.Clone(p.replicas), &table{}
	what.add("throw away", fmt.Sprintf("%s on broker %d, %s", r.p, r.id, bytesText(p.sizes[r.id])))
	what.add("copy from", fmt.Sprintf("broker %d", p.leader))
	if goOn, err := ask.goOn(what); err != nil || !goOn {
		return err
	}
	if err := r.assign(ctx, c, less(before, []int32{r.id})); err != nil {
		return err
	}
	v, err = r.f.until(ctx, c, adminWait, func(v *clusterView) bool { return r.isGone(v) })
	if err == nil && !r.isGone(v) {
		err = fmt.Errorf("broker %d does not give the old one up; look at its log", r.id)
	}
	if err == nil {
		err = r.assign(ctx, c, before)
	}
	if err != nil {
		return fmt.Errorf("%s has one replica fewer now: %w; give it back with a plan (cordwood cluster reassign --file) that names %s", r.p, err, joinIDs(before))
	}
	r.f.line.end()
	out := &table{}
	out.add("refilling", fmt.Sprintf("%s on broker %d; `cordwood cluster reassign wait` waits until it is in sync", r.p, r.id))
	return r.f.print(r.t.out, map[string]any{"topic": r.p.topic, "partition": r.p.index, "broker": r.id, "replicas": before}, out)
}

// isGone reports that the broker has given up what it had.
func (r *refill) isGone(v *clusterView) bool {
	p := v.partition(r.p)
	if p == nil || p.reassigning() {
		return false
	}
	_, held := p.sizes[r.id]
	b := v.broker(r.id)
	return !held && b != nil && b.live && b.dirsErr == nil
}

func (r *refill) assign(ctx context.Context, c *clusterClient, replicas []int32) error {
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign(r.p.topic, r.p.index, replicas)
	return r.f.within(ctx, func(ctx context.Context) error { return c.reassign(ctx, req) })
}
