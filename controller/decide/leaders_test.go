package decide

import (
	"fmt"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (w *world) electLeaders(unclean bool, refs ...PartitionRef) []ElectedLeader {
	w.t.Helper()
	out, err := ElectLeaders(w.img, ElectLeadersRequest{Partitions: refs, All: refs == nil, Unclean: unclean, Rules: w.rules}, w.now)
	return do(w, out, err).Partitions
}

func TestElectionsThatAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name    string
		ref     PartitionRef
		unclean bool
		prepare func(w *world)
		code    *kerr.Error // nil: elected
		want    string
	}{
		{"unknown topic", PartitionRef{"no", 0}, false, nil, kerr.UnknownTopicOrPartition, ""},
		{"unknown partition", PartitionRef{"t", 1}, true, nil, kerr.UnknownTopicOrPartition, ""},
		{"negative partition", PartitionRef{"t", -1}, false, nil, kerr.UnknownTopicOrPartition, ""},
		{"preferred leads", PartitionRef{"t", 0}, false, nil, kerr.ElectionNotNeeded, "isr [1 2 3] elr [] known [] leader 1"},
		{"somebody leads", PartitionRef{"t", 0}, true, func(w *world) { w.silence(1) }, kerr.ElectionNotNeeded, "isr [2 3] elr [] known [] leader 2"},
		{"preferred is fenced", PartitionRef{"t", 0}, false, func(w *world) { w.silence(1) }, kerr.PreferredLeaderNotAvailable, "isr [2 3] elr [] known [] leader 2"},
		{"preferred is not in sync", PartitionRef{"t", 0}, false, func(w *world) { w.silence(1); w.heartbeat(1, false) },
			kerr.PreferredLeaderNotAvailable, "isr [2 3] elr [] known [] leader 2"},
		{"preferred is back in sync", PartitionRef{"t", 0}, false, func(w *world) {
			w.silence(1)
			w.heartbeat(1, false)
			w.alter("t", 0, 2, 3, 1)
		}, nil, "isr [2 3 1] elr [] known [] leader 1"},
		{"nobody is running", PartitionRef{"t", 0}, true, func(w *world) { w.silence(1, 2, 3) }, kerr.EligibleLeadersNotAvailable, "isr [] elr [1 2 3] known [] leader -1"},
		{"unclean", PartitionRef{"t", 0}, true, func(w *world) { // all that may be elected is gone
			w.alter("t", 0, 1, 2)
			w.silence(1, 2)
		}, nil, "isr [3] elr [] known [] leader 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 2, 3)
			w.placed("t", 1, 2, 3)
			if c.prepare != nil {
				c.prepare(w)
			}
			before := *w.img.Topic("t").Partitions[0]
			got := w.electLeaders(c.unclean, c.ref, c.ref)
			if len(got) != 1 {
				t.Fatal(got)
			}
			if c.want != "" {
				w.is("t", 0, c.want)
			}
			p := w.img.Topic("t").Partitions[0]
			if c.code != nil {
				wantCode(t, got[0].Err, c.code)
				if p.PartitionEpoch != before.PartitionEpoch {
					t.Fatal("a fact was committed")
				}
				return
			}
			if got[0].Err != nil || got[0].Leader != p.Leader || p.LeaderEpoch != before.LeaderEpoch+1 || p.Recovering != c.unclean {
				t.Fatalf("%+v: %+v", got[0], p)
			}
		})
	}
}

func TestElectingEverywhereAnswersWhereItWasNeeded(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	for _, name := range []string{"a", "b", "c"} {
		w.placed(name, 1, 2)
	}
	w.placed("d", 3, 2)
	w.silence(1)
	w.heartbeat(1, false)
	w.alter("b", 0, 2, 1)
	var got []string
	for _, r := range w.electLeaders(false) {
		got = append(got, fmt.Sprintf("%s %d %v", r.Topic, r.Leader, r.Err != nil))
	}
	if want := "[a -1 true b 1 false c -1 true]"; fmt.Sprint(got) != want {
		t.Fatal(got)
	}
}

// An unclean election happens by itself only where the topic allows it, and prefers those who were candidates.
func TestUncleanElectionsAreOffUnlessTheTopicSaysSo(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	for _, name := range []string{"off", "on"} {
		w.create(NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 2, 3}}},
			Configs: []ConfigEntry{{"unclean.leader.election.enable", ptr(fmt.Sprint(name == "on"))}}})
		w.alter(name, 0, 1, 2)
	}
	w.silence(1, 2)
	w.is("off", 0, "isr [] elr [1 2] known [] leader -1")
	w.is("on", 0, "isr [3] elr [] known [] leader 3")
	if p := w.img.Topic("on").Partitions[0]; !p.Recovering || p.LeaderEpoch != 1 || p.UncleanEpoch != 1 {
		t.Fatalf("%+v", p)
	}
	if err := w.set(ConfigResource{metadata.ResourceTopic, "off"}, "unclean.leader.election.enable", "true"); err != nil {
		t.Fatal(err)
	}
	w.is("off", 0, "isr [3] elr [] known [] leader 3")
	w.set(allBrokers, "unclean.leader.election.enable", "true")
}

func TestLeadershipsGoBackWhereTooManyAreMissing(t *testing.T) {
	w := newWorld(t, 1, 2)
	for n := range 10 {
		w.placed(fmt.Sprintf("t%d", n), 1, 2)
	}
	w.silence(1)
	w.heartbeat(1, false)
	if out := Rebalance(w.img, 10); len(out.Changes) > 0 {
		t.Fatal("elected a broker that is not in sync")
	}
	w.alter("t0", 0, 2, 1)
	if out := Rebalance(w.img, 100); len(out.Changes) > 0 {
		t.Fatal("100 percent may be missing")
	}
	out := Rebalance(w.img, 10)
	if w.commit(out.Changes); out.Reply != (RebalanceReply{1, false}) {
		t.Fatal(out.Reply)
	}
	w.is("t0", 0, "isr [2 1] elr [] known [] leader 1")
	for n := 1; n < 9; n++ {
		w.alter(fmt.Sprintf("t%d", n), 0, 2, 1)
	}
	out = Rebalance(w.img, 10)
	if w.commit(out.Changes); out.Reply.Elected != 8 {
		t.Fatal(out.Reply)
	}
	w.alter("t9", 0, 2, 1)
	if out := Rebalance(w.img, 10); len(out.Changes) > 0 {
		t.Fatal("one of ten is no imbalance")
	}
	if out := Rebalance(w.img, 0); out.Reply.Elected != 1 {
		t.Fatal(out.Reply)
	}
}

func TestARebalanceHasABound(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(topic("t", MaxElections*2+10, 2))
	w.silence(1)
	w.heartbeat(1, false)
	for n := range w.img.Topic("t").Partitions {
		w.alterQuietly("t", int32(n), 2, 1)
	}
	out := Rebalance(w.img, 10)
	if w.commit(out.Changes); out.Reply != (RebalanceReply{MaxElections, true}) {
		t.Fatal(out.Reply)
	}
	out = Rebalance(w.img, 0)
	if w.commit(out.Changes); out.Reply != (RebalanceReply{5, false}) {
		t.Fatal(out.Reply)
	}
}
