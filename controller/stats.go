package controller

import (
	"sync/atomic"
	"time"
)

// counters are written by the decider.
type counters struct {
	rounds, decisions, commits, bytes atomic.Uint64
	waited, slowest                   atomic.Int64
}

func (c *counters) commit(took time.Duration, bytes int) {
	c.commits.Add(1)
	c.bytes.Add(uint64(bytes))
	c.waited.Add(int64(took))
	if took := int64(took); took > c.slowest.Load() {
		c.slowest.Store(took)
	}
}

// Stats is what the node has done and where raft stands.
type Stats struct {
	Active       bool
	Term         uint64
	LastIndex    uint64 // of the log
	CommitIndex  uint64
	AppliedIndex uint64
	ImageIndex   uint64

	Rounds      uint64 // batches decided
	Decisions   uint64 // requests answered by them
	Commits     uint64 // entries proposed and committed
	CommitBytes uint64
	CommitTime  time.Duration // sum over Commits
	CommitMax   time.Duration
}

// Stats may be called at any time.
func (n *Node) Stats() Stats {
	s := Stats{Active: n.Active(), ImageIndex: n.Image().Index(),
		Rounds: n.counters.rounds.Load(), Decisions: n.counters.decisions.Load(), Commits: n.counters.commits.Load(), CommitBytes: n.counters.bytes.Load(),
		CommitTime: time.Duration(n.counters.waited.Load()), CommitMax: time.Duration(n.counters.slowest.Load())}
	if r := n.raft.Load(); r != nil {
		s.Term, s.LastIndex, s.CommitIndex, s.AppliedIndex = r.CurrentTerm(), r.LastIndex(), r.CommitIndex(), r.AppliedIndex()
	}
	return s
}
