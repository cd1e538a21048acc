package isr

import (
	"fmt"
	"slices"
)

// CheckInvariants checks V1 to V8; V9 and V10 are about a step and are checked by CheckStep.
func (t *Tracker) CheckInvariants() error {
	checks := []func() error{t.checkMembers, t.checkChange, t.checkFollowers, t.checkOffsets}
	for _, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("%w: %s", err, t)
		}
	}
	return nil
}

// CheckStep checks V9 and V10: what one step may have done to the state and the high watermark before it.
func (t *Tracker) CheckStep(state State, hw int64) error {
	if state == Committed && t.state == Expanding {
		for i := range t.followers {
			r := &t.followers[i]
			joins := t.pending.contains(r.id) && !slices.Contains(t.p.ISR, r.id)
			if counts := t.counts(r); joins && (counts < t.epochStart || counts < hw) {
				return fmt.Errorf("V9: follower %d joins at %d: %s", r.id, counts, t)
			}
		}
	}
	switch {
	case t.hw < hw:
		return fmt.Errorf("V10: the high watermark went back from %d: %s", hw, t)
	case t.hw == hw:
		return nil
	case t.UnderMinISR():
		return fmt.Errorf("V10: the high watermark moved from %d below min ISR: %s", hw, t)
	case t.p.Durable && t.hw > t.durable:
		return fmt.Errorf("V10: the high watermark passed the leader's durable end: %s", t)
	}
	for i := range t.followers {
		r := &t.followers[i]
		if t.isEffective(r) && t.hw > t.counts(r) {
			return fmt.Errorf("V10: the high watermark passed follower %d: %s", r.id, t)
		}
	}
	return nil
}

// isEffective says by definition, not by the flag, whether r belongs to the effective ISR.
func (t *Tracker) isEffective(r *replica) bool {
	return slices.Contains(t.p.ISR, r.id) || t.state == Expanding && t.pending.contains(r.id)
}

// counts is a follower's position by definition.
func (t *Tracker) counts(r *replica) int64 {
	if t.p.Durable {
		return r.durable
	}
	return r.end
}

func (t *Tracker) checkMembers() error {
	if !slices.Contains(t.p.ISR, t.self) || t.pending != nil && !t.pending.contains(t.self) {
		return fmt.Errorf("V1: the leader %d is not in the ISR", t.self)
	}
	for i := range t.followers {
		if r := &t.followers[i]; r.member != t.isEffective(r) {
			return fmt.Errorf("V2-V4: follower %d is wrongly in or out of the effective ISR", r.id)
		}
	}
	return nil
}

func (t *Tracker) checkChange() error {
	if (t.state == Committed) != (t.pending == nil) {
		return fmt.Errorf("V2: state %s and proposal do not fit", t.state)
	}
	if t.pending == nil {
		return nil
	}
	missing := 0
	for _, id := range t.p.ISR {
		if !t.pending.contains(id) {
			missing++
		}
	}
	added := len(t.pending.ISR) - (len(t.p.ISR) - missing)
	switch {
	case t.state == Expanding && (missing > 0 || added < 1):
		return fmt.Errorf("V3: not an expansion")
	case t.state == Shrinking && (missing < 1 || added > 0):
		return fmt.Errorf("V4: not a shrink")
	case t.pending.LeaderEpoch != t.p.LeaderEpoch || t.pending.PartitionEpoch != t.p.PartitionEpoch:
		return fmt.Errorf("V5: the proposal is of other epochs")
	}
	return nil
}

func (t *Tracker) checkFollowers() error {
	if want := len(t.p.Replicas) - 1; len(t.followers) != want {
		return fmt.Errorf("V6: %d follower states for %d followers", len(t.followers), want)
	}
	for i := range t.followers {
		r := &t.followers[i]
		switch {
		case r.id == t.self || !slices.Contains(t.p.Replicas, r.id):
			return fmt.Errorf("V6: state for %d, which is no follower", r.id)
		case r.durable > r.end || r.end > t.end || r.durable < unknown:
			return fmt.Errorf("V7: follower %d at %d, durable %d", r.id, r.end, r.durable)
		case r.brokerEpoch == unknown && (r.end != unknown || r.durable != unknown):
			return fmt.Errorf("V7: follower %d has a position without a fetch", r.id)
		}
	}
	return nil
}

func (t *Tracker) checkOffsets() error {
	if t.hw > t.end || t.durable > t.end || t.epochStart > t.end || t.hw < 0 {
		return fmt.Errorf("V8: offsets out of order")
	}
	return nil
}

// String is the whole state on one line; golden transcripts consist of it.
func (t *Tracker) String() string {
	s := fmt.Sprintf("%s epoch=%d/%d hw=%d end=%d durable=%d start=%d isr=%v effective=%v min=%d", t.state,
		t.p.LeaderEpoch, t.p.PartitionEpoch, t.hw, t.end, t.durable, t.epochStart, t.p.ISR, t.EffectiveISR(), t.p.MinISR)
	followers := slices.Clone(t.followers)
	for i := range followers {
		s += fmt.Sprintf(" %d@%d/%d", followers[i].id, followers[i].end, followers[i].durable)
	}
	return s
}
