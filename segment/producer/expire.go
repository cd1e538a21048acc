package producer

// The producers that may be forgotten form a list from oldest to newest use. A producer with an open transaction is
// not in it (P3).

// add makes room for a producer and puts it at the list's new end.
func (s *State) add(id int64) *producer {
	var p *producer
	if len(s.producers) >= s.limit && s.oldest != nil {
		p = s.oldest // its memory serves again: a flood of producer ids allocates nothing
		s.forget(p)
	} else {
		p = new(producer)
	}
	*p = producer{id: id, epoch: none, coordinatorEpoch: none, txnFirst: none, timestamp: none}
	if s.producers == nil {
		s.producers = make(map[int64]*producer)
	}
	s.producers[id] = p
	s.link(p)
	return p
}

// forget drops a producer that is in the list.
func (s *State) forget(p *producer) {
	s.unlink(p)
	delete(s.producers, p.id)
}

// use makes p the most recently used.
func (s *State) use(p *producer, now int64) {
	p.used = now
	if p.txnFirst == none && s.newest != p {
		s.unlink(p)
		s.link(p)
	}
}

func (s *State) link(p *producer) {
	p.older, p.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = p
	} else {
		s.oldest = p
	}
	s.newest = p
}

func (s *State) unlink(p *producer) {
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		s.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		s.newest = p.older
	}
	p.older, p.newer = nil, nil
}

// Expire forgets the producers that were not seen for maxAge (producer.id.expiration.ms), both in milliseconds.
// What counts is the broker's clock at the last batch and not the batch's timestamps, with which a client that
// copies old data would expire at once; a producer from a snapshot counts as seen when Expire first meets it.
func (s *State) Expire(now, maxAge int64) {
	var next *producer
	for p := s.oldest; p != nil; p = next {
		next = p.newer
		switch {
		case p.used == 0:
			p.used = now
		case now-p.used >= maxAge:
			s.forget(p)
		default:
			return // the others were used later
		}
	}
}

// DropBefore forgets the producers of which nothing is left at or above the log start (trap 20), as a replica that
// starts from there never learns of them.
func (s *State) DropBefore(logStart int64) {
	var next *producer
	for p := s.oldest; p != nil; p = next {
		next = p.newer
		if p.end <= logStart {
			s.forget(p)
		}
	}
	s.txns.start = max(s.txns.start, logStart)
	s.txns.stabilise(logStart)
}
