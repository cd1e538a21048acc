package decide

import (
	"fmt"
	"slices"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// reassign asks for new replicas of one partition; none cancel.
func (w *world) reassign(topic string, index int32, replicas ...metadata.NodeID) *Refusal {
	w.t.Helper()
	out, err := AlterReassignments(w.img, AlterReassignmentsRequest{AllowFactorChange: true, Rules: w.rules,
		Partitions: []Reassignment{{topic, index, replicas}}}, w.now)
	return do(w, out, err).Partitions[0].Err
}

// replicas fails unless the record says what is wanted: "[2 3 1] +[3] -[1]".
func (w *world) replicas(topic string, index int32, want string) *metadata.Partition {
	w.t.Helper()
	p := w.img.Topic(topic).Partitions[index]
	if got := fmt.Sprintf("%v +%v -%v", p.Replicas, p.Adding, p.Removing); got != want {
		w.t.Fatalf("%s-%d: %s\nwant: %s", topic, index, got, want)
	}
	if len(p.Dirs) > 0 && len(p.Dirs) != len(p.Replicas) {
		w.t.Fatalf("%d directories of %d replicas", len(p.Dirs), len(p.Replicas))
	}
	return p
}

// placed makes a topic of one partition with the given replicas.
func (w *world) placed(name string, replicas ...metadata.NodeID) {
	w.t.Helper()
	t := NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: replicas}}}
	if got := w.create(t)[0]; got.Err != nil {
		w.t.Fatal(got.Err)
	}
}

func TestAReassignmentToThePresentReplicasDoesNothing(t *testing.T) {
	w := newWorld(t, 1)
	w.placed("t", 1)
	before := w.img
	if err := w.reassign("t", 0, 1); err != nil {
		t.Fatal(err)
	}
	if w.img != before {
		t.Error("a fact was committed")
	}
	if got := Reassignments(w.img, nil); len(got) != 0 {
		t.Errorf("in progress: %+v", got)
	}
}

func TestReassignmentsThatCannotBeAreRefused(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1)
	w.silence(3)
	for _, c := range []struct {
		name     string
		topic    string
		index    int32
		replicas []metadata.NodeID
		code     *kerr.Error
		message  string
	}{
		{"topic", "no", 0, []metadata.NodeID{1}, kerr.UnknownTopicOrPartition, "Unable to find a topic named no."},
		{"partition", "t", 7, []metadata.NodeID{1}, kerr.UnknownTopicOrPartition, "Unable to find partition t:7."},
		{"negative partition", "t", -1, []metadata.NodeID{1}, kerr.UnknownTopicOrPartition, "Unable to find partition t:-1."},
		{"no broker", "t", 0, []metadata.NodeID{}, kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list."},
		{"unknown broker", "t", 0, []metadata.NodeID{9}, kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker 9, but no such broker is registered."},
		{"broker twice", "t", 0, []metadata.NodeID{1, 1}, kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker 1 more than once."},
		{"fenced broker", "t", 0, []metadata.NodeID{3}, kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker 3, but it is fenced or in controlled shutdown."},
		{"nothing to cancel", "t", 0, nil, kerr.NoReassignmentInProgress, kerr.NoReassignmentInProgress.Description},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.img
			err := w.reassign(c.topic, c.index, c.replicas...)
			wantCode(t, err, c.code)
			if err.Message != c.message {
				t.Errorf("%q", err.Message)
			}
			if w.img != before {
				t.Error("a fact was committed")
			}
		})
	}
}

func TestAChangeOfTheFactorCanBeForbidden(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1)
	out, _ := AlterReassignments(w.img, AlterReassignmentsRequest{Partitions: []Reassignment{{"t", 0, []metadata.NodeID{1, 2}}}}, w.now)
	wantCode(t, out.Reply.Partitions[0].Err, kerr.InvalidReplicationFactor)
	out, _ = AlterReassignments(w.img, AlterReassignmentsRequest{Partitions: []Reassignment{{"t", 0, []metadata.NodeID{2}}}}, w.now)
	if err := out.Reply.Partitions[0].Err; err != nil || len(out.Changes) != 1 {
		t.Errorf("%v, %d changes", err, len(out.Changes))
	}
}

func TestAPartitionNamedTwiceIsReassignedOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1)
	out, err := AlterReassignments(w.img, AlterReassignmentsRequest{AllowFactorChange: true,
		Partitions: []Reassignment{{"t", 0, []metadata.NodeID{2}}, {"t", 0, []metadata.NodeID{3}}}}, w.now)
	got := do(w, out, err).Partitions
	if got[0].Err != nil {
		t.Error(got[0].Err)
	}
	wantCode(t, got[1].Err, kerr.InvalidRequest)
	w.replicas("t", 0, "[2 1] +[2] -[1]")
}

func TestAReassignmentGrowsThenWaitsAndACancelRestores(t *testing.T) {
	w := newWorld(t, 1, 2, 3, 4)
	w.placed("t", 1, 2)
	if err := w.reassign("t", 0, 2, 3); err != nil {
		t.Fatal(err)
	}
	p := w.replicas("t", 0, "[2 3 1] +[3] -[1]")
	if p.MinISR != 1 || p.Leader != 1 || p.LeaderEpoch != 0 || p.Dir(3) != dir(3, 0) || p.Dir(1) != dir(1, 0) {
		t.Errorf("%+v", p)
	}
	w.is("t", 0, "isr [1 2] elr [] known [] leader 1")
	if got := Reassignments(w.img, nil); len(got) != 1 || got[0].Topic != "t" || got[0].Index != 0 {
		t.Errorf("in progress: %+v", got)
	}
	if got := Reassignments(w.img, func(string, int32) bool { return false }); len(got) != 0 {
		t.Errorf("not asked for: %+v", got)
	}
	if err := w.reassign("t", 0, 2, 3); err != nil { // the same again
		t.Fatal(err)
	}
	if err := w.reassign("t", 0, 2, 4); err != nil { // changed its mind: 3 holds nothing and goes at once
		t.Fatal(err)
	}
	p = w.replicas("t", 0, "[2 4 1] +[4] -[1]")
	if p.LeaderEpoch != 1 {
		t.Errorf("a replica left within leader epoch %d", p.LeaderEpoch)
	}
	if err := w.reassign("t", 0); err != nil {
		t.Fatal(err)
	}
	w.replicas("t", 0, "[2 1] +[] -[]")
	w.is("t", 0, "isr [1 2] elr [] known [] leader 1")
	wantCode(t, w.reassign("t", 0), kerr.NoReassignmentInProgress)
}

func TestACancelThatWouldLoseRecordsIsRefused(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.placed("t", 1)
	if err := w.reassign("t", 0, 2); err != nil {
		t.Fatal(err)
	}
	topic := w.img.Topic("t")
	p := topic.Partitions[0].Clone()
	p.ISR, p.Leader = []metadata.NodeID{2}, 2 // 1 fell out when 2 had caught up
	w.commit([]metadata.Change{settle(topic, 0, p)})
	wantCode(t, w.reassign("t", 0), kerr.InvalidReplicaAssignment)
}

func TestShrinkingAndReorderingAreCompleteAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	if err := w.reassign("t", 0, 3, 2, 1); err != nil {
		t.Fatal(err)
	}
	if p := w.replicas("t", 0, "[3 2 1] +[] -[]"); p.Leader != 1 || p.LeaderEpoch != 0 {
		t.Errorf("an order is no election: %+v", p)
	}
	if err := w.reassign("t", 0, 3, 2); err != nil { // its leader leaves
		t.Fatal(err)
	}
	if p := w.replicas("t", 0, "[3 2] +[] -[]"); p.Leader != 3 || p.LeaderEpoch != 1 || len(p.ISR) != 2 || p.MinISR != 1 {
		t.Errorf("%+v", p)
	}
}

func TestShrinkingWaitsForAnInSyncReplicaThatStays(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.alter("t", 0, 1)
	if err := w.reassign("t", 0, 2); err != nil {
		t.Fatal(err)
	}
	w.replicas("t", 0, "[2 1 3] +[] -[1 3]")
}

// The minimum ISR counts the replicas there were: a larger one would stop writes until the new replica has caught up.
func TestTheMinimumISRWaitsForTheEndOfAReassignment(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1}}},
		Configs: []ConfigEntry{{"min.insync.replicas", ptr("2")}}})
	if err := w.reassign("t", 0, 1, 2); err != nil {
		t.Fatal(err)
	}
	if p := w.replicas("t", 0, "[1 2] +[2] -[]"); p.MinISR != 1 {
		t.Errorf("effective min isr %d", p.MinISR)
	}
	if err := w.set(ConfigResource{metadata.ResourceTopic, "t"}, "min.insync.replicas", "3"); err != nil {
		t.Fatal(err)
	}
	p := w.replicas("t", 0, "[1 2] +[2] -[]").Clone()
	if p.MinISR != 1 {
		t.Errorf("effective min isr %d after a config change", p.MinISR)
	}
	p.ISR = []metadata.NodeID{1, 2}
	config, _ := w.rules.topic(w.img, w.img.Config(metadata.ResourceTopic, "t"))
	finish(&p, &config)
	if p.MinISR != 2 || reassigning(&p) || !slices.Equal(p.Replicas, []metadata.NodeID{1, 2}) {
		t.Errorf("%+v", p)
	}
}

func ptr(s string) *string { return &s }
