package decide

import (
	"slices"
	"time"

	"cordwood/metadata"
)

// Sessions is the soft state of the active controller: until when each broker may be
// silent, and how far its metadata is. A new controller begins with Begin; what losing
// this costs is one full session before a broker that died meanwhile is fenced.
type Sessions struct {
	timeout time.Duration
	brokers map[metadata.NodeID]*session
}

type session struct {
	until    time.Time
	heard    time.Time               // when it last spoke in this term of office
	died     time.Time               // when it was last fenced as definitely dead
	index    uint64                  // of the image the broker works with
	taken    uint64                  // the index it must have reached to know of all that was taken from it
	ends     map[partitionKey]LogEnd // as it reported (R11) ...
	reporter int64                   // ... in the life of this broker epoch
	leaving  uint64                  // an index at or after its BrokerShuttingDown; below its epoch: not seen
	lateFrom time.Time               // when it is late, if it stays silent
	late     bool                    // as it was judged
}

// NewSessions returns sessions of that length.
func NewSessions(timeout time.Duration) *Sessions {
	return &Sessions{timeout: timeout, brokers: map[metadata.NodeID]*session{}}
}

// Grant gives every unfenced broker a full session: at the start of office, and when the
// controller itself was stopped and cannot tell who was silent.
func (s *Sessions) Grant(img *metadata.Image, now time.Time) {
	for b := range img.Brokers() {
		if !b.Fenced {
			of := s.of(b.ID)
			of.until = now.Add(s.timeout)
			of.excuse(now.Add(s.silence()))
		}
	}
}

// Begin is the start of an office: what former controllers took from brokers, and which of them know of it, is not known.
func (s *Sessions) Begin(img *metadata.Image, now time.Time) {
	s.Grant(img, now)
	for b := range img.Brokers() {
		of := s.of(b.ID)
		of.taken = img.Index()
		of.excuse(now.Add(s.firstWord(img, b.ID)))
	}
}

// Resume is the start of an office of the same controller, with nobody in office since the last one ended: what it knows
// holds, and nobody is late for the time in which there was nobody to speak to. A session that was over before that is one
// that this process was too late to end, for it was stopped itself: then silence proves nothing.
func (s *Sessions) Resume(img *metadata.Image, ended, now time.Time) {
	if next, pending := s.NextDeadline(img); pending && next.Before(ended) {
		s.Grant(img, now)
		return
	}
	for b := range img.Brokers() {
		if !b.Fenced {
			of := s.of(b.ID)
			of.until, of.lateFrom = of.until.Add(now.Sub(ended)), of.lateFrom.Add(now.Sub(ended))
		}
	}
}

// Take notes what changes that are about to follow the image take from brokers: leaderships, and their place among the
// live ones. No heartbeat renews a lease of theirs before they know of it (R18): a broker that was fenced, or lost a
// leadership on request, and has not heard of it would go on serving on the word of the controller that gave its
// partitions to others.
func (s *Sessions) Take(img *metadata.Image, changes []metadata.Change) {
	from := img.Index() + 1 // the entry's index is no less
	for _, c := range changes {
		switch c := c.(type) {
		case metadata.BrokerFenced:
			s.of(c.ID).taken = from
		case metadata.PartitionChanged:
			if old := img.TopicByID(c.Topic).Partition(c.Index); old != nil && old.Leader != metadata.NoNode && old.Leader != c.Partition.Leader {
				s.of(old.Leader).taken = from
			}
		}
	}
}

// Behind leaves those of some brokers that may still serve what an entry at or below index took from them: they have not
// said that they have seen it, and are not fenced, which a broker is only when its lease is over.
func (s *Sessions) Behind(img *metadata.Image, index uint64, brokers []metadata.NodeID) (behind []metadata.NodeID) {
	for _, id := range brokers {
		if b := img.Broker(id); s.of(id).index < index && (b == nil || !b.Fenced) {
			behind = append(behind, id)
		}
	}
	return behind
}

// Touch renews a broker's session.
func (s *Sessions) Touch(id metadata.NodeID, index uint64, now time.Time) {
	b := s.of(id)
	b.until, b.heard, b.index = now.Add(s.timeout), now, max(b.index, index)
	b.excuse(now.Add(s.silence()))
}

// Vouch renews the session of the broker that lives in the controller's own process, as
// long as no other broker could take over: the process is alive, or nobody would ask, and
// fencing the only broker would take its partitions away and give them to nobody.
func (s *Sessions) Vouch(img *metadata.Image, self metadata.NodeID, now time.Time) {
	if b := img.Broker(self); b == nil || b.Fenced {
		return
	}
	for b := range img.Brokers() {
		if b.ID != self && !b.Fenced {
			return
		}
	}
	of := s.of(self)
	of.until = now.Add(s.timeout)
	of.excuse(now.Add(s.silence()))
}

// Alive reports whether the broker was heard of within a session.
func (s *Sessions) Alive(id metadata.NodeID, now time.Time) bool {
	b := s.brokers[id]
	return b != nil && now.Before(b.until)
}

// NextDeadline is when the next unfenced broker has been silent for too long.
func (s *Sessions) NextDeadline(img *metadata.Image) (time.Time, bool) {
	var next time.Time
	found := false
	for b := range img.Brokers() {
		if b.Fenced {
			continue
		}
		if until := s.of(b.ID).until; !found || until.Before(next) {
			next, found = until, true
		}
	}
	return next, found
}

// expired lists the unfenced brokers that have been silent for too long, by id.
func (s *Sessions) expired(img *metadata.Image, now time.Time) []metadata.NodeID {
	var out []metadata.NodeID
	for b := range img.Brokers() {
		if !b.Fenced && !s.Alive(b.ID, now) {
			out = append(out, b.ID)
		}
	}
	return out
}

// FenceExpired fences every broker whose session is over and moves its leaderships, all in
// one entry: an election must not choose another one that is gone as well.
func FenceExpired(img *metadata.Image, s *Sessions, rules *Rules, now time.Time) Outcome[[]metadata.NodeID] {
	silent := s.expired(img, now)
	if len(silent) == 0 {
		return Outcome[[]metadata.NodeID]{}
	}
	return Outcome[[]metadata.NodeID]{Changes: fence(img, rules, silent), Reply: silent}
}

// Death is the evidence that a broker's process is gone: the address it registered refused two dials, the first of them
// at Since (R19).
type Death struct {
	ID    metadata.NodeID
	Epoch int64
	Since time.Time
}

// FenceDead fences brokers whose processes are gone, before their sessions end, all in one entry; the reply says whom.
// Evidence that a heartbeat has overtaken counts for nothing. Never more than half of the unfenced brokers go by this
// rule within one session: so many at once look like a fault of ours, and the rest have to miss their sessions.
func FenceDead(img *metadata.Image, s *Sessions, rules *Rules, deaths []Death, now time.Time) Outcome[[]metadata.NodeID] {
	var dead []metadata.NodeID
	allowed := s.deathsAllowed(img, now)
	for _, d := range deaths {
		b := img.Broker(d.ID)
		if b == nil || b.Fenced || b.Epoch != d.Epoch || s.of(d.ID).heard.After(d.Since) || slices.Contains(dead, d.ID) {
			continue
		}
		if len(dead) < allowed {
			dead = append(dead, d.ID)
		}
	}
	if len(dead) == 0 {
		return Outcome[[]metadata.NodeID]{}
	}
	for _, id := range dead {
		s.of(id).died = now
	}
	slices.Sort(dead)
	return Outcome[[]metadata.NodeID]{Changes: fence(img, rules, dead), Reply: dead}
}

// deathsAllowed is how many brokers may still be fenced as dead: half of those that were unfenced a session ago, less
// those that were.
func (s *Sessions) deathsAllowed(img *metadata.Image, now time.Time) int {
	unfenced, died := 0, 0
	for b := range img.Brokers() {
		recently := false
		if at := s.of(b.ID).died; !at.IsZero() && now.Sub(at) < s.timeout {
			recently = true
			died++
		}
		if recently || !b.Fenced {
			unfenced++
		}
	}
	return unfenced/2 - died
}

// fence bars brokers and moves what they had.
func fence(img *metadata.Image, rules *Rules, brokers []metadata.NodeID) []metadata.Change {
	var changes []metadata.Change
	for _, id := range brokers {
		changes = append(changes, metadata.BrokerFenced{ID: id, Epoch: img.Broker(id).Epoch})
	}
	return append(changes, leave(img, rules, in(brokers))...)
}

// leave moves everything away from brokers that are fenced or shut down in good order:
// they stay eligible (ELR) where the rest is too few.
func leave(img *metadata.Image, rules *Rules, gone func(metadata.NodeID) bool) []metadata.Change {
	c := standing(img, rules, gone, nobody)
	return everywhere(img, gone, func(t *metadata.Topic, p *metadata.Partition) {
		withdraw(p, lost{gone: gone, unclean: nobody})
		elect(t, p, c)
	})
}

func (s *Sessions) of(id metadata.NodeID) *session {
	b := s.brokers[id]
	if b == nil {
		b = &session{}
		s.brokers[id] = b
	}
	return b
}
