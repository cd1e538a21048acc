package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// nameOp is one change of names. Each is atomic and takes place or not on its own: file systems may write
// directories in any order until they are synced.
type nameOp struct {
	from, to         *inode // directories; from is nil for a creation, to for a removal
	oldname, newname string
	node             *inode
}

// apply makes the change in one view of the directories. The old name goes only if it still means this node, for
// an earlier change may be missing from the view.
func (o *nameOp) apply(view func(dir *inode) map[string]*inode) {
	if o.from != nil {
		if names := view(o.from); names[o.oldname] == o.node {
			delete(names, o.oldname)
		}
	}
	if o.to != nil {
		view(o.to)[o.newname] = o.node
	}
}

// settle makes all pending changes of a directory durable. A move between two directories is atomic, so it takes
// what was earlier changed in the other one along. mu is held.
func (m *Mem) settle(dir *inode) {
	dirs := map[*inode]bool{dir: true}
	var now, later []nameOp
	for _, op := range slices.Backward(m.pending) {
		if !dirs[op.from] && !dirs[op.to] {
			later = append(later, op)
			continue
		}
		if op.from != nil && op.to != nil {
			dirs[op.from], dirs[op.to] = true, true
		}
		now = append(now, op)
	}
	for _, op := range slices.Backward(now) {
		op.apply(func(d *inode) map[string]*inode { return d.names.durable })
	}
	slices.Reverse(later)
	m.pending = later
}

// CrashClone returns what a power cut at this moment leaves. What was synced is there; of the rest rng chooses, a
// block or a change of names at a time. A nil rng chooses nothing. Locks are gone.
func (m *Mem) CrashClone(rng *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	views := map[*inode]map[string]*inode{}
	view := func(d *inode) map[string]*inode {
		if views[d] == nil {
			views[d] = maps.Clone(d.names.durable)
		}
		return views[d]
	}
	chance := throw(rng)
	for _, op := range m.pending {
		if chance == keepAll || chance == keepSome && rng.IntN(2) == 1 {
			op.apply(view)
		}
	}
	copies := map[*inode]*inode{}
	var visit func(n *inode) *inode
	visit = func(n *inode) *inode {
		if copies[n] != nil {
			return copies[n]
		}
		c := &inode{number: n.number, mode: n.mode, changed: n.changed}
		copies[n] = c
		if !n.mode.IsDir() {
			c.data = n.data.crash(rng)
			return c
		}
		c.names.live = map[string]*inode{}
		for _, name := range slices.Sorted(maps.Keys(view(n))) { // in order, so that a seed repeats
			c.names.live[name] = visit(view(n)[name])
		}
		c.names.durable = maps.Clone(c.names.live)
		return c
	}
	return &Mem{root: visit(m.root), locks: map[string]bool{}, numbers: m.numbers, free: m.free}
}

// KillClone returns what a killed process (kill -9) leaves: everything written, as unsynced as it was. Locks are
// gone.
func (m *Mem) KillClone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	copies := map[*inode]*inode{nil: nil}
	var visit func(n *inode) *inode
	names := func(from map[string]*inode) map[string]*inode {
		to := make(map[string]*inode, len(from))
		for name, n := range from {
			to[name] = visit(n)
		}
		return to
	}
	visit = func(n *inode) *inode {
		if c, ok := copies[n]; ok {
			return c
		}
		c := &inode{number: n.number, mode: n.mode, changed: n.changed}
		copies[n] = c
		if n.mode.IsDir() {
			c.names.live, c.names.durable = names(n.names.live), names(n.names.durable)
		} else {
			c.data = n.data.clone()
		}
		return c
	}
	k := &Mem{root: visit(m.root), locks: map[string]bool{}, numbers: m.numbers, free: m.free}
	for _, op := range m.pending {
		op.from, op.to, op.node = visit(op.from), visit(op.to), visit(op.node)
		k.pending = append(k.pending, op)
	}
	return k
}
