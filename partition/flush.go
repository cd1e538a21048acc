package partition

import (
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
)

const (
	maxSyncs = 16 // parallel fdatasyncs per directory
	// journalFrom is how many logs must wait for the journal to be used. One round of n logs with 1 KB each took, with
	// a sync each and with the journal (BenchmarkFlushRound, ext4, 2 cores):
	//
	//	logs      10     64    300   1000
	//	syncs    0.8    5.0     21     54  ms
	//	journal  0.4    0.9    3.7    8.6  ms
	//
	// But the journal writes every byte twice, and under steady load (BenchmarkAckManyLogs) syncs of different logs
	// share the file system's commits: below about 100 logs there is then nothing to gain at 1 KB a batch, and at
	// 16 KB there is something to lose.
	journalFrom = 64
)

// flusher makes the logs of one directory durable: group commit. A log has at most one sync at a time, which covers
// all that was appended before it began; what is appended meanwhile waits for the next. Logs do not wait for each
// other: up to maxSyncs are synced at once, by workers that are started as they are needed and go on to the next log
// that waits. Nothing is ever synced because of a timer.
type flusher struct {
	dir *directory

	mu      sync.Mutex
	work    sync.Cond // with mu
	queue   []*Partition
	head    int          // queue[:head] is taken
	direct  []*Partition // those that the journal does not take
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

// push queues p; mu is held.
func (f *flusher) push(p *Partition) {
	p.flush.Store(flushQueued)
	if f.head > 64 && f.head*2 > len(f.queue) {
		n := copy(f.queue, f.queue[f.head:])
		clear(f.queue[n:])
		f.queue, f.head = f.queue[:n], 0
	}
	f.queue = append(f.queue, p)
}

// take takes the next log off the queues, nil if both are empty; mu is held.
func (f *flusher) take() *Partition {
	var p *Partition
	switch n := len(f.direct); {
	case n > 0:
		p, f.direct[n-1], f.direct = f.direct[n-1], nil, f.direct[:n-1]
	case f.head < len(f.queue):
		p, f.queue[f.head] = f.queue[f.head], nil
		if f.head++; f.head == len(f.queue) {
			f.queue, f.head = f.queue[:0], 0
		}
	}
	return p
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
	for range len(f.queue) - f.head {
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
		if f.journal != nil && !f.round && len(f.queue)-f.head > f.from {
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

// done ends p's turn; mu is held. If it was asked for again, this worker takes it after those that wait already.
func (f *flusher) done(p *Partition) {
	if p.flush.Load() == flushAgain {
		f.push(p)
		return
	}
	p.flush.Store(flushIdle)
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
