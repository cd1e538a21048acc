package memnet

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Network is hosts and the links between them.
type Network struct {
	seed uint64

	mu      sync.Mutex
	usual   Link // of pairs without a link of their own
	hosts   map[netip.Addr]*Host
	links   map[pair]*link
	conns   map[*conn]struct{}
	changed signal // links, hosts or listeners are not what they were
}

// New makes a network without delays.
func New(seed uint64) *Network {
	return &Network{seed: seed, hosts: map[netip.Addr]*Host{}, links: map[pair]*link{}, conns: map[*conn]struct{}{}}
}

// Link is how one direction between two hosts behaves.
type Link struct {
	Latency   time.Duration
	Jitter    time.Duration // at most so much more, at random
	Bandwidth int           // bytes per second and connection; 0: no limit
	Segment   int           // larger writes arrive in pieces of so many bytes; 0: 64 KiB
}

// pair is a direction.
type pair struct{ from, to netip.Addr }

type link struct {
	Link
	cut   bool
	cutAt time.Time
}

// signal wakes all who wait. Network.mu guards it.
type signal struct{ c chan struct{} }

func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) fire() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

// Host returns the host with an IP address, new or known.
func (n *Network) Host(ip string) *Host {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		panic(fmt.Sprintf("memnet: %q is no IP address", ip))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[addr]
	if h == nil {
		h = &Host{n: n, ip: addr, on: true, listeners: map[uint16]*listener{}, ports: 50000}
		n.hosts[addr] = h
	}
	return h
}

// link of a direction. A host reaches itself without delay. mu is held.
func (n *Network) link(p pair) *link {
	l := n.links[p]
	if l == nil {
		l = &link{}
		if p.from != p.to {
			l.Link = n.usual
		}
		n.links[p] = l
	}
	return l
}

// SetLinks says how all links between different hosts behave from now on; links set by SetLink too.
func (n *Network) SetLinks(l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.usual = l
	for p, known := range n.links {
		if p.from != p.to {
			known.Link = l
		}
	}
}

// SetLink says how packets from a to b travel from now on.
func (n *Network) SetLink(a, b *Host, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(pair{a.ip, b.ip}).Link = l
}

// Cut stops all packets between two hosts.
func (n *Network) Cut(a, b *Host) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay stops packets from a to b.
func (n *Network) CutOneWay(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if l := n.link(pair{a.ip, b.ip}); !l.cut {
		l.cut, l.cutAt = true, time.Now()
	}
}

// Heal ends all cuts between two hosts; what waited arrives.
func (n *Network) Heal(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for _, p := range []pair{{a.ip, b.ip}, {b.ip, a.ip}} {
		l := n.link(p)
		if !l.cut {
			continue
		}
		l.cut = false
		for c := range n.conns { // those who read: the sender may have closed meanwhile
			if c.in.link == l {
				c.in.resend(l.cutAt, now.Add(l.Latency))
			}
		}
	}
	n.changed.fire()
}

// Reset ends all connections between two hosts.
func (n *Network) Reset(a, b *Host) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for c := range n.conns {
		if c.between(a.ip, b.ip) {
			c.out.end(now, syscall.ECONNRESET)
			c.out.refuse(now)
		}
	}
}
