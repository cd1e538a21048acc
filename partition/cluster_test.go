package partition

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// cluster is some Sets, each over a disk in memory, and a controller that is the real decisions over one image, without
// raft: what it commits is committed. Links between any two nodes, and between a node and the controller, are slow and can
// be cut. It lives in a bubble.
type cluster struct {
	t    *testing.T
	stop context.CancelFunc
	ctx  context.Context
	all  sync.WaitGroup // its goroutines

	mu       sync.Mutex
	r        *rand.Rand
	img      *metadata.Image
	sessions *decide.Sessions
	nodes    map[metadata.NodeID]*node
	cut      map[[2]metadata.NodeID]bool // from, to; the controller is node 0
	news     chan struct{}               // closed and replaced with every commit
	maxDelay time.Duration
	lives    byte
	tune     func(*Config)                        // of every life
	damage   func(from metadata.NodeID, r *Range) // of every range on its way
}

// node is one life of a broker.
type node struct {
	c     *cluster
	id    metadata.NodeID
	mem   *vfs.Mem
	set   *Set
	epoch int64 // of its registration
	stop  context.CancelFunc
	all   sync.WaitGroup
	moved chan struct{} // to feed: a replica is in another directory

	// guarded by cluster.mu
	dead     bool
	fetches  int
	ranges   int // that this node asked for
	applied  uint64
	sessions map[[2]int]map[PartitionID]FetchPosition // by follower and lane
}

const controllerNode metadata.NodeID = 0

func newCluster(t *testing.T, seed uint64, nodes int, tune ...func(*Config)) *cluster {
	c := &cluster{t: t, r: rand.New(rand.NewPCG(seed, 7)), img: metadata.Empty(), sessions: decide.NewSessions(3 * time.Second),
		nodes: map[metadata.NodeID]*node{}, cut: map[[2]metadata.NodeID]bool{}, news: make(chan struct{}), maxDelay: 2 * time.Millisecond}
	for _, f := range tune {
		c.tune = f
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	t.Cleanup(c.end) // a bubble waits for its goroutines
	c.commit([]metadata.Change{metadata.ClusterCreated{ClusterID: "cluster"}})
	for i := range nodes {
		c.start(metadata.NodeID(i+1), vfs.NewMem())
	}
	c.all.Go(c.control)
	return c
}

// end stops everything.
func (c *cluster) end() {
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		c.kill(id)
	}
	c.stop()
	c.all.Wait()
}

func (c *cluster) commit(changes []metadata.Change) {
	if len(changes) == 0 {
		return
	}
	next, err := c.img.With(c.img.Index()+1, changes)
	if err == nil {
		err = next.Check()
	}
	if err != nil {
		c.t.Error(err)
		return
	}
	c.img = next
	close(c.news)
	c.news = make(chan struct{})
}

// create makes topic "t" with one partition on all nodes.
func (c *cluster) create(minISR int32, durable bool) {
	c.t.Helper()
	c.until("all brokers are unfenced", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id := range c.nodes {
			if !c.img.Broker(id).Live() {
				return false
			}
		}
		return true
	})
	p := metadata.Partition{Leader: 1, MinISR: minISR, Durable: durable, Relaxed: !durable}
	p.Replicas = slices.Sorted(maps.Keys(c.nodes))
	p.ISR = slices.Clone(p.Replicas)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commit([]metadata.Change{metadata.TopicCreated{ID: topicID(1), Name: "t"},
		metadata.PartitionCreated{Topic: topicID(1), Index: 0, Partition: p}})
}

// record is the controller's of the partition.
func (c *cluster) record() metadata.Partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.img.TopicByID(topicID(1))
	if t == nil {
		return metadata.Partition{Leader: metadata.NoNode}
	}
	return *t.Partition(0)
}

func (c *cluster) connected(a, b metadata.NodeID) bool { return !c.cut[[2]metadata.NodeID{a, b}] }

// control is heartbeats and sessions: who cannot reach the controller is fenced after three seconds.
func (c *cluster) control() {
	beat := time.NewTicker(200 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-beat.C:
		}
		c.mu.Lock()
		now := time.Now()
		for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
			n := c.nodes[id]
			if n.dead || !c.connected(id, controllerNode) {
				continue
			}
			out, err := decide.Heartbeat(c.img, c.sessions, decide.HeartbeatRequest{ID: id, Epoch: n.epoch, MetadataIndex: n.applied}, now)
			if err != nil {
				c.t.Errorf("heartbeat of %d: %v", id, err)
			}
			c.commit(out.Changes)
		}
		c.commit(decide.FenceExpired(c.img, c.sessions, &decide.Rules{}, now).Changes)
		c.mu.Unlock()
	}
}

// start begins a life of a broker on a disk.
func (c *cluster) start(id metadata.NodeID, mem *vfs.Mem) {
	cfg := Config{Self: id, Dirs: []string{"/data"}, FS: mem, MaxLag: 2 * time.Second, FetchWait: 300 * time.Millisecond}
	n := &node{c: c, id: id, mem: mem, sessions: map[[2]int]map[PartitionID]FetchPosition{}, moved: make(chan struct{}, 1)}
	cfg.Link, cfg.Moved = n, func() { notify(n.moved) }
	if c.tune != nil {
		c.tune(&cfg)
	}
	dirs := c.format(id, mem, cfg.Dirs)
	set, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	n.set = set
	previous := set.Directories()[0].BrokerEpoch
	c.mu.Lock()
	c.lives++
	out, err := decide.RegisterBroker(c.img, c.sessions, decide.RegisterBrokerRequest{ID: id, Incarnation: metadata.UUID{9, c.lives},
		PreviousEpoch: previous, Dirs: dirs}, time.Now())
	if err != nil {
		c.t.Fatalf("registration of %d: %v", id, err)
	}
	c.commit(out.Changes)
	n.epoch = c.img.Broker(id).Epoch
	c.nodes[id] = n
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(c.ctx)
	n.stop = cancel
	n.all.Go(func() {
		if err := set.Run(ctx); err != nil {
			c.t.Error(err)
		}
	})
	n.all.Go(func() { n.feed(ctx) })
}

// feed applies images as they are committed, some time later.
func (n *node) feed(ctx context.Context) {
	for {
		n.c.mu.Lock()
		img, news, ok := n.c.img, n.c.news, n.c.connected(n.id, controllerNode)
		n.c.mu.Unlock()
		if ok && img.Index() > n.applied {
			n.set.Apply(img)
			n.c.mu.Lock()
			n.applied = img.Index()
			n.c.mu.Unlock()
		}
		wait := time.Second // for the link to be mended
		if ok {
			n.place()
			select {
			case <-ctx.Done():
				return
			case <-news:
			case <-n.moved:
			}
			wait = n.c.delay()
		}
		if !rest(ctx, wait) {
			return
		}
	}
}

func (c *cluster) delay() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return 1 + time.Duration(c.r.Int64N(int64(c.maxDelay)))
}

func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// kill ends a life without another word: nothing that it does from now on reaches anybody.
func (c *cluster) kill(id metadata.NodeID) { c.fall(id, (*vfs.Mem).KillClone) }

// crash kills a broker and cuts its power: what was not synced is gone, or (rng) some of it.
func (c *cluster) crash(id metadata.NodeID, rng *rand.Rand) {
	c.fall(id, func(m *vfs.Mem) *vfs.Mem { return m.CrashClone(rng) })
}

func (c *cluster) fall(id metadata.NodeID, left func(*vfs.Mem) *vfs.Mem) {
	n := c.nodes[id]
	if n.dead {
		return
	}
	c.mu.Lock()
	n.dead = true
	c.mu.Unlock()
	n.mem = left(n.mem)
	n.stop()
	n.all.Wait()
	_ = n.set.Abandon()
}

// restart begins the next life on what the last one left.
func (c *cluster) restart(id metadata.NodeID) {
	n := c.nodes[id]
	if !n.dead {
		return
	}
	c.start(id, n.mem)
}

var errNetwork = errors.New("network")

// cross is one way through the network.
func (n *node) cross(ctx context.Context, to metadata.NodeID) error {
	if !rest(ctx, n.c.delay()) {
		return ctx.Err()
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if !n.c.connected(n.id, to) || n.dead {
		return errNetwork
	}
	return nil
}

func (n *node) Fetch(ctx context.Context, leader metadata.NodeID, r *FetchRequest) (*FetchResponse, error) {
	if err := n.cross(ctx, leader); err != nil {
		return nil, err
	}
	n.c.mu.Lock()
	n.fetches++
	l := n.c.nodes[leader]
	if l.dead {
		n.c.mu.Unlock()
		return nil, errNetwork
	}
	key := [2]int{int(n.id), r.Lane}
	session := l.sessions[key]
	if r.Full {
		session = map[PartitionID]FetchPosition{}
		l.sessions[key] = session
	}
	n.c.mu.Unlock()
	if session == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	for _, id := range r.Forgotten {
		delete(session, id)
	}
	for _, pos := range r.Positions {
		session[pos.PartitionID] = pos
	}
	if len(session) != r.Partitions {
		n.c.t.Errorf("the session has %d partitions, the fetcher believes %d", len(session), r.Partitions)
	}
	answer, err := l.serve(ctx, n, session, time.Now().Add(r.MaxWait))
	if err != nil {
		return nil, err
	}
	return answer, n.cross(ctx, leader)
}

// serve is a leader's side of a fetch, as a broker does it.
func (n *node) serve(ctx context.Context, from *node, session map[PartitionID]FetchPosition, deadline time.Time) (*FetchResponse, error) {
	for {
		answer := &FetchResponse{}
		parked := make([]*Waiter, 0, len(session))
		woken := make(chan struct{}, 1)
		for id, pos := range session {
			a, w := n.serveOne(from, id, pos, woken)
			if w != nil {
				parked = append(parked, w)
			}
			if a != nil {
				answer.Partitions = append(answer.Partitions, *a)
			}
		}
		late := time.NewTimer(time.Until(deadline))
		var err error
		wait := len(answer.Partitions) == 0
		if wait {
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-late.C:
				wait = false
			case <-woken:
			}
		}
		late.Stop()
		for _, w := range parked {
			w.Cancel()
		}
		if err != nil || !wait {
			return answer, err
		}
	}
}

func (n *node) serveOne(from *node, id PartitionID, pos FetchPosition, woken chan struct{}) (*Fetched, *Waiter) {
	a := &Fetched{PartitionID: id, DivergingEnd: -1}
	p := n.set.ByID(id.Topic, id.Index)
	if p == nil {
		a.Err = kerr.UnknownTopicID
		return a, nil
	}
	var out ReadResult
	p.FollowerRead(FollowerRequest{Replica: from.id, BrokerEpoch: from.epoch, FetchPosition: pos, Whole: true}, &out)
	defer out.Slice.Release()
	*a = Fetched{PartitionID: id, Err: out.Err, HighWatermark: out.HighWatermark, LogStart: out.LogStart,
		DivergingEpoch: out.DivergingEpoch, DivergingEnd: out.DivergingEnd}
	if a.Records = make([]byte, out.Slice.Len()); len(a.Records) > 0 {
		if _, err := out.Slice.ReadAt(a.Records, 0); err != nil {
			a.Err = kerr.KafkaStorageError
		}
	}
	if a.Err != nil || a.DivergingEnd >= 0 || len(a.Records) > 0 || out.LogStart > pos.LogStart && out.LogStart <= pos.HighWatermark {
		return a, nil
	}
	w := &Waiter{Wake: func() { notify(woken) }}
	if p.AwaitTail(w, pos.Offset, pos.HighWatermark, out.Epoch) {
		return nil, w
	}
	return a, nil
}

func (n *node) ReadRange(ctx context.Context, from metadata.NodeID, r *RangeRequest) (*Range, error) {
	if err := n.cross(ctx, from); err != nil {
		return nil, err
	}
	n.c.mu.Lock()
	n.ranges++
	l, damage := n.c.nodes[from], n.c.damage
	dead := l.dead
	n.c.mu.Unlock()
	if dead {
		return nil, errNetwork
	}
	p := l.set.ByID(r.Topic, r.Index)
	if p == nil {
		return &Range{Err: kerr.UnknownTopicID}, nil
	}
	var out RangeResult
	p.ReadRange(RangeRead{Replica: n.id, BrokerEpoch: n.epoch, RangeRequest: *r}, &out)
	defer out.Slice.Release()
	a := &Range{Err: out.Err, HighWatermark: out.HighWatermark, LogStart: out.LogStart, Delay: out.Delay, Sum: out.Sum,
		Records: make([]byte, out.Slice.Len())}
	if len(a.Records) > 0 {
		if _, err := out.Slice.ReadAt(a.Records, 0); err != nil {
			return nil, err
		}
	}
	if damage != nil {
		damage(from, a)
	}
	return a, n.cross(ctx, from)
}

func (n *node) AlterPartition(ctx context.Context, changes []Alteration) ([]Altered, error) {
	if err := n.cross(ctx, controllerNode); err != nil {
		return nil, err
	}
	req := decide.AlterPartitionRequest{Broker: n.id, Epoch: n.epoch}
	for _, a := range changes {
		c := decide.ISRChange{Topic: a.Topic, Index: a.Index, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch}
		for _, m := range a.ISR {
			if m.ID == n.id {
				m.BrokerEpoch = n.epoch
			}
			c.ISR = append(c.ISR, decide.ISRMember{ID: m.ID, BrokerEpoch: m.BrokerEpoch})
		}
		req.Changes = append(req.Changes, c)
	}
	n.c.mu.Lock()
	out, err := decide.AlterPartition(n.c.img, req, time.Now())
	n.c.commit(out.Changes)
	n.c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var answers []Altered
	for _, p := range out.Reply.Partitions {
		a := Altered{}
		if p.Err != nil {
			a.Err = p.Err.Code
		}
		if m := p.Partition; m != nil {
			a.LeaderEpoch, a.PartitionEpoch, a.ISR = m.LeaderEpoch, m.PartitionEpoch, m.ISR
		}
		answers = append(answers, a)
	}
	return answers, n.cross(ctx, controllerNode) // the answer may be lost
}

// partition is a node's replica; nil if it has not heard of it.
func (n *node) partition() *Partition { return n.set.ByID(topicID(1), 0) }

// leader is the node that the controller has as leader, once it knows; nil while there is none.
func (c *cluster) leader() *Partition {
	r := c.record()
	n := c.nodes[r.Leader]
	if n == nil || n.dead {
		return nil
	}
	if p := n.partition(); p != nil {
		if role, epoch := p.Role(); role == Leader && epoch == r.LeaderEpoch {
			return p
		}
	}
	return nil
}

// until lets time pass until f holds.
func (c *cluster) until(what string, f func() bool) {
	c.t.Helper()
	for began := time.Now(); ; {
		synctest.Wait()
		if f() {
			return
		}
		if time.Since(began) > time.Minute {
			c.t.Fatalf("not in a minute: %s\n%s", what, c)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func (c *cluster) String() string {
	s := fmt.Sprintf("%+v\n", c.record())
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[id]
		s += fmt.Sprintf("node %d dead %t", id, n.dead)
		if p := n.partition(); p != nil {
			d := p.Describe()
			s += fmt.Sprintf(" %s epoch %d, log %d to %d, durable %d, high watermark %d", d.Role, d.LeaderEpoch, d.Start, d.End, d.DurableEnd, d.HighWatermark)
		}
		s += fmt.Sprintf(" %+v\n", n.set.Stats().Replication)
	}
	return s
}

func TestRecordsAreOnAllReplicasWhenTheyAreAcknowledged(t *testing.T) {
	for _, durable := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 1, 3)
			c.create(2, durable)
			c.whole()
			p := c.leader()
			for i := range 20 {
				if a := produce(p, -1, batch(1, number(i))); wait(p, a) != nil {
					t.Fatal(a.Err)
				}
				for _, n := range c.nodes {
					l := n.partition().standing.Load().log
					if l == nil || l.End() < int64(i+1) || durable && l.Durable() < int64(i+1) {
						t.Fatalf("record %d is acknowledged\n%s", i, c)
					}
				}
			}
			c.whole()
		})
	}
}

func TestAnotherReplicaTakesOverWithEverythingAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, 3)
		c.create(2, true)
		c.whole()
		for i := range 9 {
			p := c.leader()
			var last *Append
			for j := range 5 {
				last = produce(p, -1, batch(1, number(5*i+j)))
			}
			if err := wait(p, last); err != nil {
				t.Fatal(err)
			}
			down := c.record().Leader
			c.crash(down, nil)
			c.until("a new leader", func() bool { return c.leader() != nil && c.record().Leader != down })
			if end := c.leader().End(); end != int64(5*i+5) {
				t.Fatalf("the new leader has %d of %d records\n%s", end, 5*i+5, c)
			}
			c.restart(down)
			c.whole()
		}
	})
}

func TestAParkedFetchCostsNothingAndIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, 2)
		c.create(1, true)
		c.whole()
		fetches := func() int {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.nodes[1].fetches + c.nodes[2].fetches
		}
		before := fetches()
		<-time.After(30 * time.Second) // 100 waits
		if n := fetches() - before; n > 101 {
			t.Errorf("%d fetches in 30 s of nothing", n)
		}
		p, began := c.leader(), time.Now()
		if a := produce(p, -1, batch(1, "a")); wait(p, a) != nil {
			t.Fatal(a.Err)
		}
		if took := time.Since(began); took > 50*time.Millisecond {
			t.Errorf("a parked fetch was answered after %s", took)
		}
	})
}
