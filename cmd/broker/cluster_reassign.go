package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// reassignFlags are what `cluster reassign` can be told.
type reassignFlags struct {
	topics, to []string
	replicas   int
	file       string
	cancel     bool
	carrier    carrier
	ask        confirmation
}

func clusterReassign(t *terminal, f *clientFlags) *cobra.Command {
	r := reassignFlags{carrier: carrier{t: t, f: f}, ask: confirmation{t: t, f: f}}
	cmd := &cobra.Command{
		Use:   "reassign (--topics T,... | --file FILE | --cancel) [--dry-run] [--yes]",
		Short: "Move replicas to other brokers",
		Long: `Move replicas to other brokers: spread topics evenly over brokers with as few moves as possible, or carry out a
plan in the format of kafka-reassign-partitions. A few partitions move at a time. Interrupted, the command leaves what is
under way to the cluster; "reassign list" shows it, "reassign wait" waits for it and takes throttles away.

--dry-run shows the plan; with --format json it can be kept, changed and given back with --file.`,
		Example: `  cordwood cluster reassign --topics orders,payments                   over all brokers, a new one too
  cordwood cluster reassign --topics orders --to 1,2,4 --throttle 50M
  cordwood cluster reassign --topics orders --replicas 3               more replicas, or fewer
  cordwood cluster reassign --topics orders --dry-run --format json >plan.json
  cordwood cluster reassign --file plan.json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd, t, f) },
	}
	cmd.Flags().StringSliceVar(&r.topics, "topics", nil, "`topics` to spread; with --cancel: whose reassignments to cancel")
	cmd.Flags().StringSliceVar(&r.to, "to", nil, "`ids` of the brokers that shall hold the topics (default all that are live)")
	cmd.Flags().IntVar(&r.replicas, "replicas", 0, "replicas of each partition (default as many as now)")
	cmd.Flags().StringVar(&r.file, "file", "", "plan in the format of kafka-reassign-partitions")
	cmd.Flags().BoolVar(&r.cancel, "cancel", false, "go back to where the replicas were, for what is in progress")
	r.carrier.register(cmd)
	r.ask.register(cmd)
	cmd.AddCommand(reassignList(t, f), reassignWait(t, f))
	return cmd
}

func (r *reassignFlags) run(cmd *cobra.Command, t *terminal, f *clientFlags) error {
	rate, err := r.carrier.check()
	if err != nil {
		return err
	}
	switch {
	case r.cancel && (r.file != "" || len(r.to) > 0 || r.replicas != 0):
		return usageErrorf("--cancel takes no plan, only --topics")
	case !r.cancel && (r.file == "") == (len(r.topics) == 0):
		return usageErrorf("what shall move? Give either --topics or --file")
	case r.file != "" && (len(r.to) > 0 || r.replicas != 0):
		return usageErrorf("--file says where replicas go; --to and --replicas go with --topics")
	case r.replicas < 0:
		return usageErrorf("--replicas %d: a partition has at least one", r.replicas)
	}
	to, err := parseIDs(r.to)
	if err != nil {
		return err
	}
	return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
		v, err := f.look(ctx, c)
		if err != nil {
			return err
		}
		if r.cancel {
			return r.undo(ctx, t, f, c, v)
		}
		moves, err := r.plan(v, to)
		if err != nil {
			return err
		}
		if r.ask.dryRun && f.format == "json" {
			return printJSON(t.out, newPlanFile(moves))
		}
		if len(moves) == 0 {
			return nothingToDo(t, f, "moves")
		}
		if goOn, err := r.ask.goOn(movesTable(moves)); err != nil || !goOn {
			return err
		}
		if rate != unthrottled {
			if err := f.within(ctx, func(ctx context.Context) error { return c.throttle(ctx, v, moves, rate) }); err != nil {
				return err
			}
		}
		return r.carrier.finish(ctx, c, moves, rate != unthrottled)
	})
}

func nothingToDo(t *terminal, f *clientFlags, what string) error {
	out := &table{}
	out.add("nothing to do")
	return f.print(t.out, map[string]any{what: []any{}}, out)
}

// plan is what was asked for as moves.
func (r *reassignFlags) plan(v *clusterView, to []int32) ([]replicaMove, error) {
	if r.file != "" {
		file, err := readPlanFile(r.file)
		if err != nil {
			return nil, err
		}
		moves, failed := file.moves(v)
		return moves, refusals(failed)
	}
	for _, topic := range r.topics {
		if !slices.ContainsFunc(v.partitions, func(p clusterPartition) bool { return p.topic == topic }) {
			return nil, fmt.Errorf("topic %s: there is none of this name; see `cordwood topic list`", topic)
		}
	}
	if len(to) == 0 {
		to = v.brokerIDs()
	} else if err := v.knows(to); err != nil {
		return nil, err
	}
	for _, id := range to {
		if len(r.to) > 0 && !v.live(id) {
			return nil, fmt.Errorf("broker %d is down; start it first, or leave it out of --to", id)
		}
	}
	moves, failed := spread(v, r.topics, to, r.replicas)
	return moves, refusals(failed)
}

// refusals joins why a plan is not possible, the first of many.
func refusals(failed []error) error {
	if n := len(failed); n > tableRows {
		failed = append(slices.Clone(failed[:tableRows]), fmt.Errorf("and %d more", n-tableRows))
	}
	return errors.Join(failed...)
}

// finish carries moves out, takes the throttle away and shows what was done.
func (k *carrier) finish(ctx context.Context, c *clusterClient, moves []replicaMove, throttled bool) error {
	states, err := k.carry(ctx, c, moves)
	if err == nil && throttled {
		_, err = k.unthrottle(ctx, c)
	}
	k.f.line.end()
	if k.f.format == "json" {
		return errors.Join(err, printJSON(k.t.out, map[string]any{"moves": orEmpty(states)}))
	}
	if err == nil {
		fmt.Fprintln(k.t.out, movesSummary(states))
	}
	return err
}

func (k *carrier) unthrottle(ctx context.Context, c *clusterClient) (gone []string, err error) {
	v, err := k.f.look(ctx, c)
	if err == nil {
		err = k.f.within(ctx, func(ctx context.Context) error {
			gone, err = c.unthrottle(ctx, v)
			return err
		})
	}
	if err != nil {
		return gone, fmt.Errorf("everything moved, but the throttle could not be taken away: %w; `cordwood cluster reassign wait` tries again", err)
	}
	return gone, nil
}

// undo cancels reassignments in progress.
func (r *reassignFlags) undo(ctx context.Context, t *terminal, f *clientFlags, c *clusterClient, v *clusterView) error {
	moves := underWay(v, r.topics)
	if len(moves) == 0 {
		return nothingToDo(t, f, "cancelled")
	}
	for i := range moves {
		moves[i].from, moves[i].to = moves[i].to, moves[i].from
	}
	if goOn, err := r.ask.goOn(movesTable(moves)); err != nil || !goOn {
		return err
	}
	var req kadm.AlterPartitionAssignmentsReq
	done, names := &table{}, []string{}
	for _, m := range moves {
		req.CancelAssign(m.topic, m.index)
		done.add("cancelled", m.partitionID)
		names = append(names, m.String())
	}
	if err := f.within(ctx, func(ctx context.Context) error { return c.reassign(ctx, req) }); err != nil {
		return err
	}
	if _, err := r.carrier.unthrottle(ctx, c); err != nil {
		return err
	}
	return f.print(t.out, map[string]any{"cancelled": names}, done)
}

func reassignList(t *terminal, f *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the reassignments in progress, how far they are and what holds them up", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.look(ctx, c)
				if err != nil {
					return err
				}
				states := newTracker(underWay(v, nil), false).look(v, time.Now())
				out := &table{head: []string{"TOPIC", "PARTITION", "FROM", "TO", "COPIED", "OF", "STUCK"}}
				for _, s := range states {
					out.add(s.Topic, s.Partition, joinIDs(s.From), joinIDs(s.To), bytesText(s.Copied), bytesText(s.Bytes), s.Stuck)
				}
				return f.print(t.out, orEmpty(states), out)
			})
		},
	}
}

func reassignWait(t *terminal, f *clientFlags) *cobra.Command {
	k := carrier{t: t, f: f}
	cmd := &cobra.Command{
		Use: "wait [--timeout DURATION]", Short: "Wait for the reassignments in progress, then take every throttle away", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.cluster(cmd, func(ctx context.Context, c *clusterClient) error {
				v, err := f.look(ctx, c)
				if err != nil {
					return err
				}
				return k.finish(ctx, c, underWay(v, nil), true)
			})
		},
	}
	k.registerTimeout(cmd)
	return cmd
}
