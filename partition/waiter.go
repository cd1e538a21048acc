package partition

import (
	"math"
	"sync"
	"sync/atomic"
)

// Waiter is one parked request at one partition. It belongs to one goroutine at a time; the zero value with Wake set
// is ready for use, again and again. Wake is called at most once per registration, from any goroutine and without a
// lock held; it may still be on its way when Cancel returns.
type Waiter struct {
	Wake func()

	list *waiterList // where it was registered last; the owner's
	// guarded by list.mu
	target     int64
	linked     bool
	prev, next *Waiter
}

// Cancel ends the registration, if there is one.
func (w *Waiter) Cancel() {
	l := w.list
	if l == nil {
		return
	}
	l.mu.Lock()
	if w.linked {
		l.unlink(w)
	}
	l.mu.Unlock()
	w.list = nil
}

const never = math.MaxInt64

// waiterList is the waiters of one partition. least lets those who publish a high watermark see without the lock
// that nobody waits for it: they store first and then read least, a waiter links itself first and then looks at
// what is published, so one of the two sees the other (P5).
type waiterList struct {
	least atomic.Int64 // no waiter has a smaller target; never when there is none

	mu   sync.Mutex
	head *Waiter
}

func (l *waiterList) init() { l.least.Store(never) }

// add registers w for target. The caller looks at what is published after this, never before.
func (l *waiterList) add(w *Waiter, target int64) {
	w.Cancel()
	l.mu.Lock()
	w.list, w.target, w.linked = l, target, true
	w.prev, w.next = nil, l.head
	if l.head != nil {
		l.head.prev = w
	}
	l.head = w
	if target < l.least.Load() {
		l.least.Store(target)
	}
	l.mu.Unlock()
}

// unlink needs mu. It leaves least too small, which costs a look and no more.
func (l *waiterList) unlink(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.linked = nil, nil, false
	if l.head == nil {
		l.least.Store(never)
	}
}

// wake wakes all who wait for at most hw. The waiters are unlinked before their Wake is called, since their owners
// may use them again from then on.
func (l *waiterList) wake(hw int64) {
	if hw < l.least.Load() {
		return
	}
	var room [16]func()
	woken := room[:0]
	l.mu.Lock()
	least := int64(never)
	for w := l.head; w != nil; {
		next := w.next
		if w.target <= hw {
			woken = append(woken, w.Wake)
			l.unlink(w)
		} else {
			least = min(least, w.target)
		}
		w = next
	}
	l.least.Store(least)
	l.mu.Unlock()
	for _, f := range woken {
		f()
	}
}

func (l *waiterList) wakeAll() { l.wake(never) }

// any reports whether somebody may be waiting, for one load.
func (l *waiterList) any() bool { return l.least.Load() != never }

// advanced wakes who waits for a high watermark: those up to it, and every follower that is parked, since it has all
// records and is to learn this too.
func (p *Partition) advanced(hw int64) {
	p.waiters.wake(hw)
	if p.tail.any() {
		p.tail.wakeAll()
	}
}

// wakeAll wakes everybody who waits for anything of this partition.
func (p *Partition) wakeAll() {
	p.waiters.wakeAll()
	p.tail.wakeAll()
	p.landed.wakeAll()
}

// Await parks w until the high watermark is at least hw, or leader and leader epoch are no longer what they were in
// epoch. It returns false, with nothing registered, if it is so already.
func (p *Partition) Await(w *Waiter, hw int64, epoch int32) bool {
	p.waiters.add(w, hw)
	if st := p.standing.Load(); p.hw.Load() < hw && st.role != Offline && st.epoch == epoch && !p.dir().isFailed() {
		return true
	}
	w.Cancel()
	return false
}

// AwaitAck parks w until Acked(last, epoch) has an outcome. It returns false, with nothing registered, if it has one.
func (p *Partition) AwaitAck(w *Waiter, last int64, epoch int32) bool {
	p.waiters.add(w, last+1)
	if done, _ := p.Acked(last, epoch); !done {
		return true
	}
	w.Cancel()
	return false
}
