package decide

import (
	"slices"
	"time"

	"cordwood/metadata"
)

// A broker that is silent for a while and not yet for a session is late: clients are better off without its name, and
// that is all. Nothing is written down for it, nobody is elected, and no lease or session is shorter (R6, R18, R19).
//
//	last heartbeat                               late              session over: fenced
//	      |----------- half a session -------------|-------- half ---------|
//	office begins                  late, if nothing came in this office at all
//	      |--- a third of a session ---|
//
// With the default of 500 ms between heartbeats half a session is three of them.

// silence is how long after its last heartbeat a broker is late.
func (s *Sessions) silence() time.Duration { return s.timeout / 2 }

// firstWord is how long after an office began a broker is late that was not heard in it: by then it has given up a controller that
// is stopped and found its successor, or it was silent before, too. Who takes part in raft knows of the office from its beginning.
func (s *Sessions) firstWord(img *metadata.Image, id metadata.NodeID) time.Duration {
	if slices.ContainsFunc(img.Voters(), func(v metadata.Voter) bool { return v.ID == id }) {
		return s.timeout / 6
	}
	return s.timeout / 3
}

// Judge notes who is late by now. It waits while the silence may be the controller's own: when its moment to judge passed long
// ago it was stopped itself, and heartbeats may lie unread; when less than half of the unfenced brokers have spoken within the
// last quarter of a session, it is rather the controller that does not hear.
func (s *Sessions) Judge(img *metadata.Image, now time.Time) {
	stopped := s.timeout / 6
	hears := s.hears(img, now)
	for b := range img.Brokers() {
		of := s.of(b.ID)
		switch overdue := now.Sub(of.lateFrom); {
		case b.Fenced || of.late || overdue < 0:
		case overdue >= stopped:
			of.lateFrom = now.Add(stopped)
		case !hears:
			of.lateFrom = now.Add(s.timeout / 30)
		default:
			of.late = true
		}
	}
}

// hears reports whether enough brokers have just spoken for the silence of others to mean something.
func (s *Sessions) hears(img *metadata.Image, now time.Time) bool {
	unfenced, spoke := 0, 0
	for b := range img.Brokers() {
		if b.Fenced {
			continue
		}
		unfenced++
		if now.Sub(s.of(b.ID).heard) < s.timeout/4 {
			spoke++
		}
	}
	return 2*spoke >= unfenced
}

// Presume takes over who was late in the office before, at the beginning of another one: they are, until they speak.
func (s *Sessions) Presume(late []metadata.NodeID) {
	for _, id := range late {
		s.of(id).late = true
	}
}

// NextLate is when the next one must be judged.
func (s *Sessions) NextLate(img *metadata.Image) (next time.Time, found bool) {
	for b := range img.Brokers() {
		if of := s.of(b.ID); !b.Fenced && !of.late && (!found || of.lateFrom.Before(next)) {
			next, found = of.lateFrom, true
		}
	}
	return next, found
}

// Late lists the late brokers, by id.
func (s *Sessions) Late(img *metadata.Image) (late []metadata.NodeID) {
	for b := range img.Brokers() {
		if !b.Fenced && s.of(b.ID).late {
			late = append(late, b.ID)
		}
	}
	slices.Sort(late)
	return late
}

// excuse begins the time of a broker until it is late anew.
func (b *session) excuse(until time.Time) { b.late, b.lateFrom = false, until }
