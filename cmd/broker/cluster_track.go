package main

import (
	"fmt"
	"slices"
	"time"
)

// How far moves are, and why one does not go on.

// What becomes of a move.
const (
	moveWaiting = "waiting"
	moveCopying = "copying"
	moveDone    = "done"
	moveGone    = "gone" // with its topic
)

// moveState is a move as it is seen at one moment.
type moveState struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
	State     string  `json:"state"`
	Copied    int64   `json:"copied"` // by the new replicas together
	Bytes     int64   `json:"bytes"`  // that they will have; -1: nobody knows
	Stuck     string  `json:"stuck,omitempty"`
}

func (s *moveState) id() partitionID { return partitionID{s.Topic, s.Partition} }

func (s *moveState) text() string {
	out := fmt.Sprintf("%s  %s -> %s  %s", s.id(), joinIDs(s.From), joinIDs(s.To), s.State)
	if s.State == moveCopying {
		out += fmt.Sprintf("  %s of %s", bytesText(s.Copied), bytesText(s.Bytes))
	}
	if s.Stuck != "" {
		out += "  stuck: " + s.Stuck
	}
	return out
}

// tracker follows moves from look to look.
type tracker struct {
	moves    []replicaMove
	throttle bool // replication is limited
	seen     map[partitionID]advance
}

// advance is when a move was last seen to get on.
type advance struct {
	copied int64
	isr    int
	at     time.Time
}

// stuckAfter is how long a move may stand still before somebody is told.
const stuckAfter = 10 * time.Second

func newTracker(moves []replicaMove, throttle bool) *tracker {
	return &tracker{moves: moves, throttle: throttle, seen: map[partitionID]advance{}}
}

// look says how far each move is.
func (t *tracker) look(v *clusterView, now time.Time) []moveState {
	out := make([]moveState, 0, len(t.moves))
	for _, m := range t.moves {
		s := moveState{Topic: m.topic, Partition: m.index, From: orEmpty(m.from), To: orEmpty(m.to), State: moveWaiting}
		p := v.partition(m.partitionID)
		switch {
		case p == nil:
			s.State = moveGone
		case slices.Equal(p.target(), m.to) && p.reassigning():
			s.State = moveCopying
		case slices.Equal(p.target(), m.to):
			s.State = moveDone
		}
		if p != nil {
			t.progress(v, p, &s, now)
		}
		out = append(out, s)
	}
	return out
}

// progress counts what was copied, and finds out why nothing more is.
func (t *tracker) progress(v *clusterView, p *clusterPartition, s *moveState, now time.Time) {
	adding := less(s.To, s.From)
	s.Bytes = -1
	if n := p.size(); n >= 0 {
		s.Bytes = n * int64(len(adding))
	}
	for _, id := range adding {
		s.Copied += p.sizes[id]
	}
	switch s.State {
	case moveDone:
		s.Copied = max(0, s.Bytes)
		return
	case moveWaiting:
		return
	}
	before, known := t.seen[p.partitionID]
	if !known || s.Copied != before.copied || len(p.isr) != before.isr {
		before = advance{s.Copied, len(p.isr), now}
		t.seen[p.partitionID] = before
	}
	if s.Stuck = whyStuck(v, p); s.Stuck == "" && now.Sub(before.at) >= stuckAfter {
		s.Stuck = fmt.Sprintf("nothing was copied for %s; look at the logs of %s", now.Sub(before.at).Round(time.Second), brokersText(append([]int32{p.leader}, less(p.adding, p.isr)...)))
		if t.throttle {
			s.Stuck += ", or raise --throttle"
		}
	}
}

// whyStuck is what stands in the way of a reassignment; empty when it goes on.
func whyStuck(v *clusterView, p *clusterPartition) string {
	if p.leader < 0 {
		return fmt.Sprintf("nobody leads it; %s", (&judgement{v: v}).whoCouldLead(p))
	}
	for _, id := range less(p.adding, p.isr) {
		b := v.broker(id)
		switch {
		case b == nil || !b.live:
			return fmt.Sprintf("broker %d is down; start it, or run the command again for another place", id)
		case slices.Contains(p.offline, id), b.allFailed():
			return fmt.Sprintf("a directory of broker %d failed; see `cordwood cluster health`", id)
		case b.room() >= 0 && b.room() < p.size()-p.sizes[id]:
			return fmt.Sprintf("broker %d has %s of space, and %s are still to come", id, bytesText(b.room()), bytesText(p.size()-p.sizes[id]))
		}
	}
	if left := less(p.isr, p.removing); len(less(p.adding, p.isr)) == 0 && len(left) < p.minISR {
		late := less(p.target(), p.isr)
		return fmt.Sprintf("without %s only %s would be in sync, and %s is %d; %s", joinIDs(p.removing), joinIDs(left), minISRConfig, p.minISR, (&judgement{v: v}).howToSync(late))
	}
	return ""
}

func (b *clusterBroker) allFailed() bool {
	return len(b.dirs) > 0 && !slices.ContainsFunc(b.dirs, func(d logDir) bool { return d.err == nil })
}

// nextMoves are the moves to start, so that no more than atOnce are under way.
func nextMoves(states []moveState, moves []replicaMove, atOnce int) []replicaMove {
	var out []replicaMove
	free := atOnce
	for _, s := range states {
		if s.State == moveCopying {
			free--
		}
	}
	for i, s := range states {
		if s.State == moveWaiting && free > 0 {
			out = append(out, moves[i])
			free--
		}
	}
	return out
}

// finished reports whether nothing is left to do.
func finished(states []moveState) bool {
	return !slices.ContainsFunc(states, func(s moveState) bool { return s.State == moveWaiting || s.State == moveCopying })
}

// movesSummary is the state of all moves in a line.
func movesSummary(states []moveState) string {
	ended, stuck, copied, bytes := 0, 0, int64(0), int64(0)
	for _, s := range states {
		if s.State == moveDone || s.State == moveGone {
			ended++
		}
		if s.Stuck != "" {
			stuck++
		}
		copied, bytes = copied+s.Copied, bytes+max(0, s.Bytes)
	}
	out := fmt.Sprintf("%d of %d partitions moved, %s of %s copied", ended, len(states), bytesText(copied), bytesText(bytes))
	if stuck > 0 {
		out += fmt.Sprintf(", stuck %d", stuck)
	}
	return out
}
