package zone

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"cordwood/metadata"
)

// Node is one process that names stand for.
type Node struct {
	Label string // its own name below the zone
	Host  string // the name it advertises; empty: it advertises an address
	Port  uint16
	Addrs []netip.Addr

	rack string
}

// Group is nodes that are as near as each other, and their addresses, each once.
type Group struct {
	Nodes  []*Node
	V4, V6 []netip.Addr
}

// Found is what a name stands for: first the nodes of the asker's rack.
type Found struct{ Near, Far Group }

// group collects nodes; addresses that are in before already are left out (N4).
func group(nodes []*Node, before Group) Group {
	g := Group{Nodes: nodes}
	seen := map[netip.Addr]bool{}
	for _, a := range slices.Concat(before.V4, before.V6) {
		seen[a] = true
	}
	for _, n := range nodes {
		for _, a := range n.Addrs {
			switch {
			case seen[a]:
			case a.Is4():
				g.V4 = append(g.V4, a)
			default:
				g.V6 = append(g.V6, a)
			}
			seen[a] = true
		}
	}
	return g
}

func single(n *Node) Found { return Found{Near: group([]*Node{n}, Group{})} }

// place makes anew what is made of registrations, addresses and the controller.
func (z *Zone) place() {
	z.nodes, z.live, z.racks = map[metadata.NodeID]Found{}, nil, map[string]Found{}
	for b := range z.img.Brokers() {
		e := b.Endpoint(z.cfg.Listener)
		if e == nil {
			continue
		}
		n := z.node(nodeLabel(b.ID), e.Host, uint16(e.Port))
		n.rack = b.Rack
		z.nodes[b.ID] = single(n)
		if b.Live() {
			z.live = append(z.live, n)
		}
	}
	for _, n := range z.live {
		if _, made := z.racks[n.rack]; made {
			continue
		}
		near := group(filter(z.live, func(o *Node) bool { return o.rack == n.rack }), Group{})
		far := group(filter(z.live, func(o *Node) bool { return o.rack != n.rack }), near)
		z.racks[n.rack] = Found{Near: near, Far: far}
	}
	z.all = Found{Near: group(z.live, Group{})}
	z.controller = z.placeController()
}

func filter(in []*Node, keep func(*Node) bool) (out []*Node) {
	for _, n := range in {
		if keep(n) {
			out = append(out, n)
		}
	}
	return out
}

// node is a node with the addresses of its host.
func (z *Zone) node(label, host string, port uint16) *Node {
	if a, err := netip.ParseAddr(host); err == nil {
		return &Node{Label: label, Port: port, Addrs: []netip.Addr{a.Unmap().WithZone("")}}
	}
	return &Node{Label: label, Host: host, Port: port, Addrs: z.hosts[host]}
}

// placeController is the active controller: the broker it is, too, where clients reach that; a node that is a controller
// only where other nodes reach it.
func (z *Zone) placeController() Found {
	if n, ok := z.nodes[z.at.ID]; ok {
		return n
	}
	if z.at.Host == "" {
		return Found{}
	}
	for b := range z.img.Brokers() {
		for _, e := range b.Listeners {
			if n, told := z.nodes[b.ID]; told && e.Host == z.at.Host && e.Port == int32(z.at.Port) {
				return n
			}
		}
	}
	return single(z.node("controller", z.at.Host, z.at.Port))
}

// brokers are the live brokers, those of the asker's rack first.
func (z *Zone) brokers(asker netip.Addr) Found {
	if f, ok := z.racks[z.rackOf(asker)]; ok {
		return f
	}
	return z.all
}

// nearBits is how much of an address an asker must have in common with a broker to be taken for a neighbour.
const nearBits4, nearBits6 = 16, 48

// rackOf is the rack an asker is most likely in: that of the live broker whose address has the longest beginning in common
// with its own, which holds wherever racks are subnets. Without such a broker, or with two racks as likely, it is the rack of this
// node: resolvers ask the name server that answers soonest.
func (z *Zone) rackOf(asker netip.Addr) string {
	rack := ""
	if self := z.img.Broker(z.cfg.Self); self != nil {
		rack = self.Rack
	}
	asker = asker.Unmap()
	best, own := nearBits4-1, rack
	if asker.Is6() {
		best = nearBits6 - 1
	}
	for _, n := range z.live {
		for _, a := range n.Addrs {
			switch same := common(a, asker); {
			case same > best:
				best, rack = same, n.rack
			case same == best && n.rack != rack:
				rack = own
			}
		}
	}
	return rack
}

// common is the number of leading bits two addresses share; -1 for different kinds.
func common(a, b netip.Addr) int {
	switch {
	case a.Is4() && b.Is4():
		x, y := a.As4(), b.As4()
		return bits.LeadingZeros32(binary.BigEndian.Uint32(x[:]) ^ binary.BigEndian.Uint32(y[:]))
	case a.Is6() && b.Is6():
		x, y := a.As16(), b.As16()
		if high := binary.BigEndian.Uint64(x[:8]) ^ binary.BigEndian.Uint64(y[:8]); high != 0 {
			return bits.LeadingZeros64(high)
		}
		return 64 + bits.LeadingZeros64(binary.BigEndian.Uint64(x[8:])^binary.BigEndian.Uint64(y[8:]))
	}
	return -1
}
