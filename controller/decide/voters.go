package decide

import (
	"slices"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// RecordVoterRequest binds a member of the quorum to its disk, or, with Remove, forgets it.
type RecordVoterRequest struct {
	ID     metadata.NodeID
	Dir    metadata.DirID
	Remove bool
}

// RecordVoter keeps the quorum's memory of disks (R17). A voter that comes back with another disk would vote again on
// what it has voted on before: its id is taken until it is removed (Z29).
func RecordVoter(img *metadata.Image, req RecordVoterRequest, now time.Time) (Outcome[None], error) {
	voters := img.Voters()
	at := slices.IndexFunc(voters, func(v metadata.Voter) bool { return v.ID == req.ID })
	if req.Remove {
		return forgetVoter(voters, at, &req)
	}
	switch {
	case req.ID < 0 || metadata.UUID(req.Dir).Reserved():
		return Outcome[None]{}, refuse(kerr.InvalidVoterKey, "Voter %d with directory %s cannot be.", req.ID, req.Dir)
	case at >= 0 && voters[at].Dir == req.Dir:
		return Outcome[None]{}, nil
	case at >= 0 && !voters[at].Dir.IsZero() && mutant != 29:
		return Outcome[None]{}, refuse(kerr.DuplicateVoter, "Voter %d is recorded with directory %s, not %s: remove it first.", req.ID, voters[at].Dir, req.Dir)
	case slices.ContainsFunc(voters, func(v metadata.Voter) bool { return v.ID != req.ID && v.Dir == req.Dir }):
		return Outcome[None]{}, refuse(kerr.InvalidVoterKey, "Directory %s is recorded for another voter.", req.Dir)
	}
	return Outcome[None]{Changes: []metadata.Change{metadata.VoterRecorded{ID: req.ID, Dir: req.Dir}}}, nil
}

func forgetVoter(voters []metadata.Voter, at int, req *RecordVoterRequest) (Outcome[None], error) {
	switch {
	case at < 0:
		return Outcome[None]{}, refuse(kerr.VoterNotFound, "There is no voter %d.", req.ID)
	case voters[at].Dir != req.Dir && !voters[at].Dir.IsZero():
		return Outcome[None]{}, refuse(kerr.VoterNotFound, "Voter %d is recorded with directory %s, not %s.", req.ID, voters[at].Dir, req.Dir)
	case len(voters) == 1:
		return Outcome[None]{}, refuse(kerr.InvalidRequest, "Voter %d is the last one.", req.ID)
	}
	return Outcome[None]{Changes: []metadata.Change{metadata.VoterRecorded{ID: req.ID, Dir: voters[at].Dir, Removed: true}}}, nil
}
