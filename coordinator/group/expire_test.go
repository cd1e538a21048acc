package group

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// Trap 46, with a retention of an hour.
func TestOffsetsExpireByTheStateOfTheirGroup(t *testing.T) {
	w := newWorld(t, Config{OffsetsRetention: time.Hour, OffsetsRetentionCheck: time.Minute, InitialRebalanceDelay: time.Second})
	id := w.stable("g") // subscribes to t
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Version, commit.Group, commit.MemberID, commit.Generation = 9, "g", id, 1
	one := []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: one}, {Topic: "u", Partitions: one}}
	w.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(commit, w.now) })
	live := func(d time.Duration) {
		for end := w.now.Add(d); w.now.Before(end); {
			w.pass(5*time.Second, nil)
			beat := &kmsg.HeartbeatRequest{Group: "g", MemberID: id, Generation: 1}
			w.do(func(m *Machine, _ uint64) machine.Result { return m.Heartbeat(beat, w.now) })
		}
	}
	expect := func(when string, t0, u0 bool) {
		t.Helper()
		var offsets map[string]map[int32]offset
		if g := w.m.groups["g"]; g != nil {
			offsets = g.hard.offsets
		}
		if _, ok := offsets["t"][0]; ok != t0 {
			t.Errorf("%s: offset of t is there: %t", when, ok)
		}
		if _, ok := offsets["u"][0]; ok != u0 {
			t.Errorf("%s: offset of u is there: %t", when, ok)
		}
	}
	live(58 * time.Minute)
	expect("before the retention is over", true, true)
	live(3 * time.Minute)
	expect("Stable: what nobody subscribes to goes", true, false)
	live(2 * time.Hour)
	expect("Stable: what is subscribed stays", true, false)

	leave := &kmsg.LeaveGroupRequest{Version: 3, Group: "g", Members: []kmsg.LeaveGroupRequestMember{{MemberID: id}}}
	w.do(func(m *Machine, _ uint64) machine.Result { return m.LeaveGroup(leave, w.now) })
	w.pass(58*time.Minute, nil)
	expect("Empty for less than the retention, although committed long ago", true, false)
	w.load(compacted(w.log)) // the time of becoming Empty is in the log
	w.pass(3*time.Minute, nil)
	expect("Empty for the retention", false, false)
	if s := w.m.Stats(); s.Groups != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A group of another protocol type may consume anything, and nobody can tell: its offsets stay while it has members.
func TestOffsetsOfOtherProtocolTypesStayWhileThereAreMembers(t *testing.T) {
	w := newWorld(t, Config{OffsetsRetention: time.Minute, OffsetsRetentionCheck: time.Minute})
	req := joinRequest("g", "")
	req.Version, req.ProtocolType, req.SessionTimeoutMillis = 3, "connect", 1_800_000
	w.join(req)
	w.pass(time.Second, nil)
	for _, reply := range w.replies {
		sync := &kmsg.SyncGroupRequest{Group: "g", MemberID: reply.(*kmsg.JoinGroupResponse).MemberID, Generation: 1}
		w.do(func(m *Machine, token uint64) machine.Result { return m.SyncGroup(sync, token, w.now) })
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Version, commit.Group, commit.MemberID, commit.Generation = 9, "g", sync.MemberID, 1
		commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
		w.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(commit, w.now) })
	}
	w.pass(20*time.Minute, nil)
	if s := w.m.Stats(); s.Offsets != 1 || s.Members != 1 {
		t.Errorf("stats %+v", s)
	}
	w.pass(time.Hour, nil)
	if s := w.m.Stats(); s != (Stats{}) {
		t.Errorf("stats %+v", s)
	}
}
