package decide

import (
	"slices"
	"strings"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// decommission marks a broker, or takes the mark away.
func (w *world) decommission(broker, leaves string) *Refusal {
	w.t.Helper()
	w.rules.BrokerKey = func(name string) *BrokerKey {
		if name != metadata.DecommissionKey {
			return nil
		}
		return &BrokerKey{PerBroker: true, Default: "false"}
	}
	return w.set(ConfigResource{metadata.ResourceBroker, broker}, metadata.DecommissionKey, leaves)
}

func TestABrokerThatIsBeingDecommissionedIsGivenNoReplicas(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(assigned("old", []metadata.NodeID{3, 1, 2}), assigned("away", []metadata.NodeID{1, 2}))
	if err := w.decommission("3", "true"); err != nil {
		t.Fatal(err)
	}
	holds := func(name string) bool {
		return slices.ContainsFunc(w.img.Topic(name).Partitions, func(p *metadata.Partition) bool { return slices.Contains(p.Replicas, 3) })
	}
	if got := w.create(topic("new", 9, -1), topic("wide", 1, 3), assigned("manual", []metadata.NodeID{1, 3})); got[0].Err != nil || got[0].ReplicationFactor != 2 || holds("new") {
		t.Fatalf("%+v", got[0])
	} else if got[1].Err == nil || got[1].Err.Code != kerr.InvalidReplicationFactor || !strings.Contains(got[1].Err.Message, "1 more are being decommissioned") {
		t.Fatalf("%+v", got[1])
	} else if got[2].Err == nil || got[2].Err.Code != kerr.InvalidReplicaAssignment {
		t.Fatalf("%+v", got[2])
	}
	grown, err := CreatePartitions(w.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: "away", Count: 9}}, Rules: w.rules}, w.now)
	if do(w, grown, err); holds("away") {
		t.Fatal("a new partition is on it")
	}
	reassign := func(name string, replicas ...metadata.NodeID) *Refusal {
		out, err := AlterReassignments(w.img, AlterReassignmentsRequest{Partitions: []Reassignment{{Topic: name, Replicas: replicas}}, AllowFactorChange: true, Rules: w.rules}, w.now)
		return do(w, out, err).Partitions[0].Err
	}
	if err := reassign("away", 1, 3); err == nil || err.Code != kerr.InvalidReplicaAssignment {
		t.Fatalf("a replica moves to it: %v", err)
	}
	if err := reassign("old", 1, 3, 2); err != nil { // it may keep what it has
		t.Fatal(err)
	}
	if err := w.decommission("3", "false"); err != nil {
		t.Fatal(err)
	}
	if err := reassign("away", 1, 3); err != nil {
		t.Fatalf("it stays after all: %v", err)
	}
}

func TestABrokerThatIsBeingDecommissionedGetsNoLeadershipThatAnotherHas(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(assigned("t", []metadata.NodeID{1, 2}))
	w.silence(1)
	w.heartbeat(1, false)
	w.alter("t", 0, 2, 1)
	if err := w.decommission("1", "true"); err != nil {
		t.Fatal(err)
	}
	if out := Rebalance(w.img, 0); out.Reply.Elected != 0 {
		t.Fatal("a leadership goes home to it")
	}
	out, err := ElectLeaders(w.img, ElectLeadersRequest{All: true, Rules: w.rules}, w.now)
	if got := do(w, out, err).Partitions; len(got) != 1 || got[0].Err == nil || got[0].Err.Code != kerr.PreferredLeaderNotAvailable {
		t.Fatalf("%+v", got)
	}
	w.silence(2)
	w.is("t", 0, "isr [1] elr [] known [] leader 1") // better than none
}

func TestTheMarkOfADecommissionedBrokerIsOfThatBrokerOnly(t *testing.T) {
	w := newWorld(t, 1, 2)
	if err := w.decommission("", "true"); err == nil || err.Code != kerr.InvalidConfig {
		t.Fatalf("all brokers leave at once: %v", err)
	}
	if err := w.decommission("2", "true"); err != nil || !w.img.Decommissioning(2) || w.img.Decommissioning(1) {
		t.Fatal(err)
	}
	out, err := UnregisterBroker(w.img, UnregisterBrokerRequest{ID: 2, Rules: w.rules}, w.now)
	do(w, out, err)
	w.start(2)
	if w.img.Decommissioning(2) {
		t.Fatal("a new broker inherits the mark")
	}
}
