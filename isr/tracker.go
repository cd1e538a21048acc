package isr

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

// DefaultMaxLag is how long a member may be behind before it is proposed to leave (replica.lag.time.max.ms).
const DefaultMaxLag = 10 * time.Second

// Tracker is a leader's view of one partition's replicas in one leader epoch.
type Tracker struct {
	// MaxLag may be changed between calls.
	MaxLag time.Duration

	self metadata.NodeID
	p    metadata.Partition // as last committed; min ISR and durability come from here alone (Z35)

	end, durable int64 // the leader's own log
	epochStart   int64 // log end when this leader epoch began (LESO)
	hw           int64

	state     State
	pending   *Proposal // the proposal of Expanding and Shrinking
	followers []replica // one per assigned replica other than self, in the order of assignment
}

// Effects is what a step asks of the shell.
type Effects struct {
	HighWatermark int64     // as it holds now
	Propose       *Proposal // to be sent to the controller, and sent again until it is answered; nil: nothing
}

// Fetch is a follower's fetch, together with what the leader's log and metadata say about it. All of it must be
// taken in one snapshot, under the lock of the partition, and the answer read from the same (Z9, R3.7).
type Fetch struct {
	Replica     metadata.NodeID
	BrokerEpoch int64 // of the sender
	LeaderEpoch int32 // that the sender follows
	Offset      int64 // the sender's log end
	LastEpoch   int32 // epoch of the sender's last record; -1: it has none
	Durable     bool  // everything below Offset is on the sender's disk
	LogStart    int64 // the sender's log start

	Start            int64 // the leader's log start
	EpochOfEnd       int32 // the leader's largest epoch <= LastEpoch (-1: none) ...
	EndOfEpoch       int64 // ... and where it ends
	RegisteredEpoch  int64 // the sender's broker epoch in the image
	FencedOrStopping bool  // the sender may not join the ISR (Z10)
}

// Diverging is the error that tells a follower to truncate: its last epoch ended earlier in the leader's log.
type Diverging struct {
	Epoch int32
	End   int64
}

func (d *Diverging) Error() string {
	return fmt.Sprintf("the log diverges: the leader's epoch %d ends at %d", d.Epoch, d.End)
}

// NewTracker begins a leader epoch: nothing is known of any follower, and every member of the ISR counts as
// caught up now, or else each election would shrink the ISR (R7). The log's end is where the epoch starts. A high
// watermark that the log does not reach is only a hint (Z31).
func NewTracker(self metadata.NodeID, p metadata.Partition, end, highWatermark int64, now time.Time) *Tracker {
	t := &Tracker{MaxLag: DefaultMaxLag, self: self, end: end, hw: max(min(highWatermark, end), 0)}
	t.durable = t.hw
	t.begin(p, now)
	return t
}

func (t *Tracker) begin(p metadata.Partition, now time.Time) {
	t.epochStart = t.end
	t.followers = nil
	t.adopt(p, now)
}

// adopt takes committed metadata. What is known of a follower is kept only within a leader epoch and only while
// it has the same directory: a replica that was removed and added again is another replica (Z15).
func (t *Tracker) adopt(p metadata.Partition, now time.Time) {
	old := t.p
	t.p = p
	if n := len(p.Replicas); n > 1 || len(t.followers) > 0 {
		next := make([]replica, 0, n)
		for _, id := range p.Replicas {
			if id == t.self {
				continue
			}
			r := t.follower(id)
			if r == nil || old.Dir(id) != p.Dir(id) {
				r = &replica{id: id, brokerEpoch: unknown, end: unknown, durable: unknown, caughtUp: now}
			}
			next = append(next, *r)
		}
		t.followers = next
	}
	for i := range t.followers {
		t.followers[i].refused = false
	}
	t.settle()
}

// Appended tells that the leader's log now ends at end and is on its disk up to durableEnd.
func (t *Tracker) Appended(end, durableEnd int64, now time.Time) Effects {
	t.end, t.durable = end, min(durableEnd, end)
	t.advance()
	return Effects{HighWatermark: t.hw}
}

// Judge says what Fetched would, and records nothing: for what a follower reads beside its fetches.
func (t *Tracker) Judge(f Fetch) error {
	if _, err := t.judge(&f); err != nil {
		return err
	}
	if d := t.diverges(&f); d != nil {
		return d
	}
	return nil
}

// Fetched judges a follower's fetch by R3.2 to R3.7. An error means that nothing was recorded: kerr codes, or
// *Diverging.
func (t *Tracker) Fetched(f Fetch, now time.Time) (Effects, error) {
	r, err := t.judge(&f)
	if err != nil {
		return Effects{HighWatermark: t.hw}, err
	}
	if d := t.diverges(&f); d != nil {
		if mutant == 16 {
			r.fetched(&f, t.end, t.p.Durable, now)
			t.advance()
		}
		return Effects{HighWatermark: t.hw}, d
	}
	r.fetched(&f, t.end, t.p.Durable, now)
	e := Effects{}
	if t.state == Committed && t.mayJoin(r, &f) {
		e.Propose = t.expand(r)
	}
	t.advance()
	e.HighWatermark = t.hw
	return e, nil
}

func (t *Tracker) judge(f *Fetch) (*replica, error) {
	switch {
	case f.LeaderEpoch < t.p.LeaderEpoch:
		return nil, kerr.FencedLeaderEpoch
	case f.LeaderEpoch > t.p.LeaderEpoch:
		return nil, kerr.UnknownLeaderEpoch
	}
	r := t.follower(f.Replica)
	switch {
	case r == nil: // it may know a newer assignment
		return nil, kerr.UnknownLeaderEpoch
	case mutant != 8 && (f.BrokerEpoch < 0 || f.BrokerEpoch < f.RegisteredEpoch || f.BrokerEpoch < r.brokerEpoch):
		return nil, kerr.StaleBrokerEpoch // an earlier life of the sender, or one that does not say (Z8)
	case f.Offset < f.Start, f.Offset > t.end && (f.LastEpoch < 0 || f.EpochOfEnd == f.LastEpoch):
		return nil, kerr.OffsetOutOfRange
	}
	return r, nil
}

// diverges is R3.6. It comes before anything is recorded about the follower: a position in another history must
// move neither the ISR nor the high watermark (Z16).
func (t *Tracker) diverges(f *Fetch) *Diverging {
	switch {
	case f.LastEpoch < 0: // an empty log agrees with every log
		return nil
	case f.EpochOfEnd < 0: // the leader's log knows no epoch up to the sender's: it agrees with nothing it has
		if f.Offset == f.Start {
			return nil
		}
		return &Diverging{Epoch: unknown, End: f.Start}
	case f.EpochOfEnd < f.LastEpoch, f.EndOfEpoch < f.Offset:
		return &Diverging{Epoch: f.EpochOfEnd, End: f.EndOfEpoch}
	}
	return nil
}

// mayJoin is R6 (a) to (e); (c), the fetch came in this leader epoch, holds for every judged fetch. What R7 says
// of expansions before the high watermark has reached the epoch start is (b): asking for more would lock out for
// ever a leader elected below min ISR, whose high watermark cannot move before somebody has joined.
func (t *Tracker) mayJoin(r *replica, f *Fetch) bool {
	switch p := r.position(t.p.Durable); {
	case r.member, r.refused:
		return false
	case p < t.hw, p < t.epochStart && mutant != 14:
		return false
	}
	return (!f.FencedOrStopping || mutant == 10) && (f.BrokerEpoch == f.RegisteredEpoch || mutant == 8)
}

// Tick lets time pass: members that are not caught up for MaxLag are proposed to leave (R6).
func (t *Tracker) Tick(now time.Time) Effects {
	e := Effects{HighWatermark: t.hw}
	if len(t.followers) == 0 {
		return e
	}
	for i := range t.followers {
		t.followers[i].refused = false
	}
	if mutant == 12 {
		t.settle()
	}
	if t.state == Committed {
		e.Propose = t.shrink(func(r *replica) bool { return !r.isCaughtUp(t.end, t.p.Durable, t.MaxLag, now) })
	}
	return e
}

// Committed takes the partition as the controller committed it, from an answer or from the feed, whichever comes
// first; what is not newer changes nothing. A higher leader epoch that names this broker again is a new beginning.
func (t *Tracker) Committed(p metadata.Partition, now time.Time) Effects {
	switch {
	case p.LeaderEpoch < t.p.LeaderEpoch, p.PartitionEpoch <= t.p.PartitionEpoch:
		return Effects{HighWatermark: t.hw}
	case p.LeaderEpoch > t.p.LeaderEpoch && mutant != 15:
		t.begin(p, now)
	default:
		t.adopt(p, now)
	}
	t.advance()
	return Effects{HighWatermark: t.hw}
}

// Rejected rolls a proposal back. It may be called only if the controller certainly did not apply it
// (INELIGIBLE_REPLICA, OPERATION_NOT_ATTEMPTED); after any other failure the change may have been applied (Z12).
func (t *Tracker) Rejected(p Proposal, now time.Time) Effects {
	if t.pending == nil || !t.pending.same(&p) {
		return Effects{HighWatermark: t.hw}
	}
	if t.state == Expanding {
		for i := range t.followers {
			r := &t.followers[i]
			r.refused = p.contains(r.id) && !slices.Contains(t.p.ISR, r.id)
		}
	}
	t.settle()
	t.advance()
	return Effects{HighWatermark: t.hw}
}

// advance is R5.
func (t *Tracker) advance() {
	if len(t.p.ISR) < int(t.p.MinISR) && mutant != 6 { // trap 14: not for acks=1 either
		return
	}
	candidate := t.end
	if t.p.Durable {
		candidate = t.durable
	}
	for i := range t.followers {
		// A replica that is caught up but may not join must not hold the others up (Z32).
		if r := &t.followers[i]; r.member || mutant == 32 && r.end >= t.hw {
			candidate = min(candidate, r.position(t.p.Durable))
		}
	}
	t.hw = max(t.hw, candidate)
}

func (t *Tracker) follower(id metadata.NodeID) *replica {
	for i := range t.followers {
		if t.followers[i].id == id {
			return &t.followers[i]
		}
	}
	return nil
}

// Holder is a follower in sync whose log includes an offset.
type Holder struct {
	ID  metadata.NodeID
	End int64 // of its log
}

// Holders appends to `to` the committed members of the ISR, but the leader, whose log includes offset as far as they have said
// in this leader epoch, in the order of assignment (KIP-392, trap 33).
func (t *Tracker) Holders(offset int64, to []Holder) []Holder {
	for i := range t.followers {
		r := &t.followers[i]
		if r.end != unknown && r.start <= offset && offset <= r.end && slices.Contains(t.p.ISR, r.id) {
			to = append(to, Holder{r.id, r.end})
		}
	}
	return to
}

// HighWatermark is the first offset that is not committed.
func (t *Tracker) HighWatermark() int64 { return t.hw }

// EpochStart is where the log ended when this leader epoch began.
func (t *Tracker) EpochStart() int64 { return t.epochStart }

// Applied reports whether everything of earlier leader epochs is committed; before, the end that clients are told
// could go back (R7, Z19).
func (t *Tracker) Applied() bool { return t.hw >= t.epochStart }

// UnderMinISR reports whether the committed ISR is too small for acks=all.
func (t *Tracker) UnderMinISR() bool { return len(t.p.ISR) < int(t.p.MinISR) }

// State says whether a change of the ISR is outstanding.
func (t *Tracker) State() State { return t.state }

// Partition is the partition as last committed.
func (t *Tracker) Partition() *metadata.Partition { return &t.p }

// EffectiveISR is the set that the high watermark waits for: the ISR and the members that are joining.
func (t *Tracker) EffectiveISR() []metadata.NodeID {
	ids := make([]metadata.NodeID, 0, len(t.p.Replicas))
	for _, id := range t.p.Replicas {
		if r := t.follower(id); id == t.self || r != nil && r.member {
			ids = append(ids, id)
		}
	}
	return ids
}
