package partition

import (
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cordwood/metadata"
)

// throttles bound the traffic of replication, for the replicas that topic configs name and that are not in sync: those
// in sync are waited for by producers.
// copies bounds the replicas that move between directories.
type throttles struct{ leader, follower, copies throttle }

// configure takes the rates that count: this broker's dynamic config, then the cluster's, then what it was started with.
func (t *throttles) configure(img *metadata.Image, c *Config) {
	self := strconv.Itoa(int(c.Self))
	for name, to := range map[string]struct {
		*throttle
		static int64
	}{
		"leader.replication.throttled.rate":              {&t.leader, c.LeaderThrottle},
		"follower.replication.throttled.rate":            {&t.follower, c.FollowerThrottle},
		"replica.alter.log.dirs.io.max.bytes.per.second": {&t.copies, max(c.CopyThrottle, 0)},
	} {
		rate := to.static
		for _, broker := range []string{self, ""} {
			n, err := strconv.ParseInt(img.Config(metadata.ResourceBroker, broker)[name], 10, 64)
			if err == nil && n >= 0 {
				rate = n
				break
			}
		}
		to.rate.Store(rate)
	}
}

// noThrottle is the rate that limits nothing.
const noThrottle = math.MaxInt64

// maxDelay is how long nobody looks whether a rate is another one now.
const maxDelay = time.Second

// throttle is a token bucket of one second's bytes. What is sent may take it below zero once; then it fills up first.
type throttle struct {
	rate atomic.Int64 // bytes a second; 0: nothing passes; noThrottle

	mu    sync.Mutex
	level float64
	at    time.Time
}

// delay is how long to wait before asking again whether anything may be sent; 0: it may.
func (t *throttle) delay(now time.Time) time.Duration {
	rate := float64(t.rate.Load())
	if rate == noThrottle {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fill(rate, now)
	if t.level > 0 {
		return 0
	}
	if until := (1 - t.level) / rate; until < maxDelay.Seconds() {
		return time.Duration(until*float64(time.Second)) + time.Millisecond
	}
	return maxDelay
}

// piece is how much to ask for at once so that the rate is not only kept on average.
func (t *throttle) piece(most int) int {
	rate := t.rate.Load()
	if rate == 0 {
		return most
	}
	return int(min(int64(most), max(rate/4, 64<<10)))
}

func (t *throttle) fill(rate float64, now time.Time) {
	if t.at.IsZero() {
		t.level = rate
	} else {
		t.level = min(rate, t.level+rate*now.Sub(t.at).Seconds())
	}
	t.at = now
}

// took counts bytes that were sent or received.
func (t *throttle) took(n int, now time.Time) {
	rate := float64(t.rate.Load())
	if rate == noThrottle || n == 0 {
		return
	}
	t.mu.Lock()
	t.fill(rate, now)
	t.level -= float64(n)
	t.mu.Unlock()
}

// names reports whether a list of throttled replicas, "partition:broker" each or "*", holds this one.
func (p *Partition) names(list []string, replica metadata.NodeID) bool {
	if len(list) == 0 {
		return false
	}
	name := strconv.Itoa(int(p.index)) + ":" + strconv.Itoa(int(replica))
	for _, s := range list {
		if s == "*" || s == name {
			return true
		}
	}
	return false
}
