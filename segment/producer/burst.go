package producer

// undo is a producer as it was before an Append of the burst.
type undo struct {
	p       *producer
	id      int64
	offset  int64 // of the batch appended
	created bool
	slot    batch // what the Append overwrote
	before  struct {
		end, txnFirst, timestamp int64
		epoch                    int16
		next, count              uint8
	}
}

// keptUndo is how many undo records an idle log may hold on to.
const keptUndo = 8

// Begin starts a burst of Appends that are written together: Commit says that they were, Rollback takes them back.
// Markers have no part in it; they are applied after their write.
func (s *State) Begin() {
	if cap(s.undo) > keptUndo {
		s.undo = nil
	}
	s.undo, s.burst, s.endBefore = s.undo[:0], true, s.end
}

// Commit ends the burst: its batches are in the log.
func (s *State) Commit() { s.burst = false }

// Rollback takes back the Appends since Begin, because the write failed. Producers that had to be forgotten to make
// room stay forgotten (P5).
func (s *State) Rollback() {
	if !s.burst {
		return
	}
	for i := len(s.undo) - 1; i >= 0; i-- {
		u := &s.undo[i]
		p := s.producers[u.id]
		if p == nil || p != u.p {
			continue // forgotten meanwhile
		}
		if p.txnFirst != none && u.before.txnFirst == none {
			s.txns.cancel(p.txnFirst)
			p.txnFirst = none
			s.link(p)
		}
		if u.created {
			s.forget(p)
			continue
		}
		u.rewind(p)
	}
	s.undo, s.burst, s.end = s.undo[:0], false, s.endBefore
}

// rewind makes p what it was. The order of use stays: it is no part of what the log says.
func (u *undo) rewind(p *producer) {
	p.end, p.timestamp, p.epoch, p.txnFirst = u.before.end, u.before.timestamp, u.before.epoch, u.before.txnFirst
	p.next, p.count = u.before.next, u.before.count
	p.batches[p.next] = u.slot
}

// remember prepares the undoing of an Append of a batch at offset to p.
func (s *State) remember(p *producer, offset int64, created bool) {
	if !s.burst {
		return
	}
	u := undo{p: p, id: p.id, offset: offset, created: created, slot: p.batches[p.next]}
	u.before.end, u.before.txnFirst, u.before.timestamp = p.end, p.txnFirst, p.timestamp
	u.before.epoch, u.before.next, u.before.count = p.epoch, p.next, p.count
	s.undo = append(s.undo, u)
}

// before is the producers by id as they were when the log ended at end, or false when only a replay could tell. A
// burst that fills a segment rolls the log in its middle, with the rest of the burst already in the state.
func (s *State) before(end int64) ([]*producer, bool) {
	all := s.sorted()
	if s.end <= end {
		return all, true
	}
	rewound := map[int64]*producer{} // nil: was unknown
	for i := len(s.undo) - 1; i >= 0 && s.burst && s.undo[i].offset >= end; i-- {
		u := &s.undo[i]
		p := s.producers[u.id]
		if p == nil || p != u.p {
			continue // forgotten meanwhile
		}
		was, found := rewound[u.id]
		if found && was == nil {
			continue
		}
		if !found {
			c := *p
			was = &c
		}
		if u.rewind(was); u.created {
			was = nil
		}
		rewound[u.id] = was
	}
	list := all[:0]
	for _, p := range all {
		if was, found := rewound[p.id]; found {
			p = was
		}
		if p == nil {
			continue
		}
		if p.end > end {
			return nil, false
		}
		list = append(list, p)
	}
	return list, true
}
