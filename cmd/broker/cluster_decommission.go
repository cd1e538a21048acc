package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// decommissionInfo is how far the decommission of a broker is.
type decommissionInfo struct {
	Broker       int32       `json:"broker"`
	Moves        []moveState `json:"moves"`
	Left         int         `json:"left"` // replicas it still holds
	Unregistered bool        `json:"unregistered"`
	Next         []string    `json:"next"`
}

// heldBy counts the replicas of a broker.
func (v *clusterView) heldBy(id int32) (n int) {
	for _, p := range v.partitions {
		if slices.Contains(p.replicas, id) {
			n++
		}
	}
	return n
}

// leaving are the moves that empty a broker, those that are under way already among them.
func leaving(v *clusterView, id int32) ([]replicaMove, []error) {
	moves, failed := evacuate(v, []int32{id})
	for _, m := range underWay(v, nil) {
		again := slices.ContainsFunc(moves, func(n replicaMove) bool { return n.partitionID == m.partitionID })
		if slices.Contains(m.from, id) && !slices.Contains(m.to, id) && !again {
			moves = append(moves, m)
		}
	}
	slices.SortFunc(moves, func(a, b replicaMove) int { return comparePartitions(a.partitionID, b.partitionID) })
	return moves, failed
}

// afterwards is what an operator does with a broker that holds nothing any more.
func afterwards(v *clusterView, id int32, unregistered bool) []string {
	var out []string
	if !unregistered {
		out = append(out, fmt.Sprintf("stop its process (SIGTERM; systemctl stop), then run `cordwood cluster decommission %d` again: it unregisters the broker", id))
	}
	if slices.ContainsFunc(v.quorum.voters, func(m quorumMember) bool { return m.id == id }) {
		out = append(out, fmt.Sprintf("node %d is a controller, too, and is counted as one until it is taken out: %d of %d must run (kafka-metadata-quorum remove-controller)",
			id, len(v.quorum.voters)/2+1, len(v.quorum.voters)))
	}
	return out
}

func clusterDecommission(t *terminal, f *clientFlags) *cobra.Command {
	k, ask := carrier{t: t, f: f}, confirmation{t: t, f: f}
	cmd := &cobra.Command{
		Use:   "decommission ID [--throttle RATE] [--at-once N] [--dry-run] [--yes]",
		Short: "Move everything off a broker, then unregister it",
		Long: `Move every replica off a broker, a few partitions at a time, and say how far each is and why one is stuck. Once the
broker holds nothing, stop its process and run the command again: a broker that is down and holds nothing is
unregistered. A broker that is lost is decommissioned in the same way. Interrupted, the command goes on where it was when
it is run again.`,
		Args: arguments(1, 1, "the id of a broker"),
		RunE: func(cmd *cobra.Command, args []string) error {
			rate, err := k.check()
			if err != nil {
				return err
			}
			ids, err := parseIDs(args)
			if err != nil {
				return err
			}
			if len(ids) != 1 {
				return usageErrorf("one broker after the other: %q", args[0])
			}
			d := decommission{t: t, f: f, carrier: &k, ask: &ask, rate: rate, id: ids[0]}
			return f.cluster(cmd, d.run)
		},
	}
	k.register(cmd)
	ask.register(cmd)
	return cmd
}

// decommission is one run of the command.
type decommission struct {
	t       *terminal
	f       *clientFlags
	carrier *carrier
	ask     *confirmation
	rate    int64
	id      int32
	moves   []moveState
}

func (d *decommission) run(ctx context.Context, c *clusterClient) error {
	v, err := d.f.look(ctx, c)
	if err != nil {
		return err
	}
	if err := v.knows([]int32{d.id}); err != nil {
		return err
	}
	if v.heldBy(d.id) > 0 {
		goOn, err := d.empty(ctx, c, v)
		if err != nil || !goOn {
			return err
		}
		if v, err = d.f.look(ctx, c); err != nil {
			return err
		}
	}
	if v.live(d.id) {
		return d.report(v, false)
	}
	return d.unregister(ctx, c, v)
}

// rounds is how often a broker is looked at again: topics made meanwhile may have been given to it.
const rounds = 10

// empty moves everything off the broker; false: nothing was to be done.
func (d *decommission) empty(ctx context.Context, c *clusterClient, v *clusterView) (goOn bool, err error) {
	for round := range rounds {
		moves, failed := leaving(v, d.id)
		if len(failed) > 0 {
			return false, fmt.Errorf("broker %d cannot be emptied, nothing was moved:\n%w", d.id, refusals(failed))
		}
		if round == 0 {
			if goOn, err := d.ask.goOn(movesTable(moves)); err != nil || !goOn {
				return false, err
			}
		}
		if d.rate != unthrottled {
			if err := d.f.within(ctx, func(ctx context.Context) error { return c.throttle(ctx, v, moves, d.rate) }); err != nil {
				return false, err
			}
		}
		states, err := d.carrier.carry(ctx, c, moves)
		d.moves = append(d.moves, states...)
		if err == nil && d.rate != unthrottled {
			_, err = d.carrier.unthrottle(ctx, c)
		}
		if err != nil {
			return false, err
		}
		if v, err = d.f.look(ctx, c); err != nil {
			return false, err
		}
		if v.heldBy(d.id) == 0 {
			return true, nil
		}
	}
	return false, fmt.Errorf("broker %d is given new replicas again and again; who creates topics? Try again", d.id)
}

// unregister makes the controllers forget a broker that is down and holds nothing.
func (d *decommission) unregister(ctx context.Context, c *clusterClient, v *clusterView) error {
	d.f.line.end()
	what := &table{}
	what.add("unregister", fmt.Sprintf("broker %d", d.id))
	if goOn, err := d.ask.goOn(what); err != nil || !goOn {
		return err
	}
	err := d.f.within(ctx, func(ctx context.Context) error {
		if err := c.wants(ctx, kmsg.UnregisterBroker, fmt.Sprintf("then run this command again; broker %d holds nothing and does no harm until then", d.id)); err != nil {
			return err
		}
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = d.id
		resp, err := req.RequestWith(ctx, c.kgo)
		if err != nil {
			return err
		}
		message := ""
		if resp.ErrorMessage != nil {
			message = *resp.ErrorMessage
		}
		if err = kerr.ErrorForCode(resp.ErrorCode); errors.Is(err, kerr.BrokerIDNotRegistered) {
			return nil // somebody else was faster
		}
		return refused(fmt.Sprintf("broker %d", d.id), err, message)
	})
	if err != nil {
		return err
	}
	return d.report(v, true)
}

func (d *decommission) report(v *clusterView, unregistered bool) error {
	d.f.line.end()
	info := decommissionInfo{Broker: d.id, Moves: orEmpty(d.moves), Left: v.heldBy(d.id), Unregistered: unregistered, Next: orEmpty(afterwards(v, d.id, unregistered))}
	out := &table{}
	if unregistered {
		out.add("unregistered", fmt.Sprintf("broker %d", d.id))
	} else {
		out.add("emptied", fmt.Sprintf("broker %d holds nothing any more", d.id))
	}
	for _, next := range info.Next {
		out.add("next", next)
	}
	return d.f.print(d.t.out, info, out)
}
