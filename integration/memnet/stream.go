package memnet

import (
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"time"
)

// window is how many bytes may be sent and not yet read: two socket buffers.
const window = 256 << 10

// stream is one direction of a connection. Network.mu guards it.
type stream struct {
	link    *link
	rng     *rand.Rand
	packets []packet
	size    int       // bytes in them
	idle    time.Time // when the line has carried all that was sent
	last    time.Time // the last arrival
	ended   bool      // nothing will be sent any more
	refused time.Time // from when the sender knows that nobody reads; zero: somebody does
	broken  bool      // an end lost power: nothing arrives any more

	readable, writable signal
}

// packet is bytes, or the end of the stream.
type packet struct {
	data    []byte
	end     error
	arrives time.Time
}

func (n *Network) newStream(from, to netip.Addr, a, b netip.AddrPort) *stream {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.String() + ">" + b.String())) // never fails
	return &stream{link: n.link(pair{from, to}), rng: rand.New(rand.NewPCG(n.seed, h.Sum64()))}
}

// send takes as many bytes of data as there is room for.
func (s *stream) send(now time.Time, data []byte) (sent int) {
	segment := s.link.Segment
	if segment <= 0 {
		segment = 64 << 10
	}
	for sent < len(data) && s.size < window {
		n := min(segment, len(data)-sent, window-s.size)
		s.put(now, packet{data: append([]byte(nil), data[sent:sent+n]...)})
		sent += n
	}
	return sent
}

// put gives a packet its time of arrival.
func (s *stream) put(now time.Time, p packet) {
	start := now
	if s.idle.After(start) {
		start = s.idle
	}
	if s.link.Bandwidth > 0 {
		start = start.Add(time.Duration(len(p.data)) * time.Second / time.Duration(s.link.Bandwidth))
	}
	s.idle = start
	p.arrives = start.Add(s.link.Latency)
	if s.link.Jitter > 0 {
		p.arrives = p.arrives.Add(time.Duration(s.rng.Int64N(int64(s.link.Jitter))))
	}
	if p.arrives.Before(s.last) {
		p.arrives = s.last // M1
	}
	s.last = p.arrives
	s.size += len(p.data)
	if s.broken {
		return // sent, and never to arrive
	}
	s.packets = append(s.packets, p)
	s.readable.fire()
}

// end sends the end of the stream: io.EOF or a reset.
func (s *stream) end(now time.Time, why error) {
	if !s.ended {
		s.ended = true
		s.put(now, packet{end: why})
		s.writable.fire()
	}
}

// refuse tells the sender, when the news has travelled, that nobody reads.
func (s *stream) refuse(at time.Time) {
	if s.refused.IsZero() || at.Before(s.refused) {
		s.refused = at
	}
	s.writable.fire()
}

// arrived says whether a packet is there; M2.
func (s *stream) arrived(p *packet, now time.Time) bool {
	return !p.arrives.After(now) && (!s.link.cut || !p.arrives.After(s.link.cutAt))
}

// take reads what is there: bytes, or else when to look again (zero: when told), or the error at the end.
func (s *stream) take(now time.Time, b []byte) (n int, next time.Time, err error) {
	if len(s.packets) == 0 {
		return 0, time.Time{}, nil
	}
	p := &s.packets[0]
	switch {
	case !s.arrived(p, now) && s.link.cut && p.arrives.After(s.link.cutAt):
		return 0, time.Time{}, nil
	case !s.arrived(p, now):
		return 0, p.arrives, nil
	case p.end != nil:
		return 0, time.Time{}, p.end
	}
	n = copy(b, p.data)
	p.data = p.data[n:]
	if len(p.data) == 0 {
		s.packets = s.packets[1:]
	}
	s.size -= n
	s.writable.fire()
	return n, time.Time{}, nil
}

// resend: what a cut has kept from arriving arrives at last.
func (s *stream) resend(cutAt, arrives time.Time) {
	for i := range s.packets {
		if p := &s.packets[i]; p.arrives.After(cutAt) && p.arrives.Before(arrives) {
			p.arrives = arrives
		}
	}
	if s.last.Before(arrives) {
		s.last = arrives
	}
	s.readable.fire()
}

// breakOff loses what has not arrived, and all that will be sent.
func (s *stream) breakOff(now time.Time) {
	s.broken = true
	for i := range s.packets {
		if !s.arrived(&s.packets[i], now) {
			s.packets = s.packets[:i]
			return
		}
	}
}

// answerReset answers a packet for a connection that the other end has forgotten: a reset, with the way there and back.
func (s *stream) answerReset(now time.Time, back *stream) {
	at := now.Add(s.link.Latency + back.link.Latency)
	back.broken, back.ended = false, true
	back.packets = append(back.packets, packet{end: syscall.ECONNRESET, arrives: at})
	back.readable.fire()
	s.refuse(at)
}
