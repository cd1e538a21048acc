package metadata

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// every holds one change of each kind with every field filled.
func every() []Change {
	p := Partition{Replicas: []NodeID{1, 2, 3}, Dirs: []DirID{{1}, {2}, {3}}, ISR: []NodeID{1}, ELR: []NodeID{2}, LastKnownELR: []NodeID{3},
		Leader: 1, LeaderEpoch: 4, PartitionEpoch: 5, Recovering: true, Adding: []NodeID{3}, Removing: []NodeID{1}, MinISR: 2, Durable: true, Relaxed: true, UncleanEpoch: 3}
	return []Change{
		ClusterCreated{"cluster"},
		BrokerRegistered{ID: 1, Incarnation: UUID{1}, Dirs: []DirID{{9}}, Listeners: []Endpoint{{"PLAINTEXT", "h", 9092, 3}}, Rack: "r", Features: map[string]VersionRange{"f": {1, 2}}},
		BrokerUnregistered{1, 2}, BrokerFenced{1, 2}, BrokerUnfenced{1, 2}, BrokerShuttingDown{1, 2}, BrokerDirsChanged{1, 2, []DirID{{3}}},
		TopicCreated{ID: id(1), Name: "t", Internal: true}, TopicDeleted{id(1)},
		PartitionCreated{id(1), 3, p}, PartitionChanged{id(1), 3, p},
		ConfigChanged{ResourceBroker, "1", "k", "v", true}, ProducerIDsAllocated{1, 2, 3000}, FeatureChanged{"f", 3}, VoterRecorded{1, DirID{4}, true},
		QuotaChanged{QuotaEntity{NamedQuota("u"), DefaultQuotaName, NamedQuota("::1")}, "producer_byte_rate", 1.5, true},
	}
}

func TestChangesSurviveTheRoundTrip(t *testing.T) {
	want := every()
	if len(want) != len(decoders) {
		t.Fatalf("%d of %d kinds", len(want), len(decoders))
	}
	b, err := EncodeChanges(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeChanges(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	for _, c := range want {
		if v := reflect.ValueOf(c); v.IsZero() {
			t.Errorf("%T is empty: the test proves nothing", c)
		}
	}
}

// The bytes are a durable format: whoever changes them makes a new version.
func TestBytesOfChangesStayTheSame(t *testing.T) {
	for want, c := range map[string]Change{
		"8201818201a1016163":   ClusterCreated{"c"},
		"8201818204a201010202": BrokerFenced{1, 2},
		"8201818210a301010202038150" + "03000000000000000000000000000000": BrokerDirsChanged{1, 2, []DirID{{3}}},
		"820181820ca301010202031903e8":                                    ProducerIDsAllocated{1, 2, 1000},
		"820181820ba4010202617403616b046176":                              ConfigChanged{Type: ResourceTopic, Name: "t", Key: "k", Value: "v"},
		"820181820ba40104026003616b05f5":                                  ConfigChanged{Type: ResourceBroker, Key: "k", Deleted: true},
		"820181820fa301a201623d6102623d6202616b03f93e00":                  QuotaChanged{Entity: QuotaEntity{User: NamedQuota("a"), ClientID: NamedQuota("b")}, Key: "k", Value: 1.5},
		"8201818208a10150" + hexID(id(3)):                                 TopicDeleted{id(3)},
		"8201818207a20150" + hexID(id(3)) + "026174":                      TopicCreated{ID: id(3), Name: "t"},
	} {
		b, err := EncodeChanges([]Change{c})
		if got := hex.EncodeToString(b); err != nil || got != want {
			t.Errorf("%T: %s, not %s (%v)", c, got, want, err)
		}
	}
}

func hexID(i TopicID) string { return hex.EncodeToString(i[:]) }

func TestHostileChangesAreRefused(t *testing.T) {
	for name, in := range map[string]string{
		"empty":                   "",
		"not an array":            "a0",
		"other version":           "820280",
		"missing element":         "8101",
		"unknown kind":            "8201818218 63a0",
		"unknown field":           "8201818201a20161630900",
		"field twice":             "8201818201a20161630161 63",
		"indefinite length":       "82019fff",
		"tag":                     "8201c180",
		"array longer than bytes": "82019b00000000ffffffff",
		"trailing bytes":          "82018000",
		"short id":                "8201818208a10141 00",
		"long id":                 "8201818208a10151" + hexID(id(1)) + "00",
		"null change":             "820181f6",
		"invalid utf-8":           "8201818201a10161ff",
	} {
		raw, err := hex.DecodeString(string(bytes.ReplaceAll([]byte(in), []byte(" "), nil)))
		if err != nil {
			t.Fatal(err)
		}
		if c, err := DecodeChanges(raw); err == nil {
			t.Errorf("%s: %#v", name, c)
		}
	}
}

func TestAnImageSurvivesTheRoundTripAfterRandomChanges(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		i := filled(t, 5, 3)
		for range 60 {
			next, err := i.With(i.Index()+1+rng.Uint64N(3), randomChanges(rng, i))
			if err != nil {
				continue // some of them do not fit
			}
			d := Compare(i, next)
			checkDiff(t, i, next, d)
			i = next
			b := encode(t, i)
			j, err := DecodeImage(b)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if !bytes.Equal(b, encode(t, j)) {
				t.Fatalf("seed %d: other bytes", seed)
			}
			if diff := Compare(i, j); !diff.Empty() || j.PartitionCount() != i.PartitionCount() || j.TopicCount() != i.TopicCount() {
				t.Fatalf("seed %d: %+v", seed, diff)
			}
		}
	}
}

func randomChanges(rng *rand.Rand, i *Image) []Change {
	var out []Change
	for range 1 + rng.IntN(4) {
		n := rng.IntN(12)
		name := fmt.Sprintf("topic-%05d", n)
		switch topic := i.TopicByID(id(n)); rng.IntN(9) {
		case 0:
			out = append(out, TopicCreated{ID: id(n), Name: name})
		case 1:
			out = append(out, TopicDeleted{id(n)})
		case 2:
			if topic != nil {
				out = append(out, PartitionCreated{id(n), int32(len(topic.Partitions)), single(1)})
			}
		case 3:
			if topic != nil && len(topic.Partitions) > 0 {
				p := topic.Partitions[0].Clone()
				p.PartitionEpoch++
				p.Durable = !p.Durable
				out = append(out, PartitionChanged{id(n), 0, p})
			}
		case 4:
			out = append(out, ConfigChanged{Type: ResourceTopic, Name: name, Key: fmt.Sprint(rng.IntN(3)), Value: "v", Deleted: rng.IntN(2) == 0})
		case 5:
			out = append(out, BrokerRegistered{ID: NodeID(rng.IntN(4) + 2), Rack: fmt.Sprint(rng.IntN(2))})
		case 6:
			out = append(out, FeatureChanged{fmt.Sprint(rng.IntN(3)), int16(rng.IntN(2))})
		case 7:
			out = append(out, VoterRecorded{ID: NodeID(rng.IntN(4)), Removed: rng.IntN(2) == 0})
		case 8:
			names := []QuotaName{DefaultQuotaName, NamedQuota("a"), NamedQuota("b")}
			out = append(out, QuotaChanged{Entity: QuotaEntity{User: names[rng.IntN(3)], ClientID: append(names, NoQuotaName)[rng.IntN(4)]},
				Key: fmt.Sprint(rng.IntN(3)), Value: float64(rng.IntN(9)) / 3, Deleted: rng.IntN(3) == 0})
		}
	}
	return out
}

// checkDiff looks at the difference from the other side: patching the old image's
// partitions with it must give the new one's.
func checkDiff(t *testing.T, old, new *Image, d Diff) {
	t.Helper()
	type key struct {
		topic TopicID
		index int32
	}
	have := map[key]*Partition{}
	for topic := range old.Topics() {
		for n, p := range topic.Partitions {
			have[key{topic.ID, int32(n)}] = p
		}
	}
	for _, p := range d.Partitions {
		k := key{p.Topic.ID, p.Index}
		if have[k] != p.Old {
			t.Fatalf("%v: not the old record", p)
		}
		if have[k] = p.New; p.New == nil {
			delete(have, k)
		}
	}
	count := 0
	for topic := range new.Topics() {
		for n, p := range topic.Partitions {
			if !reflect.DeepEqual(have[key{topic.ID, int32(n)}], p) {
				t.Fatalf("%s-%d: diff misses a change", topic.Name, n)
			}
			count++
		}
	}
	if count != len(have) {
		t.Fatalf("diff misses a deletion")
	}
}

func TestATopicCreatedAgainIsDeletedAndCreated(t *testing.T) {
	old := filled(t, 1, 1)
	new := with(t, old, TopicDeleted{id(0)}, TopicCreated{ID: id(9), Name: "topic-00000"}, PartitionCreated{id(9), 0, single(1)})
	d := Compare(old, new)
	if len(d.TopicsCreated) != 1 || len(d.TopicsDeleted) != 1 || len(d.Partitions) != 2 {
		t.Fatalf("%+v", d)
	}
	if d.TopicsCreated[0].ID != id(9) || d.TopicsDeleted[0].ID != id(0) {
		t.Fatal("ids are mixed up (Z20)")
	}
}

func TestCompareSeesBrokersConfigsAndFeatures(t *testing.T) {
	old := filled(t, 1, 1)
	new := with(t, old, BrokerRegistered{ID: 3}, BrokerFenced{1, 1}, FeatureChanged{"f", 1}, ConfigChanged{Type: ResourceTopic, Name: "t", Key: "k", Value: "v"})
	d := Compare(old, new)
	if !reflect.DeepEqual(d.BrokersChanged, []NodeID{1, 3}) || !d.Features || !reflect.DeepEqual(d.ConfigsChanged, []ConfigRef{{ResourceTopic, "t"}}) {
		t.Fatalf("%+v", d)
	}
	back := Compare(new, old)
	if !reflect.DeepEqual(back.BrokersChanged, []NodeID{1, 3}) || !reflect.DeepEqual(back.ConfigsChanged, []ConfigRef{{ResourceTopic, "t"}}) {
		t.Fatalf("%+v", back)
	}
	if d := Compare(old, old); !d.Empty() {
		t.Fatalf("%+v", d)
	}
}

func FuzzDecodeChanges(f *testing.F) {
	for _, c := range every() {
		b, _ := EncodeChanges([]Change{c})
		f.Add(b)
	}
	all, _ := EncodeChanges(every())
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		changes, err := DecodeChanges(in)
		if err != nil {
			return
		}
		b, err := EncodeChanges(changes)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeChanges(b)
		if err != nil {
			t.Fatal(err)
		}
		c, err := EncodeChanges(again)
		if err != nil || !bytes.Equal(b, c) {
			t.Fatal("encoding is not stable", err)
		}
		_, _ = filled(t, 1, 1).With(10, changes)
	})
}

func FuzzDecodeImage(f *testing.F) {
	i := filled(f, 3, 2)
	i = with(f, i, ConfigChanged{Type: ResourceTopic, Name: "topic-00000", Key: "k", Value: "v"}, FeatureChanged{"f", 1}, VoterRecorded{ID: 1}, ProducerIDsAllocated{1, 1, 5},
		QuotaChanged{Entity: QuotaEntity{IP: DefaultQuotaName}, Key: "k", Value: 7})
	f.Add(encode(f, i))
	f.Add(encode(f, Empty()))
	f.Fuzz(func(t *testing.T, in []byte) {
		image, err := DecodeImage(in)
		if err != nil {
			return
		}
		b := encode(t, image)
		again, err := DecodeImage(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, encode(t, again)) {
			t.Fatal("encoding is not stable")
		}
		_ = image.Check()
	})
}
