package decide

import (
	"slices"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (w *world) voter(id metadata.NodeID, dir metadata.DirID, remove bool) error {
	w.t.Helper()
	out, err := RecordVoter(w.img, RecordVoterRequest{id, dir, remove}, w.now)
	if err == nil {
		w.commit(out.Changes)
	}
	return err
}

func TestZ29AVoterIsBoundToItsDisk(t *testing.T) {
	w := newWorld(t)
	if err := w.voter(1, dir(1, 0), false); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.voter(1, dir(1, 1), false), kerr.DuplicateVoter)
	before := w.img
	if err := w.voter(1, dir(1, 0), false); err != nil || w.img != before {
		t.Fatal("the same disk again is no news", err)
	}
}

func TestVotersAreRecordedAndForgotten(t *testing.T) {
	w := newWorld(t)
	wantCode(t, w.voter(-1, dir(1, 0), false), kerr.InvalidVoterKey)
	wantCode(t, w.voter(1, metadata.DirID{}, false), kerr.InvalidVoterKey)
	wantCode(t, w.voter(1, dir(1, 0), true), kerr.VoterNotFound)
	for _, id := range []metadata.NodeID{2, 1} {
		if err := w.voter(id, dir(id, 0), false); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, w.voter(3, dir(1, 0), false), kerr.InvalidVoterKey)
	wantCode(t, w.voter(1, dir(1, 1), true), kerr.VoterNotFound)
	if err := w.voter(1, dir(1, 0), true); err != nil {
		t.Fatal(err)
	}
	if err := w.voter(1, dir(1, 1), false); err != nil { // a new disk after the removal
		t.Fatal(err)
	}
	if err := w.voter(2, dir(2, 0), true); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.voter(1, dir(1, 1), true), kerr.InvalidRequest)
	if want := []metadata.Voter{{ID: 1, Dir: dir(1, 1)}}; !slices.Equal(w.img.Voters(), want) {
		t.Fatal(w.img.Voters())
	}
	w.commit([]metadata.Change{metadata.VoterRecorded{ID: 5}}) // of a time when disks had no names
	if err := w.voter(5, dir(5, 0), false); err != nil {
		t.Fatal(err)
	}
}
