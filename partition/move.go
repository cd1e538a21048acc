package partition

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment"
)

// A replica moves to another directory of this broker while it is used: its future replica is copied there beside it, and
// takes its place when nothing is missing.
//
//	Set.Move ──▶ NAME.ID-future ──▶ mover of that directory: ┌▶ cut what the replica cut, copy a piece, sync now and then ─┐
//	                                                         └──────────────────── more to copy ◀──────────────────────────┤
//	NAME, in its new directory ◀── renames ◀── the rest, with appends waiting ◀─────────── nearly there ◀──────────────────┘
//
// Names on disk say how far it is, so that a crash at any moment leaves one replica that is whole (P19):
//
//	old directory      new directory
//	NAME               NAME.ID-future   the replica is in the old one; the copy goes on, or is cut and goes on
//	NAME.ID-moved      NAME.ID-future   the copy is whole: the next start gives it its name
//	NAME.ID-moved      NAME             the replica is in the new one; the old one goes when metadata names the new one
//
// ID is the new directory's id, so that what is left without its copy, because that disk is gone, says where the replica is.
const (
	movePiece = 1 << 20
	moveNear  = 4 << 20 // with less than this to copy appends can wait for it
	movePause = time.Second
)

// move is one replica on its way to another directory.
type move struct {
	p    *Partition
	to   *directory
	log  *segment.Log  // the future replica
	turn chan struct{} // one token: who has it works on log, or ends the move

	over bool // with the token: log is the replica by now, or is deleted

	// The mover's.
	began    time.Time
	due      time.Time // nothing is done before
	bytes    int64
	unsynced int
	spoilt   bool // a swap was broken off: begin anew
}

func newMove(p *Partition, to *directory, log *segment.Log) *move {
	return &move{p: p, to: to, log: log, turn: make(chan struct{}, 1), began: time.Now()}
}

// take waits for the token; false: the new directory failed meanwhile, and whoever has the token may hang with it.
func (m *move) take() bool {
	for {
		select {
		case m.turn <- struct{}{}:
			return true
		case <-time.After(time.Millisecond):
			if m.to.isFailed() {
				return false
			}
		}
	}
}

// errTaken is why a directory cannot be made.
func errTaken(err error, path string) error {
	if err == nil {
		err = fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return err
}

func (m *move) give() { <-m.turn }

// mover is what moves replicas to one directory, one after another.
type mover struct {
	dir     *directory
	news    chan struct{}
	buf     []byte
	scratch []record.Batch

	mu    sync.Mutex
	queue []*move
}

func newMover(d *directory) *mover { return &mover{dir: d, news: make(chan struct{}, 1)} }

func (x *mover) add(m *move) {
	x.mu.Lock()
	x.queue = append(x.queue, m)
	x.mu.Unlock()
	notify(x.news)
}

func (x *mover) drop(m *move) {
	x.mu.Lock()
	x.queue = slices.DeleteFunc(x.queue, func(q *move) bool { return q == m })
	x.mu.Unlock()
}

// next is the first move that is due, or how long until one is; 0: there is none.
func (x *mover) next(now time.Time) (m *move, wait time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.queue {
		d := m.due.Sub(now)
		if d <= 0 {
			return m, 0
		}
		if wait == 0 || d < wait {
			wait = d
		}
	}
	return nil, wait
}

// run works until ctx ends.
func (x *mover) run(ctx context.Context) {
	for ctx.Err() == nil {
		m, wait := x.next(time.Now())
		if m != nil {
			x.step(m)
		} else {
			x.rest(ctx, wait)
		}
	}
}

// rest waits for news, and for that time at most unless it is 0.
func (x *mover) rest(ctx context.Context, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-x.news:
	}
}

// step does a piece of work for one move, or ends it.
func (x *mover) step(m *move) {
	if !m.take() {
		x.giveUp(m)
		return
	}
	defer m.give()
	p, now := m.p, time.Now()
	switch st := p.standing.Load(); {
	case m.over:
		x.drop(m)
		return
	case x.dir.isFailed():
		x.giveUp(m)
		return
	case p.dir().isFailed() || st.role == Offline: // what is copied stays: the next start goes on with it
		x.drop(m)
		return
	case p.former.Load() != nil: // metadata does not know yet where the replica is
		m.due = now.Add(movePause / 20)
		return
	}
	if d := p.set.throttles.copies.delay(now); d > 0 {
		m.due = now.Add(d)
		return
	}
	switch err := x.advance(m); {
	case errors.Is(err, errLate):
		m.due = time.Now().Add(movePause / 100)
	case err != nil:
		m.due = time.Now().Add(movePause)
		p.dir().complain("CW-0522", "replica cannot be copied to another directory now", p, err)
	}
}

// giveUp ends a move to a directory that failed. What is there counts for nothing in this life of the process.
func (x *mover) giveUp(m *move) {
	x.drop(m)
	if m.p.move.CompareAndSwap(m, nil) {
		x.dir.log.Warn("replica stays where it is: the directory it was to move to is offline", zap.String("event", "CW-0523"),
			zap.String("partition", m.p.name()))
	}
}

// advance copies a piece, and lets the copy take the replica's place when little is left.
func (x *mover) advance(m *move) error {
	n, err := x.copy(m, m.p.set.throttles.copies.piece(movePiece))
	if err != nil {
		return err
	}
	m.p.set.throttles.copies.took(n, time.Now())
	m.p.set.counters.copyBytes.Add(int64(n))
	m.bytes += int64(n)
	if m.unsynced += n; m.unsynced >= m.p.set.cfg.StreamSync {
		if err := m.sync(); err != nil {
			return err
		}
	}
	switch {
	case m.isNear():
		return x.complete(m)
	case n == 0: // much that nobody has synced, as in page-cache mode
		return m.syncReplica()
	}
	return nil
}

// isNear reports that less than moveNear is left to copy.
func (m *move) isNear() bool {
	src := m.p.standing.Load().log
	end := src.End()
	left, err := src.View().Slice(max(m.log.End(), src.Start()), end, moveNear, false)
	left.Release()
	return err == nil && left.End() >= end
}

// complete swaps if what is left could be copied while appends wait.
func (x *mover) complete(m *move) error {
	if err := m.sync(); err != nil {
		return err
	}
	if err := m.syncReplica(); err != nil { // most of what the swap has to wait for
		return err
	}
	if err := m.p.swap(m, x); err != nil {
		return err
	}
	x.drop(m)
	return nil
}

// syncReplica makes durable what the replica has: the rest is not copied.
func (m *move) syncReplica() error {
	if _, err := m.p.standing.Load().log.Sync(); err != nil {
		m.p.dir().syncFailed(m.p, err)
		return errLate
	}
	return nil
}

// sync makes durable what was copied.
func (m *move) sync() error {
	began := time.Now()
	err := m.to.attempt(func() error {
		_, err := m.log.Sync()
		return err
	})
	m.unsynced = 0
	m.to.counters.synced(time.Since(began))
	if err == nil {
		err = m.to.attempt(func() error { return m.log.Purge(m.p.set.cfg.Now()) })
	} else if !lacksDescriptor(err) {
		m.to.fail(err)
	}
	return err
}

// copy takes over at most about `most` bytes, after it has cut what the replica has cut. Only what is durable in the old
// directory: of what a power cut takes there the copy would still have the old records where the replica gets new ones, and in
// one leader epoch nobody can tell them apart. It is damage of the replica if what it holds is not what it was: that is never
// copied.
func (x *mover) copy(m *move, most int) (n int, err error) {
	p := m.p
	st, cuts := p.standing.Load(), p.cuts.Load()
	if err := m.to.attempt(func() error { return m.align(st.log) }); err != nil {
		return 0, m.failed(err)
	}
	from, end := m.log.End(), st.log.Durable()
	if from >= end {
		return 0, nil
	}
	slice, err := st.log.View().Slice(from, end, most, true)
	if errors.Is(err, segment.ErrOutOfRange) { // retention was faster
		return 0, errLate
	}
	if err == nil {
		x.buf = append(x.buf[:0], make([]byte, slice.Len())...)
		_, err = slice.ReadAt(x.buf, 0)
		slice.Release()
	}
	if p.cuts.Load() != cuts { // what was read may not follow what was compared
		return 0, errLate
	}
	if err != nil {
		p.readFailed(from, err)
		return 0, err
	}
	batches, err := cutFetched(x.buf, x.scratch[:0])
	x.scratch = batches[:0]
	switch {
	case err != nil:
		p.distrust(from)
		err = errors.Join(kerr.CorruptMessage, err)
	case len(batches) == 0:
		err = errLate
	default:
		err = m.failed(m.to.attempt(func() error { return m.append(batches) }))
	}
	if errors.Is(err, errAbandoned) { // somebody hangs with them
		x.buf, x.scratch = nil, nil
		return 0, err
	}
	clear(batches)
	return len(x.buf), err
}

// align brings the copy to where the replica's history goes on, and its start to the replica's.
func (m *move) align(src *segment.Log) error {
	if m.spoilt || len(m.log.Faults()) > 0 { // it is only a copy
		m.spoilt = false
		return m.log.Reset(src.Start())
	}
	for {
		to := m.log.Follows(src)
		if to >= m.log.End() {
			break
		}
		if err := m.log.Truncate(to); err != nil {
			return err
		}
	}
	switch start := src.Start(); {
	case start > m.log.End():
		return m.log.Reset(start)
	case start > m.log.Start():
		return m.log.Trim(start)
	}
	return nil
}

// append puts batches behind the copy's end. Where the replica starts inside a batch, so does the copy.
func (m *move) append(batches []record.Batch) error {
	first := batches[0]
	if start := m.log.Start(); start == m.log.End() && first.BaseOffset() < start {
		if err := m.log.Reset(first.BaseOffset()); err != nil {
			return err
		}
	}
	return m.log.Append(batches, batches[len(batches)-1].LeaderEpoch())
}

// failed takes the new directory offline for what broke it.
func (m *move) failed(err error) error {
	if err != nil && isFatal(err) {
		m.to.fail(err)
	}
	return err
}
