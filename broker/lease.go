package broker

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

// The leader lease (R18): a leader serves clients only while
//
//	now < when its newest answered heartbeat was sent + 0.8 of a session
//
// on the monotonic clock. A controller fences a broker a whole session after it last heard of it, so that whoever is
// elected then begins when this broker has stopped. The comparison is made in every request, and again when a parked
// answer leaves; a timer that sets a flag would fire late in a process that was stopped for a while (Z36).
//
// A broker that knows of no other needs none: nobody can be elected in its place.
//
// A broker that asks to leave is replaced as soon as the controller hears it, and may not hear of that. From then on it
// shows nothing: what it would show may be out of date (B9). What it acknowledges is safe all the same, for its followers
// are its successor's.

// lease is the end of the time in which this broker may serve as a leader.
type lease struct {
	began time.Time     // the zero of until
	span  time.Duration // of one heartbeat
	mode  LeaseMode

	until atomic.Int64 // since began; 0: never renewed
	alone atomic.Bool  // no other broker is registered
	left  atomic.Bool  // the controller may have been asked to move the leaderships away
}

func newLease(mode LeaseMode, session time.Duration) *lease {
	return &lease{began: time.Now(), span: session * 8 / 10, mode: mode}
}

// renew takes a heartbeat's answer; sent is when the heartbeat left.
func (l *lease) renew(sent time.Time) {
	until := int64(sent.Add(l.span).Sub(l.began))
	for {
		old := l.until.Load()
		if old >= until || l.until.CompareAndSwap(old, until) {
			return
		}
	}
}

// see takes a new image: whether there is anybody else.
func (l *lease) see(img *metadata.Image, self metadata.NodeID) {
	for b := range img.Brokers() {
		if b.ID != self {
			l.alone.Store(false)
			return
		}
	}
	l.alone.Store(true)
}

// leave is called before the controller is asked to move the leaderships away. There is no way back.
func (l *lease) leave() { l.left.Store(true) }

// leaving reports whether somebody else may lead already, and this broker may be told at any moment.
func (l *lease) leaving() bool { return l.left.Load() && !l.alone.Load() }

// informed reports whether what this broker knows of the cluster is as new as what it may serve by: whoever asks it
// for the way is better sent to another one otherwise.
func (l *lease) informed() bool {
	return l.alone.Load() || l.mode != LeaseStrict || int64(time.Since(l.began)) < l.until.Load()
}

// over says why this broker may not serve: NOT_LEADER_OR_FOLLOWER, without a hint at anybody else; nil: it may. Writes
// are what would be acknowledged, reads what would be shown.
func (l *lease) over(write bool) *kerr.Error {
	switch {
	case l.alone.Load():
		return nil
	case !write && l.left.Load():
		return kerr.NotLeaderForPartition
	case l.mode == LeaseOff, l.mode == LeaseWrites && !write:
		return nil
	case int64(time.Since(l.began)) < l.until.Load(), mutant == 36:
		return nil
	}
	return kerr.NotLeaderForPartition
}
