package controller

import (
	"testing"

	"github.com/hashicorp/raft"

	"cordwood/metadata"
	"cordwood/protocol/record"
)

// A raft entry as it is on disk: read as what was written, or refused.
func FuzzLogEntry(f *testing.F) {
	batches, err := encodeLogs([]*raft.Log{entry(1, 1, "a"), entry(7, 3, "b"), {Index: 9, Extensions: []byte("x")}})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range batches {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, _, err := record.Next(raw)
		if err != nil {
			return
		}
		l, back, err := decodeLog(b)
		if err != nil {
			return
		}
		if back >= l.Index {
			t.Fatalf("entry %d, %d before it in its write", l.Index, back)
		}
		again, err := encodeLogs([]*raft.Log{&l})
		if err != nil {
			t.Fatal(err)
		}
		twice, _, err := decodeLog(again[0])
		if err != nil || twice.Index != l.Index || twice.Term != l.Term || twice.Type != l.Type || string(twice.Data) != string(l.Data) {
			t.Fatalf("%+v became %+v, %v", l, twice, err)
		}
	})
}

// What an entry says is facts or an error, and facts fit an image or are refused.
func FuzzCommand(f *testing.F) {
	for _, changes := range [][]metadata.Change{
		nil,
		{metadata.ClusterCreated{ClusterID: "c"}},
		{metadata.TopicCreated{ID: metadata.TopicID{1}, Name: "t"}},
	} {
		raw, err := encodeCommand(0, changes)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		stamp, changes, err := decodeCommand(raw)
		if err != nil {
			return
		}
		if _, err := metadata.Empty().With(1, changes); err != nil {
			return
		}
		again, err := encodeCommand(stamp, changes)
		if err != nil {
			t.Fatal(err)
		}
		if s, c, err := decodeCommand(again); err != nil || s != stamp || len(c) != len(changes) {
			t.Fatalf("stamp %d, %d changes, %v; before %d, %d", s, len(c), err, stamp, len(changes))
		}
	})
}
