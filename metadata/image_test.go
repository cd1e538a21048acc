package metadata

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// id makes a topic id that looks random enough for the shards.
func id(n int) TopicID {
	return TopicID{byte(n * 31), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, byte(n >> 16), byte(n >> 8), byte(n), byte(n * 7)}
}

func single(node NodeID) Partition {
	return Partition{Replicas: []NodeID{node}, ISR: []NodeID{node}, Leader: node, MinISR: 1, Durable: true}
}

func with(t testing.TB, i *Image, changes ...Change) *Image {
	t.Helper()
	next, err := i.With(i.Index()+1, changes)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// filled has one live broker and topics × partitions.
func filled(t testing.TB, topics, partitions int) *Image {
	i := with(t, Empty(), ClusterCreated{"c"}, BrokerRegistered{ID: 1, Incarnation: UUID{1}})
	changes := []Change{BrokerUnfenced{1, 1}}
	for n := range topics {
		changes = append(changes, TopicCreated{ID: id(n), Name: fmt.Sprintf("topic-%05d", n)})
		for p := range partitions {
			changes = append(changes, PartitionCreated{id(n), int32(p), single(1)})
		}
	}
	return with(t, i, changes...)
}

func encode(t testing.TB, i *Image) []byte {
	t.Helper()
	b, err := EncodeImage(i)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryChangeIsSeenInTheNextImageOnly(t *testing.T) {
	base := filled(t, 2, 2)
	moved := single(1)
	moved.PartitionEpoch, moved.Durable = 1, false
	grown := Partition{Replicas: []NodeID{1}, ISR: []NodeID{1}, Leader: 1, MinISR: 1}
	cases := []struct {
		name   string
		change Change
		seen   func(*Image) bool
	}{
		{"broker registered", BrokerRegistered{ID: 2}, func(i *Image) bool { b := i.Broker(2); return b != nil && b.Fenced && b.Epoch == 3 }},
		{"broker unregistered", BrokerUnregistered{1, 1}, func(i *Image) bool { return i.Broker(1) == nil }},
		{"broker fenced", BrokerFenced{1, 1}, func(i *Image) bool { return i.Broker(1).Fenced && !i.Broker(1).Live() }},
		{"broker shutting down", BrokerShuttingDown{1, 1}, func(i *Image) bool { return i.Broker(1).ShuttingDown && !i.Broker(1).Live() }},
		{"broker directories", BrokerDirsChanged{1, 1, []DirID{{4}}}, func(i *Image) bool { return i.Broker(1).HasDir(DirID{4}) }},
		{"topic created", TopicCreated{ID: id(9), Name: "new"}, func(i *Image) bool { return i.Topic("new") != nil && i.TopicByID(id(9)).Name == "new" }},
		{"topic deleted", TopicDeleted{id(0)}, func(i *Image) bool {
			return i.Topic("topic-00000") == nil && i.TopicByID(id(0)) == nil && i.PartitionCount() == 2
		}},
		{"partition created", PartitionCreated{id(0), 2, grown}, func(i *Image) bool { return len(i.TopicByID(id(0)).Partitions) == 3 && i.PartitionCount() == 5 }},
		{"partition changed", PartitionChanged{id(0), 1, moved}, func(i *Image) bool { return !i.Topic("topic-00000").Partition(1).Durable }},
		{"config set", ConfigChanged{Type: ResourceTopic, Name: "topic-00000", Key: "retention.ms", Value: "1"}, func(i *Image) bool { return i.Config(ResourceTopic, "topic-00000")["retention.ms"] == "1" }},
		{"producer ids", ProducerIDsAllocated{1, 1, 1000}, func(i *Image) bool { return i.NextProducerID() == 1000 }},
		{"feature", FeatureChanged{"f", 2}, func(i *Image) bool { return i.Features()["f"] == 2 && i.FeaturesEpoch() == 3 }},
		{"voter", VoterRecorded{ID: 1, Dir: DirID{7}}, func(i *Image) bool { return slices.Equal(i.Voters(), []Voter{{1, DirID{7}}}) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := encode(t, base)
			next := with(t, base, c.change)
			if !c.seen(next) {
				t.Fatal("not seen")
			}
			if c.seen(base) || !bytes.Equal(before, encode(t, base)) {
				t.Fatal("the old image has changed")
			}
		})
	}
}

func TestFactsThatDoNotFitAreRefused(t *testing.T) {
	base := filled(t, 1, 1)
	skip, lower, silent := single(1), single(1), single(1)
	skip.PartitionEpoch = 2
	lower.PartitionEpoch, lower.LeaderEpoch = 1, -1
	silent.PartitionEpoch, silent.Leader = 1, NoNode
	for name, c := range map[string]Change{
		"second cluster id":                ClusterCreated{"other"},
		"unknown broker":                   BrokerFenced{2, 1},
		"old broker epoch":                 BrokerFenced{1, 0},
		"directories of an old epoch":      BrokerDirsChanged{1, 0, nil},
		"negative node":                    BrokerRegistered{ID: -1},
		"topic name taken":                 TopicCreated{ID: id(5), Name: "topic-00000"},
		"topic id taken":                   TopicCreated{ID: id(0), Name: "x"},
		"zero topic id":                    TopicCreated{Name: "x"},
		"unknown topic":                    TopicDeleted{id(5)},
		"gap in partitions":                PartitionCreated{id(0), 2, single(1)},
		"unknown partition":                PartitionChanged{id(0), 1, single(1)},
		"partition epoch skipped (I8)":     PartitionChanged{id(0), 0, skip},
		"leader epoch falls (I8)":          PartitionChanged{id(0), 0, lower},
		"leader without a new epoch (I8)":  PartitionChanged{id(0), 0, silent},
		"producer ids given out once more": ProducerIDsAllocated{Next: -1},
	} {
		if _, err := base.With(base.Index()+1, []Change{c}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := base.With(base.Index(), nil); err == nil {
		t.Error("an entry was applied twice")
	}
}

func TestPartitionRecordRules(t *testing.T) {
	good := Partition{Replicas: []NodeID{1, 2, 3}, ISR: []NodeID{1}, ELR: []NodeID{2}, Leader: 1, MinISR: 2}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(p *Partition){
		"no replicas":                 func(p *Partition) { p.Replicas = nil },
		"replica twice":               func(p *Partition) { p.Replicas = []NodeID{1, 2, 2} },
		"directories do not match":    func(p *Partition) { p.Dirs = make([]DirID, 2) },
		"isr member not a replica":    func(p *Partition) { p.ISR = []NodeID{1, 4} },
		"elr member not a replica":    func(p *Partition) { p.ELR = []NodeID{4} },
		"isr and elr overlap":         func(p *Partition) { p.ELR = []NodeID{1} },
		"elr beside a large isr":      func(p *Partition) { p.ISR = []NodeID{1, 3} },
		"lastKnownElr, isr complete":  func(p *Partition) { p.ISR, p.ELR, p.LastKnownELR = []NodeID{1, 3}, nil, []NodeID{2} },
		"leader outside isr":          func(p *Partition) { p.Leader = 2 },
		"nobody left (I9)":            func(p *Partition) { p.ISR, p.ELR, p.Leader = nil, nil, NoNode },
		"min isr zero":                func(p *Partition) { p.MinISR = 0 },
		"min isr above replicas":      func(p *Partition) { p.MinISR = 4 },
		"negative epoch":              func(p *Partition) { p.LeaderEpoch = -1 },
		"adding someone not assigned": func(p *Partition) { p.Adding = []NodeID{9} },
	}
	for name, spoil := range cases {
		p := good.Clone()
		spoil(&p)
		if p.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestImageCheckFindsAFencedMemberOfAnISR(t *testing.T) {
	i := filled(t, 1, 1)
	if err := i.Check(); err != nil {
		t.Fatal(err)
	}
	if with(t, i, BrokerFenced{1, 1}).Check() == nil {
		t.Fatal("a fenced broker in an ISR went unnoticed (I7)")
	}
}

func TestTopicsAreSortedWhateverTheOrderOfCreation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	i, want := Empty(), []string{}
	for _, n := range rng.Perm(2000) {
		name := fmt.Sprintf("t%d", n)
		want = append(want, name)
		i = with(t, i, TopicCreated{ID: id(n), Name: name})
	}
	for _, n := range rng.Perm(2000)[:700] {
		name := fmt.Sprintf("t%d", n)
		want = slices.DeleteFunc(want, func(s string) bool { return s == name })
		i = with(t, i, TopicDeleted{id(n)})
	}
	slices.Sort(want)
	var got []string
	for topic := range i.Topics() {
		got = append(got, topic.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" || i.TopicCount() != len(want) {
		t.Fatal(diff, i.TopicCount())
	}
}

func TestABatchCopiesOnlyWhatItTouches(t *testing.T) {
	old := filled(t, 1000, 1)
	changed := single(1)
	changed.PartitionEpoch = 1
	next := with(t, old, PartitionChanged{id(7), 0, changed})
	shared, copied := 0, 0
	for n := range old.topics.level {
		if old.topics.level[n] == next.topics.level[n] {
			shared++
		} else {
			copied++
		}
	}
	if copied != 1 || old.names.level != next.names.level || old.configs.level != next.configs.level {
		t.Fatalf("%d shards copied, %d shared", copied, shared)
	}
}

func TestTopicOfFindsNamesInRequestBuffersWithoutAllocating(t *testing.T) {
	i := filled(t, 100, 1)
	name := []byte("topic-00042")
	if i.TopicOf(name) != i.Topic("topic-00042") || i.TopicOf([]byte("no")) != nil {
		t.Fatal("not the same topic")
	}
	if n := testing.AllocsPerRun(100, func() { i.TopicOf(name) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestDeletingATopicTakesItsConfigsAlong(t *testing.T) {
	i := filled(t, 1, 1)
	i = with(t, i, ConfigChanged{Type: ResourceTopic, Name: "topic-00000", Key: "k", Value: "v"})
	i = with(t, i, TopicDeleted{id(0)}, TopicCreated{ID: id(1), Name: "topic-00000"})
	if c := i.Config(ResourceTopic, "topic-00000"); c != nil {
		t.Fatalf("the new topic of the name has %v", c)
	}
}

func TestConfigOfOneEntryIsNotSeenHalf(t *testing.T) {
	set := func(k, v string) Change { return ConfigChanged{Type: ResourceBroker, Key: k, Value: v} }
	del := func(k string) Change { return ConfigChanged{Type: ResourceBroker, Key: k, Deleted: true} }
	i := with(t, Empty(), set("a", "1"), set("b", "2"), del("a"), del("missing"))
	if diff := cmp.Diff(map[string]string{"b": "2"}, i.Config(ResourceBroker, "")); diff != "" {
		t.Fatal(diff)
	}
	j := with(t, i, del("b"), set("c", "3"), del("c"))
	if j.Config(ResourceBroker, "") != nil || len(i.Config(ResourceBroker, "")) != 1 || len(j.ConfigNames(ResourceBroker)) != 0 {
		t.Fatal("an empty set of configs must vanish, and only from the new image")
	}
}

func TestTopicNames(t *testing.T) {
	long := strings.Repeat("a", MaxTopicName)
	for _, good := range []string{"a", "A-b_c.9", long, "..a", "console", "com0", "com10", "com", "__consumer_offsets"} {
		if err := ValidTopicName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, text := range map[string]string{
		"":                 "Topic name is invalid: the empty string is not allowed",
		".":                "Topic name is invalid: '.' is not allowed",
		"..":               "Topic name is invalid: '..' is not allowed",
		"../../etc/passwd": "Topic name is invalid: '../../etc/passwd' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
		long + "a":         "Topic name is invalid: the length of '" + long + "…' is longer than the max allowed length 249",
		"con":              "Topic name is invalid: 'con' is the name of a device on some systems",
		"NUL":              "", "Com9": "", "lpt1": "",
		"a/b": "", "a\x00b": "", `C:\x`: "", "a b": "", "🙂": "", "a\nb": "", "ä": "",
	} {
		err := ValidTopicName(bad)
		if err == nil || (text != "" && err.Error() != text) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestNamesThatGiveOneMetricCollide(t *testing.T) {
	i := with(t, Empty(), TopicCreated{ID: id(1), Name: "a.b_c"})
	for name, want := range map[string]bool{"a_b.c": true, "a.b.c": true, "a.b_c": true, "a.bXc": false, "a.b": false, "abc": false} {
		if got := i.Collides(name) != nil; got != want || TopicNamesCollide("a.b_c", name) != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func BenchmarkWithOnePartitionOf10000(b *testing.B) {
	for _, shape := range [][2]int{{10_000, 1}, {100, 100}, {1, 10_000}} {
		b.Run(fmt.Sprintf("%dx%d", shape[0], shape[1]), func(b *testing.B) {
			i := filled(b, shape[0], shape[1])
			p := *i.TopicByID(id(0)).Partition(0)
			p.PartitionEpoch++
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.With(i.Index()+1, []Change{PartitionChanged{id(0), 0, p}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompareOneChangeOf10000(b *testing.B) {
	i := filled(b, 10_000, 1)
	p := *i.TopicByID(id(0)).Partition(0)
	p.PartitionEpoch, p.Durable = 1, false
	next, _ := i.With(i.Index()+1, []Change{PartitionChanged{id(0), 0, p}})
	for b.Loop() {
		if d := Compare(i, next); len(d.Partitions) != 1 {
			b.Fatal(d)
		}
	}
}

func BenchmarkEncodeImageOf10000(b *testing.B) {
	i := filled(b, 1000, 10)
	for b.Loop() {
		b.SetBytes(int64(len(encode(b, i))))
	}
}

// BenchmarkMemoryOf10000 reports the bytes an image with 10,000 partitions of three
// replicas keeps alive.
func BenchmarkMemoryOf10000(b *testing.B) {
	i := filled(b, 1000, 0)
	var changes []Change
	for n := range 1000 {
		for p := range int32(10) {
			changes = append(changes, PartitionCreated{id(n), p, Partition{Replicas: []NodeID{1, 2, 3}, Dirs: make([]DirID, 3), ISR: []NodeID{1, 2, 3}, Leader: 1, MinISR: 2}})
		}
	}
	raw := encode(b, with(b, i, changes...))
	changes = nil
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		image, err := DecodeImage(raw)
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(image)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "heap-bytes")
	}
}
