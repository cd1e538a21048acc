package partition

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/isr"
	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment"
	"cordwood/segment/producer"
)

// Role is what this broker is to a partition.
type Role uint8

const (
	Follower Role = iota
	Leader
	Offline // its directory failed, its log could not be opened, or it is being given up
)

func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case Leader:
		return "leader"
	case Offline:
		return "offline"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

// standing is what readers must see as one. It is replaced, never changed.
type standing struct {
	role        Role
	epoch       int32 // leader epoch
	leader      metadata.NodeID
	epochStart  int64 // Leader: log end when the epoch began (LESO)
	durable     bool  // durable mode
	unclean     int32 // leader epoch that the newest unclean election began; 0: there was none
	underMinISR bool
	replicated  bool              // Leader: there are followers
	missing     int               // Leader: replicas that are not in the ISR
	isr         []metadata.NodeID // as committed
	log         *segment.Log      // nil: nothing was ever written
	err         *kerr.Error       // not Leader: what requests are answered
}

// topic is what the partitions of one topic share.
type topic struct {
	id       metadata.TopicID
	name     string
	settings atomic.Pointer[settings]
	slots    atomic.Pointer[[]atomic.Pointer[Partition]] // by index; nil where not hosted
}

// Partition is one hosted replica.
type Partition struct {
	set   *Set
	topic *topic
	home  atomic.Pointer[directory] // the directory; another one only under mu
	index int32

	standing atomic.Pointer[standing]
	hw, lso  atomic.Int64                   // hw is stored before lso and read after it (P3)
	waiters  waiterList                     // for high watermarks
	tail     waiterList                     // followers, for log ends
	landed   waiterList                     // fetchers, for durable ends
	stream   atomic.Int32                   // leader epoch in which it takes sealed segments, and 1; 0: it does not
	fetchFor atomic.Int64                   // until when (Set.clock) it is fetched for, however far behind it is
	fetches  atomic.Pointer[fetcher]        // as follower: who fetches for it; changed under fetchers.mu
	agreed   atomic.Int32                   // as follower: leader epoch in which its leader found no other history in the log; -1: in none
	lag      atomic.Int64                   // as follower: how far the leader's high watermark was ahead at the last answer
	busy     atomic.Int64                   // since when a write to the log is outstanding (Set.clock); 0: none
	flush    atomic.Uint32                  // flushIdle ...; changed under flusher.mu
	halted   atomic.Pointer[string]         // why the replica stopped for good (R9)
	cold     atomic.Bool                    // the next turn at the flusher is a sync, in page-cache mode too
	barrier  atomic.Pointer[chan struct{}]  // not nil: appends wait for it before they ask for mu
	move     atomic.Pointer[move]           // not nil: it is being copied to another directory
	former   atomic.Pointer[former]         // not nil: the directory it was in, which waits for metadata
	absent   atomic.Pointer[metadata.DirID] // not nil: it is in a directory that this broker does not have
	cuts     atomic.Uint64                  // how often the log was made shorter, or anew

	mu             sync.Mutex
	tracker        *isr.Tracker // nil unless leader
	partitionEpoch int32
	begun          int32          // leader epoch that the epoch cache holds (P2)
	gate           chan struct{}  // not nil: the log is taken by exclusive; closed when it is free
	batches        []record.Batch // scratch of Append

	checked int64 // log end at the last checkpoint pass; upkeep's
}

func newPartition(s *Set, t *topic, index int32, d *directory, log *segment.Log) *Partition {
	p := &Partition{set: s, topic: t, index: index, partitionEpoch: -1, begun: -1}
	p.home.Store(d)
	p.agreed.Store(-1)
	p.waiters.init()
	p.tail.init()
	p.landed.init()
	st := &standing{role: Follower, epoch: -1, leader: metadata.NoNode, log: log, err: kerr.NotLeaderForPartition}
	if log != nil {
		hw := log.HighWatermarkHint()
		p.hw.Store(hw)
		p.lso.Store(log.LastStable(hw))
	}
	p.standing.Store(st)
	return p
}

func (p *Partition) Topic() string             { return p.topic.name }
func (p *Partition) TopicID() metadata.TopicID { return p.topic.id }
func (p *Partition) Index() int32              { return p.index }

// dir is the log directory that the replica is in.
func (p *Partition) dir() *directory { return p.home.Load() }

// name is the partition as directories and logs call it.
func (p *Partition) name() string { return directoryName(p.topic.name, p.index) }

// Rules is how batches for this partition are validated. The caller copies them and fills in Now.
func (p *Partition) Rules() *record.Rules { return &p.topic.settings.Load().rules }

// Config is the topic's configuration.
func (p *Partition) Config() *metadata.TopicConfig { return &p.topic.settings.Load().topic }

// Role tells the role and the leader epoch it belongs to.
func (p *Partition) Role() (Role, int32) {
	st := p.standing.Load()
	if p.dir().isFailed() {
		return Offline, st.epoch
	}
	return st.role, st.epoch
}

// HighWatermark is the first offset that is not committed.
func (p *Partition) HighWatermark() int64 { return p.hw.Load() }

// Start and End are the log's.
func (p *Partition) Start() int64 { return p.standing.Load().start() }
func (p *Partition) End() int64   { return p.standing.Load().end() }

// Applied reports whether everything of earlier leader epochs is committed (R7); state built from the partition is
// complete only then (Z24).
func (p *Partition) Applied() bool {
	st := p.standing.Load()
	return st.role == Leader && p.hw.Load() >= st.epochStart
}

func (st *standing) start() int64 {
	if st.log == nil {
		return 0
	}
	return st.log.Start()
}

func (st *standing) end() int64 {
	if st.log == nil {
		return 0
	}
	return st.log.End()
}

// leading returns the standing if this broker leads the partition and its directory works, else the answer.
func (p *Partition) leading() (*standing, *kerr.Error) {
	st := p.standing.Load()
	switch {
	case p.dir().isFailed():
		return st, kerr.KafkaStorageError
	case st.role != Leader:
		return st, st.err
	}
	return st, nil
}

// isFollowing reports whether a follower knows its leader.
func (st *standing) isFollowing() bool { return st.role == Follower && st.leader != metadata.NoNode }

// fence compares a client's leader epoch with ours (trap 37); -1 is not checked.
func (st *standing) fence(epoch int32) *kerr.Error {
	switch {
	case epoch < 0 || epoch == st.epoch || mutant == 5:
		return nil
	case epoch < st.epoch:
		return kerr.FencedLeaderEpoch
	}
	return kerr.UnknownLeaderEpoch
}

// Description is a replica as DescribeLogDirs and metrics tell it.
type Description struct {
	Topic         string
	TopicID       metadata.TopicID
	Index         int32
	Dir           string
	Role          Role
	LeaderEpoch   int32
	Start, End    int64
	DurableEnd    int64
	HighWatermark int64
	LastStable    int64
	Size          int64
	Segments      int
	UnderMinISR   bool
	Halted        string // why the replica stopped until an operator decides (R9); empty: it did not
}

// Describe tells where the replica stands, without a lock.
func (p *Partition) Describe() Description {
	st := p.standing.Load()
	role, epoch := p.Role()
	d := Description{Topic: p.topic.name, TopicID: p.topic.id, Index: p.index, Dir: p.dir().path, Role: role,
		LeaderEpoch: epoch, UnderMinISR: st.role == Leader && st.underMinISR, LastStable: p.lso.Load()}
	d.HighWatermark = p.hw.Load()
	if why := p.halted.Load(); why != nil {
		d.Halted = *why
	}
	if l := st.log; l != nil {
		d.Start, d.End, d.DurableEnd, d.Size, d.Segments = l.Start(), l.End(), l.Durable(), l.Size(), l.Segments()
	}
	return d
}

// Producers lists the active producers, for DescribeProducers.
func (p *Partition) Producers() ([]producer.Info, error) {
	st, err := p.leading()
	if err != nil {
		return nil, err
	}
	if st.log == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return st.log.Producers().Producers(), nil
}

// enter waits until exclusive has given the log back. mu is held before and after, not meanwhile.
func (p *Partition) enter() {
	for p.gate != nil {
		gate := p.gate
		p.mu.Unlock()
		<-gate
		p.mu.Lock()
	}
}

// enterUnlessFailed is enter for those who must not hang with a disk: false, without mu, once the directory is offline.
func (p *Partition) enterUnlessFailed() bool {
	for p.gate != nil {
		gate := p.gate
		p.mu.Unlock()
		select {
		case <-gate:
		case <-time.After(time.Millisecond):
		}
		if p.dir().isFailed() {
			return false
		}
		p.mu.Lock()
	}
	return true
}

// exclusive runs f, which waits for the disk, without mu but with the log to itself. mu is held before and after;
// enter must come first.
func (p *Partition) exclusive(f func() error) error {
	return p.hold(func() error {
		p.busy.Store(p.set.clock())
		defer p.busy.Store(0)
		return f()
	})
}

// hold is exclusive for what does not wait for the replica's own disk.
func (p *Partition) hold(f func() error) error {
	gate := make(chan struct{})
	p.gate = gate
	p.mu.Unlock()
	err := f()
	p.mu.Lock()
	p.gate = nil
	close(gate)
	return err
}

// lockUnlessFailed takes mu ahead of appends that have not asked for it yet, so that a hot partition cannot keep
// metadata waiting; but it gives up once the directory is offline: the holder may hang in a write for ever, and whoever
// applies metadata must go on with the other directories.
func (p *Partition) lockUnlessFailed() bool {
	if p.dir().isFailed() {
		return false
	}
	if p.mu.TryLock() {
		return true
	}
	barrier := make(chan struct{})
	for !p.barrier.CompareAndSwap(nil, &barrier) {
		p.passBarrier()
	}
	defer close(barrier)
	defer p.barrier.Store(nil)
	for wait := 20 * time.Microsecond; !p.dir().isFailed(); wait = min(2*wait, time.Millisecond) {
		if p.mu.TryLock() {
			return true
		}
		time.Sleep(wait)
	}
	return false
}

// passBarrier waits while somebody is in lockUnlessFailed.
func (p *Partition) passBarrier() {
	for b := p.barrier.Load(); b != nil; b = p.barrier.Load() {
		<-*b
	}
}
