package group

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

func joinRequest(group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID = 9, group, member
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10000, 60000
	req.ProtocolType = "consumer"
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription("t")}}
	return req
}

func (w *world) join(req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	_, reply := w.do(func(m *Machine, token uint64) machine.Result {
		return m.JoinGroup(req, Client{"c", "/h"}, token, w.now)
	})
	r, _ := reply.(*kmsg.JoinGroupResponse)
	return r
}

// stable makes a Stable group of one member and answers the member's id.
func (w *world) stable(group string) string {
	id := w.join(joinRequest(group, "")).MemberID
	w.join(joinRequest(group, id))
	w.pass(w.m.cfg.InitialRebalanceDelay, nil)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = group, id, 1
	w.do(func(m *Machine, token uint64) machine.Result { return m.SyncGroup(sync, token, w.now) })
	return id
}

func TestJoinGroupRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*kmsg.JoinGroupRequest)
		want   *kerr.Error
	}{
		"no group":                 {func(r *kmsg.JoinGroupRequest) { r.Group = "" }, kerr.InvalidGroupID},
		"a group id of 250 bytes":  {func(r *kmsg.JoinGroupRequest) { r.Group = strings.Repeat("g", 250) }, kerr.InvalidGroupID},
		"a short session":          {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 }, kerr.InvalidSessionTimeout},
		"a negative session":       {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }, kerr.InvalidSessionTimeout},
		"a long session":           {func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1800001 }, kerr.InvalidSessionTimeout},
		"no protocols":             {func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }, kerr.InconsistentGroupProtocol},
		"no protocol type":         {func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }, kerr.InconsistentGroupProtocol},
		"10 MiB of metadata":       {func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = make([]byte, 10<<20) }, kerr.GroupMaxSizeReached},
		"an instance id too long":  {func(r *kmsg.JoinGroupRequest) { r.InstanceID = ptr(strings.Repeat("i", 250)) }, kerr.InvalidRequest},
		"a member id never given":  {func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" }, kerr.UnknownMemberID},
		"a member id of 64 KiB":    {func(r *kmsg.JoinGroupRequest) { r.MemberID = strings.Repeat("m", 1<<16) }, kerr.UnknownMemberID},
		"paths are names like any": {func(r *kmsg.JoinGroupRequest) { r.Group = "../../etc/passwd\x00" }, kerr.MemberIDRequired},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			req := joinRequest("g", "")
			c.change(req)
			if r := w.join(req); r.ErrorCode != c.want.Code {
				t.Errorf("got %s, want %s", codeName(r.ErrorCode), c.want.Message)
			}
		})
	}
}

func TestEveryRequestRefusesAGroupIDThatIsTooLong(t *testing.T) {
	w := newWorld(t, Config{})
	id := strings.Repeat("g", 1<<16)
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Topics = id, []kmsg.OffsetCommitRequestTopic{{Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
	codes := map[string]int16{}
	w.do(func(m *Machine, token uint64) machine.Result {
		codes["sync"] = m.SyncGroup(&kmsg.SyncGroupRequest{Group: id}, token, w.now).Reply.(*kmsg.SyncGroupResponse).ErrorCode
		codes["heartbeat"] = m.Heartbeat(&kmsg.HeartbeatRequest{Group: id}, w.now).Reply.(*kmsg.HeartbeatResponse).ErrorCode
		codes["leave"] = m.LeaveGroup(&kmsg.LeaveGroupRequest{Group: id}, w.now).Reply.(*kmsg.LeaveGroupResponse).ErrorCode
		codes["commit"] = m.OffsetCommit(commit, w.now).Reply.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
		codes["fetch"] = m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{Group: id}, w.now).Reply.(*kmsg.OffsetFetchResponseGroup).ErrorCode
		codes["delete offsets"] = m.OffsetDelete(&kmsg.OffsetDeleteRequest{Group: id}, w.now).Reply.(*kmsg.OffsetDeleteResponse).ErrorCode
		codes["describe"] = m.DescribeGroup(6, id, w.now).Reply.(*kmsg.DescribeGroupsResponseGroup).ErrorCode
		r := m.DeleteGroup(id, w.now)
		codes["delete"] = r.Reply.(int16)
		return r
	})
	for name, code := range codes {
		if code != kerr.InvalidGroupID.Code {
			t.Errorf("%s: %s", name, codeName(code))
		}
	}
}

// Kafka serves the empty group id where a consumer without a group may use it.
func TestTheEmptyGroupIDKeepsOffsets(t *testing.T) {
	w := newWorld(t, Config{})
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Generation = 8, -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 4}}}}
	w.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(commit, w.now) })
	_, reply := w.do(func(m *Machine, _ uint64) machine.Result {
		return m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{}, w.now)
	})
	if r := reply.(*kmsg.OffsetFetchResponseGroup); r.ErrorCode != 0 || len(r.Topics) != 1 || r.Topics[0].Partitions[0].Offset != 4 {
		t.Errorf("got %+v", r)
	}
	if r := w.join(joinRequest("", "")); r.ErrorCode != kerr.InvalidGroupID.Code {
		t.Errorf("join: %s", codeName(r.ErrorCode))
	}
}

// Bad input 136: a flood of names costs no more than the bounds.
func TestAFloodOfGroupsAndMembersIsBounded(t *testing.T) {
	w := newWorld(t, Config{MaxUnsavedGroups: 20, MaxPendingMembers: 60})
	codes := map[string]int{}
	for i := range 100 {
		codes[codeName(w.join(joinRequest(fmt.Sprint("g", i), "")).ErrorCode)]++
		codes[codeName(w.join(joinRequest("g0", "")).ErrorCode)]++
	}
	if s := w.m.Stats(); s.Groups != 20 || s.PendingMembers != 60 || codes["MEMBER_ID_REQUIRED"] != 60 || codes["GROUP_MAX_SIZE_REACHED"] != 140 {
		t.Errorf("stats %+v, codes %v", s, codes)
	}
	w.pass(10*time.Second, nil)
	if s := w.m.Stats(); s.Groups != 0 || s.PendingMembers != 0 {
		t.Errorf("later: stats %+v", s)
	}
	if len(w.log) != 0 {
		t.Errorf("%d entries written", len(w.log))
	}
}

func TestAGroupHoldsNoMoreThanItsBound(t *testing.T) {
	w := newWorld(t, Config{MaxGroupBytes: 3000})
	big := func(member string) *kmsg.JoinGroupRequest {
		req := joinRequest("g", member)
		req.Version, req.Protocols[0].Metadata = 3, make([]byte, 1200)
		return req
	}
	w.join(big(""))
	w.join(big(""))
	if r := w.join(big("")); r == nil || r.ErrorCode != kerr.GroupMaxSizeReached.Code {
		t.Errorf("third member: %+v", r)
	}
}

func TestMemberIDsAreBoundedAndReadable(t *testing.T) {
	w := newWorld(t, Config{})
	g := newGroup("g")
	for _, client := range []string{"", "c", strings.Repeat("é", 30000)} {
		id := w.m.memberID(g, client, nil)
		if len(id) > maxMemberID || !utf8.ValidString(id) || len(id) < 37 {
			t.Errorf("client of %d bytes: id of %d bytes", len(client), len(id))
		}
	}
	if id := w.m.memberID(g, "c", ptr("inst")); !strings.HasPrefix(id, "inst-") {
		t.Errorf("static member: %q", id)
	}
}

type badRand struct{}

func (badRand) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestWithoutRandomnessNobodyJoins(t *testing.T) {
	w := newWorld(t, Config{Rand: badRand{}})
	if r := w.join(joinRequest("g", "")); r.ErrorCode != kerr.CoordinatorNotAvailable.Code {
		t.Errorf("got %s", codeName(r.ErrorCode))
	}
}

// A wall clock that jumps ends no session; the commit timestamp follows it.
func TestTheWallClockDoesNotEndSessions(t *testing.T) {
	var skew time.Duration
	w := newWorld(t, Config{Wall: func(now time.Time) time.Time { return now.Add(skew) }})
	id := w.stable("g")
	skew = 24 * time.Hour
	w.pass(9*time.Second, nil)
	beat := &kmsg.HeartbeatRequest{Group: "g", MemberID: id, Generation: 1}
	_, reply := w.do(func(m *Machine, _ uint64) machine.Result { return m.Heartbeat(beat, w.now) })
	if code := reply.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
		t.Errorf("heartbeat: %s", codeName(code))
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.MemberID, commit.Generation = 9, "g", id, 1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
	w.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(commit, w.now) })
	if at := w.m.groups["g"].hard.offsets["t"][0].committed; at != w.now.Add(skew).UnixMilli() {
		t.Errorf("committed at %d", at)
	}
}

func TestOffsetMetadataIsCountedAsKafkaDoes(t *testing.T) {
	for text, want := range map[string]bool{
		strings.Repeat("x", 4096):          false,
		strings.Repeat("x", 4097):          true,
		strings.Repeat("é", 4096):          false, // 8,192 bytes, 4,096 characters
		strings.Repeat("\U0001f600", 2048): false, // each counts twice
		strings.Repeat("\U0001f600", 2049): true,
		strings.Repeat("x", 1<<20):         true,
	} {
		if got := longer(text, 4096); got != want {
			t.Errorf("%d bytes, %d characters: %t", len(text), utf8.RuneCountInString(text), got)
		}
	}
}

// An offset that was committed for another topic of the same name is none.
func TestOffsetsOfARecreatedTopicAreNotServed(t *testing.T) {
	w := newWorld(t, Config{})
	old, young := [16]byte{1}, [16]byte{2}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 10, "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: old, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: 4}}}}
	w.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(commit, w.now) })
	for id, want := range map[[16]byte]int64{old: 4, young: -1, {}: 4} {
		_, reply := w.do(func(m *Machine, _ uint64) machine.Result {
			return m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{
				{Topic: "t", TopicID: id, Partitions: []int32{0}},
			}}, w.now)
		})
		topic := reply.(*kmsg.OffsetFetchResponseGroup).Topics[0]
		if topic.Partitions[0].Offset != want || topic.TopicID != id {
			t.Errorf("id %v: %+v", id, topic)
		}
	}
	for _, c := range []struct {
		id   [16]byte
		want int
	}{{young, 0}, {old, 1}} {
		_, removed := w.do(func(m *Machine, _ uint64) machine.Result { return m.TopicsDeleted([]Topic{{"t", c.id}}, w.now) })
		if removed != c.want {
			t.Errorf("deleting %v removed %v offsets", c.id, removed)
		}
	}
}

// LeaveGroup before version 3 says the member's error in front, and an unknown group has unknown members only.
func TestLeaveGroupAnswersByVersion(t *testing.T) {
	w := newWorld(t, Config{})
	for version := int16(0); version <= 5; version++ {
		req := &kmsg.LeaveGroupRequest{Version: version, Group: "g", MemberID: "m", Members: []kmsg.LeaveGroupRequestMember{{MemberID: "m"}}}
		_, reply := w.do(func(m *Machine, _ uint64) machine.Result { return m.LeaveGroup(req, w.now) })
		r := reply.(*kmsg.LeaveGroupResponse)
		if version < 3 && (r.ErrorCode != kerr.UnknownMemberID.Code || len(r.Members) > 0) {
			t.Errorf("version %d: %+v", version, r)
		}
		if version >= 3 && (r.ErrorCode != 0 || r.Members[0].ErrorCode != kerr.UnknownMemberID.Code) {
			t.Errorf("version %d: %+v", version, r)
		}
	}
}

// Every answer can be written in the version of its request.
func TestAnswersEncodeInEveryVersion(t *testing.T) {
	for version := int16(0); version <= 9; version++ {
		w := newWorld(t, Config{InitialRebalanceDelay: time.Second})
		req := joinRequest("g", "")
		req.Version = version
		r := w.join(req)
		if version >= 4 {
			r.AppendTo(nil)
			req.MemberID = r.MemberID
			w.join(req)
		}
		w.pass(time.Second, nil)
		for _, reply := range w.replies {
			b := reply.(*kmsg.JoinGroupResponse).AppendTo(nil)
			back := kmsg.NewPtrJoinGroupResponse()
			back.Version = version
			if err := back.ReadFrom(b); err != nil || back.Generation != 1 || *back.Protocol != "range" || len(back.Members) != 1 {
				t.Errorf("version %d: %+v, %v", version, back, err)
			}
		}
	}
	for version := int16(0); version <= 9; version++ {
		r := joinRefused(version, kerr.UnknownMemberID, "m")
		back := kmsg.NewPtrJoinGroupResponse()
		back.Version = version
		if err := back.ReadFrom(r.AppendTo(nil)); err != nil || back.MemberID != "m" {
			t.Errorf("version %d: %+v, %v", version, back, err)
		}
	}
}

func TestTheLastGenerationIsFollowedByTheFirst(t *testing.T) {
	if nextGeneration(1<<31-1) != 1 || nextGeneration(0) != 1 {
		t.Error("generations do not go round")
	}
}

func BenchmarkHeartbeatOf10000Members(b *testing.B) {
	w := newWorld(b, Config{MaxEntryBytes: 64 << 20, MaxGroupBytes: 64 << 20})
	now := epoch
	var out []machine.Answer
	for i := range 10000 {
		req := joinRequest("g", "")
		req.Version, req.SessionTimeoutMillis = 3, 1800000
		out = append(out, w.m.JoinGroup(req, Client{"c", "/h"}, uint64(i), now).Answers...)
	}
	out = append(out, w.m.Expire(now).Answers...)
	beats := make([]*kmsg.HeartbeatRequest, 0, len(out))
	for _, a := range out {
		r := a.Reply.(*kmsg.JoinGroupResponse)
		beats = append(beats, &kmsg.HeartbeatRequest{Group: "g", MemberID: r.MemberID, Generation: r.Generation})
	}
	if len(beats) != 10000 {
		b.Fatal(len(beats))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		now = now.Add(time.Microsecond)
		if r := w.m.Heartbeat(beats[i%len(beats)], now); r.Reply.(*kmsg.HeartbeatResponse).ErrorCode != 0 {
			b.Fatal("refused")
		}
		w.m.NextDeadline()
	}
}

func BenchmarkCommit(b *testing.B) {
	w := newWorld(b, Config{})
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.Generation = 9, "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
	b.ReportAllocs()
	for i := range b.N {
		commit.Topics[0].Partitions[0].Partition = int32(i % 1000)
		for _, e := range w.m.OffsetCommit(commit, epoch).Entries {
			if err := w.m.Replay(e); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// All sessions of a group of 10,000 end at once.
func BenchmarkTenThousandSessionsEnd(b *testing.B) {
	for range b.N {
		b.StopTimer()
		w := newWorld(b, Config{MaxEntryBytes: 64 << 20, MaxGroupBytes: 64 << 20})
		for i := range 10000 {
			req := joinRequest("g", "")
			req.Version = 3
			w.m.JoinGroup(req, Client{"c", "/h"}, uint64(i), epoch)
		}
		w.m.Expire(epoch)
		b.StartTimer()
		w.m.Expire(epoch.Add(time.Minute))
		if len(w.m.groups) > 0 {
			b.Fatal("members are left")
		}
	}
}
