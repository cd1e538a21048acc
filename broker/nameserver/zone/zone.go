package zone

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"cordwood/metadata"
)

// Config is what does not change.
type Config struct {
	Name     string          // of the zone, as Parse returns it
	Self     metadata.NodeID // the node that answers
	Listener string          // whose addresses are told
}

// ServerLabel is the label of the node that answers.
func (c Config) ServerLabel() string { return nodeLabel(c.Self) }

func nodeLabel(id metadata.NodeID) string { return "b" + strconv.Itoa(int(id)) }

// Controller is where the active controller is, as far as a node knows.
type Controller struct {
	ID   metadata.NodeID // metadata.NoNode: not known
	Host string          // of its controller listener; empty: not known
	Port uint16
}

// Zone is what is known at one moment. It and everything reached from it is read-only.
type Zone struct {
	cfg   Config
	img   *metadata.Image
	mixed map[string][]string     // topics whose names have upper-case letters, by their lower-case name
	hosts map[string][]netip.Addr // addresses of advertised names
	at    Controller

	// made of registrations, addresses and controller
	nodes      map[metadata.NodeID]Found
	live       []*Node
	racks      map[string]Found // live brokers, those of a rack first
	all        Found            // live brokers
	controller Found
}

// New is the zone of a cluster about which nothing is known yet.
func New(cfg Config) *Zone {
	z := &Zone{cfg: cfg, img: metadata.Empty(), at: Controller{ID: metadata.NoNode}}
	z.place()
	return z
}

// Name is the zone's name.
func (z *Zone) Name() string { return z.cfg.Name }

// Index is the raft index of the image.
func (z *Zone) Index() uint64 { return z.img.Index() }

// Known reports whether there is an image at all: without one no name can be said not to exist.
func (z *Zone) Known() bool { return z.img.ClusterID() != "" }

// At is the zone after a change of metadata.
func (z *Zone) At(img *metadata.Image) *Zone {
	diff, next := metadata.Compare(z.img, img), *z
	next.img = img
	next.mixed = remember(z.mixed, &diff)
	if len(diff.BrokersChanged) > 0 {
		next.place()
	}
	return &next
}

// With is the zone with the active controller elsewhere.
func (z *Zone) With(at Controller) *Zone {
	if at == z.at {
		return z
	}
	next := *z
	next.at = at
	next.place()
	return &next
}

// Resolved is the zone with other addresses of advertised names.
func (z *Zone) Resolved(hosts map[string][]netip.Addr) *Zone {
	next := *z
	next.hosts = hosts
	next.place()
	return &next
}

// Hosts lists the advertised names whose addresses are wanted. One below the zone itself could only be asked of this server.
func (z *Zone) Hosts() []string {
	var out []string
	add := func(f Found) {
		for _, n := range f.Near.Nodes {
			if n.Host != "" && !Contains(z.cfg.Name, n.Host) {
				out = append(out, n.Host)
			}
		}
	}
	for _, f := range z.nodes {
		add(f)
	}
	add(z.controller)
	slices.Sort(out)
	return slices.Compact(out)
}

// remember keeps the topics whose names are not in lower case, by what they would be.
func remember(old map[string][]string, diff *metadata.Diff) map[string][]string {
	next, copied := old, false
	set := func(lower string, names []string) {
		if !copied {
			next, copied = maps.Clone(old), true
			if next == nil {
				next = map[string][]string{}
			}
		}
		if next[lower] = names; len(names) == 0 {
			delete(next, lower)
		}
	}
	for _, t := range diff.TopicsDeleted { // a topic that was made anew is in both lists
		if lower := strings.ToLower(t.Name); lower != t.Name {
			set(lower, slices.DeleteFunc(slices.Clone(next[lower]), func(n string) bool { return n == t.Name }))
		}
	}
	for _, t := range diff.TopicsCreated {
		if lower := strings.ToLower(t.Name); lower != t.Name {
			set(lower, append(slices.Clone(next[lower]), t.Name))
		}
	}
	return next
}

// topic is the topic that a label stands for, or nil (N1, N2).
func (z *Zone) topic(label string) *metadata.Topic {
	if looksLikeID(label) {
		if id, ok := parseID(label); ok {
			return z.img.TopicByID(id)
		}
		return nil
	}
	if !plain(label) {
		return nil
	}
	exact, others := z.img.Topic(label), z.mixed[label]
	switch {
	case exact != nil && len(others) == 0:
		return exact
	case exact == nil && len(others) == 1:
		return z.img.Topic(others[0])
	}
	return nil
}

// Find says what a name stands for, and whether it exists. asker is the address of whoever asks, invalid if unknown: brokers
// of its rack come first.
func (z *Zone) Find(name string, asker netip.Addr) (Found, bool) {
	switch name {
	case "", "bootstrap":
		return z.brokers(asker), true
	case "controller":
		return z.controller, true
	}
	first, label, deep := strings.Cut(name, ".")
	if !deep {
		if id, ok := number(first, 'b'); ok {
			if n, ok := z.nodes[metadata.NodeID(id)]; ok {
				return n, true
			}
		}
		return Found{}, z.topic(first) != nil
	}
	index, ok := number(first, 'p')
	if !ok {
		return Found{}, false
	}
	p := z.topic(label).Partition(index)
	if p == nil {
		return Found{}, false
	}
	if leader := z.img.Broker(p.Leader); leader == nil || leader.Fenced {
		return Found{}, true
	}
	return z.nodes[p.Leader], true
}

// number reads a letter and a number in the one way there is to write it.
func number(s string, letter byte) (int32, bool) {
	if len(s) < 2 || s[0] != letter || s[1] < '0' || s[1] > '9' || s[1] == '0' && len(s) > 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(s[1:], 10, 32)
	return int32(n), err == nil
}
