package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"cordwood/metadata"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

const (
	keyFounding = "Founding" // beside raft's own names in the vote file
	greetPause  = 200 * time.Millisecond
)

// errOutside refuses raft's connections to a node that is not one of the quorum.
var errOutside = errors.New("controller: this node takes no part in raft")

// begin looks what the directory holds and refuses one that was more and has lost it (C4,
// Z29). An empty one becomes a cluster by itself if the node is alone; otherwise Run
// speaks with the others first.
func (n *Node) begin(snapshots []*raft.SnapshotMeta) error {
	first, _ := n.store.FirstIndex()
	last, _ := n.store.LastIndex()
	term, err := n.stable.GetUint64([]byte(keyTerm))
	if err != nil {
		return err
	}
	f, err := n.loadFounding()
	if err != nil {
		return err
	}
	switch {
	case n.store.isNew() && (term > 1 || len(snapshots) > 0 || f.stage() == Started):
		return fmt.Errorf("%w: the node has been in term %d, but its log is gone", errCorrupt, term)
	case len(snapshots) > 0 && last > snapshots[0].Index && first > snapshots[0].Index+1:
		return fmt.Errorf("%w: it begins at entry %d, the newest snapshot ends at %d", errCorrupt, first, snapshots[0].Index)
	case len(snapshots) == 0 && last > 0 && first > firstIndex:
		return fmt.Errorf("%w: it begins at entry %d and there is no snapshot", errCorrupt, first)
	case len(snapshots) > 0 || last > 0:
		n.part.Store(true)
		return n.remembers(last, term)
	case f.Admitted:
		n.part.Store(true)
		return nil
	case term > 1:
		return fmt.Errorf("%w: the node has been in term %d, but its log is empty", errCorrupt, term)
	case f.stage() == Started:
		return n.remember(f)
	case n.alone():
		f.ClusterID, f.Voters = n.cfg.ClusterID, []metadata.Voter{{ID: n.cfg.NodeID, Dir: n.cfg.DirID}}
		return n.remember(f)
	case f.Proposal == "":
		f.Proposal = n.NewTopicID().String()
		return n.remember(f)
	}
	return nil
}

func (n *Node) alone() bool {
	return n.cfg.Greet == nil || n.cfg.Expect == 1 || len(n.cfg.Voters) == 1 && n.cfg.Voters[0] == n.cfg.NodeID
}

func (n *Node) loadFounding() (founding, error) {
	var f founding
	raw, err := n.stable.Get([]byte(keyFounding))
	if err != nil || len(raw) == 0 {
		return f, err
	}
	if err := helloDecoder.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("%w: founding: %w", errCorrupt, err)
	}
	if n.cfg.ClusterID != "" && f.ClusterID != "" && n.cfg.ClusterID != f.ClusterID {
		return f, fmt.Errorf("%w: it is of cluster %s, this node of %s", ErrForeign, f.ClusterID, n.cfg.ClusterID)
	}
	n.founded.Store(&f)
	return f, nil
}

// remember makes a step durable. A founder that starts writes the first entry of the log
// itself, the same on all of them: raft.BootstrapCluster, interrupted between its two
// steps, would be stuck for ever.
func (n *Node) remember(f founding) error {
	raw, err := helloEncoder.Marshal(&f)
	if err != nil {
		return err
	}
	values := map[string][]byte{keyFounding: raw}
	founds := f.stage() == Started && !f.Admitted
	if founds {
		values[keyTerm] = []byte{7: 1}
	}
	if err := n.stable.save(values); err != nil {
		return err
	}
	if founds {
		if err := n.store.StoreLog(firstEntry(f.Voters)); err != nil {
			return err
		}
	}
	n.founded.Store(&f)
	n.part.Store(f.stage() == Started)
	return nil
}

func firstEntry(voters []metadata.Voter) *raft.Log {
	var c raft.Configuration
	for _, v := range voters {
		c.Servers = append(c.Servers, raft.Server{Suffrage: raft.Voter, ID: serverOf(v.ID), Address: raft.ServerAddress(serverOf(v.ID))})
	}
	return &raft.Log{Index: firstIndex, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(c), AppendedAt: time.Unix(0, 0)}
}

// Inside raft a node is called by its id, which outlives its network address.
func serverOf(id metadata.NodeID) raft.ServerID { return raft.ServerID(strconv.Itoa(int(id))) }

func nodeOf(id raft.ServerID) metadata.NodeID {
	n, err := strconv.ParseInt(string(id), 10, 32)
	if err != nil {
		return metadata.NoNode
	}
	return metadata.NodeID(n)
}

// remembers refuses a log that is ahead of the vote: the node has forgotten whom it
// elected, and could elect somebody else in the same term.
func (n *Node) remembers(last, term uint64) error {
	var l raft.Log
	if last == 0 {
		return nil
	}
	if err := n.store.GetLog(last, &l); err != nil {
		return err
	}
	if l.Term > term {
		return fmt.Errorf("%w: the log is in term %d, the vote in %d", errCorrupt, l.Term, term)
	}
	return nil
}

// gather speaks with the other nodes until this one may take part in raft, or ctx ends.
func (n *Node) gather(ctx context.Context) error {
	told := ""
	for !n.part.Load() && ctx.Err() == nil {
		others := map[metadata.NodeID]Hello{}
		for _, h := range n.cfg.Greet(ctx, n.Hello()) {
			if h.Node != n.cfg.NodeID {
				others[h.Node] = h
			}
		}
		next, waits := n.founded.Load().advance(n.Hello(), wish{n.cfg.ClusterID, n.cfg.Voters, n.cfg.Expect}, others)
		if waits == "" {
			if err := n.remember(next); err != nil {
				return err
			}
			n.log.Info("controller goes on", zap.String("event", "CW-0411"), zap.String("cluster", next.ClusterID), zap.Any("founders", next.Founders),
				zap.Bool("started", next.stage() == Started))
			continue
		}
		if waits != told {
			told = waits
			n.log.Warn("controller waits "+waits, zap.String("event", "CW-0412"))
		}
		select {
		case <-ctx.Done():
		case <-n.guard.fatal:
			return n.guard.cause
		case <-time.After(greetPause):
		}
	}
	return nil
}

// Hello is what this node says to whoever greets it, from Open on.
func (n *Node) Hello() Hello {
	f := n.founded.Load()
	h := Hello{Node: n.cfg.NodeID, Dir: n.cfg.DirID, ClusterID: f.ClusterID, Proposal: f.Proposal}
	switch {
	case n.part.Load():
		h.Stage, h.Voters = Started, f.Voters
		if img := n.Image(); img.ClusterID() != "" {
			h.ClusterID, h.Voters = img.ClusterID(), img.Voters()
		}
	case f.stage() == Prepared:
		h.Stage, h.Founders = Prepared, f.Founders
	}
	if h.ClusterID == "" {
		h.ClusterID = n.cfg.ClusterID
	}
	return h
}
