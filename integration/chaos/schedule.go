//go:build process

package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// kind is what happens in a round.
type kind int

const (
	kill     kind = iota // kill -9 of one node
	pause                // SIGSTOP of one node
	isolate              // one node cut off from everybody
	oneWay               // one direction between two hosts is cut, or from or to all others
	killAll              // kill -9 of all nodes at once
	kinds                // how many there are
	allHosts = -2        // the other end of a cut: everybody
)

func (k kind) String() string {
	return [kinds]string{"kill", "pause", "isolate", "one way", "kill all"}[k]
}

// deck is what 33 rounds hold.
var deck = [kinds]int{kill: 20, pause: 5, isolate: 2, oneWay: 3, killAll: 3}

// round is one fault: after a time of load it lasts so long, then everything is whole again, or, if it is not settled, the
// next one comes before that.
type round struct {
	kind    kind
	node    int // whom it strikes
	other   int // of a cut in one direction: the host at the other end, or allHosts
	inward  bool
	after   time.Duration
	lasts   time.Duration
	meets   int // another node that is killed meanwhile; -1: none
	settled bool
}

func (r round) String() string {
	s := fmt.Sprintf("after %s %s of node %d", r.after, r.kind, r.node+1)
	switch {
	case r.kind == killAll:
		s = fmt.Sprintf("after %s %s", r.after, r.kind)
	case r.kind == oneWay && r.inward:
		s += fmt.Sprintf(", from %s", host(r.other))
	case r.kind == oneWay:
		s += fmt.Sprintf(", to %s", host(r.other))
	}
	s += fmt.Sprintf(" for %s", r.lasts)
	if r.meets >= 0 {
		s += fmt.Sprintf(", node %d is killed meanwhile", r.meets+1)
	}
	if !r.settled {
		s += ", not settled"
	}
	return s
}

func host(h int) string {
	if h == allHosts {
		return "everybody"
	}
	return fmt.Sprintf("node %d", h+1)
}

// schedule is what a seed stands for, on so many nodes; without links there are no cuts.
func schedule(seed uint64, rounds, nodes int, links bool) []round {
	rng := rand.New(rand.NewPCG(seed, 4))
	var out []round
	for len(out) < rounds {
		var cards []kind
		for k, n := range deck {
			for range n {
				cards = append(cards, kind(k))
			}
		}
		rng.Shuffle(len(cards), func(i, j int) { cards[i], cards[j] = cards[j], cards[i] })
		for _, k := range cards {
			r := draw(rng, k, nodes) // drawn also where it is left out: a seed means the same with and without links
			if len(out) < rounds && (links || k != isolate && k != oneWay) {
				out = append(out, r)
			}
		}
	}
	return out
}

func draw(rng *rand.Rand, k kind, nodes int) round {
	r := round{kind: k, node: rng.IntN(nodes), other: allHosts, meets: -1}
	r.after = between(rng, 100*time.Millisecond, time.Second)
	switch k {
	case kill, killAll:
		r.lasts = between(rng, 0, time.Second)
	default: // half of them are longer than a session
		r.lasts = between(rng, 500*time.Millisecond, 6*time.Second)
	}
	r.inward = rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		r.other = (r.node + 1 + rng.IntN(nodes-1)) % nodes
	}
	if meets := rng.IntN(4 * nodes); meets < nodes && k != killAll && meets != r.node {
		r.meets = meets
	}
	r.settled = rng.IntN(2) == 0
	return r
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return (least + time.Duration(rng.Int64N(int64(most-least)))).Round(time.Millisecond)
}
