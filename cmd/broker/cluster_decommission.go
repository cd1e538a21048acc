package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker"
)

// decommissionInfo is how far the decommission of a broker is.
type decommissionInfo struct {
	Broker       int32       `json:"broker"`
	Moves        []moveState `json:"moves"`
	Left         int         `json:"left"`        // replicas it still holds
	LeftQuorum   bool        `json:"left_quorum"` // by this run
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
	n := len(v.quorum.voters)
	if v.voter(id) != nil {
		out = append(out, fmt.Sprintf("node %d is a controller, too, and is counted as one until it is taken out: %d of %d must run; %s", id, n/2+1, n, staysController(v, id)))
	} else if n > 0 && n%2 == 0 {
		out = append(out, fmt.Sprintf("there are %d controllers, of which %d must run: one more would let another one fail (kafka-metadata-quorum add-controller)", n, n/2+1))
	}
	return out
}

// voter finds a controller of the quorum; nil: the node is none.
func (v *clusterView) voter(id int32) *quorumMember {
	for i := range v.quorum.voters {
		if v.quorum.voters[i].id == id {
			return &v.quorum.voters[i]
		}
	}
	return nil
}

// staysController is why a controller cannot be taken out of the quorum; empty: it can.
func staysController(v *clusterView, id int32) string {
	up, left := 0, len(v.quorum.voters)-1
	for _, m := range v.quorum.voters {
		if m.id != id && m.up() {
			up++
		}
	}
	switch {
	case left == 0:
		return "it is the only one: add another one first (kafka-metadata-quorum add-controller)"
	case up <= left/2:
		return fmt.Sprintf("without it %d would be left, of which %d run: start the others first", left, up)
	}
	return ""
}

func clusterDecommission(t *terminal, f *clientFlags) *cobra.Command {
	k, ask, cancel := carrier{t: t, f: f}, confirmation{t: t, f: f}, false
	cmd := &cobra.Command{
		Use:   "decommission ID [--throttle RATE] [--at-once N] [--dry-run] [--yes] | ID --cancel",
		Short: "Move everything off a broker for good, out of the quorum too, then unregister it",
		Long: `Move every replica off a broker, a few partitions at a time, and say how far each is and why one is stuck. From the
beginning the broker is given no new replicas, whoever creates or moves them, and no leaderships; --cancel takes that
back. A broker that is a controller, too, is taken out of the quorum once it is empty. Then stop its process and run the
command again: a broker that is down and holds nothing is unregistered. A broker that is lost is decommissioned in the
same way. Interrupted, the command goes on where it was when it is run again.`,
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
			if cancel {
				return f.cluster(cmd, d.cancel)
			}
			return f.cluster(cmd, d.run)
		},
	}
	k.register(cmd)
	ask.register(cmd)
	cmd.Flags().BoolVar(&cancel, "cancel", false, "keep the broker: it may be given replicas again; what was moved stays where it is")
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
	asked   bool
	left    bool // the quorum
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
	if goOn, err := d.leaveQuorum(ctx, c, v); err != nil || !goOn {
		return err
	}
	if !d.ask.dryRun { // it may have been empty from the beginning
		if err := d.mark(ctx, c, v, true); err != nil {
			return err
		}
	}
	if d.left {
		if v, err = d.f.until(ctx, c, adminWait, func(v *clusterView) bool { return v.quorum.err == nil && v.voter(d.id) == nil }); err != nil {
			return err
		}
	}
	if v.live(d.id) {
		return d.report(v, false)
	}
	return d.unregister(ctx, c, v)
}

// mark keeps new replicas and leaderships off the broker, or lets them come again. Who is down gets none anyway.
func (d *decommission) mark(ctx context.Context, c *clusterClient, v *clusterView, leaves bool) error {
	if b := v.broker(d.id); !b.live || b.leaves == leaves {
		return nil
	}
	change := kadm.AlterConfig{Op: kadm.DeleteConfig, Name: broker.DecommissionKey}
	if leaves {
		change = kadm.AlterConfig{Name: broker.DecommissionKey, Value: kadm.StringPtr("true")}
	}
	return d.f.within(ctx, func(ctx context.Context) error {
		done, err := c.AlterBrokerConfigs(ctx, []kadm.AlterConfig{change}, d.id)
		for _, r := range done {
			if err == nil && r.Err != nil {
				err = refused("broker "+r.Name, r.Err, r.ErrMessage)
			}
		}
		return err
	})
}

// cancel keeps the broker after all.
func (d *decommission) cancel(ctx context.Context, c *clusterClient) error {
	v, err := d.f.look(ctx, c)
	if err == nil {
		err = v.knows([]int32{d.id})
	}
	if err != nil {
		return err
	}
	if !v.broker(d.id).leaves {
		return nothingToDo(d.t, d.f, "cancelled")
	}
	if err := d.mark(ctx, c, v, false); err != nil {
		return err
	}
	out := &table{}
	out.add("cancelled", fmt.Sprintf("broker %d stays, and may be given replicas again", d.id))
	return d.f.print(d.t.out, map[string]any{"broker": d.id, "cancelled": true}, out)
}

// leaveQuorum takes the node out of the controllers, if it is one and the others are enough; false: it was not to be.
func (d *decommission) leaveQuorum(ctx context.Context, c *clusterClient, v *clusterView) (goOn bool, err error) {
	m := v.voter(d.id)
	if m == nil || staysController(v, d.id) != "" {
		return true, nil
	}
	d.f.line.end()
	if !d.asked {
		what := &table{}
		what.add("take out of the quorum", fmt.Sprintf("controller %d", d.id))
		if !v.live(d.id) {
			what.add("unregister", fmt.Sprintf("broker %d", d.id))
		}
		if goOn, err := d.ask.goOn(what); err != nil || !goOn {
			return false, err
		}
		d.asked = true
	}
	err = d.f.within(ctx, func(ctx context.Context) error {
		req := kmsg.NewPtrRemoveRaftVoterRequest()
		req.ClusterID, req.VoterID, req.VoterDirectoryID = &v.id, m.id, m.dir
		resp, err := req.RequestWith(ctx, c.kgo)
		if err != nil {
			return err
		}
		message := ""
		if resp.ErrorMessage != nil {
			message = *resp.ErrorMessage
		}
		if err = kerr.ErrorForCode(resp.ErrorCode); errors.Is(err, kerr.VoterNotFound) {
			return nil // somebody else was faster
		}
		return refused(fmt.Sprintf("controller %d", d.id), err, message)
	})
	d.left = err == nil
	return err == nil, err
}

// rounds is how often a broker is looked at again: topics made just before it was marked may have been given to it.
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
			d.asked = true
			if err := d.mark(ctx, c, v, true); err != nil {
				return false, fmt.Errorf("nothing was moved: %w", err)
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
	if !d.asked {
		if goOn, err := d.ask.goOn(what); err != nil || !goOn {
			return err
		}
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
	info := decommissionInfo{Broker: d.id, Moves: orEmpty(d.moves), Left: v.heldBy(d.id), LeftQuorum: d.left, Unregistered: unregistered, Next: orEmpty(afterwards(v, d.id, unregistered))}
	out := &table{}
	if unregistered {
		out.add("unregistered", fmt.Sprintf("broker %d", d.id))
	} else {
		out.add("emptied", fmt.Sprintf("broker %d holds nothing any more", d.id))
	}
	if d.left {
		out.add("quorum", fmt.Sprintf("node %d is no controller any more; there are %d", d.id, len(v.quorum.voters)))
	}
	for _, next := range info.Next {
		out.add("next", next)
	}
	return d.f.print(d.t.out, info, out)
}
