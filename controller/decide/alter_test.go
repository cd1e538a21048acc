package decide

import (
	"fmt"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Each case breaks one rule, or two, of which the earlier one must be named: a leader does different things with
// different answers (R6).
func TestRefusedISRChanges(t *testing.T) {
	second := func(c *ISRChange) *ISRMember { return &c.ISR[1] }
	for _, c := range []struct {
		name string
		bend func(w *world, req *AlterPartitionRequest, c *ISRChange)
		code *kerr.Error
	}{
		{"unknown topic", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.Topic, c.Index = metadata.TopicID{9}, 9 }, kerr.UnknownTopicID},
		{"unknown partition", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.Index, c.LeaderEpoch = 9, 99 }, kerr.UnknownTopicOrPartition},
		{"negative partition", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.Index = -1 }, kerr.UnknownTopicOrPartition},
		{"leader epoch ahead", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.LeaderEpoch++; c.PartitionEpoch-- }, kerr.NotController},
		{"partition epoch ahead, leader epoch behind", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.PartitionEpoch++; c.LeaderEpoch-- }, kerr.NotController},
		{"leader epoch behind, not the leader", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			c.LeaderEpoch--
			req.Broker, req.Epoch = 1, w.img.Broker(1).Epoch
		}, kerr.FencedLeaderEpoch},
		{"not the leader, partition epoch behind", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			c.PartitionEpoch--
			req.Broker, req.Epoch = 1, w.img.Broker(1).Epoch
		}, kerr.InvalidRequest},
		{"partition epoch behind, member twice", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			c.PartitionEpoch--
			*second(c) = c.ISR[0]
		}, kerr.InvalidUpdateVersion},
		{"member twice", func(w *world, req *AlterPartitionRequest, c *ISRChange) { *second(c) = c.ISR[0] }, kerr.InvalidRequest},
		{"not a replica", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			*second(c) = ISRMember{5, w.img.Broker(5).Epoch}
		}, kerr.InvalidRequest},
		{"no replica, not even a broker", func(w *world, req *AlterPartitionRequest, c *ISRChange) { second(c).ID = -7 }, kerr.InvalidRequest},
		{"empty", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.ISR = nil }, kerr.InvalidRequest},
		{"without the leader, a fenced member", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			c.ISR = []ISRMember{{4, w.img.Broker(4).Epoch}}
		}, kerr.InvalidRequest},
		{"recovering together, a fenced member", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			c.Recovering = true
			*second(c) = ISRMember{4, w.img.Broker(4).Epoch}
		}, kerr.InvalidRequest},
		{"recovering again", func(w *world, req *AlterPartitionRequest, c *ISRChange) { c.Recovering, c.ISR = true, c.ISR[:1] }, kerr.InvalidRequest},
		{"fenced member", func(w *world, req *AlterPartitionRequest, c *ISRChange) {
			*second(c) = ISRMember{4, w.img.Broker(4).Epoch}
		}, kerr.IneligibleReplica},
		{"no broker epoch", func(w *world, req *AlterPartitionRequest, c *ISRChange) { second(c).BrokerEpoch = -1 }, kerr.IneligibleReplica},
		{"member of an earlier life", func(w *world, req *AlterPartitionRequest, c *ISRChange) { second(c).BrokerEpoch-- }, kerr.IneligibleReplica},
		{"member of a later life", func(w *world, req *AlterPartitionRequest, c *ISRChange) { second(c).BrokerEpoch++ }, kerr.IneligibleReplica},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 2, 3, 4, 5)
			w.placed("t", 1, 2, 3, 4)
			w.silence(4)
			w.alter("t", 0, 1, 2)
			w.silence(1) // leader 2, leader epoch 1
			w.heartbeat(1, false)
			w.alter("t", 0, 2, 1)
			w.alter("t", 0, 2)
			req := w.proposal("t", 0, 2, 3)
			c.bend(w, &req, &req.Changes[0])
			before := w.img
			wantCode(t, w.propose(req).Err, c.code)
			if w.img != before {
				t.Error("a fact was committed")
			}
		})
	}
}

func TestAnotherLifeOfALeaderIsRefusedWhole(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.placed("t", 1, 2)
	for _, epoch := range []int64{-1, 0, w.img.Broker(1).Epoch - 1, w.img.Broker(1).Epoch + 1} {
		req := w.proposal("t", 0, 1)
		req.Epoch = epoch
		_, err := AlterPartition(w.img, req, w.now)
		wantCode(t, err, kerr.StaleBrokerEpoch)
	}
	req := w.proposal("t", 0, 1)
	req.Broker = 9
	_, err := AlterPartition(w.img, req, w.now)
	wantCode(t, err, kerr.BrokerIDNotRegistered)
}

func TestISRChangesMoveThroughTheELR(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3) // min ISR 2
	for n, step := range []struct {
		isr  []metadata.NodeID
		want string
	}{
		{[]metadata.NodeID{1, 2}, "isr [1 2] elr [] known [] leader 1"},
		{[]metadata.NodeID{1}, "isr [1] elr [2] known [] leader 1"},
		{[]metadata.NodeID{1, 3}, "isr [1 3] elr [] known [] leader 1"},
		{[]metadata.NodeID{3, 1}, "isr [1 3] elr [] known [] leader 1"}, // the same set: no change
		{[]metadata.NodeID{1}, "isr [1] elr [3] known [] leader 1"},
		{[]metadata.NodeID{1, 2, 3}, "isr [1 2 3] elr [] known [] leader 1"},
		{[]metadata.NodeID{1}, "isr [1] elr [2 3] known [] leader 1"},
	} {
		w.alter("t", 0, step.isr...)
		w.is("t", 0, step.want)
		p := w.img.Topic("t").Partitions[0]
		if want := int32(n + 1); (n < 3 && p.PartitionEpoch != want) || (n >= 3 && p.PartitionEpoch != want-1) || p.LeaderEpoch != 0 {
			t.Fatalf("step %d: %+v", n, p)
		}
	}
}

func TestEachPartitionOfAnAlterPartitionIsAnsweredForItself(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("a", 1, 2, 3)
	w.placed("b", 1, 2, 3)
	w.placed("c", 2, 1, 3)
	req := w.proposal("a", 0, 1, 2)
	for _, other := range []string{"b", "c", "a"} {
		req.Changes = append(req.Changes, w.proposal(other, 0, 1, 3).Changes...)
	}
	out, err := AlterPartition(w.img, req, w.now)
	got := do(w, out, err).Partitions
	for n, want := range []error{nil, nil, kerr.InvalidRequest, kerr.InvalidRequest} {
		if (got[n].Err == nil) != (want == nil) || got[n].Err != nil && got[n].Err.Code != want {
			t.Errorf("answer %d: %v, not %v", n, got[n].Err, want)
		}
	}
	w.is("a", 0, "isr [1 2] elr [] known [] leader 1")
	w.is("b", 0, "isr [1 3] elr [] known [] leader 1")
	w.is("c", 0, "isr [2 1 3] elr [] known [] leader 2")
}

// The only member dies after the others left the ISR: they must still be candidates, because they were not dropped
// before the high watermark stood still.
func TestZ6WhoLeavesASmallISRStaysACandidate(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.alter("t", 0, 1)
	w.silence(1)
	w.is("t", 0, "isr [2] elr [1 3] known [] leader 2")
}

func TestZ10AFencedOrLeavingBrokerIsNotPutIntoAnISR(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.alter("t", 0, 1)
	req := w.proposal("t", 0, 1, 2, 3) // the leader has not heard yet of what follows
	w.heartbeat(2, true)
	req.Changes[0].PartitionEpoch = w.img.Topic("t").Partitions[0].PartitionEpoch
	out, _ := AlterPartition(w.img, req, w.now)
	wantCode(t, out.Reply.Partitions[0].Err, kerr.IneligibleReplica)
	w.silence(3)
	req = w.proposal("t", 0, 1, 3)
	out, _ = AlterPartition(w.img, req, w.now)
	wantCode(t, out.Reply.Partitions[0].Err, kerr.IneligibleReplica)
}

// A lost answer is asked for again with the same request: it must not be told that nothing was applied, or it would
// roll back what was.
func TestZ12ARepeatedChangeIsNotRefusedAsNotApplied(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	req := w.proposal("t", 0, 1, 2)
	if err := w.propose(req).Err; err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.propose(req).Err, kerr.InvalidUpdateVersion)
}

// A controller that was deposed while it was stopped does not know it; epochs greater than its own tell.
func TestZ13AControllerThatIsBehindDoesNotDecide(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	behind := w.img
	w.alter("t", 0, 1, 2)
	req := w.proposal("t", 0, 1)
	out, err := AlterPartition(behind, req, w.now)
	if err != nil || len(out.Changes) > 0 {
		t.Fatal(err, out.Changes)
	}
	wantCode(t, out.Reply.Partitions[0].Err, kerr.NotController)
}

// The minimum is raised at the controller while a leader that has not heard of it shrinks the ISR below it (R10).
func TestZ35AShrinkThatDoesNotKnowTheNewMinimumIsRefused(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 3}}},
		Configs: []ConfigEntry{{"min.insync.replicas", ptr("1")}}})
	shrink := w.proposal("t", 0, 1)
	if err := w.set(ConfigResource{metadata.ResourceTopic, "t"}, "min.insync.replicas", "2"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.propose(shrink).Err, kerr.InvalidUpdateVersion)
	w.is("t", 0, "isr [1 3] elr [] known [] leader 1")
	w.propose(w.proposal("t", 0, 1))
	w.is("t", 0, "isr [1] elr [3] known [] leader 1")
}

func TestARecoveringPartitionIsRecoveredWhenItsLeaderSaysSo(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 2}}},
		Configs: []ConfigEntry{{"flush.before.ack", ptr("false")}, {"unclean.leader.election.enable", ptr("true")}}})
	w.alter("t", 0, 1)
	w.silence(1)
	w.is("t", 0, "isr [2] elr [] known [] leader 2")
	p := w.img.Topic("t").Partitions[0]
	if !p.Recovering || p.LeaderEpoch != 1 {
		t.Fatalf("%+v", p)
	}
	w.heartbeat(1, false)
	req := w.proposal("t", 0, 2)
	req.Changes[0].Recovering = true
	if r := w.propose(req); r.Err != nil || !r.Partition.Recovering || r.Partition.PartitionEpoch != p.PartitionEpoch {
		t.Fatalf("%+v", r)
	}
	if r := w.propose(w.proposal("t", 0, 2)); r.Err != nil || r.Partition.Recovering || r.Partition.UncleanEpoch != 1 {
		t.Fatalf("%+v", r)
	}
	w.alter("t", 0, 2, 1)
}

func TestAReassignmentIsCompleteWithTheLastReplicaThatJoins(t *testing.T) {
	w := newWorld(t, 1, 2, 3, 4)
	w.placed("t", 1, 2)
	if err := w.reassign("t", 0, 2, 3, 4); err != nil {
		t.Fatal(err)
	}
	w.alter("t", 0, 1, 2, 3)
	w.replicas("t", 0, "[2 3 4 1] +[3 4] -[1]")
	r := w.propose(w.proposal("t", 0, 1, 2, 3, 4))
	wantCode(t, r.Err, kerr.NewLeaderElected)
	p := w.replicas("t", 0, "[2 3 4] +[] -[]")
	w.is("t", 0, "isr [2 3 4] elr [] known [] leader 2")
	if p.LeaderEpoch != 1 || p.MinISR != 2 || fmt.Sprint(p.Dirs) != fmt.Sprint([]metadata.DirID{dir(2, 0), dir(3, 0), dir(4, 0)}) {
		t.Errorf("%+v", p)
	}
}

func TestACompletedReassignmentThatKeepsItsLeaderIsNoError(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2)
	if err := w.reassign("t", 0, 1, 3); err != nil {
		t.Fatal(err)
	}
	r := w.propose(w.proposal("t", 0, 1, 2, 3))
	if r.Err != nil || r.Partition.LeaderEpoch != 1 || r.Partition.Leader != 1 {
		t.Fatalf("%+v", r)
	}
	w.replicas("t", 0, "[1 3] +[] -[]")
}

func TestAReassignmentWaitsForEnoughInSyncReplicas(t *testing.T) {
	w := newWorld(t, 1, 2, 3, 4)
	w.placed("t", 1, 2, 3) // min ISR 2
	w.alter("t", 0, 1)
	if err := w.reassign("t", 0, 4, 2, 3); err != nil {
		t.Fatal(err)
	}
	w.alter("t", 0, 1, 4) // 4 joined, but without 1 the ISR would be too small
	w.replicas("t", 0, "[4 2 3 1] +[4] -[1]")
	wantCode(t, w.propose(w.proposal("t", 0, 1, 4, 2)).Err, kerr.NewLeaderElected)
	w.replicas("t", 0, "[4 2 3] +[] -[]")
	w.is("t", 0, "isr [4 2] elr [] known [] leader 4")
}
