package protocol

import (
	"math"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka 4.4's ranges, key by key; a change of the table must be meant.
func TestTableIsKafkas(t *testing.T) {
	want := map[int16][2]int16{
		0: {3, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13}, 8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4},
		13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 18: {0, 5}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5},
		23: {2, 4}, 32: {1, 4}, 33: {0, 2}, 34: {1, 2}, 35: {1, 5}, 37: {0, 3}, 42: {0, 3}, 43: {0, 2}, 44: {0, 1}, 45: {0, 1}, 46: {0, 0}, 47: {0, 0}, 48: {0, 1}, 49: {0, 1}, 60: {0, 2},
		55: {0, 2}, 80: {0, 1}, 81: {0, 0}, 56: {3, 3}, 58: {0, 0}, 62: {4, 4}, 63: {1, 2}, 67: {0, 0}, 73: {0, 0}, // internal ones: what our own brokers speak
		57: {0, 2}, 64: {0, 0}, 61: {0, 0}, 74: {0, 1}, 75: {0, 0}, 20000: {0, 0}, 20001: {0, 0}, 20002: {0, 0}, 20003: {0, 0}, 20004: {0, 0}, 20005: {0, 0}, 20006: {0, 0},
	}
	apis := APIs()
	if !slices.IsSortedFunc(apis, func(a, b API) int { return int(a.Key) - int(b.Key) }) {
		t.Error("not in key order")
	}
	for _, a := range apis {
		if w, ok := want[int16(a.Key)]; !ok || w != [2]int16{a.Min, a.Max} {
			t.Errorf("%s (%d): serves %d-%d, want %v", a.Name, a.Key, a.Min, a.Max, w)
		}
		delete(want, int16(a.Key))
	}
	if len(want) > 0 {
		t.Errorf("no row for %v", want)
	}
}

func TestTableAgreesWithKmsg(t *testing.T) {
	for _, a := range APIs() {
		if a.Key >= firstOwn {
			if kmsg.RequestForKey(int16(a.Key)) != nil {
				t.Errorf("%s: kmsg has a message for our own key", a.Name)
			}
			continue
		}
		r := kmsg.RequestForKey(int16(a.Key))
		if kmsg.NameForKey(int16(a.Key)) != a.Name && a.Key != InitProducerID && a.Key != AllocateProducerIDs && a.Key != AlterPartitionReassignments {
			t.Errorf("%d: %q, kmsg calls it %q", a.Key, a.Name, kmsg.NameForKey(int16(a.Key)))
		}
		if a.Max > r.MaxVersion() {
			t.Errorf("%s: serves %d, kmsg ends at %d", a.Name, a.Max, r.MaxVersion())
		}
		for v := int16(0); v <= a.Max; v++ {
			r.SetVersion(v)
			if r.IsFlexible() != a.IsFlexible(v) {
				t.Errorf("%s v%d: kmsg's flexible is %v", a.Name, v, r.IsFlexible())
			}
		}
	}
}

func TestLookupFindsRowsAndNothingElse(t *testing.T) {
	found := 0
	for k := math.MinInt16; k <= math.MaxInt16; k++ {
		a := Lookup(int16(k))
		if a == nil {
			continue
		}
		found++
		if int(a.Key) != k {
			t.Errorf("key %d finds %s", k, a.Name)
		}
	}
	if found != len(APIs()) {
		t.Errorf("found %d rows of %d", found, len(APIs()))
	}
}

func TestListeners(t *testing.T) {
	for _, a := range APIs() {
		want := Client
		switch a.Key {
		case ApiVersions, Fetch:
			want = Client | Internal
		case AlterPartition, Envelope, BrokerRegistration, BrokerHeartbeat, AllocateProducerIDs, AssignReplicasToDirs, 20000, 20001, 20003, 20004, 20005, 20006:
			want = Internal
		case 20002:
			want = Replicas
		}
		if a.Listeners != want {
			t.Errorf("%s: listeners %b, want %b", a.Name, a.Listeners, want)
		}
	}
}

// 116: what brokers say to one another is no client's business.
func TestBadInput116InternalKeysAreNotOnClientListeners(t *testing.T) {
	for _, k := range []int16{4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82} {
		if a := Lookup(k); a != nil && a.Listeners&Client != 0 {
			t.Errorf("key %d is served as %s", k, a.Name)
		}
	}
}

func TestOnlyProduceMayBeLarge(t *testing.T) {
	for _, a := range APIs() {
		if large := a.MaxFrame > FrameAdmin; large != (a.Key == Produce) {
			t.Errorf("%s: frames up to %d", a.Name, a.MaxFrame)
		}
	}
}

func TestReasonsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonCut; r <= ReasonTrailing; r++ {
		if r.String() == "" || seen[r.String()] {
			t.Errorf("reason %d: name %q", r, r)
		}
		seen[r.String()] = true
	}
	if Reason(200).String() != "unknown" {
		t.Error("a reason beyond the last")
	}
}
