package nameserver

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"

	"cordwood/broker/nameserver/zone"
)

// builder puts the records of one name into a reply.
type builder struct {
	r     *responder
	reply *dns.Msg
	owner string // as it was asked for: resolvers compare its case, too
	turn  uint32
}

// add answers with what there is of a type.
func (b *builder) add(qtype uint16, at zone.Found, z *zone.Zone, apex bool) {
	switch {
	case apex && qtype == dns.TypeSOA:
		b.reply.Answer = append(b.reply.Answer, b.r.soa(z, b.owner))
	case apex && qtype == dns.TypeNS:
		b.servers(at)
	case apex: // the zone's own name is no host's
	case qtype == dns.TypeA:
		b.reply.Answer = b.addresses(b.reply.Answer, b.owner, at.Near.V4)
		b.reply.Answer = b.addresses(b.reply.Answer, b.owner, at.Far.V4)
	case qtype == dns.TypeAAAA:
		b.reply.Answer = b.addresses(b.reply.Answer, b.owner, at.Near.V6)
		b.reply.Answer = b.addresses(b.reply.Answer, b.owner, at.Far.V6)
	case qtype == dns.TypeSRV:
		b.services(0, at.Near.Nodes)
		b.services(1, at.Far.Nodes)
	}
}

func header(name string, qtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: ttl}
}

// addresses appends A and AAAA records, beginning with another one each time.
func (b *builder) addresses(to []dns.RR, owner string, list []netip.Addr) []dns.RR {
	for i := range list {
		a := list[(uint32(i)+b.turn)%uint32(len(list))]
		if a.Is4() {
			to = append(to, &dns.A{Hdr: header(owner, dns.TypeA), A: net.IP(a.AsSlice())})
		} else {
			to = append(to, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())})
		}
	}
	return to
}

// services appends SRV records. The target is what the node advertises, so that clients resolve that name as they see it and a
// certificate fits; for an address it is the node's own name here, which comes along.
func (b *builder) services(priority uint16, nodes []*zone.Node) {
	for i := range nodes {
		n := nodes[(uint32(i)+b.turn)%uint32(len(nodes))]
		target := dns.Fqdn(n.Host)
		if n.Host == "" {
			target = n.Label + "." + b.r.origin
			b.reply.Extra = b.addresses(b.reply.Extra, target, n.Addrs)
		}
		b.reply.Answer = append(b.reply.Answer, &dns.SRV{Hdr: header(b.owner, dns.TypeSRV), Priority: priority, Port: n.Port, Target: target})
	}
}

// servers are the zone's name servers: every live broker, this one first of all while none is known to live.
func (b *builder) servers(at zone.Found) {
	add := func(name string) {
		b.reply.Answer = append(b.reply.Answer, &dns.NS{Hdr: header(b.owner, dns.TypeNS), Ns: name})
	}
	for _, g := range []zone.Group{at.Near, at.Far} {
		for _, n := range g.Nodes {
			name := n.Label + "." + b.r.origin
			add(name)
			b.reply.Extra = b.addresses(b.reply.Extra, name, n.Addrs)
		}
	}
	if len(b.reply.Answer) == 0 {
		add(b.r.self)
	}
}

// soa is the start of authority. Nobody transfers the zone: its serial number tells which metadata it was made of.
func (r *responder) soa(z *zone.Zone, owner string) *dns.SOA {
	return &dns.SOA{
		Hdr: header(owner, dns.TypeSOA), Ns: r.self, Mbox: r.mbox,
		Serial: uint32(z.Index()), Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}
