package controller

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
)

// ErrForeign stops a node whose directory belongs to another cluster (bad input 149).
var ErrForeign = errors.New("controller: the directory belongs to another cluster")

// Config of a node. NodeID, Dir and FS must be set.
type Config struct {
	NodeID         metadata.NodeID
	ClusterID      string // what meta.properties or the operator says; empty: a new cluster makes its own
	Dir            string // of the raft files; made if missing
	DirID          metadata.DirID
	FS             vfs.FS
	Log            *zap.Logger
	Rand           io.Reader     // default: crypto/rand
	Rules          *decide.Rules // settings that decisions need
	SessionTimeout time.Duration // of brokers; default 3 s
	DiskStall      time.Duration // default 5 s: a write that takes longer ends the node (R17)
	Trailing       uint64        // entries kept behind a snapshot; default 2048
	SnapshotAfter  uint64        // entries that make a snapshot due; default 2048
	SegmentBytes   int64         // size of the log's files; default 16 MiB

	// Every BalanceInterval (0: never) leaderships go back to brokers that lack more than
	// BalancePercent percent of those they are preferred for.
	BalanceInterval time.Duration
	BalancePercent  int

	// The quorum. Voters are its first ones by id (controller.quorum.voters); or Expect says
	// how many there will be, whoever they are (cordwood.bootstrap.expect). With neither the
	// node waits to be added to a quorum that exists; without Greet it is one by itself.
	Voters []metadata.NodeID
	Expect int
	// Greet says hello to every node that may be a voter, all at once and for a second at
	// most, and returns what was answered.
	Greet func(ctx context.Context, mine Hello) []Hello
	// Dial opens a raft stream to another voter.
	Dial func(ctx context.Context, to metadata.NodeID) (net.Conn, error)
	// Probe dials a broker's internal address, and reports whether it was refused: silence
	// and every other error are no. nil: nobody is fenced before its session ends (R19).
	Probe func(ctx context.Context, b *metadata.Broker) (refused bool)
	// Late, if set, says who was late as the last active controller told this node.
	Late func() []metadata.NodeID
	// Led, if set, is told whom raft takes for the leader, this node too, whenever that is another one. It must not wait.
	Led func(id metadata.NodeID)
}

func (c *Config) fill() error {
	if c.FS == nil || c.Dir == "" || c.NodeID < 0 {
		return errors.New("controller: NodeID, Dir and FS must be set")
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Rules == nil {
		c.Rules = &decide.Rules{}
	}
	if c.SessionTimeout <= 0 {
		c.SessionTimeout = 3 * time.Second
	}
	if c.DiskStall <= 0 {
		c.DiskStall = 5 * time.Second
	}
	if c.Trailing == 0 {
		c.Trailing = 2048
	}
	if c.SnapshotAfter == 0 {
		c.SnapshotAfter = 2048
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 16 << 20
	}
	return nil
}

// Node is one controller.
type Node struct {
	// Set once.
	cfg    Config
	log    *zap.Logger
	guard  *guard
	lock   io.Closer
	store  *store
	stable *stable
	snaps  *snapshots
	stream *stream
	fsm    *fsm
	queue  chan *request
	ready  chan struct{}
	gone   chan struct{} // closed when nobody will decide any more

	checks   chan chan<- error // who wants to know whether this node still leads
	suspects chan metadata.NodeID

	active    atomic.Bool
	founded   atomic.Pointer[founding]
	part      atomic.Bool // takes part in raft
	raft      atomic.Pointer[raft.Raft]
	transport atomic.Pointer[transport] // set before raft
	counters  counters
	outages   outages // of other voters, for the log
	strangers strangers

	sessions struct {
		mu      sync.Mutex
		s       *decide.Sessions
		fencing []metadata.NodeID // by the entry that is under way
		heard   map[metadata.NodeID]heard
		term    uint64    // of this node's newest office; 0: none, or not known
		ended   time.Time // when the newest office ended that began

		late      []metadata.NodeID // as brokers are told; never modified
		lateMoved chan struct{}     // closed when that changes
	}
	// asking counts the questions raft has not answered yet.
	asking struct {
		mu   sync.Mutex
		over bool
		wait sync.WaitGroup
	}
	randomness sync.Mutex
	end        sync.Once
}

// heard is what a broker's last heartbeat said.
type heard struct {
	index uint64 // of its image
	at    time.Time
}

// Open reads the directory; an empty one needs no format step. The node does nothing until
// Run; whoever does not call Run must Close.
func Open(cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Log, guard: newGuard(cfg.DiskStall), queue: make(chan *request, 1024), checks: make(chan chan<- error), suspects: make(chan metadata.NodeID, 1024), ready: make(chan struct{}), gone: make(chan struct{})}
	n.outages.peers = map[string]*outage{}
	n.strangers.met = make(chan raft.ServerID, 1)
	n.fsm, n.stream = newFSM(n.guard), newStream(cfg.NodeID, cfg.Dial)
	n.sessions.s = decide.NewSessions(cfg.SessionTimeout)
	n.sessions.heard, n.sessions.lateMoved = map[metadata.NodeID]heard{}, make(chan struct{})
	n.founded.Store(&founding{})
	if err := vfs.MkdirAllSync(cfg.FS, cfg.Dir); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	var err error
	if n.lock, err = cfg.FS.Lock(filepath.Join(cfg.Dir, ".lock")); err != nil {
		return nil, fmt.Errorf("controller: %w", err)
	}
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open() (err error) {
	cfg := &n.cfg
	n.snaps = &snapshots{fs: cfg.FS, dir: cfg.Dir, guard: n.guard, log: n.log}
	if err := n.snaps.sweep(); err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	space := holdReserve(cfg.FS, cfg.Dir, n.log)
	if n.stable, err = openStable(cfg.FS, cfg.Dir, n.guard); err != nil {
		return err
	}
	if n.store, err = openStore(cfg, n.guard, space); err != nil {
		return err
	}
	snapshots, err := n.snaps.List()
	if err != nil {
		return fmt.Errorf("controller: %w", err)
	}
	return n.begin(snapshots)
}

// Close gives back a node that does not run.
func (n *Node) Close() error {
	n.end.Do(func() { close(n.gone) })
	var errs []error
	if n.store != nil {
		errs = append(errs, n.store.close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	n.store, n.lock = nil, nil
	return errors.Join(errs...)
}

// raftConfig has the timings of a LAN: a leader that is cut off gives up after a lease,
// before anybody else may lead; the others elect within a second (C9).
func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(strconv.Itoa(int(n.cfg.NodeID)))
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = raftHeartbeat, raftHeartbeat, raftLease
	c.MaxAppendEntries, c.BatchApplyCh = 1024, true
	c.ShutdownOnRemove = false // it can be added again
	c.TrailingLogs, c.SnapshotThreshold = n.cfg.Trailing, n.cfg.SnapshotAfter
	c.SnapshotInterval = 30 * time.Second // at most twice that between two looks
	c.NoLegacyTelemetry = true
	c.Logger = newLogger(n.log, &n.outages)
	return c
}

// Run waits until this node belongs to a quorum, starts raft and the decider, and returns
// when all their goroutines are gone: nil after ctx ended, else why the node had to stop.
// Only when the disk hangs it does not wait for those that hang with it.
func (n *Node) Run(ctx context.Context) error {
	if err := n.gather(ctx); err != nil || ctx.Err() != nil {
		return errors.Join(err, n.Close())
	}
	transport, conf := newTransport(n), n.raftConfig()
	r, err := raft.NewRaft(conf, n.fsm, n.store, n.stable, n.snaps, transport)
	if err != nil {
		return errors.Join(fmt.Errorf("controller: %w", err), transport.Close(), n.Close())
	}
	n.transport.Store(transport)
	n.raft.Store(r)
	inside, cancel := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	helpers.Go(func() { transport.run(inside) })
	helpers.Go(func() { transport.leadAlone(inside, r, conf.LocalID) })
	helpers.Go(func() { n.tell(inside, r, transport) })
	helpers.Go(func() { n.investigate(inside) })
	helpers.Go(func() { n.audit(inside) })
	helpers.Go(func() { n.meet(inside) })
	helpers.Go(func() { n.watchLeader(inside.Done(), r) })
	err = n.lead(ctx, r)
	n.end.Do(func() { close(n.gone) })
	n.refuseQueued()
	n.hearAnswers()
	stopped := r.Shutdown()
	cancel()
	helpers.Wait()
	err = errors.Join(err, transport.Close())
	if errors.Is(err, ErrDiskStalled) {
		return err
	}
	return errors.Join(err, stopped.Error(), n.Close())
}

// ask puts a question to raft, which has no channel to wait on: both the question and the
// answer hang while the disk does.
func (n *Node) ask(question func() error) <-chan error {
	answer := make(chan error, 1)
	n.asking.mu.Lock()
	defer n.asking.mu.Unlock()
	if n.asking.over {
		answer <- raft.ErrRaftShutdown
		return answer
	}
	n.asking.wait.Go(func() { answer <- question() })
	return answer
}

// hearAnswers waits until raft has answered everything it was asked: once it is shut down
// it forgets what it has not begun with, and whoever asked would wait for ever. A node
// whose disk fails cannot wait.
func (n *Node) hearAnswers() {
	n.asking.mu.Lock()
	n.asking.over = true
	n.asking.mu.Unlock()
	heard := make(chan struct{})
	go func() {
		n.asking.wait.Wait()
		close(heard)
	}()
	select {
	case <-heard:
	case <-n.guard.fatal:
	}
}

// lead runs the decider whenever this node is raft's leader.
func (n *Node) lead(ctx context.Context, r *raft.Raft) error {
	for {
		select {
		case <-ctx.Done():
			n.transfer(r)
			return nil
		case <-n.guard.fatal:
			return n.guard.cause
		case q := <-n.queue:
			q.refuse(notController())
			continue
		case <-r.LeaderCh():
		case <-n.again(r):
		}
		if r.State() != raft.Leader {
			continue
		}
		d := decider{n: n, raft: r}
		if err := d.office(ctx); err != nil {
			return err
		}
	}
}

// again brings the decider back that gave up its office while raft stayed the leader: it
// must look at the image anew.
func (n *Node) again(r *raft.Raft) <-chan time.Time {
	if r.State() != raft.Leader {
		return nil
	}
	return time.After(10 * time.Millisecond)
}

// transfer hands leadership over before a stop, if there is anybody.
func (n *Node) transfer(r *raft.Raft) {
	if c := r.GetConfiguration(); c.Error() == nil && len(c.Configuration().Servers) > 1 && r.State() == raft.Leader {
		if err := <-n.ask(func() error { return r.LeadershipTransfer().Error() }); err != nil {
			n.log.Info("leadership was not handed over", zap.String("event", "CW-0402"), zap.Error(err))
		}
	}
}

func (n *Node) refuseQueued() {
	for {
		select {
		case q := <-n.queue:
			q.refuse(notController())
		default:
			return
		}
	}
}

func notController() error {
	return &decide.Refusal{Code: kerr.NotController, Message: "This node is not the active controller."}
}

// Image is the newest committed image this node has; never nil.
func (n *Node) Image() *metadata.Image { return n.fsm.image.Load() }

// Active reports whether this node decides.
func (n *Node) Active() bool { return n.active.Load() }

// Ready is closed when the node has been active once: the whole log is applied and the
// cluster has its id.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Leader is the node that raft takes for the leader; metadata.NoNode if there is none. It
// is a hint where to ask: the answer says who is.
func (n *Node) Leader() metadata.NodeID {
	r := n.raft.Load()
	if r == nil {
		return metadata.NoNode
	}
	_, id := r.LeaderWithID()
	return nodeOf(id)
}

// HandOver gives raft a connection from another voter; it belongs to raft from then on. A
// node that takes no part in raft refuses it.
func (n *Node) HandOver(ctx context.Context, c net.Conn) error {
	if n.raft.Load() == nil {
		return errOutside
	}
	return n.stream.handOver(ctx, c)
}

// NewTopicID returns a random id that Kafka's tools can be given.
func (n *Node) NewTopicID() metadata.UUID {
	n.randomness.Lock()
	defer n.randomness.Unlock()
	for {
		var u metadata.UUID
		if _, err := io.ReadFull(n.cfg.Rand, u[:]); err != nil {
			n.guard.fail(fmt.Errorf("controller: no randomness: %w", err))
			return metadata.UUID{}
		}
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // version 4, as Kafka's are
		if !u.Reserved() {
			return u
		}
	}
}
