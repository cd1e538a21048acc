package partition

import (
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

// format gives the directories of a broker their ids.
func (c *cluster) format(id metadata.NodeID, mem *vfs.Mem, paths []string) (dirs []metadata.DirID) {
	for i, path := range paths {
		dirs = append(dirs, metadata.DirID{1, byte(id), byte(i), 15: 1})
		err := vfs.MkdirAllSync(mem, path)
		if err == nil {
			err = segment.WriteMeta(mem, path, segment.Meta{ClusterID: "c", NodeID: int32(id), DirectoryID: dirs[i]})
		}
		if err != nil {
			c.t.Fatal(err)
		}
	}
	return dirs
}

// place tells the controller where replicas are.
func (n *node) place() {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	all := n.set.Misplaced(n.c.img)
	if len(all) == 0 || n.dead {
		return
	}
	req := decide.AssignReplicasRequest{Broker: n.id, Epoch: n.epoch, Rules: &decide.Rules{}}
	for _, m := range all {
		req.Replicas = append(req.Replicas, decide.ReplicaDir{Topic: m.Topic, Index: m.Index, Dir: m.Dir})
	}
	out, err := decide.AssignReplicas(n.c.img, req, time.Now())
	if err != nil {
		n.c.t.Errorf("directories of %d: %v", n.id, err)
	}
	n.c.commit(out.Changes)
}

// whole waits until all replicas are in sync and hold the same.
func (c *cluster) whole() {
	c.t.Helper()
	c.until("all replicas are in sync", func() bool {
		p := c.leader()
		if p == nil || len(c.record().ISR) != len(c.nodes) {
			return false
		}
		for _, n := range c.nodes {
			if n.dead || n.partition() == nil || n.partition().HighWatermark() != p.End() || n.partition().End() != p.End() {
				return false
			}
		}
		return true
	})
}
