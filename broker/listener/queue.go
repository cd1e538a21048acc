package listener

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxReplies    = 100      // queued answers of one connection (L5)
	maxReplyBytes = 64 << 20 // bytes of the requests they answer (L5)
	ringSize      = 128      // power of two above maxReplies
)

// queue holds the answers of one connection that have to wait, in order.
//
//	    head            head+written           head+length
//	      v                  v                      v
//	...   | written, to send | waiting, first head  | free ...
//	      `------ writer pops after sending -----.  `- reader pushes
//
// The reader pushes, the writer takes; each sleeps on a channel that holds one token. A token says "look again", never
// what has happened, so a token too many is harmless and one too few would hang the connection (L3).
//
// The reader parks the first answer itself, so that the writer need not be woken just to go to sleep for it. Between Park
// and push the wake may already come and go; missed remembers that.
type queue struct {
	length atomic.Int32  // changed under mu; 0 makes the reader the owner of Out (L2)
	wake   chan struct{} // token for the writer
	room   chan struct{} // token for the reader

	// owned by the writer; by the reader after the writer is gone
	written int // answers at the head that are in Out, not yet sent

	mu      sync.Mutex
	ring    []slot // nil until the first push
	head    int
	bytes   int64     // of all slots
	armed   time.Time // when the writer's timer fires; zero: it does not
	parking bool      // the reader is between Park and push
	missed  bool      // the writer woke meanwhile and found nothing
	want    int32     // the reader waits for at most so many answers; -1: it does not wait
	closed  bool
}

type slot struct {
	reply Reply
	size  int64
}

func (q *queue) init() {
	q.wake, q.room = make(chan struct{}, 1), make(chan struct{}, 1)
	q.want = -1
}

// signal leaves a token; a token that is there already says the same.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// beginPark tells that the reader is about to park the first answer.
func (q *queue) beginPark() {
	q.mu.Lock()
	q.parking, q.missed = true, false
	q.mu.Unlock()
}

// pushed is the result of push.
type pushed uint8

const (
	pushOK pushed = iota
	pushFull
	pushClosed
)

// push appends an answer. parked: its wake is registered, so the writer is woken only if that wake may be lost or if it
// has no timer for the deadline.
func (q *queue) push(r Reply, size int64, parked bool) pushed {
	var deadline time.Time
	if parked {
		deadline = r.Deadline()
	}
	q.mu.Lock()
	n := q.length.Load()
	if q.closed {
		q.mu.Unlock()
		return pushClosed
	}
	if n >= maxReplies || n > 0 && q.bytes+size > maxReplyBytes {
		q.want = maxReplies / 2
		q.mu.Unlock()
		return pushFull
	}
	if q.ring == nil {
		q.ring = make([]slot, ringSize)
	}
	q.ring[(q.head+int(n))&(ringSize-1)] = slot{r, size}
	q.bytes += size
	sleeping := parked && !q.missed && !q.needsTimer(deadline)
	q.parking = false
	q.length.Store(n + 1)
	q.mu.Unlock()
	if n == 0 && !sleeping {
		signal(q.wake)
	}
	return pushOK
}

// needsTimer: the writer's timer would fire too late for the deadline. Under mu.
func (q *queue) needsTimer(deadline time.Time) bool {
	return !deadline.IsZero() && (q.armed.IsZero() || deadline.Before(q.armed))
}

// arm notes that the writer sets its timer to the deadline; false: it fires soon enough.
func (q *queue) arm(deadline time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.needsTimer(deadline) {
		return false
	}
	q.armed = deadline
	return true
}

// disarm notes that the timer has fired.
func (q *queue) disarm() {
	q.mu.Lock()
	q.armed = time.Time{}
	q.mu.Unlock()
}

// peek returns the first answer that is not written yet, nil if there is none.
func (q *queue) peek() Reply {
	q.mu.Lock()
	defer q.mu.Unlock()
	if int(q.length.Load()) > q.written {
		return q.ring[(q.head+q.written)&(ringSize-1)].reply
	}
	q.missed = q.missed || q.parking
	return nil
}

// pop removes the written answers: their bytes are sent. The reader owns Out from the moment the queue is empty.
func (q *queue) pop() {
	if q.written == 0 {
		return
	}
	q.mu.Lock()
	for ; q.written > 0; q.written-- {
		s := &q.ring[q.head&(ringSize-1)]
		q.bytes -= s.size
		*s = slot{}
		q.head++
		q.length.Add(-1)
	}
	n := q.length.Load()
	room := n == 0 || n <= q.want && q.bytes <= maxReplyBytes/2
	room = room && q.want >= 0
	if room {
		q.want = -1
	}
	q.mu.Unlock()
	if room {
		signal(q.room)
	}
}

// drained: the queue is empty or closed; if not, the reader gets a token when it is.
func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.length.Load() == 0 {
		return true
	}
	q.want = 0
	return false
}

// close refuses further answers and wakes both sides.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	signal(q.wake)
	signal(q.room)
}

// drop empties the closed queue and returns what was neither written nor sent. The writer is gone.
func (q *queue) drop() []Reply {
	q.mu.Lock()
	defer q.mu.Unlock()
	var left []Reply
	for i := q.written; i < int(q.length.Load()); i++ {
		left = append(left, q.ring[(q.head+i)&(ringSize-1)].reply)
	}
	q.ring, q.bytes, q.written = nil, 0, 0
	q.length.Store(0)
	return left
}
