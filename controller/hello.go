package controller

import (
	"fmt"
	"maps"
	"slices"

	"cordwood/metadata"

	"github.com/fxamacker/cbor/v2"
)

// Hello is what a node says of itself before raft runs, and to whoever asks later. Its
// bytes are CBOR with integer keys, as the package comment draws them.
type Hello struct {
	Node      metadata.NodeID   `cbor:"1,keyasint"`
	Dir       metadata.DirID    `cbor:"2,keyasint"`
	Stage     Stage             `cbor:"3,keyasint"`
	ClusterID string            `cbor:"4,keyasint,omitempty"` // the operator's or the agreed one; empty: none yet
	Proposal  string            `cbor:"5,keyasint,omitempty"` // what an empty node would call a new cluster
	Founders  []metadata.NodeID `cbor:"6,keyasint,omitempty"` // of a prepared node: with whom it founds
	Voters    []metadata.Voter  `cbor:"7,keyasint,omitempty"` // of a started node: the recorded voters
}

// Stage is how far a node is on its way into the quorum. It never goes back but by the
// loss of a disk.
type Stage uint8

const (
	// Empty nodes hold nothing.
	Empty Stage = iota
	// Prepared nodes know cluster id and founders, durably, and have not voted.
	Prepared
	// Started nodes take part in raft.
	Started
)

const (
	helloVoters = 64 // more than any quorum has
	helloText   = 256
)

var (
	helloEncoder = must(cbor.CoreDetEncOptions().EncMode())
	// helloDecoder bounds what a few bytes can ask for. Unknown keys are a later version's.
	helloDecoder = must(cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden,
		TagsMd: cbor.TagsForbidden, MaxNestedLevels: 4, MaxArrayElements: helloVoters, MaxMapPairs: 32}.DecMode())
)

func must[M any](m M, err error) M {
	if err != nil {
		panic(err) // the options above contradict each other: seen by any test
	}
	return m
}

// Encode gives the bytes of a hello.
func (h Hello) Encode() ([]byte, error) { return helloEncoder.Marshal(&h) }

// DecodeHello reads them.
func DecodeHello(raw []byte) (Hello, error) {
	var h Hello
	if err := helloDecoder.Unmarshal(raw, &h); err != nil {
		return Hello{}, fmt.Errorf("controller: hello: %w", err)
	}
	if h.Node < 0 || h.Stage > Started || len(h.ClusterID) > helloText || len(h.Proposal) > helloText {
		return Hello{}, fmt.Errorf("controller: hello: out of bounds: node %d, stage %d", h.Node, h.Stage)
	}
	return h, nil
}

// founding is what a node remembers, beside its vote, of how it came into the quorum.
type founding struct {
	Proposal  string            `cbor:"1,keyasint,omitempty"`
	ClusterID string            `cbor:"2,keyasint,omitempty"`
	Founders  []metadata.NodeID `cbor:"3,keyasint,omitempty"` // set once prepared
	Voters    []metadata.Voter  `cbor:"4,keyasint,omitempty"` // set once started: what was known of them then
	Admitted  bool              `cbor:"5,keyasint,omitempty"` // started with nothing, for others had started before
}

func (f *founding) stage() Stage {
	switch {
	case len(f.Voters) > 0:
		return Started
	case len(f.Founders) > 0:
		return Prepared
	}
	return Empty
}

// wish is what the operator said of the quorum.
type wish struct {
	cluster string            // empty: any
	static  []metadata.NodeID // the voters by id; or
	expect  int               // so many, whoever they are
}

// founders are who should found the cluster, sorted; nil: not all are known yet, or this
// node only joins.
func (w wish) founders(self metadata.NodeID, others map[metadata.NodeID]Hello) []metadata.NodeID {
	if len(w.static) > 0 {
		return slices.Sorted(slices.Values(w.static))
	}
	if w.expect == 0 || len(others)+1 < w.expect {
		return nil
	}
	known := append(slices.Collect(maps.Keys(others)), self)
	slices.Sort(known)
	return known[:w.expect]
}

// advance takes a node as far as what the others said allows: it returns what must be
// remembered before the node goes on, or why it waits (C5).
//
//	empty ──all founders answered, none has started──▶ prepared ──all founders have prepared──▶ started
//	  │                                                   └────────another has started──────────▲
//	  └──another has started and has recorded this node with this disk──────────────────────────┘
//
// Nobody takes part in raft before every founder has prepared. So a node that is empty
// while another has started has lost its disk or was never a founder: it stays out until
// the quorum has recorded it with the disk it has now (Z29).
func (f founding) advance(self Hello, w wish, others map[metadata.NodeID]Hello) (next founding, waits string) {
	if s := started(self, others); s != nil {
		return f.follow(self, w, *s)
	}
	founders := f.Founders // once prepared, with nobody else: two sets could make two clusters
	if founders == nil {
		founders = w.founders(self.Node, others)
	}
	if founders == nil {
		return f, fmt.Sprintf("for a quorum; heard %d other nodes", len(others))
	}
	if !slices.Contains(founders, self.Node) {
		return f, fmt.Sprintf("to be added: not one of the voters %v", founders)
	}
	said := make([]Hello, len(founders))
	for i, id := range founders {
		h, heard := others[id]
		if id == self.Node {
			h, heard = self, true
		}
		if !heard {
			return f, fmt.Sprintf("for node %d", id)
		}
		said[i] = h
	}
	cluster, conflict := agree(founders, said)
	if conflict != "" {
		return f, conflict
	}
	if f.Founders == nil || f.ClusterID != cluster {
		f.ClusterID, f.Founders = cluster, founders
		return f, ""
	}
	voters := make([]metadata.Voter, len(said))
	for i, h := range said {
		if h.Stage != Prepared || h.ClusterID != cluster || !slices.Equal(h.Founders, founders) {
			return f, fmt.Sprintf("for node %d to prepare cluster %s of nodes %v", h.Node, cluster, founders)
		}
		voters[i] = metadata.Voter{ID: h.Node, Dir: h.Dir}
	}
	f.Voters = voters
	return f, ""
}

// started finds a node that takes part in raft, best one that knows this node: what it
// says of it was recorded once, whatever was since.
func started(self Hello, others map[metadata.NodeID]Hello) *Hello {
	var found *Hello
	for _, id := range slices.Sorted(maps.Keys(others)) {
		h := others[id]
		if h.Stage != Started {
			continue
		}
		if records(h, self) {
			return &h
		}
		if found == nil {
			found = &h
		}
	}
	return found
}

func records(h, self Hello) bool {
	return slices.Contains(h.Voters, metadata.Voter{ID: self.Node, Dir: self.Dir}) || mutant == 29
}

// follow is advance where the quorum runs already. Even a founder that comes late gets its
// whole log from the others: it could not know which entry was their first.
func (f founding) follow(self Hello, w wish, s Hello) (next founding, waits string) {
	switch {
	case w.cluster != "" && w.cluster != s.ClusterID:
		return f, fmt.Sprintf("in vain: node %d is of cluster %q, this one of %q", s.Node, s.ClusterID, w.cluster)
	case !records(s, self):
		return f, fmt.Sprintf("to be added: node %d has not recorded it with directory %s", s.Node, self.Dir)
	}
	f.ClusterID, f.Voters, f.Admitted = s.ClusterID, s.Voters, true
	return f, ""
}

// agree finds the id of a new cluster: what the lowest prepared founder has written down,
// else the operator's, else the proposal of the lowest founder. The lowest that prepared
// never changes its mind, so all come to the same.
func agree(founders []metadata.NodeID, said []Hello) (cluster, conflict string) {
	cluster = said[0].Proposal
	wanted := ""
	for _, h := range said {
		if h.Stage == Prepared && slices.Equal(h.Founders, founders) {
			return h.ClusterID, ""
		}
		if h.Stage == Prepared || h.ClusterID == "" {
			continue
		}
		if wanted != "" && h.ClusterID != wanted {
			return "", fmt.Sprintf("in vain: node %d is of cluster %q, another of %q", h.Node, h.ClusterID, wanted)
		}
		wanted = h.ClusterID
	}
	if wanted != "" {
		cluster = wanted
	}
	return cluster, ""
}
