package nameserver

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"cordwood/broker/nameserver/zone"
)

const (
	headerLen = 12
	// maxQuery bounds a query: a name, a question and EDNS options need less.
	maxQuery = 1232
	// plainUDP is what an asker that says nothing takes in a datagram (RFC 1035); maxUDP is what is sent at most, whatever it
	// says: more would be cut in pieces on the way (DNS flag day 2020).
	plainUDP, maxUDP = 512, 1232
	// hugeUDP is more than any resolver asks a server on another host for. Whoever does gets plainUDP (D3).
	hugeUDP = 4096
	maxTCP  = 65535
	// ttl is how long anything may be remembered, in seconds, that a name does not exist included.
	ttl = 1
)

// query is one message as it came.
type query struct {
	wire []byte
	from netip.Addr
	udp  bool
	turn uint32 // which of several equals comes first
}

// outcome is what became of a query.
type outcome struct {
	verdict   verdict
	truncated bool
	huge      bool // it asked for datagrams of more than hugeUDP
}

// responder answers queries about a zone. It keeps nothing between two of them.
type responder struct {
	origin string // the zone's name with a dot at its end
	self   string // this server's name
	mbox   string
}

func newResponder(cfg zone.Config) *responder {
	origin := cfg.Name + "."
	return &responder{origin: origin, self: cfg.ServerLabel() + "." + origin, mbox: "hostmaster." + origin}
}

// answer is the reply to a query, appended to into[:0], or nothing where none is due. A zone of nil knows nothing now.
func (r *responder) answer(z *zone.Zone, q query, into []byte) ([]byte, outcome) {
	if why, rcode := screen(q); why != found {
		if rcode < 0 {
			return nil, outcome{verdict: why}
		}
		return refuse(q.wire, rcode, into), outcome{verdict: why}
	}
	m := new(dns.Msg)
	if err := m.Unpack(q.wire); err != nil || len(m.Question) != 1 {
		return refuse(q.wire, dns.RcodeFormatError, into), outcome{verdict: malformed}
	}
	opt, one := edns(m)
	if !one {
		return refuse(q.wire, dns.RcodeFormatError, into), outcome{verdict: malformed}
	}
	reply := new(dns.Msg).SetReply(m)
	reply.Compress = true
	size, out := maxTCP, outcome{}
	if q.udp {
		size, out.huge = datagram(opt)
	}
	if opt != nil {
		reply.SetEdns0(maxUDP, opt.Do())
	}
	if opt != nil && opt.Version() != 0 {
		reply.Rcode, out.verdict = dns.RcodeBadVers, badVersion
	} else {
		out.verdict = r.resolve(z, q, reply)
	}
	out.truncated = fit(reply, size)
	wire, err := reply.PackBuffer(into[:cap(into)])
	if err != nil { // a name from the registrations that DNS cannot carry
		return refuse(q.wire, dns.RcodeServerFailure, into), outcome{verdict: failed}
	}
	return wire, out
}

// screen looks at the header alone: found lets the query pass, a negative rcode lets it go without a reply.
func screen(q query) (why verdict, rcode int) {
	if len(q.wire) < headerLen || len(q.wire) > maxQuery {
		return malformed, -1
	}
	h := q.wire[:headerLen]
	count := func(at int) uint16 { return binary.BigEndian.Uint16(h[at:]) }
	switch {
	case h[2]&0x80 != 0: // answering answers is how two servers talk for ever
		return response, -1
	case h[2]>>3&0xf != dns.OpcodeQuery:
		return opcode, dns.RcodeNotImplemented
	case count(4) != 1:
		return questions, dns.RcodeFormatError
	case count(6) != 0 || count(8) != 0 || count(10) > 2: // OPT, and a signature at most
		return malformed, dns.RcodeFormatError
	}
	return found, 0
}

// refuse is a header and nothing else: never longer than the query.
func refuse(wire []byte, rcode int, into []byte) []byte {
	out := append(into[:0], wire[:headerLen]...)
	out[2] = out[2]&0x79 | 0x80 // QR; opcode and RD as asked
	out[3] = byte(rcode)
	clear(out[4:])
	return out
}

// edns is the OPT record of a query; one is false if there are several (RFC 6891, 6.1.1).
func edns(m *dns.Msg) (opt *dns.OPT, one bool) {
	for _, rr := range m.Extra {
		o, is := rr.(*dns.OPT)
		if is && opt != nil {
			return nil, false
		}
		if is {
			opt = o
		}
	}
	return opt, true
}

// datagram is the size of the answer the asker takes.
func datagram(opt *dns.OPT) (size int, huge bool) {
	switch {
	case opt == nil:
		return plainUDP, false
	case opt.UDPSize() > hugeUDP:
		return plainUDP, true
	}
	return max(plainUDP, min(int(opt.UDPSize()), maxUDP)), false
}

// fit makes a reply no longer than size: what is only helpful goes first, then it is cut and says so.
func fit(reply *dns.Msg, size int) (truncated bool) {
	if reply.Len() <= size {
		return false
	}
	opt := reply.IsEdns0()
	if reply.Extra = nil; opt != nil {
		reply.Extra = []dns.RR{opt}
	}
	reply.Truncate(size)
	return reply.Truncated
}

// resolve fills in a reply to a question of the right form.
func (r *responder) resolve(z *zone.Zone, q query, reply *dns.Msg) verdict {
	ask := reply.Question[0]
	switch {
	case ask.Qclass != dns.ClassINET:
		reply.Rcode = dns.RcodeRefused
		return class
	case ask.Qtype == dns.TypeANY:
		reply.Rcode = dns.RcodeRefused
		return anyType
	case ask.Qtype == dns.TypeAXFR || ask.Qtype == dns.TypeIXFR:
		reply.Rcode = dns.RcodeRefused
		return transfer
	case ask.Qtype >= 128 && ask.Qtype < 256 || ask.Qtype == dns.TypeOPT || ask.Qtype == 0: // no data (RFC 6895, 3.1)
		reply.Rcode = dns.RcodeRefused
		return metaType
	}
	name, inside := r.relative(ask.Name)
	if !inside {
		reply.Rcode = dns.RcodeRefused
		return outside
	}
	if z == nil {
		reply.Rcode = dns.RcodeServerFailure
		return ignorant
	}
	reply.Authoritative = true
	at, exists := z.Find(name, q.from)
	if !exists {
		reply.Rcode = dns.RcodeNameError
		reply.Ns = append(reply.Ns, r.soa(z, r.origin))
		return noName
	}
	b := builder{r: r, reply: reply, owner: ask.Name, turn: q.turn}
	b.add(ask.Qtype, at, z, name == "")
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, r.soa(z, r.origin))
		return noData
	}
	return found
}

// relative is the part of a name before the zone's, in lower case.
func (r *responder) relative(name string) (string, bool) {
	if strings.IndexByte(name, '\\') >= 0 { // no name of ours; its text may end like the zone without being in it
		return "\\", dns.IsSubDomain(r.origin, name)
	}
	name = lower(name)
	if name == r.origin {
		return "", true
	}
	rest, ok := strings.CutSuffix(name, r.origin)
	if !ok || rest[len(rest)-1] != '.' {
		return "", false
	}
	return rest[:len(rest)-1], true
}

// lower is the form of a name that names are compared in; DNS knows of no case beyond ASCII's.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return strings.Map(func(c rune) rune {
				if c >= 'A' && c <= 'Z' {
					return c + 'a' - 'A'
				}
				return c
			}, s)
		}
	}
	return s
}
