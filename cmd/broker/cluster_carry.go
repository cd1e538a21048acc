package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// carrier carries moves out: a few at a time, and it tells how far they are until all are done.
type carrier struct {
	t       *terminal
	f       *clientFlags
	atOnce  int
	timeout time.Duration
	rate    string // --throttle

	line  atomic.Value           // string: the state of all moves
	said  map[partitionID]string // why a move is stuck, as it was said
	told  time.Time              // when the moves under way were listed
	ended map[partitionID]bool
}

func (k *carrier) register(cmd *cobra.Command) {
	cmd.Flags().IntVar(&k.atOnce, "at-once", 20, "partitions that move at the same time")
	cmd.Flags().StringVar(&k.rate, "throttle", "", "`bytes` per second that a broker may send and fetch for the moves, as in 50M; 0 holds them up")
	k.registerTimeout(cmd)
}

func (k *carrier) registerTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&k.timeout, "timeout", 0, "give up waiting after so long; moves under way go on (0: never)")
}

// check returns the throttle's rate; unthrottled without one.
func (k *carrier) check() (rate int64, err error) {
	if k.atOnce < 1 {
		return 0, usageErrorf("--at-once %d: at least one partition must move", k.atOnce)
	}
	if k.rate != "" {
		return parseRate(k.rate)
	}
	return unthrottled, nil
}

// tellEvery is how often the moves under way are listed.
const tellEvery = 10 * time.Second

// carry starts moves and waits for them. Interrupted, it leaves those that are under way to the cluster.
func (k *carrier) carry(ctx context.Context, c *clusterClient, moves []replicaMove) ([]moveState, error) {
	k.said, k.ended, k.told = map[partitionID]string{}, map[partitionID]bool{}, time.Now()
	tracker, heard := newTracker(moves, k.rate != ""), time.Now()
	var states []moveState
	for began := time.Now(); ; {
		v, err := k.f.look(ctx, c)
		switch now := time.Now(); {
		case ctx.Err() != nil:
			fmt.Fprintln(k.t.err, "cordwood: moves under way go on; `cordwood cluster reassign list` shows them, `reassign wait` waits, `reassign --cancel` undoes them")
			return states, ctx.Err()
		case err == nil:
			heard = now
			states = tracker.look(v, now)
			k.tell(states, now)
			if finished(states) {
				return states, nil
			}
			if err := k.start(ctx, c, nextMoves(states, moves, k.atOnce)); err != nil {
				return states, err
			}
		case now.Sub(heard) > 2*adminWait: // a cluster that restarts is asked again
			return states, fmt.Errorf("the cluster does not answer any more: %w; moves under way go on", err)
		}
		if k.timeout > 0 && time.Since(began) >= k.timeout {
			return states, tooLate(states, k.timeout)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// tooLate says what is not done, and why where that is known.
func tooLate(states []moveState, after time.Duration) error {
	var out problems
	for _, s := range states {
		if s.State == moveDone || s.State == moveGone {
			continue
		}
		if len(out.errs) == tableRows {
			out.add(errors.New("and more"))
			break
		}
		out.add(errors.New(s.text()))
	}
	return out.after(fmt.Errorf("not done after %s; moves under way go on:", after))
}

// start asks for moves to begin.
func (k *carrier) start(ctx context.Context, c *clusterClient, moves []replicaMove) error {
	if len(moves) == 0 {
		return nil
	}
	var req kadm.AlterPartitionAssignmentsReq
	for _, m := range moves {
		req.Assign(m.topic, m.index, m.to)
	}
	return k.f.within(ctx, func(ctx context.Context) error { return c.reassign(ctx, req) })
}

// reassign sends the request and joins what was refused.
func (c *clusterClient) reassign(ctx context.Context, req kadm.AlterPartitionAssignmentsReq) error {
	resp, err := c.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return err
	}
	failed := problems{}
	for _, r := range resp.Sorted() {
		// A topic that was deleted, a reassignment that has ended: there is nothing left to do.
		if r.Err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) && !errors.Is(r.Err, kerr.NoReassignmentInProgress) {
			failed.add(refused(partitionID{r.Topic, r.Partition}.String(), r.Err, r.ErrMessage))
		}
	}
	return failed.after(nil)
}

// tell says what has changed: what is done on standard output, what is under way or stuck on standard error.
func (k *carrier) tell(states []moveState, now time.Time) {
	k.line.Store(movesSummary(states))
	list := now.Sub(k.told) >= tellEvery
	var done, said []string
	for i := range states {
		s := &states[i]
		switch {
		case s.State == moveDone && !k.ended[s.id()]:
			k.ended[s.id()] = true
			done = append(done, fmt.Sprintf("moved  %s  %s -> %s", s.id(), joinIDs(s.From), joinIDs(s.To)))
		case s.State == moveCopying && (list || s.Stuck != k.said[s.id()]):
			said = append(said, s.text())
		}
		k.said[s.id()] = s.Stuck
	}
	if list {
		k.told = now
		said = append(said, movesSummary(states))
	}
	if len(done)+len(said) > 0 {
		k.f.line.end() // the lines stand alone
	}
	for _, line := range done {
		if k.f.format == "table" {
			fmt.Fprintln(k.t.out, line)
		}
	}
	for _, line := range said {
		fmt.Fprintln(k.t.err, line)
	}
	if len(done)+len(said) > 0 || list {
		k.f.line = showProgress(k.f.cmd.ErrOrStderr(), func() string { text, _ := k.line.Load().(string); return text })
	}
}

// movesTable is a plan.
func movesTable(moves []replicaMove) *table {
	out := &table{head: []string{"TOPIC", "PARTITION", "FROM", "TO", "COPIES"}}
	for _, m := range moves {
		out.add(m.topic, m.index, joinIDs(m.from), joinIDs(m.to), bytesText(m.copied()))
	}
	return out
}

// underWay are the moves of the reassignments in progress, of the named topics or, without names, of all.
func underWay(v *clusterView, topics []string) (moves []replicaMove) {
	for i := range v.partitions {
		if p := &v.partitions[i]; p.reassigning() && (len(topics) == 0 || slices.Contains(topics, p.topic)) {
			moves = append(moves, replicaMove{p.partitionID, less(p.replicas, p.adding), p.target(), p.size()})
		}
	}
	return moves
}
