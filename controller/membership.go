package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"

	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
)

// catchUpPause is how often a node that is being added is looked at.
const catchUpPause = 20 * time.Millisecond

// Quorum is where the members of the quorum stand, and who follows it.
type Quorum struct {
	Leader    metadata.NodeID
	Term      uint64
	Committed uint64
	Voters    []Replica
	Observers []Replica // nodes being added, and brokers that are no voters
}

// Replica is one of them. LastIndex is of its log; a broker's is that of its image.
type Replica struct {
	ID           metadata.NodeID
	Dir          metadata.DirID // zero: not recorded
	LastIndex    uint64
	LastFetch    time.Time // when it was last heard of; zero: never in this term of office
	LastCaughtUp time.Time // when it last had everything
}

// DescribeQuorum answers at the active controller only.
func (n *Node) DescribeQuorum(ctx context.Context) (Quorum, error) {
	if !n.Active() {
		return Quorum{}, notController()
	}
	if err := n.verify(ctx); err != nil {
		return Quorum{}, err
	}
	r := n.raft.Load()
	c := r.GetConfiguration()
	if err := c.Error(); err != nil {
		return Quorum{}, notController()
	}
	img := n.Image()
	q := Quorum{Leader: n.cfg.NodeID, Term: r.CurrentTerm(), Committed: r.CommitIndex()}
	for _, s := range c.Configuration().Servers {
		replica := n.replica(r, nodeOf(s.ID), img)
		if s.Suffrage == raft.Voter {
			q.Voters = append(q.Voters, replica)
		} else {
			q.Observers = append(q.Observers, replica)
		}
	}
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	for b := range img.Brokers() {
		heard, known := n.sessions.heard[b.ID]
		if !known || b.Fenced || inQuorum(c.Configuration(), b.ID) {
			continue
		}
		replica := Replica{ID: b.ID, LastIndex: heard.index, LastFetch: heard.at}
		if heard.index >= img.Index() {
			replica.LastCaughtUp = heard.at
		}
		q.Observers = append(q.Observers, replica)
	}
	return q, nil
}

func inQuorum(c raft.Configuration, id metadata.NodeID) bool {
	return slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == serverOf(id) })
}

func votes(c raft.Configuration, id metadata.NodeID) bool {
	return slices.ContainsFunc(c.Servers, func(s raft.Server) bool { return s.ID == serverOf(id) && s.Suffrage == raft.Voter })
}

func (n *Node) replica(r *raft.Raft, id metadata.NodeID, img *metadata.Image) Replica {
	out := Replica{ID: id}
	for _, v := range img.Voters() {
		if v.ID == id {
			out.Dir = v.Dir
		}
	}
	if id == n.cfg.NodeID {
		now := time.Now()
		out.LastIndex, out.LastFetch, out.LastCaughtUp = r.LastIndex(), now, now
		return out
	}
	if c := n.transport.Load().contact(serverOf(id)); c.term == r.CurrentTerm() {
		out.LastIndex, out.LastFetch, out.LastCaughtUp = c.last, c.at, c.whole
	}
	return out
}

// AddVoter makes a node a voter: its disk is recorded, which lets it take part in raft; it
// gets the log; and when it has it, it votes. Whoever is interrupted asks again. A node
// whose id is recorded with another disk must be removed first (Z29).
func (n *Node) AddVoter(ctx context.Context, id metadata.NodeID, dir metadata.DirID) error {
	c, err := n.configuration()
	if err != nil {
		return err
	}
	r := n.raft.Load()
	recorded := slices.Contains(n.Image().Voters(), metadata.Voter{ID: id, Dir: dir})
	switch {
	case recorded && votes(c, id):
		return &decide.Refusal{Code: kerr.DuplicateVoter, Message: "The node is a voter already."}
	case !recorded && inQuorum(c, id) && !n.records(id):
		// Somebody was interrupted while it removed a node of this id.
		if err := n.change(ctx, func() error { return r.RemoveServer(serverOf(id), 0, 0).Error() }); err != nil {
			return err
		}
	}
	if err := n.recordVoter(ctx, decide.RecordVoterRequest{ID: id, Dir: dir}); err != nil {
		return err
	}
	server, address := serverOf(id), raft.ServerAddress(serverOf(id))
	if err := n.change(ctx, func() error { return r.AddNonvoter(server, address, 0, 0).Error() }); err != nil {
		return err
	}
	if err := n.awaitCaughtUp(ctx, server); err != nil {
		return err
	}
	if err := n.change(ctx, func() error { return r.AddVoter(server, address, 0, 0).Error() }); err != nil {
		return err
	}
	if err := n.awaitSpread(ctx, r.LastIndex()); err != nil {
		return err
	}
	n.log.Info("voter added", zap.String("event", "CW-0413"), zap.Int32("node", int32(id)), zap.Stringer("directory", dir))
	return nil
}

// RemoveVoter takes a voter out, this node too. Its disk is forgotten first: whoever is
// interrupted then leaves a voter that no new disk can pass for.
func (n *Node) RemoveVoter(ctx context.Context, id metadata.NodeID, dir metadata.DirID) error {
	c, err := n.configuration()
	if err != nil {
		return err
	}
	if n.records(id) || !inQuorum(c, id) {
		if err := n.recordVoter(ctx, decide.RecordVoterRequest{ID: id, Dir: dir, Remove: true}); err != nil {
			return err
		}
	}
	if err := n.change(ctx, func() error { return n.raft.Load().RemoveServer(serverOf(id), 0, 0).Error() }); err != nil {
		return err
	}
	n.log.Info("voter removed", zap.String("event", "CW-0414"), zap.Int32("node", int32(id)), zap.Stringer("directory", dir))
	return nil
}

func (n *Node) records(id metadata.NodeID) bool {
	return slices.ContainsFunc(n.Image().Voters(), func(v metadata.Voter) bool { return v.ID == id })
}

func (n *Node) configuration() (raft.Configuration, error) {
	if !n.Active() {
		return raft.Configuration{}, notController()
	}
	c := n.raft.Load().GetConfiguration()
	if err := c.Error(); err != nil {
		return raft.Configuration{}, notController()
	}
	return c.Configuration(), nil
}

func (n *Node) recordVoter(ctx context.Context, req decide.RecordVoterRequest) error {
	_, _, err := Do(ctx, n, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.None], error) {
		return decide.RecordVoter(img, req, now)
	})
	return err
}

// change waits for a change of raft's configuration, or for the end of ctx: the change may
// come all the same.
func (n *Node) change(ctx context.Context, question func() error) error {
	select {
	case err := <-n.ask(question):
		if err == nil || errors.Is(err, context.Canceled) {
			return err
		}
		n.log.Info("the quorum was not changed", zap.String("event", "CW-0415"), zap.Error(err))
		return notController()
	case <-ctx.Done():
		return ctx.Err()
	case <-n.gone:
		return notController()
	}
}

// awaitCaughtUp waits until a node has had the whole log within an election's time: as a
// voter it would otherwise be counted on before it can help.
func (n *Node) awaitCaughtUp(ctx context.Context, id raft.ServerID) error {
	tick := time.NewTicker(catchUpPause)
	defer tick.Stop()
	for n.Active() {
		c := n.transport.Load().contact(id)
		if c.term == n.raft.Load().CurrentTerm() && time.Since(c.whole) < raftHeartbeat {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.gone:
			return notController()
		}
	}
	return notController()
}

// awaitSpread waits until all voters that can be reached have an entry. A voter that has not
// heard of a new one refuses it its vote, and if the leader died now these two could be the
// majority.
func (n *Node) awaitSpread(ctx context.Context, index uint64) error {
	tick := time.NewTicker(catchUpPause)
	defer tick.Stop()
	for {
		c, err := n.configuration()
		if err != nil {
			return err
		}
		lacking := slices.ContainsFunc(c.Servers, func(s raft.Server) bool {
			known := n.transport.Load().contact(s.ID)
			return s.ID != serverOf(n.cfg.NodeID) && known.last < index && time.Since(known.at) < time.Second
		})
		if !lacking {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.gone:
			return notController()
		}
	}
}
