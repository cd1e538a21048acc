package partition

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// An unclean election gives committed records up for all replicas, not for those alone that hear of it before the first
// follower is in sync again: whoever comes back, however late, cuts what it has and follows.
func TestAReplicaThatComesBackLongAfterAnUncleanElectionFollows(t *testing.T) {
	for _, x := range []struct {
		deleted bool // the leader deleted all that was committed: its log is empty, and ends behind the next leader's ...
		back    [2]metadata.NodeID
	}{{false, [2]metadata.NodeID{1, 2}}, {true, [2]metadata.NodeID{1, 2}}, {true, [2]metadata.NodeID{2, 1}}} { // ... or in the middle of it
		t.Run(fmt.Sprintf("%+v", x), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 4, 3)
				c.create(2, true)
				c.whole()
				c.kill(3)
				c.until("3 is out of the ISR", func() bool { return len(c.record().ISR) == 2 })
				c.appendTo(10)
				if x.deleted {
					if _, err := c.leader().DeleteRecords(-1); err != nil {
						t.Fatal(err)
					}
					c.until("the follower has deleted them, too", func() bool { return c.nodes[2].partition().Start() == 10 })
				}
				<-time.After(10 * time.Second) // they know after a kill, too, what was committed
				c.kill(1)
				c.kill(2)
				c.until("nobody leads", func() bool { return c.record().Leader == metadata.NoNode })
				c.restart(3)
				c.electUnclean()
				for i, id := range x.back {
					p := c.leader()
					for n := range 3 + 20*i { // once less than the replica had, once more
						produce(p, 1, batch(1, number(100*i+n)))
					}
					c.restart(id)
					c.until("it is in sync", func() bool { return len(c.record().ISR) == i+2 })
				}
				c.whole()
				c.same(1, 3)
				c.same(2, 3)
			})
		})
	}
}

// electUnclean has the controller elect whoever runs.
func (c *cluster) electUnclean() {
	c.t.Helper()
	c.until("somebody can be elected", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		out, err := decide.ElectLeaders(c.img, decide.ElectLeadersRequest{Partitions: []decide.PartitionRef{{Topic: "t"}}, Unclean: true}, time.Now())
		if err != nil {
			c.t.Fatal(err)
		}
		c.commit(out.Changes)
		return out.Reply.Partitions[0].Err == nil
	})
	c.until("it leads", func() bool { return c.leader() != nil })
}
