package controller

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// quorum is a network of real nodes with their disks. Everything of this file runs in
// virtual time.
type quorum struct {
	t       *testing.T
	members []*member // by node id

	mu      sync.Mutex
	changed chan struct{} // closed when somebody is cut off or back
}

// member is one node of it, or the disk of one that is down.
type member struct {
	q    *quorum
	id   metadata.NodeID
	cfg  Config
	disk *vfs.Mem

	every uint64                   // entries between two audits; 0: as it is
	fault func(vfs.Op) vfs.Verdict // what its disk does; nil: it works
	node  *running                 // nil while it is down; of the test's goroutine
	live  *Node                    // the same, for the network; under q.mu
	cut   bool                     // nothing it sends arrives, nothing reaches it; under q.mu
}

// newQuorum makes n members that are not started. With founders they name each other.
func newQuorum(t *testing.T, n int) *quorum {
	q := &quorum{t: t, changed: make(chan struct{})}
	var all []metadata.NodeID
	for i := range n {
		all = append(all, metadata.NodeID(i))
	}
	for _, id := range all {
		m := &member{q: q, id: id, disk: vfs.NewMem()}
		m.cfg = config(nil, "/raft")
		m.cfg.NodeID, m.cfg.DirID, m.cfg.Voters = id, metadata.DirID{1, byte(id)}, all
		m.cfg.SegmentBytes, m.cfg.Trailing, m.cfg.SnapshotAfter = 4000, 20, 50
		q.members = append(q.members, m)
	}
	return q
}

func (q *quorum) start() *quorum {
	for _, m := range q.members {
		m.start()
	}
	return q
}

func (q *quorum) stop() {
	for _, m := range q.members {
		m.stop()
	}
}

func (m *member) start() {
	m.q.t.Helper()
	m.cfg.FS, m.cfg.Dial, m.cfg.Greet = m.disk, m.dial, m.greet
	if m.fault != nil {
		m.cfg.FS = vfs.NewFault(m.disk, m.fault)
	}
	n, err := Open(m.cfg)
	if err != nil {
		m.q.t.Fatalf("node %d: %v", m.id, err)
	}
	if m.every > 0 {
		n.fsm.every = m.every
	}
	m.q.set(func() { m.live, m.cut = n, false })
	m.node = run(m.q.t, n)
}

// stop ends a node in good order.
func (m *member) stop() {
	m.q.t.Helper()
	if m.node != nil {
		m.node.stop()
		m.q.set(func() { m.live = nil })
		m.node = nil
	}
}

// kill cuts the power: nothing leaves the node any more, and what it had not synced is gone.
func (m *member) kill(rng *rand.Rand) {
	m.q.t.Helper()
	m.q.set(func() { m.cut = true })
	m.disk = m.disk.CrashClone(rng)
	m.stop()
}

// wipe gives a node that is down an empty disk.
func (m *member) wipe() {
	m.disk = vfs.NewMem()
	m.cfg.DirID[2]++
}

func (q *quorum) set(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
	close(q.changed)
	q.changed = make(chan struct{})
}

func (m *member) isolate() { m.q.set(func() { m.cut = true }) }
func (m *member) heal()    { m.q.set(func() { m.cut = false }) }

// open reports whether messages pass between two members, and when to look again.
func (q *quorum) open(a, b *member) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !a.cut && !b.cut, q.changed
}

func (m *member) dial(ctx context.Context, to metadata.NodeID) (net.Conn, error) {
	peer := m.q.members[to]
	if open, _ := m.q.open(m, peer); !open {
		<-ctx.Done() // as packets that nobody answers
		return nil, ctx.Err()
	}
	m.q.mu.Lock()
	live := peer.live
	m.q.mu.Unlock()
	if live == nil {
		return nil, errors.New("connection refused")
	}
	here, there := net.Pipe()
	done := make(chan struct{})
	end := sync.OnceFunc(func() { close(done) })
	if err := live.HandOver(ctx, &wire{there, peer, m, done, end}); err != nil {
		return nil, errors.Join(err, here.Close())
	}
	return &wire{here, m, peer, done, end}, nil
}

func (m *member) greet(ctx context.Context, mine Hello) (answers []Hello) {
	for _, peer := range m.q.members {
		open, _ := m.q.open(m, peer)
		m.q.mu.Lock()
		live := peer.live
		m.q.mu.Unlock()
		if !open || live == nil {
			continue
		}
		raw, err := live.Hello().Encode()
		if err != nil {
			m.q.t.Error(err)
		}
		h, err := DecodeHello(raw)
		if err != nil {
			m.q.t.Error(err)
		}
		answers = append(answers, h)
	}
	return answers
}

// wire is one end of a connection. What is written while an end is cut off waits, as it
// would in a kernel that sends it again and again.
type wire struct {
	net.Conn
	from, to *member
	done     chan struct{} // either end is closed
	end      func()
}

func (w *wire) Write(p []byte) (int, error) {
	for {
		open, changed := w.from.q.open(w.from, w.to)
		if open {
			return w.Conn.Write(p)
		}
		select {
		case <-changed:
		case <-w.done:
			return 0, net.ErrClosed
		}
	}
}

func (w *wire) Close() error {
	w.end()
	return w.Conn.Close()
}

// active waits for a node that decides and can be reached.
func (q *quorum) active() *member {
	q.t.Helper()
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(5 * time.Millisecond) {
		for _, m := range q.members {
			if open, _ := q.open(m, m); m.node != nil && open && m.node.Active() {
				return m
			}
		}
	}
	q.t.Fatal("nobody leads")
	return nil
}

// take commits the next number at a node and returns it.
func (m *member) take(ctx context.Context) (int64, error) {
	n, _, err := Do(ctx, m.node.Node, func(img *metadata.Image, now time.Time) (decide.Outcome[int64], error) {
		next := img.NextProducerID() + 1
		return decide.Outcome[int64]{Changes: []metadata.Change{metadata.ProducerIDsAllocated{Next: next}}, Reply: next}, nil
	})
	return n, err
}

// seen commits numbers at whoever leads, count of them, and returns them.
func (q *quorum) some(count int) (taken []int64) {
	q.t.Helper()
	for len(taken) < count {
		within, cancel := context.WithTimeout(ctx, 2*time.Second)
		if n, err := q.active().take(within); err == nil {
			taken = append(taken, n)
		} else {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}
	return taken
}

// agree waits until all nodes that run have the same image.
func (q *quorum) agree(want int64) {
	q.t.Helper()
	for _, m := range q.members {
		if m.node == nil {
			continue
		}
		for began := time.Now(); m.node.Image().NextProducerID() < want; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				q.t.Fatalf("node %d has %d of %d", m.id, m.node.Image().NextProducerID(), want)
			}
		}
	}
}

func (q *quorum) others(not *member) (out []*member) {
	for _, m := range q.members {
		if m != not {
			out = append(out, m)
		}
	}
	return out
}

// unique fails if a number was answered twice: somebody decided on an image that was not
// the newest.
func unique(t *testing.T, taken []int64) {
	t.Helper()
	slices.Sort(taken)
	for i := range taken {
		if i > 0 && taken[i] == taken[i-1] {
			t.Fatalf("%d was given out twice", taken[i])
		}
	}
}

// rounds is how often a test with -short goes round.
func rounds(full int) int {
	if testing.Short() {
		return full / 5
	}
	return full
}
