package group

import (
	"container/heap"
	"time"

	"cordwood/coordinator/machine"
)

// timerKind says what is due when a timer fires.
type timerKind uint8

const (
	timerSession timerKind = iota // a member was not heard of
	timerPending                  // a member id was handed out and not used
	timerJoin                     // the join phase is over
	timerSync                     // members owe a SyncGroup
	timerCleanup                  // look for expired offsets
)

// timer is one deadline. It is part of what it watches, so arming it again moves it and allocates nothing.
type timer struct {
	at     time.Time
	place  int // in the heap, counted from 1; 0: not running
	kind   timerKind
	group  *group
	member string
}

func (t *timer) running() bool { return t.place > 0 }

// timers is a heap of the running timers, the earliest first: a heartbeat of one of n members costs log n.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push and Pop are container/heap's.
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.place = len(*h) + 1
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.place = 0
	return t
}

// arm makes t fire after d, whether it runs already or not.
func (m *Machine) arm(t *timer, d time.Duration) {
	t.at = m.now.Add(max(d, 0))
	if t.running() {
		heap.Fix(&m.timers, t.place-1)
		return
	}
	heap.Push(&m.timers, t)
}

func (m *Machine) disarm(t *timer) {
	if t.running() {
		heap.Remove(&m.timers, t.place-1)
	}
}

// NextDeadline is when Expire has something to do.
func (m *Machine) NextDeadline() (time.Time, bool) {
	if len(m.timers) == 0 {
		return time.Time{}, false
	}
	return m.timers[0].at, true
}

// Expire fires what is due. A timer that is armed meanwhile for this very moment waits for the next call only if it is
// not due by now (M5), which ends because no timer re-arms itself without delay.
func (m *Machine) Expire(now time.Time) machine.Result {
	m.begin(now)
	for len(m.timers) > 0 && !m.timers[0].at.After(now) {
		t := heap.Pop(&m.timers).(*timer)
		switch t.kind {
		case timerSession:
			m.sessionOver(t.group, t.member)
		case timerPending:
			m.pendingOver(t.group, t.member)
		case timerJoin:
			m.joinPhaseOver(t.group)
		case timerSync:
			m.syncPhaseOver(t.group)
		case timerCleanup:
			m.expireOffsets()
			m.arm(&m.cleanup, m.cfg.OffsetsRetentionCheck)
		}
	}
	return m.end(nil)
}
