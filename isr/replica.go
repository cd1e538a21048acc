package isr

import (
	"time"

	"cordwood/metadata"
)

// unknown is the position of a follower that has not fetched in this leader epoch.
const unknown = -1

// replica is what the leader knows about one follower in the current leader epoch. All of it is forgotten when
// the epoch changes (R7, Z15).
type replica struct {
	id          metadata.NodeID
	brokerEpoch int64 // of the newest accepted fetch; unknown before the first
	end         int64 // the follower's log end: the offset of its newest accepted fetch
	durable     int64 // the part of it that the follower said is on its disk
	start       int64 // the follower's log start, as of that fetch
	member      bool  // in the effective ISR
	refused     bool  // the controller refused it; not proposed again before the next Tick or Committed

	caughtUp  time.Time // when it last held the leader's end
	fetchedAt time.Time // time of the newest accepted fetch ...
	leaderEnd int64     // ... and the leader's end at that time
}

// position is the end of what this follower counts for.
func (r *replica) position(durable bool) int64 {
	if durable && mutant != 37 {
		return r.durable
	}
	return r.end
}

// fetched records an accepted fetch. A follower that asks for all that the leader had at its previous fetch was
// caught up at that moment, even if the leader has grown since; otherwise a busy leader would never see one.
func (r *replica) fetched(f *Fetch, leaderEnd int64, durable bool, now time.Time) {
	r.brokerEpoch = f.BrokerEpoch
	r.end, r.start = f.Offset, f.LogStart
	if f.Durable {
		r.durable = f.Offset
	} else {
		r.durable = min(r.durable, f.Offset)
	}
	switch p := r.position(durable); {
	case p >= leaderEnd:
		r.caughtUp = now
	case p >= r.leaderEnd && !r.fetchedAt.IsZero():
		if r.fetchedAt.After(r.caughtUp) {
			r.caughtUp = r.fetchedAt
		}
	}
	r.fetchedAt, r.leaderEnd = now, leaderEnd
}

// isCaughtUp reports whether the follower holds the leader's end, or did not longer than lag ago.
func (r *replica) isCaughtUp(leaderEnd int64, durable bool, lag time.Duration, now time.Time) bool {
	return r.position(durable) >= leaderEnd || now.Sub(r.caughtUp) <= lag
}
