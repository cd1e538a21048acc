package bubble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/segment/vfs"
)

// replicas is the brokers that hold a partition, once all of them are in sync.
type replicas map[string][]int32

// inSync waits until all replicas of all partitions are in sync.
func (c *cluster) inSync(adm *kadm.Client) (replicas, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var told kadm.TopicDetails
	for ctx.Err() == nil {
		var err error
		told, err = adm.ListTopicsWithInternal(ctx)
		out, late := replicas{}, err != nil
		told.EachPartition(func(p kadm.PartitionDetail) {
			late = late || p.Err != nil || len(p.ISR) != len(p.Replicas) || len(p.ISR) < min(3, c.shape.brokers())
			out[fmt.Sprintf("%s-%d", p.Topic, p.Partition)] = p.Replicas
		})
		if !late && len(out) >= partitions {
			return out, true
		}
		time.Sleep(20 * time.Millisecond)
	}
	told.EachPartition(func(p kadm.PartitionDetail) {
		c.fails("%s-%d has replicas %v, in sync %v, leader %d, %v", p.Topic, p.Partition, p.Replicas, p.ISR, p.Leader, p.Err)
	})
	return nil, false
}

// compare stops the cluster when nothing is left to replicate, and compares the replicas: they are the same byte for byte
// (I4, U4).
func (c *cluster) compare(adm *kadm.Client) {
	all, ok := c.inSync(adm)
	if !ok {
		return
	}
	time.Sleep(time.Second) // the last record reaches everybody
	c.end()
	for partition, ids := range all {
		first := c.nodes[ids[0]-1].records(partition)
		for _, id := range ids[1:] {
			if other := c.nodes[id-1].records(partition); !bytes.Equal(first, other) {
				c.fails("%s: %d bytes on node %d, %d other bytes on node %d", partition, len(first), ids[0], len(other), id)
			}
		}
	}
}

// records is all that a partition's log holds on a node. A log that never held anything has no directory.
func (n *node) records(partition string) []byte {
	dir := "/data/" + partition
	entries, err := n.disk.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.c.fails("node %d: %v", n.id, err)
	}
	var out []byte
	for _, e := range entries { // sorted, and the names of segments sort as their offsets do
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		b, err := vfs.ReadFile(n.disk, dir+"/"+e.Name(), 1<<30)
		if err != nil {
			n.c.fails("node %d: %v", n.id, err)
		}
		out = append(out, b...)
	}
	return out
}
