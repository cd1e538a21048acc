package decide

import (
	"errors"
	"time"

	"cordwood/metadata"
)

var errNotYet = errors.New("decide: not yet")

// RegisterBrokerRequest is what a starting broker says of itself (R1).
type RegisterBrokerRequest struct {
	ID            metadata.NodeID
	ClusterID     string // empty: it knows none yet
	Incarnation   metadata.UUID
	PreviousEpoch int64 // of the clean-shutdown file; -1 if there was none
	Dirs          []metadata.DirID
	Listeners     []metadata.Endpoint
	Rack          string
	Features      map[string]metadata.VersionRange
}

// RegisterBrokerReply: Epoch is 0 for a new registration, whose epoch is the index of the
// entry it was committed in; a retry gets the epoch granted before.
type RegisterBrokerReply struct{ Epoch int64 }

// HeartbeatRequest says how far a broker is and what it wants.
type HeartbeatRequest struct {
	ID            metadata.NodeID
	Epoch         int64
	MetadataIndex uint64 // the image it works with
	WantFence     bool   // it is not ready to be unfenced
	WantShutdown  bool   // it wants to leave
}

// HeartbeatReply answers a heartbeat.
type HeartbeatReply struct {
	CaughtUp       bool // its metadata has reached its registration
	Fenced         bool
	ShouldShutDown bool
}

// UnregisterBrokerRequest removes a broker for good.
type UnregisterBrokerRequest struct{ ID metadata.NodeID }

func RegisterBroker(img *metadata.Image, s *Sessions, req RegisterBrokerRequest, now time.Time) (Outcome[RegisterBrokerReply], error) {
	return Outcome[RegisterBrokerReply]{}, errNotYet
}

func Heartbeat(img *metadata.Image, s *Sessions, req HeartbeatRequest, now time.Time) (Outcome[HeartbeatReply], error) {
	return Outcome[HeartbeatReply]{}, errNotYet
}

func UnregisterBroker(img *metadata.Image, req UnregisterBrokerRequest, now time.Time) (Outcome[None], error) {
	return Outcome[None]{}, errNotYet
}

func FenceExpired(img *metadata.Image, s *Sessions, now time.Time) Outcome[None] {
	return Outcome[None]{}
}
