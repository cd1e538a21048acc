package group

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

func ptr[T any](v T) *T { return &v }

// The reader of group metadata is ours; kmsg is the independent opinion.
func TestGroupMetadataIsReadAsKmsgWritesIt(t *testing.T) {
	for version := int16(0); version <= 4; version++ {
		v := kmsg.GroupMetadataValue{
			Version: version, ProtocolType: "consumer", Generation: 7, Protocol: ptr("range"), Leader: ptr("a"), CurrentStateTimestamp: 99,
			Members: []kmsg.GroupMetadataValueMember{
				{MemberID: "a", InstanceID: ptr("one"), ClientID: "c", ClientHost: "/h", RebalanceTimeoutMillis: 5, SessionTimeoutMillis: 6, Subscription: []byte("s"), Assignment: []byte("x")},
				{MemberID: "b", SessionTimeoutMillis: 8, RebalanceTimeoutMillis: -1, Subscription: []byte{}, Assignment: []byte{}},
			},
		}
		if version >= 4 {
			v.UnknownTags.Set(9, []byte("later"))
			v.Members[0].UnknownTags.Set(3, []byte("later"))
		}
		want := &metadata{protocolType: "consumer", generation: 7, protocol: ptr("range"), leader: ptr("a"), since: 99, members: []savedMember{
			{"a", ptr("one"), Client{"c", "/h"}, 5, 6, []byte("s"), []byte("x")},
			{"b", nil, Client{}, 8, 8, []byte{}, []byte{}},
		}}
		if version < 3 {
			want.members[0].instance = nil
		}
		if version < 2 {
			want.since = -1
		}
		if version < 1 {
			want.members[0].rebalance = 6
		}
		b := v.AppendTo(nil)
		got, err := readGroup(b)
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if d := cmp.Diff(want, got, sameHard...); d != "" {
			t.Errorf("version %d: %s", version, d)
		}
		for n := range b {
			if _, err := readGroup(b[:n]); err == nil {
				t.Errorf("version %d: %d of %d bytes are accepted", version, n, len(b))
			}
		}
	}
}

func TestOffsetsAreReadInEveryVersion(t *testing.T) {
	for version := int16(0); version <= 4; version++ {
		v := kmsg.OffsetCommitValue{Version: version, Offset: 5, LeaderEpoch: 2, Metadata: "m", CommitTimestamp: 8, ExpireTimestamp: 9, TopicID: [16]byte{1}}
		want := offset{5, -1, "m", 8, -1, [16]byte{}}
		if version >= 3 {
			want.leaderEpoch = 2
		}
		if version == 1 {
			want.expires = 9
		}
		if version >= 4 {
			want.topicID = [16]byte{1}
		}
		if got, err := readOffset(v.AppendTo(nil)); err != nil || got != want {
			t.Errorf("version %d: got %+v, %v", version, got, err)
		}
	}
}

func TestEntriesAreReadBack(t *testing.T) {
	for _, o := range []offset{
		{5, -1, "", 7, -1, [16]byte{}},
		{5, -1, "m", 7, 8, [16]byte{}}, // the version with an expiry has no epoch
		{1<<63 - 1, 3, "m", 7, -1, [16]byte{9}},
	} {
		e := offsetEntry("g", "t", 4, o)
		got, err := readOffset(e.Value)
		if err != nil || got != o {
			t.Errorf("wrote %+v, read %+v, %v", o, got, err)
		}
		kind, group, topic, partition, err := readKey(e.Key)
		if kind != keyOffset || group != "g" || topic != "t" || partition != 4 || err != nil {
			t.Errorf("key: %d %q %q %d %v", kind, group, topic, partition, err)
		}
	}
}

// Bad input 128: what no group can be is skipped and counted, and what was there before stays.
func TestReplaySkipsWhatItDoesNotUnderstand(t *testing.T) {
	good := kmsg.GroupMetadataValue{Version: 3, ProtocolType: "consumer", Generation: 1, Protocol: ptr("range"), Leader: ptr("a"),
		Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", SessionTimeoutMillis: 10000}}}
	change := func(f func(v *kmsg.GroupMetadataValue)) []byte {
		v := good
		v.Members = append([]kmsg.GroupMetadataValueMember{}, good.Members...)
		f(&v)
		return v.AppendTo(nil)
	}
	key, offKey := groupKey("g"), offsetKey("g", "t", 0)
	for name, e := range map[string]machine.Entry{
		"no key":            {Value: []byte{1}},
		"short key":         {Key: []byte{0}},
		"other group type":  {Key: []byte{0, 3, 0, 1, 'g'}, Value: []byte{0, 0}},
		"negative version":  {Key: []byte{0xff, 0xff, 0, 1, 'g'}},
		"trailing bytes":    {Key: append(groupKey("g"), 1), Value: good.AppendTo(nil)},
		"name too long":     {Key: []byte{0, 2, 0x7f, 0xff, 'g'}},
		"name of -1 bytes":  {Key: []byte{0, 2, 0xff, 0xff}},
		"partition -1":      {Key: offsetKey("g", "t", -1)},
		"empty value":       {Key: key, Value: []byte{}},
		"later version":     {Key: key, Value: []byte{0, 5, 0, 0}},
		"generation -1":     {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) { v.Generation = -1 })},
		"no protocol":       {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) { v.Protocol = nil })},
		"no protocol type":  {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) { v.ProtocolType = "" })},
		"member without id": {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) { v.Members[0].MemberID = "" })},
		"member twice":      {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) { v.Members = append(v.Members, v.Members[0]) })},
		"instance twice": {Key: key, Value: change(func(v *kmsg.GroupMetadataValue) {
			v.Members[0].InstanceID = ptr("i")
			v.Members = append(v.Members, kmsg.GroupMetadataValueMember{MemberID: "b", InstanceID: ptr("i")})
		})},
		"2^31-1 members":   {Key: key, Value: []byte{0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}},
		"2^32-1 tags":      {Key: key, Value: []byte{0, 4, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		"short offset":     {Key: offKey, Value: []byte{0, 3, 0}},
		"offset version 9": {Key: offKey, Value: append([]byte{0, 9}, make([]byte, 40)...)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			m := New(w.cfg)
			for _, before := range []machine.Entry{{Key: key, Value: good.AppendTo(nil)}, offsetEntry("g", "t", 0, offset{at: 3, leaderEpoch: -1, expires: -1})} {
				if err := m.Replay(before); err != nil {
					t.Fatal(err)
				}
			}
			if m.Replay(e) == nil {
				t.Fatal("accepted")
			}
			m.Loaded(epoch)
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			if s := m.Stats(); s != (Stats{Groups: 1, Members: 1, Offsets: 1, Skipped: 1}) {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

func TestReplayKeepsNothingOfTheEntry(t *testing.T) {
	w := newWorld(t, Config{})
	m := New(w.cfg)
	v := kmsg.GroupMetadataValue{Version: 3, ProtocolType: "consumer", Generation: 1, Protocol: ptr("range"), Leader: ptr("a"),
		Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", Subscription: subscription("t"), Assignment: []byte("x")}}}
	entries := []machine.Entry{
		{Key: groupKey("g"), Value: v.AppendTo(nil)},
		offsetEntry("g", "t", 0, offset{at: 3, metadata: "mmm", leaderEpoch: -1, expires: -1}),
	}
	for _, e := range entries {
		if err := m.Replay(e); err != nil {
			t.Fatal(err)
		}
		clear(e.Key)
		clear(e.Value)
	}
	m.Loaded(epoch)
	g := m.groups["g"]
	if g == nil || !g.subscribes("t") || string(g.members["a"].assignment) != "x" || g.hard.offsets["t"][0].metadata != "mmm" {
		t.Errorf("group %+v", g)
	}
}

// Any log can be loaded, and the machine is sound afterwards (M6).
func FuzzReplay(f *testing.F) {
	good := kmsg.GroupMetadataValue{Version: 4, ProtocolType: "consumer", Generation: 1, Protocol: ptr("range"), Leader: ptr("a"),
		Members: []kmsg.GroupMetadataValueMember{{MemberID: "a", InstanceID: ptr("i"), SessionTimeoutMillis: 10000, Subscription: subscription("t")}}}
	f.Add(groupKey("g"), good.AppendTo(nil), offsetKey("g", "t", 1), offsetEntry("g", "t", 1, offset{topicID: [16]byte{1}, expires: -1}).Value)
	f.Add([]byte{0, 2, 0, 0}, []byte{0, 0}, []byte{}, []byte{0, 1})
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 []byte) {
		w := newWorld(t, Config{})
		m := New(w.cfg)
		skipped := 0
		for _, e := range []machine.Entry{{Key: k1, Value: v1}, {Key: k2, Value: v2}, {Key: k1}, {Key: k2, Value: v1}, {Key: k1, Value: v2}} {
			if m.Replay(e) != nil {
				skipped++
			}
		}
		if m.Stats().Skipped != skipped {
			t.Errorf("%d skipped, counted %d", skipped, m.Stats().Skipped)
		}
		m.Loaded(epoch)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		w.m = m
		w.settle(m.Expire(epoch.AddDate(1, 0, 0)), 0)
		w.pass(w.m.cfg.OffsetsRetention, nil)
	})
}

func FuzzSubscription(f *testing.F) {
	f.Add(subscription("t"))
	f.Add([]byte{0, 3, 0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		topics := map[string]struct{}{}
		err := readSubscription(b, topics)
		var v kmsg.ConsumerMemberMetadata
		if v.ReadFrom(b) == nil && v.Version >= 0 && err != nil {
			t.Errorf("kmsg reads %v, we say %v", v.Topics, err)
		}
		for _, want := range v.Topics {
			if _, ok := topics[want]; err == nil && v.ReadFrom(b) == nil && !ok {
				t.Errorf("topic %q is missing", want)
			}
		}
	})
}
