package check

import (
	"cmp"
	"slices"
)

// checkRealtime: what was acknowledged before something else was sent has the lower offset (A1).
func (c *checker) checkRealtime() {
	type acked struct {
		offset int64
		op     int
	}
	byKey := make([][]acked, len(c.logs))
	for i := range c.h {
		op := &c.h[i]
		if op.Outcome != OK {
			continue
		}
		for j, n := range c.recordsOf(i) {
			if s := &op.Steps[j]; !op.reads(s) && s.Offset != Unknown {
				k := c.values[n].key
				byKey[k] = append(byKey[k], acked{s.Offset, i})
			}
		}
	}
	for k, sends := range byKey {
		slices.SortFunc(sends, func(a, b acked) int { return cmp.Compare(b.offset, a.offset) }) // the highest first
		soonest := nobody                                                                       // of those with higher offsets, who completed first
		for _, s := range sends {
			op := &c.h[s.op]
			if soonest != nobody && c.h[soonest].before(op) {
				c.found(RealtimeOrder, "%s: operation %d was invoked after %d had completed, and got the lower offset %d", c.logs[k].name, s.op, soonest, s.offset)
			}
			if soonest == nobody || op.Completed < c.h[soonest].Completed {
				soonest = s.op
			}
		}
	}
}

// sighting is a proof that a log had reached an end.
type sighting struct {
	end   int64
	at    int // when it was complete
	acked bool
}

// checkEnds: an end that is told is beyond whatever was known before it was asked for (A2, A3).
func (c *checker) checkEnds() {
	seen, asked := c.sightings()
	for k, probes := range asked {
		slices.SortFunc(seen[k], func(a, b sighting) int { return cmp.Compare(a.at, b.at) })
		next := 0
		var ackedEnd, seenEnd int64
		for _, p := range probes { // in the order of invocations
			op := &c.h[p.op]
			for ; next < len(seen[k]) && seen[k][next].at < op.Invoked; next++ {
				if s := seen[k][next]; s.acked {
					ackedEnd = max(ackedEnd, s.end)
				} else {
					seenEnd = max(seenEnd, s.end)
				}
			}
			if p.end < seenEnd {
				c.found(EndWentBack, "operation %d is told that %s ends at %d; before, it had been seen up to %d", p.op, c.logs[k].name, p.end, seenEnd)
			}
			if p.end < ackedEnd {
				c.found(StaleEnd, "operation %d is told that %s ends at %d; before, sends had been acknowledged up to %d", p.op, c.logs[k].name, p.end, ackedEnd)
			}
		}
	}
}

// probe is an end that was told.
type probe struct {
	op  int
	end int64
}

// sightings lists by key how far the log was known to reach, and the ends that were told.
func (c *checker) sightings() ([][]sighting, [][]probe) {
	for i := range c.h {
		if c.h[i].Do == End {
			for _, s := range c.h[i].Steps {
				c.key(s.Key) // a log may have been asked for its end, and for nothing else
			}
		}
	}
	seen, asked := make([][]sighting, len(c.logs)), make([][]probe, len(c.logs))
	for i := range c.h {
		op := &c.h[i]
		if op.Outcome != OK || op.Do != End && !op.carries() {
			continue
		}
		for j := range op.Steps {
			s := &op.Steps[j]
			k := c.keyOf[s.Key]
			switch {
			case s.Offset == Unknown:
			case op.Do == End:
				asked[k] = append(asked[k], probe{i, s.Offset})
				seen[k] = append(seen[k], sighting{end: s.Offset, at: op.Completed})
			default:
				seen[k] = append(seen[k], sighting{end: s.Offset + 1, at: op.Completed, acked: !op.reads(s)})
			}
		}
	}
	return seen, asked
}
