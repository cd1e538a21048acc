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
		raw, err := command{changes: changes}.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{commandVersionAudited, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0x82, 1, 0x80})
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decodeCommand(raw)
		if err != nil {
			return
		}
		if _, err := metadata.Empty().With(1, c.changes); err != nil {
			return
		}
		again, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := decodeCommand(again); err != nil || d.stamp != c.stamp || (d.claim == nil) != (c.claim == nil) || len(d.changes) != len(c.changes) {
			t.Fatalf("%+v, %v; before %+v", d, err, c)
		}
	})
}

// What another node says before raft runs is a hello or an error.
func FuzzHello(f *testing.F) {
	for _, h := range []Hello{{}, {Node: 2, Stage: Prepared, ClusterID: "c", Founders: []metadata.NodeID{1, 2}}, {Stage: Started, Voters: []metadata.Voter{{ID: 1, Dir: metadata.DirID{1}}}}} {
		raw, err := h.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := DecodeHello(raw)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := DecodeHello(again); err != nil || back.Node != h.Node || len(back.Voters) != len(h.Voters) {
			t.Fatalf("%+v, %v; before %+v", back, err, h)
		}
	})
}
