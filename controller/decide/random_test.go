package decide

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cordwood/metadata"
)

// chaos is a world with replicas: processes, logs and leaders that know older images. It loses disks, kills processes,
// partitions the network and alters everything at random; an elected leader must have every acknowledged record (I3).
type chaos struct {
	*world
	rng     *rand.Rand
	logs    map[partitionKey]map[metadata.NodeID]*log
	acked   map[partitionKey][]int                     // the longest that was ever acknowledged
	led     map[partitionKey]map[int32]metadata.NodeID // who led in which epoch
	procs   map[metadata.NodeID]*process               // nil: not running
	disk    map[metadata.NodeID]byte                   // which one the broker has in its first place
	clean   map[metadata.NodeID]int64                  // epoch of its clean file, while it is down
	epochs  map[partitionKey][2]int32                  // last seen leader and partition epoch
	granted map[metadata.NodeID]map[int64]bool         // broker epochs
	record  int
	count   struct{ acked, applied, ineligible, lost, revived, reassigned int }
}

func newChaos(t testing.TB, seed uint64) *chaos {
	c := &chaos{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 0)), logs: map[partitionKey]map[metadata.NodeID]*log{},
		acked: map[partitionKey][]int{}, led: map[partitionKey]map[int32]metadata.NodeID{}, procs: map[metadata.NodeID]*process{},
		disk: map[metadata.NodeID]byte{}, clean: map[metadata.NodeID]int64{}, epochs: map[partitionKey][2]int32{},
		granted: map[metadata.NodeID]map[int64]bool{}}
	for b := range metadata.NodeID(1 + c.rng.IntN(5)) {
		c.granted[b] = map[int64]bool{}
		c.boot(b)
	}
	return c
}

func (c *chaos) brokers() []metadata.NodeID {
	out := make([]metadata.NodeID, len(c.granted))
	for b := range out {
		out[b] = metadata.NodeID(b)
	}
	return out
}

func (c *chaos) anyBroker() metadata.NodeID { return metadata.NodeID(c.rng.IntN(len(c.granted))) }

func (c *chaos) disks(b metadata.NodeID) []metadata.DirID {
	return []metadata.DirID{dir(b, c.disk[b]), dir(b, 200)}
}

func (c *chaos) boot(b metadata.NodeID) {
	previous, wasClean := c.clean[b]
	if !wasClean {
		previous = -1
	}
	req := c.process(b, previous)
	req.Dirs, req.Rules = c.disks(b), c.rules
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
	c.procs[b] = &process{epoch: epoch, seen: c.img, broken: map[metadata.DirID]bool{}, leading: map[partitionKey]*leader{}}
}

// kill ends a process where it stands: what did not count as being on disk may be gone.
func (c *chaos) kill(b metadata.NodeID) {
	c.procs[b] = nil
	for _, key := range c.keys() {
		if l := c.logs[key][b]; l != nil {
			l.records = l.records[:l.durable+c.rng.IntN(len(l.records)-l.durable+1)]
		}
	}
}

// loseDisk replaces the first disk of a broker that is down.
func (c *chaos) loseDisk(b metadata.NodeID) {
	old := dir(b, c.disk[b])
	c.disk[b]++
	delete(c.clean, b)
	c.each(func(key partitionKey, _ *metadata.Topic, p *metadata.Partition) {
		if l := c.log(key, b); p.Dir(b) == old {
			c.count.lost += len(l.records)
			*l = log{}
		}
	})
}

func (c *chaos) each(do func(key partitionKey, t *metadata.Topic, p *metadata.Partition)) {
	for t := range c.img.Topics() {
		for n, p := range t.Partitions {
			do(partitionKey{t.ID, int32(n)}, t, p)
		}
	}
}

func (c *chaos) keys() []partitionKey {
	var out []partitionKey
	c.each(func(key partitionKey, _ *metadata.Topic, _ *metadata.Partition) { out = append(out, key) })
	return out
}

// observe compares what was decided with what replicas really have.
func (c *chaos) observe() {
	c.t.Helper()
	c.each(func(key partitionKey, t *metadata.Topic, p *metadata.Partition) {
		if last := c.epochs[key]; p.LeaderEpoch < last[0] || p.PartitionEpoch < last[1] {
			c.t.Fatalf("%s-%d: an epoch fell (I8): %+v", t.Name, key.index, p)
		}
		c.epochs[key] = [2]int32{p.LeaderEpoch, p.PartitionEpoch}
		if p.Relaxed {
			return // page-cache mode promises less
		}
		acked := c.acked[key]
		for _, n := range append(slices.Clone(p.ISR), p.ELR...) {
			if !slices.Contains(c.disks(n), p.Dir(n)) {
				continue // the controller learns of it when the broker registers
			}
			if have := prefix(c.log(key, n).records, acked); have < len(acked) {
				c.t.Fatalf("%s-%d: candidate %d has %d of %d (I2): %+v", t.Name, key.index, n, have, len(acked), p)
			}
		}
		if p.Leader == metadata.NoNode || c.procs[p.Leader] == nil {
			return
		}
		l := c.procs[p.Leader].leading[key]
		if l == nil || l.view.LeaderEpoch != p.LeaderEpoch || len(l.view.ISR) < int(l.view.MinISR) {
			return
		}
		for _, n := range append(slices.Clone(p.ISR), p.ELR...) {
			if !slices.Contains(l.maxISR(), n) {
				c.t.Fatalf("%s-%d: leader %d waits for %v only (I1): %+v", t.Name, key.index, p.Leader, l.maxISR(), p)
			}
		}
	})
}

// assign tells the controller in which directories new replicas are that it left to their brokers.
func (c *chaos) assign() {
	c.each(func(key partitionKey, t *metadata.Topic, p *metadata.Partition) {
		for _, n := range p.Replicas {
			if !p.Dir(n).IsZero() || c.procs[n] == nil || c.procs[n].broken[dir(n, 200)] {
				continue
			}
			*c.log(key, n) = log{}
			out, err := AssignReplicas(c.img, AssignReplicasRequest{n, c.procs[n].epoch, []ReplicaDir{{key.topic, key.index, dir(n, 200)}}, c.rules}, c.now)
			if err == nil {
				do(c.world, out, nil)
			}
		}
	})
}

// beat sends a broker's heartbeat by what it knows, and answers questions for log ends.
func (c *chaos) beat(b metadata.NodeID, wantShutdown bool) HeartbeatReply {
	pr := c.procs[b]
	req := HeartbeatRequest{ID: b, Epoch: pr.epoch, MetadataIndex: pr.seen.Index(), WantShutdown: wantShutdown, Rules: c.rules}
	for _, d := range c.disks(b) {
		if pr.broken[d] {
			req.OfflineDirs = append(req.OfflineDirs, d)
		}
	}
	out, err := Heartbeat(c.img, c.s, req, c.now)
	if err != nil {
		c.procs[b] = nil // unregistered
		return HeartbeatReply{}
	}
	reply := do(c.world, out, nil)
	report := ReportLogEndsRequest{Broker: b, Epoch: pr.epoch}
	c.each(func(key partitionKey, _ *metadata.Topic, p *metadata.Partition) {
		if slices.Contains(p.LastKnownELR, b) && c.usable(p, b) {
			report.Ends = append(report.Ends, LogEnd{Topic: key.topic, Index: key.index, LeaderEpoch: p.LeaderEpoch, End: int64(len(c.log(key, b).records))})
		}
	})
	revived, err := ReportLogEnds(c.img, c.s, report, c.now)
	c.count.revived += len(do(c.world, revived, err).Revived)
	return reply
}

func (c *chaos) step() string {
	b := c.anyBroker()
	running := c.procs[b] != nil
	name := fmt.Sprintf("t%d", c.rng.IntN(6))
	switch c.rng.IntN(30) {
	case 0:
		durable := fmt.Sprint(c.rng.IntN(5) > 0)
		c.create(topic(name, int32(1+c.rng.IntN(3)), int16(1+c.rng.IntN(4)), "flush.before.ack", durable))
		return "create"
	case 1:
		if c.rng.IntN(3) == 0 {
			out, err := DeleteTopics(c.img, DeleteTopicsRequest{Topics: []TopicRef{{Name: name}}}, c.now)
			do(c.world, out, err)
		}
		return "delete"
	case 2:
		out, err := CreatePartitions(c.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: name, Count: int32(1 + c.rng.IntN(5))}}}, c.now)
		do(c.world, out, err)
		return "grow"
	case 3:
		r := ConfigResource{metadata.ResourceTopic, name}
		if c.rng.IntN(3) == 0 {
			r = allBrokers
		}
		c.set(r, "min.insync.replicas", fmt.Sprint(1+c.rng.IntN(3)))
		return "min isr"
	case 4:
		if c.rng.IntN(10) == 0 {
			c.set(ConfigResource{metadata.ResourceTopic, name}, "flush.before.ack", fmt.Sprint(c.rng.IntN(2) == 0))
		}
		return "mode"
	case 5, 6:
		c.kill(b)
		return fmt.Sprint("kill ", b)
	case 7:
		if running {
			if epoch := c.procs[b].epoch; c.beat(b, true).ShouldShutDown {
				c.procs[b], c.clean[b] = nil, epoch
			}
		}
		return fmt.Sprint("shut down ", b)
	case 8:
		if !running && c.rng.IntN(3) == 0 {
			c.loseDisk(b)
		}
		return fmt.Sprint("lose the disk of ", b)
	case 9, 10, 11:
		if !running {
			c.boot(b)
		}
		return fmt.Sprint("boot ", b)
	case 12:
		return fmt.Sprint("silence of ", c.someSilence())
	case 13:
		if running && c.rng.IntN(3) == 0 {
			c.procs[b].broken[c.disks(b)[c.rng.IntN(2)]] = true
		}
		return fmt.Sprint("a disk fails of ", b)
	case 14, 15:
		return c.operate(name, b)
	default:
		c.beats()
		return "heartbeats"
	}
}

// someSilence lets those who are down, and some others, miss their sessions or be taken for dead.
func (c *chaos) someSilence() []metadata.NodeID {
	var silent []metadata.NodeID
	var deaths []Death
	for _, b := range c.brokers() {
		if c.procs[b] == nil || c.rng.IntN(8) == 0 {
			silent = append(silent, b)
			if r := c.img.Broker(b); r != nil {
				deaths = append(deaths, Death{b, r.Epoch, c.now})
			}
		}
	}
	if c.rng.IntN(2) == 0 {
		c.commit(FenceDead(c.img, c.s, c.rules, deaths, c.now).Changes)
	} else {
		c.silence(silent...)
	}
	return silent
}

// operate is what an administrator does.
func (c *chaos) operate(name string, b metadata.NodeID) string {
	switch c.rng.IntN(5) {
	case 0:
		out, err := ElectLeaders(c.img, ElectLeadersRequest{All: true, Rules: c.rules}, c.now)
		do(c.world, out, err)
		return "preferred leaders"
	case 1:
		c.commit(Rebalance(c.img, 10).Changes)
		return "rebalance"
	case 2:
		if c.procs[b] == nil && c.img.Broker(b) != nil && c.rng.IntN(3) == 0 {
			out, err := UnregisterBroker(c.img, UnregisterBrokerRequest{ID: b, Rules: c.rules}, c.now)
			do(c.world, out, err)
			return fmt.Sprint("unregister ", b)
		}
	}
	var target []metadata.NodeID
	if c.rng.IntN(5) > 0 {
		for _, n := range c.rng.Perm(len(c.granted))[:1+c.rng.IntN(len(c.granted))] {
			target = append(target, metadata.NodeID(n))
		}
	}
	if t := c.img.Topic(name); t != nil {
		if c.reassign(name, int32(c.rng.IntN(len(t.Partitions))), target...) == nil {
			c.count.reassigned++
		}
	}
	return fmt.Sprint("reassign ", name, target)
}

// beats is a quiet moment: most hear the news, all speak, followers follow.
func (c *chaos) beats() {
	for _, b := range c.brokers() {
		if c.procs[b] == nil {
			continue
		}
		if c.rng.IntN(4) > 0 {
			c.learn(b)
		}
		c.beat(b, false)
	}
}

// flow lets records go from leaders to followers and to producers.
func (c *chaos) flow() {
	c.assign()
	for _, b := range c.brokers() {
		if c.procs[b] == nil {
			continue
		}
		for _, key := range c.keys() {
			if c.rng.IntN(2) == 0 {
				c.fetch(key, b)
			}
		}
	}
	c.lead()
}

func TestNoLeaderEverLacksAnAcknowledgedRecord(t *testing.T) {
	var total struct{ acked, applied, ineligible, lost, revived, reassigned, offline int }
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
			for range 200 {
				last = append(last, c.step())
				last = last[max(0, len(last)-12):]
				c.observe()
				c.flow()
				c.observe()
			}
		})
		total.acked, total.applied, total.ineligible = total.acked+c.count.acked, total.applied+c.count.applied, total.ineligible+c.count.ineligible
		total.lost, total.revived, total.reassigned = total.lost+c.count.lost, total.revived+c.count.revived, total.reassigned+c.count.reassigned
		c.each(func(_ partitionKey, _ *metadata.Topic, p *metadata.Partition) {
			if p.Leader == metadata.NoNode {
				total.offline++
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%+v", total)
	if total.acked < 10_000 || total.applied < 1000 || total.ineligible == 0 || total.lost == 0 || total.revived == 0 || total.reassigned == 0 || total.offline == 0 {
		t.Fatalf("the test is too kind: %+v", total)
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
