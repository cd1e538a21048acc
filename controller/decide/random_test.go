package decide

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cordwood/metadata"
)

// chaos is a world with records: for every replica how many records it has on disk, and
// for every partition how many were acknowledged. It loses disks, kills processes and
// alters configs at random; an elected leader must have every acknowledged record (I3).
type chaos struct {
	*world
	rng     *rand.Rand
	acked   map[string]int                     // per partition
	have    map[string]map[metadata.NodeID]int // per partition and replica
	disk    map[metadata.NodeID]byte           // which directory the broker has
	clean   map[metadata.NodeID]int64          // epoch of its clean file, while it is down
	down    map[metadata.NodeID]bool           // its process is not running
	epochs  map[string]int32                   // last seen leader epoch of each partition
	parts   map[string]int32                   // and partition epoch
	lost    int                                // records, by replaced disks; none may be served
	granted map[metadata.NodeID]map[int64]bool // broker epochs
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 0)), acked: map[string]int{}, have: map[string]map[metadata.NodeID]int{},
		disk: map[metadata.NodeID]byte{}, clean: map[metadata.NodeID]int64{}, down: map[metadata.NodeID]bool{}, epochs: map[string]int32{}, parts: map[string]int32{},
		granted: map[metadata.NodeID]map[int64]bool{}}
	for b := range metadata.NodeID(1 + c.rng.IntN(5)) {
		c.granted[b] = map[int64]bool{}
		c.boot(b)
	}
	return c
}

func (c *chaos) brokers() []metadata.NodeID {
	return slices.Sorted(func(yield func(metadata.NodeID) bool) {
		for b := range c.granted {
			if !yield(b) {
				return
			}
		}
	})
}

func (c *chaos) anyBroker() metadata.NodeID { b := c.brokers(); return b[c.rng.IntN(len(b))] }

func (c *chaos) boot(b metadata.NodeID) {
	previous, wasClean := c.clean[b]
	if !wasClean {
		previous = -1
	}
	req := c.process(b, previous)
	req.Dirs = []metadata.DirID{dir(b, c.disk[b])}
	out, err := RegisterBroker(c.img, c.s, req, c.now)
	if err != nil {
		return // its old life still has a session
	}
	do(c.world, out, nil)
	epoch := c.img.Broker(b).Epoch
	if c.granted[b][epoch] {
		c.t.Fatalf("broker %d got epoch %d twice", b, epoch)
	}
	c.granted[b][epoch] = true
	delete(c.clean, b)
	c.down[b] = false
}

func (c *chaos) each(do func(key string, t *metadata.Topic, index int32, p *metadata.Partition)) {
	for t := range c.img.Topics() {
		for n, p := range t.Partitions {
			do(fmt.Sprintf("%s-%d", t.ID, n), t, int32(n), p)
		}
	}
}

// observe compares what was decided with what replicas really have.
func (c *chaos) observe() {
	c.t.Helper()
	c.each(func(key string, t *metadata.Topic, index int32, p *metadata.Partition) {
		if c.have[key] == nil {
			c.have[key] = map[metadata.NodeID]int{}
		}
		if p.LeaderEpoch < c.epochs[key] || p.PartitionEpoch < c.parts[key] {
			c.t.Fatalf("%s: an epoch fell (I8): %+v", key, p)
		}
		c.epochs[key], c.parts[key] = p.LeaderEpoch, p.PartitionEpoch
		if p.Relaxed {
			return // page-cache mode promises less
		}
		if p.Leader != metadata.NoNode && !c.down[p.Leader] && c.have[key][p.Leader] < c.acked[key] {
			c.t.Fatalf("%s: leader %d has %d of %d acknowledged records: %+v", key, p.Leader, c.have[key][p.Leader], c.acked[key], p)
		}
		for _, n := range append(slices.Clone(p.ISR), p.ELR...) {
			if c.have[key][n] < c.acked[key] && !c.replaced(p, n) {
				c.t.Fatalf("%s: candidate %d has %d of %d (I2): %+v", key, n, c.have[key][n], c.acked[key], p)
			}
		}
	})
}

// replaced tells that the disk was lost while the broker is down, which the controller
// learns when it registers.
func (c *chaos) replaced(p *metadata.Partition, n metadata.NodeID) bool {
	return p.Dir(n) != dir(n, c.disk[n])
}

// write appends one record to every partition that acknowledges it now.
func (c *chaos) write() {
	c.each(func(key string, _ *metadata.Topic, _ int32, p *metadata.Partition) {
		if p.Leader == metadata.NoNode || len(p.ISR) < int(p.MinISR) {
			return
		}
		for _, n := range p.ISR {
			if c.down[n] {
				return // it does not answer: nothing is acknowledged
			}
		}
		c.acked[key] = c.have[key][p.Leader] + 1
		for _, n := range p.ISR {
			c.have[key][n] = c.acked[key]
		}
	})
}

// follow lets live replicas catch up and join, and leaders drop dead ones.
func (c *chaos) follow() {
	c.each(func(key string, t *metadata.Topic, index int32, p *metadata.Partition) {
		if p.Leader == metadata.NoNode || c.down[p.Leader] {
			return
		}
		isr := slices.DeleteFunc(slices.Clone(p.ISR), func(n metadata.NodeID) bool { return n != p.Leader && c.rng.IntN(4) == 0 })
		for _, n := range p.Replicas {
			if !slices.Contains(isr, n) && c.img.Broker(n).Live() && !c.down[n] && c.rng.IntN(2) == 0 && !c.replaced(p, n) {
				c.have[key][n] = c.have[key][p.Leader]
				isr = append(isr, n)
			}
		}
		if !slices.Equal(isr, p.ISR) {
			c.alter(t.Name, index, isr...)
		}
	})
}

func (c *chaos) step() string {
	b := c.anyBroker()
	switch n := c.rng.IntN(16); n {
	case 0:
		c.create(topic(fmt.Sprintf("t%d", c.rng.IntN(6)), int32(1+c.rng.IntN(3)), int16(1+c.rng.IntN(4))))
		return "create"
	case 1:
		out, err := DeleteTopics(c.img, DeleteTopicsRequest{Topics: []TopicRef{{Name: fmt.Sprintf("t%d", c.rng.IntN(6))}}}, c.now)
		do(c.world, out, err)
		return "delete"
	case 2:
		out, err := CreatePartitions(c.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: fmt.Sprintf("t%d", c.rng.IntN(6)), Count: int32(1 + c.rng.IntN(5))}}}, c.now)
		do(c.world, out, err)
		return "grow"
	case 3:
		r := ConfigResource{metadata.ResourceTopic, fmt.Sprintf("t%d", c.rng.IntN(6))}
		if c.rng.IntN(3) == 0 {
			r = allBrokers
		}
		c.set(r, "min.insync.replicas", fmt.Sprint(1+c.rng.IntN(3)))
		return "min isr"
	case 4:
		if c.rng.IntN(10) == 0 {
			c.set(ConfigResource{metadata.ResourceTopic, fmt.Sprintf("t%d", c.rng.IntN(6))}, "flush.before.ack", fmt.Sprint(c.rng.IntN(2) == 0))
		}
		return "mode"
	case 5, 6:
		c.down[b] = true // kill -9
		return fmt.Sprint("kill ", b)
	case 7:
		if !c.down[b] {
			if epoch := c.img.Broker(b).Epoch; c.heartbeat(b, true).ShouldShutDown {
				c.clean[b], c.down[b] = epoch, true
			}
		}
		return fmt.Sprint("shut down ", b)
	case 8:
		if c.down[b] {
			c.loseDisk(b)
		}
		return fmt.Sprint("lose the disk of ", b)
	case 9, 10, 11:
		if c.down[b] {
			c.boot(b)
		}
		return fmt.Sprint("boot ", b)
	case 12:
		var silent []metadata.NodeID
		for _, b := range c.brokers() {
			if c.down[b] || c.rng.IntN(8) == 0 {
				silent = append(silent, b)
			}
		}
		c.silence(silent...)
		return fmt.Sprint("silence of ", silent)
	default:
		for _, b := range c.brokers() {
			if !c.down[b] {
				c.heartbeat(b, false)
			}
		}
		c.follow()
		return "heartbeats"
	}
}

// loseDisk replaces a disk, which no more than one broker at a time may suffer here.
func (c *chaos) loseDisk(b metadata.NodeID) {
	if c.rng.IntN(3) > 0 {
		return
	}
	c.disk[b]++
	delete(c.clean, b)
	for key := range c.have {
		c.lost += c.have[key][b]
		c.have[key][b] = 0
	}
}

func TestNoLeaderEverLacksAnAcknowledgedRecord(t *testing.T) {
	lost, acked, offline := 0, 0, 0
	for seed := range uint64(400) {
		c := newChaos(t, seed)
		var last []string
		t.Run("", func(t *testing.T) {
			c.t = t
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, last steps: %q", seed, last)
				}
			}()
			for range 150 {
				last = append(last, c.step())
				last = last[max(0, len(last)-12):]
				c.observe()
				c.write()
				acked++
			}
		})
		lost += c.lost
		c.each(func(_ string, _ *metadata.Topic, _ int32, p *metadata.Partition) {
			if p.Leader == metadata.NoNode {
				offline++
			}
		})
		if t.Failed() {
			return
		}
	}
	if lost == 0 || offline == 0 {
		t.Fatalf("the test lost %d records on disks and left %d partitions offline: it is too kind", lost, offline)
	}
}

func TestARepeatedDecisionDecidesTheSame(t *testing.T) {
	c := newChaos(t, 7)
	for range 40 {
		c.step()
	}
	for _, b := range c.brokers() {
		req := c.process(b, -1)
		one, _ := RegisterBroker(c.img, c.s, req, c.now)
		two, _ := RegisterBroker(c.img, c.s, req, c.now)
		first, err := metadata.EncodeChanges(one.Changes)
		second, _ := metadata.EncodeChanges(two.Changes)
		if err != nil || !slices.Equal(first, second) {
			t.Fatal("the same question was answered in two ways")
		}
	}
}
