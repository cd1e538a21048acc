package partition

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// States of Partition.flush: what the flusher knows of a log. A request that finds it queued, or asked for again,
// has nothing to do: the sync that will come begins later than the append.
//
//	idle ──request──▶ queued ──worker──▶ syncing ──request──▶ again
//	  ▲                  ▲                  │                   │
//	  └──────────────────┼─────── done ─────┘                   │
//	                     └──────────────── done ────────────────┘
const (
	flushIdle uint32 = iota
	flushQueued
	flushSyncing
	flushAgain
	flushMoving // taken from this flusher: the replica is about to be in another directory
)

const (
	maxSyncs = 16 // parallel fdatasyncs per directory
	// journalFrom is how many logs must wait for the journal to be used: with more, one write and one fsync for all of
	// them beat a sync each (ADR 1). 10,000 records/s in turn over 1,000 logs were acknowledged after 5 ms (median) with
	// 8, 7 ms with 16 and 10 ms with 64.
	journalFrom = 8
)

// flusher makes the logs of one directory durable: group commit. A log has at most one sync at a time, which covers
// all that was appended before it began; what is appended meanwhile waits for the next. Logs do not wait for each
// other: up to maxSyncs are synced at once, by workers that are started as they are needed and go on to the next log
// that waits. Nothing is ever synced because of a timer.
type flusher struct {
	dir *directory

	mu      sync.Mutex
	work    sync.Cond // with mu
	queue   fifo
	direct  fifo // those that the journal does not take
	running bool
	closing bool
	idle    int // workers that wait for work and were not promised any
	workers sync.WaitGroup
	count   int
	round   bool // a journal round is running

	from int // journal rounds are for more logs than this

	since   [maxSyncs]atomic.Int64 // when worker i began the sync that it is in (Set.clock); 0: it is in none
	journal *journaler             // nil: none
}

func newFlusher(d *directory) *flusher {
	f := &flusher{dir: d, from: journalFrom}
	f.work.L = &f.mu
	return f
}

// request asks for a sync of p's log, beginning after now.
func (f *flusher) request(p *Partition) {
	if s := p.flush.Load(); s == flushQueued || s == flushAgain {
		return
	}
	f.mu.Lock()
	switch p.flush.Load() {
	case flushIdle:
		f.push(p)
		f.hire()
	case flushSyncing:
		p.flush.Store(flushAgain)
	}
	f.mu.Unlock()
}

// detach takes p from the flusher, if it is idle: nothing is asked for in its name until it has another directory.
func (f *flusher) detach(p *Partition) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return p.flush.CompareAndSwap(flushIdle, flushMoving)
}

// push queues p; mu is held.
func (f *flusher) push(p *Partition) {
	p.flush.Store(flushQueued)
	f.queue.push(p)
}

// take takes the next log that is to be synced by itself, nil if there is none; mu is held. Beside a journal round there
// is none while enough wait for the next round: their syncs would only keep the disk from it.
func (f *flusher) take() *Partition {
	if p := f.direct.pop(); p != nil {
		return p
	}
	if f.round && f.queue.len() > f.from {
		return nil
	}
	return f.queue.pop()
}

// fifo is a queue of logs: the one that waits longest is next, so that none waits for ever.
type fifo struct {
	logs []*Partition
	head int // logs[:head] is taken
}

func (q *fifo) len() int { return len(q.logs) - q.head }

func (q *fifo) push(p *Partition) {
	if q.head > 64 && q.head*2 > len(q.logs) {
		n := copy(q.logs, q.logs[q.head:])
		clear(q.logs[n:])
		q.logs, q.head = q.logs[:n], 0
	}
	q.logs = append(q.logs, p)
}

// pop is nil if the queue is empty.
func (q *fifo) pop() *Partition {
	if q.len() == 0 {
		return nil
	}
	p := q.logs[q.head]
	q.logs[q.head] = nil
	if q.head++; q.head == len(q.logs) {
		q.logs, q.head = q.logs[:0], 0
	}
	return p
}

// drain takes all.
func (q *fifo) drain() []*Partition {
	all := slices.Clone(q.logs[q.head:])
	clear(q.logs)
	q.logs, q.head = q.logs[:0], 0
	return all
}

// hire promises an entry to an idle worker, or starts one; if all are busy, the first to be done takes it. mu is held.
func (f *flusher) hire() {
	switch {
	case !f.running:
	case f.idle > 0:
		f.idle--
		f.work.Signal()
	case f.count < maxSyncs:
		n := f.count
		f.count++
		f.workers.Go(func() { f.worker(n) })
	}
}

// start lets workers begin with what was queued before.
func (f *flusher) start() {
	f.mu.Lock()
	f.running = true
	for range f.queue.len() {
		f.hire()
	}
	f.mu.Unlock()
}

// stop lets the workers finish what is queued and waits for them.
func (f *flusher) stop() {
	f.mu.Lock()
	f.closing = true
	f.work.Broadcast()
	f.mu.Unlock()
	f.workers.Wait()
	f.mu.Lock()
	f.running, f.closing, f.count, f.idle = false, false, 0, 0
	f.mu.Unlock()
}

func (f *flusher) worker(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.journal != nil && !f.round && f.queue.len() > f.from {
			f.journalRound(n)
		}
		p := f.take()
		if p == nil {
			if f.closing {
				return
			}
			f.idle++
			f.work.Wait()
			continue
		}
		p.flush.Store(flushSyncing)
		f.mu.Unlock()
		f.since[n].Store(f.dir.set.clock())
		f.sync(p)
		f.since[n].Store(0)
		f.mu.Lock()
		f.done(p)
	}
}

// done ends p's turn; mu is held. It reports whether p was asked for again: it is queued then, and this worker goes on
// with what waits.
func (f *flusher) done(p *Partition) bool {
	if p.flush.Load() == flushAgain {
		f.push(p)
		return true
	}
	p.flush.Store(flushIdle)
	return false
}

// sync makes p's log durable, or starts its writeback where nobody waits for the disk. A failed sync is the end of
// the directory: the kernel has marked the pages clean, and another try would only look like a success (Z26).
func (f *flusher) sync(p *Partition) {
	st := p.standing.Load()
	if st.log == nil || f.dir.isFailed() && mutant != 26 {
		return
	}
	began := time.Now()
	var err error
	switch {
	case p.cold.Swap(false) || st.durable:
		_, err = st.log.Sync()
	case st.log.SealedDue():
		err = st.log.SyncSealed()
	default:
		st.log.Writeback()
		return
	}
	f.dir.counters.synced(time.Since(began))
	if err != nil {
		f.dir.syncFailed(p, err)
		return
	}
	p.synced()
}

// synced moves the high watermark to what is durable now.
func (p *Partition) synced() {
	now := time.Now()
	p.mu.Lock()
	st := p.standing.Load()
	moved := st.role == Leader && st.log != nil && p.advance(st, now)
	hw := p.hw.Load()
	p.mu.Unlock()
	if moved {
		p.advanced(hw)
	}
	if p.landed.any() {
		p.landed.wakeAll()
	}
}
