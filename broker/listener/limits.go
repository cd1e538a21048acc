package listener

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// peerAddr is the client's address without port; the zero Addr for transports that have none (no limits then).
func peerAddr(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// peers counts connections per client address and how fast they come (bad input 130). Guarded by Listener.mu.
type peers struct {
	maxOpen int
	rate    float64
	rateOf  func(netip.Addr) float64 // nil: rate, whoever it is
	byAddr  map[netip.Addr]*peer
}

// peer is one address: a token bucket that holds one second of its rate, and its open connections.
type peer struct {
	open   int
	rate   float64 // as it was last looked up; 0: no limit
	tokens float64
	last   time.Time
}

// maxPeers bounds the table; addresses without a connection and with a full bucket are dropped then.
const maxPeers = 1 << 16

func newPeers(maxOpen int, rate float64) peers {
	return peers{maxOpen: maxOpen, rate: rate, byAddr: map[netip.Addr]*peer{}}
}

func (p *peers) off() bool { return p.maxOpen <= 0 && p.rate <= 0 && p.rateOf == nil }

// admit counts a new connection in, or says which limit it would break.
func (p *peers) admit(a netip.Addr, now time.Time) (reason, bool) {
	if p.off() || !a.IsValid() {
		return 0, true
	}
	e := p.byAddr[a]
	if e == nil {
		p.sweep(now)
		e = &peer{rate: p.limit(a), last: now}
		e.tokens = e.burst()
		p.byAddr[a] = e
	}
	if rate := p.limit(a); rate != e.rate {
		e.refill(now)
		fresh := e.rate <= 0
		if e.rate = rate; fresh {
			e.tokens = e.burst()
		}
		e.tokens = min(e.tokens, e.burst())
	}
	if e.rate > 0 {
		e.refill(now)
		if e.tokens < 1 {
			return reasonRate, false
		}
		e.tokens--
	}
	if p.maxOpen > 0 && e.open >= p.maxOpen {
		return reasonMaxPerIP, false
	}
	e.open++
	return 0, true
}

// leave counts a connection out.
func (p *peers) leave(a netip.Addr) {
	e := p.byAddr[a]
	if e == nil {
		return
	}
	e.open--
	if e.open <= 0 && e.rate <= 0 {
		delete(p.byAddr, a)
	}
}

// limit is how many connections an address may open in a second; 0: as many as it likes.
func (p *peers) limit(a netip.Addr) float64 {
	if p.rateOf == nil {
		return p.rate
	}
	if rate := p.rateOf(a); rate > 0 && (p.rate <= 0 || rate < p.rate) {
		return rate
	}
	return p.rate
}

func (e *peer) burst() float64 { return max(e.rate, 1) }

func (e *peer) refill(now time.Time) {
	e.tokens = min(e.burst(), e.tokens+e.rate*now.Sub(e.last).Seconds())
	e.last = now
}

// sweep keeps the table bounded: what it forgets could not be refused now anyway.
func (p *peers) sweep(now time.Time) {
	if len(p.byAddr) < maxPeers {
		return
	}
	for a, e := range p.byAddr {
		e.refill(now)
		if e.open <= 0 && (e.rate <= 0 || e.tokens >= e.burst()) {
			delete(p.byAddr, a)
		}
	}
	for a, e := range p.byAddr { // a flood from many addresses: forget any without a connection
		if len(p.byAddr) < maxPeers {
			return
		}
		if e.open <= 0 {
			delete(p.byAddr, a)
		}
	}
}

// outOfFiles: the process or the system has no descriptor left.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// reserve holds descriptors back, so that a listener that must not be starved can still accept when the process has
// none left (bad input 145). Taken by accept, filled up again when connections end.
type reserve struct {
	mu    sync.Mutex
	files []*os.File
	want  int
}

func newReserve(n int) *reserve {
	r := &reserve{want: n}
	r.refill()
	return r
}

// release gives one descriptor back to the process; false when none is held.
func (r *reserve) release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.files)
	if n == 0 {
		return false
	}
	_ = r.files[n-1].Close() // nothing was written
	r.files = r.files[:n-1]
	return true
}

// refill takes descriptors up to the wanted number, as far as there are any.
func (r *reserve) refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.files) < r.want {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return
		}
		r.files = append(r.files, f)
	}
}

func (r *reserve) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.files {
		_ = f.Close() // nothing was written
	}
	r.files, r.want = nil, 0
}
