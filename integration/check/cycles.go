package check

import (
	"cmp"
	"slices"
)

// relation is why one operation comes before another.
type relation uint8

const (
	ww      relation = 1 << iota // its value follows in the version order
	wr                           // its value is read
	process                      // the process invoked it later
	realtime
)

// graph has operations as nodes 0 to ops-1 and, for the real-time order, moments behind them: an operation leads to the
// moment of its completion, that to the next one, and the last one before an invocation to the invoked operation. So
// all pairs in real-time order are connected by as many edges as there are operations, not pairs.
type graph struct {
	ops, nodes int
	edges      []edge
}

type edge struct {
	from, to int
	why      relation
}

// checkCycles holds C14. The graph with all edges comes first: without a cycle in it there is none in its parts.
func (c *checker) checkCycles() {
	g := c.relations()
	if len(g.cycles(ww|wr|process|realtime)) == 0 {
		return
	}
	for _, kind := range []struct {
		rule Rule
		why  relation
		must relation
	}{{G0, ww, ww}, {G1cWR, wr, wr}, {G1c, ww | wr, wr}} {
		for _, order := range []struct {
			name Rule
			why  relation
		}{{"", 0}, {Process, process}, {Realtime, process | realtime}} {
			found := g.cyclesWith(kind.why|order.why, kind.must)
			for _, ops := range found {
				c.found(kind.rule+order.name, "operations %v are each before the next, and the last before the first", ops[:min(len(ops), 8)])
			}
			if len(found) > 0 {
				break // the wider orders have these cycles too
			}
		}
	}
}

func (c *checker) relations() *graph {
	g := &graph{ops: len(c.h), nodes: len(c.h), edges: make([]edge, 0, 2*len(c.records)+4*len(c.h))}
	add := func(from, to int, why relation) {
		if from != to {
			g.edges = append(g.edges, edge{from, to, why})
		}
	}
	for k := range c.logs {
		order := c.logs[k].order
		for i := 1; i < len(order); i++ {
			a, b := c.values[order[i-1]].writer, c.values[order[i]].writer
			if a != nobody && b != nobody {
				add(a, b, ww)
			}
		}
	}
	last := map[int]int{} // process -> its operation before
	for i := range c.h {
		op := &c.h[i]
		if !op.carries() || !c.committed[i] {
			continue
		}
		for j, n := range c.recordsOf(i) {
			if writer := c.values[n].writer; op.reads(&op.Steps[j]) && writer != nobody {
				add(writer, i, wr)
			}
		}
		if before, ok := last[op.Process]; ok && c.h[before].before(op) {
			add(before, i, process)
		}
		last[op.Process] = i
	}
	c.addMoments(g)
	return g
}

// addMoments adds the real-time order.
func (c *checker) addMoments(g *graph) {
	var done []int // operations by completion
	for i := range c.h {
		if c.h[i].carries() && c.h[i].Outcome == OK {
			done = append(done, i)
		}
	}
	slices.SortFunc(done, func(a, b int) int { return cmp.Compare(c.h[a].Completed, c.h[b].Completed) })
	g.nodes += len(done)
	for m, i := range done {
		g.edges = append(g.edges, edge{i, g.ops + m, realtime})
		if m > 0 {
			g.edges = append(g.edges, edge{g.ops + m - 1, g.ops + m, realtime})
		}
	}
	passed := 0
	for i := range c.h { // in the order of invocations
		for passed < len(done) && c.h[done[passed]].Completed < c.h[i].Invoked {
			passed++
		}
		if passed > 0 && c.h[i].carries() && c.committed[i] {
			g.edges = append(g.edges, edge{g.ops + passed - 1, i, realtime})
		}
	}
}

// cyclesWith are the strongly connected operations that at least one edge of the kind must connects.
func (g *graph) cyclesWith(why, must relation) [][]int {
	found := g.cycles(why)
	group := make(map[int]int)
	for n, ops := range found {
		for _, op := range ops {
			group[op] = n + 1
		}
	}
	has := make([]bool, len(found))
	for _, e := range g.edges {
		if n := group[e.from]; e.why&must != 0 && n != 0 && n == group[e.to] {
			has[n-1] = true
		}
	}
	kept := found[:0]
	for n, ops := range found {
		if has[n] {
			kept = append(kept, ops)
		}
	}
	return kept
}

// cycles are the sets of two or more operations in which each leads to every other by edges of the given kinds. Tarjan's
// algorithm, with a stack of its own instead of recursion: a path may be as long as the history.
func (g *graph) cycles(why relation) [][]int {
	t := newTarjan(g, why)
	var found [][]int
	for n := range g.nodes {
		if t.number[n] == 0 {
			found = append(found, t.walk(n)...)
		}
	}
	return found
}

type tarjan struct {
	g           *graph
	begin       []int // by node: where its successors begin in to
	to          []int
	number, low []int // by node: its place on the stack, from 1, and the lowest such place that it leads to; 0: not met
	onStack     []bool
	stack       []int // met, not yet in a component
	path        []int // from the root to where we are
	next        []int // by node: the successor to look at
}

func newTarjan(g *graph, why relation) *tarjan {
	t := &tarjan{g: g, begin: make([]int, g.nodes+1), number: make([]int, g.nodes), low: make([]int, g.nodes), onStack: make([]bool, g.nodes)}
	for _, e := range g.edges {
		if e.why&why != 0 {
			t.begin[e.from+1]++
		}
	}
	for n := range g.nodes {
		t.begin[n+1] += t.begin[n]
	}
	t.next = slices.Clone(t.begin[:g.nodes])
	t.to = make([]int, t.begin[g.nodes])
	for _, e := range g.edges {
		if e.why&why != 0 {
			t.to[t.next[e.from]] = e.to
			t.next[e.from]++
		}
	}
	copy(t.next, t.begin)
	return t
}

// walk visits what root leads to.
func (t *tarjan) walk(root int) (found [][]int) {
	enter := func(n int) {
		t.number[n] = len(t.stack) + 1 // within the stack the order of discovery is that of places
		t.low[n] = t.number[n]
		t.onStack[n] = true
		t.stack = append(t.stack, n)
		t.path = append(t.path, n)
	}
	enter(root)
	for len(t.path) > 0 {
		n := t.path[len(t.path)-1]
		if t.next[n] < t.begin[n+1] {
			m := t.to[t.next[n]]
			t.next[n]++
			switch {
			case t.number[m] == 0:
				enter(m)
			case t.onStack[m]:
				t.low[n] = min(t.low[n], t.number[m])
			}
			continue
		}
		t.path = t.path[:len(t.path)-1]
		if len(t.path) > 0 {
			parent := t.path[len(t.path)-1]
			t.low[parent] = min(t.low[parent], t.low[n])
		}
		if t.low[n] == t.number[n] {
			if ops := t.pop(n); len(ops) > 1 {
				found = append(found, ops)
			}
		}
	}
	return found
}

// pop takes a component, down to its first node, from the stack and returns its operations.
func (t *tarjan) pop(first int) (ops []int) {
	for {
		n := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.onStack[n] = false
		if n < t.g.ops {
			ops = append(ops, n)
		}
		if n == first {
			slices.Sort(ops)
			return ops
		}
	}
}
