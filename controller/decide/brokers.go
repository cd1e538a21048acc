package decide

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// RegisterBrokerRequest is what a starting broker says of itself (R1).
type RegisterBrokerRequest struct {
	ID            metadata.NodeID
	ClusterID     string // empty: it knows none yet
	Incarnation   metadata.UUID
	PreviousEpoch int64 // of the clean-shutdown file; -1 if there was none
	Dirs          []metadata.DirID
	Listeners     []metadata.Endpoint
	Rack          string
	Features      map[string]metadata.VersionRange // nil: not stated
	Rules         *Rules
}

// RegisterBrokerReply: Epoch is 0 for a new registration, whose epoch is the index of the
// entry it was committed in; a retry gets the epoch granted before.
type RegisterBrokerReply struct{ Epoch int64 }

// RegisterBroker lets a process in as a broker, fenced (R1). What the broker may have lost
// since it was last known is settled in the same entry, before the new epoch exists.
func RegisterBroker(img *metadata.Image, s *Sessions, req RegisterBrokerRequest, now time.Time) (Outcome[RegisterBrokerReply], error) {
	if err := checkRegistration(img, &req); err != nil {
		return Outcome[RegisterBrokerReply]{}, err
	}
	old := img.Broker(req.ID)
	if old != nil && old.Incarnation == req.Incarnation && sameRegistration(old, &req) {
		return Outcome[RegisterBrokerReply]{Reply: RegisterBrokerReply{Epoch: old.Epoch}}, nil // a retry
	}
	if old != nil && old.Incarnation != req.Incarnation && !old.Fenced && s.Alive(old.ID, now) && !holdsAll(old.Dirs, req.Dirs) {
		return Outcome[RegisterBrokerReply]{}, refuse(kerr.DuplicateBrokerRegistration, "Another broker is registered with that broker id.")
	}
	var changes []metadata.Change
	if old != nil && !old.Fenced {
		changes = append(changes, metadata.BrokerFenced{ID: old.ID, Epoch: old.Epoch})
	}
	clean := old != nil && (req.PreviousEpoch == old.Epoch || old.Incarnation == req.Incarnation)
	changes = append(changes, comeBack(img, &req, clean)...)
	changes = append(changes, metadata.BrokerRegistered{ID: req.ID, Incarnation: req.Incarnation, Dirs: req.Dirs,
		Listeners: req.Listeners, Rack: req.Rack, Features: req.Features})
	return Outcome[RegisterBrokerReply]{Changes: changes, Alone: true}, nil
}

func checkRegistration(img *metadata.Image, req *RegisterBrokerRequest) error {
	if req.ClusterID != "" && req.ClusterID != img.ClusterID() {
		return refuse(kerr.InconsistentClusterID, "Expected cluster ID %s, but got cluster ID %s", img.ClusterID(), req.ClusterID)
	}
	if req.ID < 0 {
		return refuse(kerr.InvalidRegistration, "Broker id %d is negative", req.ID)
	}
	if len(req.Dirs) == 0 {
		return refuse(kerr.InvalidRegistration, "No directories specified in request")
	}
	for i, d := range req.Dirs {
		if metadata.UUID(d).Reserved() {
			return refuse(kerr.InvalidRegistration, "Reserved directory ID in request")
		}
		if slices.Contains(req.Dirs[:i], d) {
			return refuse(kerr.InvalidRegistration, "Duplicate directory ID in request")
		}
		for b := range img.Brokers() {
			if b.ID != req.ID && slices.Contains(b.Dirs, d) {
				return refuse(kerr.InvalidRegistration, "Broker %d is already registered with directory %s", b.ID, d)
			}
		}
	}
	if req.Features == nil {
		return nil
	}
	for _, f := range slices.Sorted(maps.Keys(img.Features())) {
		level := img.Features()[f]
		if r, known := req.Features[f]; !known || level < r.Min || level > r.Max {
			return refuse(kerr.UnsupportedVersion, "Unable to register because the broker does not support finalized version %d of %s", level, f)
		}
	}
	return nil
}

func sameRegistration(old *metadata.Broker, req *RegisterBrokerRequest) bool {
	return slices.Equal(old.Dirs, req.Dirs) && slices.Equal(old.Listeners, req.Listeners) && old.Rack == req.Rack && maps.Equal(old.Features, req.Features)
}

// holdsAll is the proof that the old process is gone: whoever holds the locks of all its
// directories cannot be running beside it.
func holdsAll(old, new []metadata.DirID) bool {
	return !slices.ContainsFunc(old, func(d metadata.DirID) bool { return !slices.Contains(new, d) })
}

// comeBack settles what a new registration of a broker means for its partitions.
func comeBack(img *metadata.Image, req *RegisterBrokerRequest, clean bool) []metadata.Change {
	self := only(req.ID)
	c := standing(img, req.Rules, self, nobody)
	return everywhere(img, self, func(t *metadata.Topic, p *metadata.Partition) {
		dirLost := !(&metadata.Broker{Dirs: req.Dirs}).HasDir(p.Dir(req.ID))
		unclean := nobody
		if !clean && mutant != 7 || dirLost {
			unclean = self
		}
		withdraw(p, lost{gone: self, unclean: unclean})
		if dirLost {
			replaceDir(p, req)
		}
		elect(t, p, c)
	})
}

// HeartbeatRequest says how far a broker is and what it wants.
type HeartbeatRequest struct {
	ID            metadata.NodeID
	Epoch         int64
	MetadataIndex uint64           // the image it works with
	WantFence     bool             // it is not ready to be unfenced
	WantShutdown  bool             // it wants to leave
	OfflineDirs   []metadata.DirID // its disk failed or hangs (R16); may be repeated
	Rules         *Rules
}

// HeartbeatReply answers a heartbeat.
type HeartbeatReply struct {
	CaughtUp       bool // its metadata shows its registration, and all that was taken from it: its lease goes on (R18)
	Fenced         bool
	ShouldShutDown bool
}

// Heartbeat renews a session and moves the broker on: fenced → unfenced once its metadata
// shows its registration and the fence; wanting to leave → shutting down, everything moved away →
// fenced and told to stop, once every other broker knows.
func Heartbeat(img *metadata.Image, s *Sessions, req HeartbeatRequest, now time.Time) (Outcome[HeartbeatReply], error) {
	b, err := registered(img, req.ID, req.Epoch)
	if err != nil {
		return Outcome[HeartbeatReply]{}, err
	}
	s.Touch(b.ID, req.MetadataIndex, now)
	out := Outcome[HeartbeatReply]{Reply: HeartbeatReply{CaughtUp: req.MetadataIndex >= max(uint64(b.Epoch), s.of(b.ID).taken), Fenced: b.Fenced}}
	if len(req.OfflineDirs) > 0 {
		if out.Changes = goOffline(img, b, &req); len(out.Changes) > 0 {
			return out, nil // the next heartbeat moves it on
		}
	}
	switch {
	case req.WantShutdown && b.Fenced:
		out.Reply.ShouldShutDown = true
	case req.WantShutdown && !b.ShuttingDown:
		out.Changes = append(out.Changes, metadata.BrokerShuttingDown{ID: b.ID, Epoch: b.Epoch})
		out.Changes = append(out.Changes, leave(img, req.Rules, only(b.ID))...)
	case b.ShuttingDown && s.everybodyKnows(img, b):
		out.Changes = append(out.Changes, metadata.BrokerFenced{ID: b.ID, Epoch: b.Epoch})
		out.Reply.Fenced, out.Reply.ShouldShutDown = true, true
	case b.Fenced && !b.ShuttingDown && !req.WantFence && out.Reply.CaughtUp && len(b.Dirs) > 0:
		out.Changes = unfence(img, req.Rules, b)
		out.Reply.Fenced = false
	}
	return out, nil
}

// everybodyKnows reports whether every other unfenced broker has seen that this one leaves.
func (s *Sessions) everybodyKnows(img *metadata.Image, leaver *metadata.Broker) bool {
	l := s.of(leaver.ID)
	if l.leaving < uint64(leaver.Epoch) {
		l.leaving = img.Index()
	}
	for b := range img.Brokers() {
		if b.ID != leaver.ID && !b.Fenced && s.of(b.ID).index < l.leaving {
			return false
		}
	}
	return true
}

// unfence lets a broker in, elects it wherever nobody else could lead, and gives internal
// topics the replicas there were too few brokers for.
func unfence(img *metadata.Image, rules *Rules, b *metadata.Broker) []metadata.Change {
	self := only(b.ID)
	c := standing(img, rules, nobody, self)
	changes := []metadata.Change{metadata.BrokerUnfenced{ID: b.ID, Epoch: b.Epoch}}
	changes = append(changes, everywhere(img, self, func(t *metadata.Topic, p *metadata.Partition) { elect(t, p, c) })...)
	return append(changes, raiseInternal(img, rules, changes)...)
}

// UnregisterBrokerRequest removes a broker for good.
type UnregisterBrokerRequest struct {
	ID    metadata.NodeID
	Rules *Rules
}

// UnregisterBroker forgets a broker. Its replicas stay assigned, but nothing can be told
// of their state any more: it is out of every ISR and ELR.
func UnregisterBroker(img *metadata.Image, req UnregisterBrokerRequest, now time.Time) (Outcome[None], error) {
	b := img.Broker(req.ID)
	if b == nil {
		return Outcome[None]{}, refuse(kerr.BrokerIDNotRegistered, "Broker ID %d is not currently registered", req.ID)
	}
	self := only(req.ID)
	c := standing(img, req.Rules, self, nobody)
	changes := everywhere(img, self, func(t *metadata.Topic, p *metadata.Partition) {
		withdraw(p, lost{gone: self, unclean: self})
		elect(t, p, c)
	})
	if img.Decommissioning(b.ID) { // whoever gets this id next is another broker
		changes = append(changes, metadata.ConfigChanged{Type: metadata.ResourceBroker, Name: strconv.Itoa(int(b.ID)), Key: metadata.DecommissionKey, Deleted: true})
	}
	return Outcome[None]{Changes: append(changes, metadata.BrokerUnregistered{ID: b.ID, Epoch: b.Epoch}), Alone: true}, nil
}

// registered returns the registration a request speaks for (bad input 119).
func registered(img *metadata.Image, id metadata.NodeID, epoch int64) (*metadata.Broker, error) {
	b := img.Broker(id)
	if b == nil {
		return nil, refuse(kerr.BrokerIDNotRegistered, "No broker registration found for broker id %d", id)
	}
	if b.Epoch != epoch {
		return nil, refuse(kerr.StaleBrokerEpoch, "Expected broker epoch %d, but got broker epoch %d", b.Epoch, epoch)
	}
	return b, nil
}
