package partition

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watermark is a published number with waiters, as a partition has it.
type watermark struct {
	value   atomic.Int64
	waiters waiterList
}

func newWatermark() *watermark {
	w := &watermark{}
	w.waiters.init()
	return w
}

func (m *watermark) publish(v int64) {
	m.value.Store(v)
	m.waiters.wake(v)
}

// await blocks until the value is at least target.
func (m *watermark) await(w *Waiter, woken chan struct{}, target int64) {
	for m.value.Load() < target {
		m.waiters.add(w, target)
		if m.value.Load() >= target {
			w.Cancel()
			return
		}
		<-woken
	}
}

func newWaiter() (*Waiter, chan struct{}) {
	woken := make(chan struct{}, 1)
	return &Waiter{Wake: func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}}, woken
}

// A lost wakeup shows only when nothing comes after it, so each round ends at a value that somebody waits for. In a
// bubble a waiter that sleeps for ever is a deadlock, which the test reports at once.
func TestNoWakeupIsLost(t *testing.T) {
	for _, pause := range []time.Duration{0, time.Microsecond, time.Second} { // full load, some, one a second
		synctest.Test(t, func(t *testing.T) {
			for seed := range uint64(40) {
				raceWaiters(seed, pause)
			}
		})
	}
}

func raceWaiters(seed uint64, pause time.Duration) {
	const last, owners = 50, 6
	m := newWatermark()
	var wg sync.WaitGroup
	for i := range uint64(owners) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, i))
			w, woken := newWaiter()
			for at := int64(0); at < last; {
				at = min(last, max(at, m.value.Load())+r.Int64N(4))
				if r.IntN(5) == 0 { // a deadline: registered, given up, registered again for something else
					m.waiters.add(w, at)
					w.Cancel()
				}
				m.await(w, woken, at)
			}
		})
	}
	r := rand.New(rand.NewPCG(seed, 99))
	for v := int64(0); v < last; {
		v = min(last, v+1+r.Int64N(3))
		m.publish(v)
		if pause > 0 {
			time.Sleep(pause)
		}
	}
	wg.Wait()
}

// FuzzWaiterList compares the list with a set, one operation after another.
func FuzzWaiterList(f *testing.F) {
	f.Add([]byte{0, 5, 1, 3, 200, 4, 100, 0, 255, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		var l waiterList
		l.init()
		var waiters [8]Waiter
		var woken [8]int
		want := map[int]int64{} // who waits for what
		for i := range waiters {
			waiters[i].Wake = func() { woken[i]++ }
		}
		for i := 0; i+1 < len(script); i += 2 {
			n, v := int(script[i]%8), int64(script[i+1])
			switch script[i] / 64 {
			case 0, 1:
				l.add(&waiters[n], v)
				want[n] = v
			case 2:
				waiters[n].Cancel()
				delete(want, n)
			case 3:
				before := woken
				l.wake(v)
				for k := range waiters {
					target, waits := want[k]
					due := waits && target <= v
					if got := woken[k] - before[k]; got != b2i(due) {
						t.Fatalf("wake(%d): waiter %d for %d was woken %d times", v, k, target, got)
					}
					if due {
						delete(want, k)
					}
				}
			}
			checkList(t, &l, want)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func checkList(t *testing.T, l *waiterList, want map[int]int64) {
	n := 0
	least := int64(never)
	for w := l.head; w != nil; w = w.next {
		n++
		least = min(least, w.target)
		if !w.linked || w.next != nil && w.next.prev != w {
			t.Fatal("links are broken")
		}
	}
	if n != len(want) || l.least.Load() > least {
		t.Fatalf("%d waiters, want %d; least %d, smallest target %d", n, len(want), l.least.Load(), least)
	}
}

func TestStaleWakeOfAReusedWaiterIsHarmless(t *testing.T) {
	a, b := newWatermark(), newWatermark()
	w, woken := newWaiter()
	a.waiters.add(w, 5)
	a.publish(5) // woken, but the owner has not run yet
	b.waiters.add(w, 7)
	<-woken // the stale one: it looks again and stays registered
	b.publish(7)
	<-woken
}

func BenchmarkAwaitWake(b *testing.B) {
	m := newWatermark()
	w := &Waiter{Wake: func() {}}
	b.ReportAllocs()
	for i := range int64(b.N) {
		m.waiters.add(w, i)
		m.publish(i)
	}
}

func BenchmarkPublishWithoutWaiters(b *testing.B) {
	m := newWatermark()
	b.ReportAllocs()
	for i := range int64(b.N) {
		m.publish(i)
	}
}
