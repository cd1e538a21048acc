package check

import (
	"cmp"
	"math"
	"slices"
)

// register is the committed offset of a group for a key: what is told must be the last that was committed, as far as
// the order is known.
type register struct {
	commits map[int64][]*Op // by offset; those that did not fail
	sure    []mark          // ok commits and offsets told, by completion
	asked   []mark          // offsets told, by invocation
}

// mark is a moment at which a register certainly held an offset: somewhere between invocation and completion of op.
type mark struct {
	op     *Op
	number int
	offset int64
}

// checkGroups holds A7.
func (c *checker) checkGroups() {
	type name struct {
		group string
		key   Key
	}
	registers := map[name]*register{}
	for i := range c.h {
		op := &c.h[i]
		if op.Do != Commit && op.Do != Committed {
			continue
		}
		for _, s := range op.Steps {
			n := name{op.Group, s.Key}
			r := registers[n]
			if r == nil {
				start := &Op{Outcome: OK, Invoked: math.MinInt, Completed: math.MinInt} // nothing is committed
				r = &register{commits: map[int64][]*Op{Unknown: {start}}}
				registers[n] = r
			}
			r.add(mark{op, i, s.Offset})
		}
	}
	for n, r := range registers {
		c.checkRegister(n.group, n.key, r)
	}
}

func (r *register) add(m mark) {
	if m.op.Do == Commit && m.op.Outcome != Fail {
		r.commits[m.offset] = append(r.commits[m.offset], m.op)
	}
	if m.op.Outcome != OK {
		return
	}
	r.sure = append(r.sure, m)
	if m.op.Do == Committed {
		r.asked = append(r.asked, m)
	}
}

// checkRegister: an offset told needs a commit that may have been the last one. A commit cannot have been if, after it
// had completed and before the question, the register certainly held something else.
func (c *checker) checkRegister(group string, key Key, r *register) {
	slices.SortFunc(r.sure, func(a, b mark) int { return cmp.Compare(a.op.Completed, b.op.Completed) })
	next := 0
	var latest, other *mark // of the sure ones so far: the one invoked last, and the one invoked last with another offset
	for _, told := range r.asked {
		for ; next < len(r.sure) && r.sure[next].op.Completed < told.op.Invoked; next++ {
			m := &r.sure[next]
			switch {
			case latest == nil || m.op.Invoked > latest.op.Invoked:
				if latest != nil && latest.offset != m.offset {
					other = latest
				}
				latest = m
			case m.offset != latest.offset && (other == nil || m.op.Invoked > other.op.Invoked):
				other = m
			}
		}
		rival := latest
		if rival != nil && rival.offset == told.offset {
			rival = other
		}
		explained := slices.ContainsFunc(r.commits[told.offset], func(w *Op) bool {
			return w.Invoked < told.op.Completed && (rival == nil || !w.before(rival.op))
		})
		if !explained && rival != nil {
			c.found(GroupOffset, "operation %d is told that %s committed %d for %s; operation %d had it at %d", told.number, group, told.offset, key, rival.number, rival.offset)
		} else if !explained {
			c.found(GroupOffset, "operation %d is told that %s committed %d for %s, which it did not", told.number, group, told.offset, key)
		}
	}
}
