package broker

import "time"

// The arithmetic of quotas. Times are since the broker's start (monotonic), rates per second.

// quotaWindows is how long use is remembered: num windows of a size.
//
//	now - (num-1)·size, rounded down                 now
//	     v                                            v
//	| 3 | 0 | 7 | ............................ | 2 | 4 ...|
//	`------------------- span -----------------------'
//
// Use is judged over the whole span, so after a silence (num-1) windows' worth may come at once. Kafka's rule.
type quotaWindows struct {
	num  int
	size time.Duration
}

// rate is what was used, window by window.
type rate struct {
	used   []float64 // ring: window n is at n modulo len
	newest int64     // number of the newest window
	total  float64
}

// advance forgets windows that are over.
func (r *rate) advance(w quotaWindows, now time.Duration) {
	n := int64(now / w.size)
	if len(r.used) != w.num {
		*r = rate{used: make([]float64, w.num), newest: n}
	}
	if n-r.newest >= int64(w.num) {
		clear(r.used)
		r.newest, r.total = n, 0
	}
	for r.newest < n {
		r.newest++
		r.used[r.newest%int64(w.num)] = 0
	}
	r.total = 0 // summed anew: floats that are added and taken away leave crumbs
	for _, u := range r.used {
		r.total += u
	}
}

// record adds a use.
func (r *rate) record(w quotaWindows, now time.Duration, n float64) {
	r.advance(w, now)
	r.used[r.newest%int64(w.num)] += n
	r.total += n
}

// excess is how long nothing more may be used for the rate to fall to its bound, if n more were used now; 0: it is kept.
func (r *rate) excess(w quotaWindows, now time.Duration, n, bound float64) time.Duration {
	r.advance(w, now)
	over := (r.total+n)/bound - w.span(now).Seconds()
	if over <= 0 {
		return 0
	}
	return seconds(over)
}

// idle reports whether nothing was used in any window.
func (r *rate) idle(w quotaWindows, now time.Duration) bool {
	r.advance(w, now)
	return r.total == 0
}

// span is the time over which use is judged.
func (w quotaWindows) span(now time.Duration) time.Duration {
	return max(time.Duration(w.num-1)*w.size+now%w.size, w.size)
}

// burst is what may be used at once after a silence.
func (w quotaWindows) burst(bound float64) float64 {
	return bound * float64(max(w.num-1, 1)) * w.size.Seconds()
}

// bucket holds tokens that come at a rate; it starts full, with the tokens of all windows. It may be overdrawn: the debt
// is what has to be waited for.
type bucket struct {
	tokens float64
	at     time.Duration
	filled bool
}

func (b *bucket) refill(w quotaWindows, now time.Duration, rate float64) {
	full := rate * float64(w.num) * w.size.Seconds()
	if !b.filled {
		b.tokens, b.filled = full, true
	} else {
		b.tokens = min(full, b.tokens+rate*(now-b.at).Seconds())
	}
	b.at = now
}

// take uses n tokens.
func (b *bucket) take(w quotaWindows, now time.Duration, rate, n float64) {
	b.refill(w, now, rate)
	b.tokens -= n
}

// wait is how long until the bucket is not overdrawn any more.
func (b *bucket) wait(w quotaWindows, now time.Duration, rate float64) time.Duration {
	b.refill(w, now, rate)
	if b.tokens >= 0 {
		return 0
	}
	return seconds(-b.tokens / rate)
}

// seconds rounds up to a millisecond: what is told to a client must not be too short. A year is for ever.
func seconds(s float64) time.Duration {
	d := time.Duration(min(s, 365*24*3600) * float64(time.Second))
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}
