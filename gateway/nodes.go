package gateway

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"sync"
)

// maxNodes bounds how many brokers are remembered, whatever answers say.
const maxNodes = 1000

// bootstrap is the target of clients that name no broker.
const bootstrap int32 = -1

// node is a broker as answers named it.
type node struct {
	id    int32
	addr  string // host:port, as brokers advertise it to the gateway
	up    bool   // it answered the last look
	known bool   // there was a look
}

// nodes are the brokers that answers named so far, and what the prober saw of them. None is forgotten while the gateway runs:
// a broker that is down is not listed.
type nodes struct {
	mu    sync.RWMutex
	byID  map[int32]*node
	seeds map[string]bool // gateway.upstream and whether it answered
	next  int             // where the next choice begins
}

func newNodes(seeds []string) *nodes {
	n := &nodes{byID: map[int32]*node{}}
	n.setSeeds(seeds)
	return n
}

func (n *nodes) setSeeds(addrs []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seeds = map[string]bool{}
	for _, a := range addrs {
		n.seeds[a] = false
	}
}

// learn notes where a broker is; true if it is a new one.
func (n *nodes) learn(id int32, host []byte, port int32) bool {
	n.mu.RLock()
	at := n.byID[id]
	same := at != nil && at.at(host, port)
	full := len(n.byID) >= maxNodes
	n.mu.RUnlock()
	if same || at == nil && full {
		return false
	}
	addr := net.JoinHostPort(string(host), strconv.Itoa(int(port)))
	n.mu.Lock()
	defer n.mu.Unlock()
	if at = n.byID[id]; at == nil {
		n.byID[id] = &node{id: id, addr: addr}
		return true
	}
	if at.addr != addr {
		at.addr, at.known = addr, false
	}
	return false
}

// at compares without making a string of it.
func (n *node) at(host []byte, port int32) bool {
	var text [8]byte
	tail := strconv.AppendInt(append(text[:0], ':'), int64(port), 10)
	cut := len(n.addr) - len(tail)
	return cut == len(host) && cut >= 0 && n.addr[:cut] == string(host) && n.addr[cut:] == string(tail)
}

// addr is where a broker is.
func (n *nodes) addr(id int32) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if at := n.byID[id]; at != nil {
		return at.addr, true
	}
	return "", false
}

// choose lists where a client without a wish may go, the best first: brokers that are up in turn, then addresses of the
// file, then the rest.
func (n *nodes) choose() []string {
	n.mu.Lock()
	n.next++
	turn := n.next
	n.mu.Unlock()
	var up, seeds, down []string
	for _, at := range n.list() {
		if at.up {
			up = append(up, at.addr)
		} else {
			down = append(down, at.addr)
		}
	}
	n.mu.RLock()
	for a := range n.seeds {
		seeds = append(seeds, a)
	}
	n.mu.RUnlock()
	slices.Sort(seeds)
	if len(up) > 0 {
		up = append(up[turn%len(up):], up[:turn%len(up)]...)
	}
	out := []string{}
	for _, a := range slices.Concat(up, seeds, down) {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// list copies what is known, by id.
func (n *nodes) list() []node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	out := make([]node, 0, len(n.byID))
	for _, at := range n.byID {
		out = append(out, *at)
	}
	slices.SortFunc(out, func(a, b node) int { return cmp.Compare(a.id, b.id) })
	return out
}

// seedList copies the addresses of the file.
func (n *nodes) seedList() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var out []string
	for a := range n.seeds {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// looked notes what a look at an address saw, and returns the brokers about which that is news.
func (n *nodes) looked(addr string, up bool) (news []node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.seeds[addr]; ok {
		n.seeds[addr] = up
	}
	for _, at := range n.byID {
		if at.addr != addr {
			continue
		}
		if at.up != up || !at.known {
			at.up, at.known = up, true
			news = append(news, *at)
		}
	}
	return news
}

// anyUp says that some broker answered its last look.
func (n *nodes) anyUp() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, up := range n.seeds {
		if up {
			return true
		}
	}
	for _, at := range n.byID {
		if at.up {
			return true
		}
	}
	return false
}

// count is the number of brokers that are known.
func (n *nodes) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.byID)
}
