package controller

import (
	"cordwood/metadata"

	"github.com/hashicorp/raft"
)

// watchLeader says whom raft takes for the leader whenever that is another one, until done is closed.
func (n *Node) watchLeader(done <-chan struct{}, r *raft.Raft) {
	seen := make(chan raft.Observation, 1)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(o)
	defer r.DeregisterObserver(o)
	for {
		if id := n.Leader(); id != metadata.NoNode && n.cfg.Led != nil {
			n.cfg.Led(id)
		}
		select {
		case <-seen:
		case <-done:
			return
		}
	}
}
