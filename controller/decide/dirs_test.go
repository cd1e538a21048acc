package decide

import (
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// twoDisks is a world in which every broker has two directories.
func twoDisks(t testing.TB, brokers ...metadata.NodeID) *world {
	w := newWorld(t)
	for _, b := range brokers {
		req := w.process(b, -1)
		req.Dirs = []metadata.DirID{dir(b, 0), dir(b, 1)}
		w.register(req)
		w.heartbeat(b, false)
	}
	return w
}

func (w *world) offline(b metadata.NodeID, dirs ...metadata.DirID) HeartbeatReply {
	w.t.Helper()
	out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: b, Epoch: w.img.Broker(b).Epoch, MetadataIndex: w.img.Index(), OfflineDirs: dirs}, w.now)
	return do(w, out, err)
}

// in two directories: one topic each, led by broker 1.
func (w *world) inBothDirs() (first, second string) {
	w.t.Helper()
	w.placed("a", 1, 2, 3)
	w.placed("b", 1, 2, 3)
	a, b := w.img.Topic("a").Partitions[0].Dir(1), w.img.Topic("b").Partitions[0].Dir(1)
	switch {
	case a == b:
		w.t.Fatal("both in one directory")
	case a == dir(1, 0):
		return "a", "b"
	}
	return "b", "a"
}

func TestAFailedDirectoryLosesItsLeadershipsAtOnce(t *testing.T) {
	w := twoDisks(t, 1, 2, 3)
	hit, spared := w.inBothDirs()
	index := w.img.Index()
	if r := w.offline(1, dir(1, 0)); r.Fenced {
		t.Fatal("the broker is fenced with a directory left")
	}
	if w.img.Index() != index+1 {
		t.Fatal("not one entry")
	}
	w.is(hit, 0, "isr [2 3] elr [] known [] leader 2")
	w.is(spared, 0, "isr [1 2 3] elr [] known [] leader 1")
	w.offline(1, dir(1, 0)) // again
	if w.img.Index() != index+1 {
		t.Fatal("a repeated report is a change")
	}
	wantCode(t, w.propose(w.proposal(hit, 0, 2, 3, 1)).Err, kerr.IneligibleReplica)
}

func TestAReplicaInAFailedDirectoryIsNoCandidate(t *testing.T) {
	w := twoDisks(t, 1, 2, 3)
	hit, _ := w.inBothDirs()
	w.alter(hit, 0, 1)
	w.silence(2, 3)
	w.offline(1, dir(1, 0))
	w.is(hit, 0, "isr [] elr [2 3] known [1] leader -1")
	w.heartbeat(3, false)
	w.is(hit, 0, "isr [3] elr [2] known [1] leader 3")
	w.offline(2, dir(2, 0), dir(2, 1)) // of a fenced broker
	w.is(hit, 0, "isr [3] elr [] known [1 2] leader 3")
}

func TestABrokerWithoutAnyDirectoryIsFencedAndStaysSo(t *testing.T) {
	w := twoDisks(t, 1, 2, 3)
	a, b := w.inBothDirs()
	w.offline(1, dir(1, 0), dir(1, 1))
	if !w.img.Broker(1).Fenced {
		t.Fatal("not fenced")
	}
	for _, name := range []string{a, b} {
		w.is(name, 0, "isr [2 3] elr [] known [] leader 2")
	}
	if r := w.heartbeat(1, false); !r.Fenced {
		t.Fatal("let in again")
	}
	req := w.process(1, w.img.Broker(1).Epoch) // the disks are back with a new process
	req.Dirs = []metadata.DirID{dir(1, 0), dir(1, 1)}
	w.register(req)
	if r := w.heartbeat(1, false); r.Fenced {
		t.Fatal("not let in")
	}
}

// The proof that the old process is gone needs every directory it still had, not those it had lost.
func TestANewProcessWithAllDisksTakesOverFromOneThatLostSome(t *testing.T) {
	w := twoDisks(t, 1, 2)
	w.offline(1, dir(1, 1))
	req := w.process(1, -1)
	req.Dirs = []metadata.DirID{dir(1, 1)}
	_, err := RegisterBroker(w.img, w.s, req, w.now)
	wantCode(t, err, kerr.DuplicateBrokerRegistration)
	req.Dirs = []metadata.DirID{dir(1, 1), dir(1, 0)}
	w.register(req)
}

func TestTheLastReplicaComesBackWithItsDirectory(t *testing.T) {
	w := twoDisks(t, 1)
	w.placed("t", 1)
	d := w.img.Topic("t").Partitions[0].Dir(1)
	w.offline(1, d)
	w.is("t", 0, "isr [] elr [] known [1] leader -1")
	req := w.process(1, w.img.Broker(1).Epoch)
	req.Dirs = []metadata.DirID{dir(1, 0), dir(1, 1)}
	w.register(req)
	w.heartbeat(1, false)
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
}

func TestBrokersTellInWhichDirectoryAReplicaIs(t *testing.T) {
	w := twoDisks(t, 1, 2)
	w.placed("t", 1)
	id := w.img.Topic("t").ID
	epoch := w.img.Broker(1).Epoch
	for _, c := range []struct {
		name    string
		broker  metadata.NodeID
		replica ReplicaDir
		code    *kerr.Error
	}{
		{"topic", 1, ReplicaDir{metadata.TopicID{9}, 0, dir(1, 0)}, kerr.UnknownTopicID},
		{"partition", 1, ReplicaDir{id, 1, dir(1, 0)}, kerr.UnknownTopicOrPartition},
		{"not a replica", 2, ReplicaDir{id, 0, dir(2, 0)}, kerr.NotLeaderForPartition},
		{"directory of another broker", 1, ReplicaDir{id, 0, dir(2, 0)}, kerr.LogDirNotFound},
		{"no directory", 1, ReplicaDir{id, 0, metadata.DirID{}}, kerr.LogDirNotFound},
	} {
		out, err := AssignReplicas(w.img, AssignReplicasRequest{c.broker, w.img.Broker(c.broker).Epoch, []ReplicaDir{c.replica}, nil}, w.now)
		if err != nil || len(out.Changes) > 0 {
			t.Fatal(c.name, err, out.Changes)
		}
		wantCode(t, out.Reply.Replicas[0].Err, c.code)
	}
	_, err := AssignReplicas(w.img, AssignReplicasRequest{Broker: 1, Epoch: epoch - 1}, w.now)
	wantCode(t, err, kerr.StaleBrokerEpoch)
	for _, n := range []byte{0, 1, 1} {
		out, err := AssignReplicas(w.img, AssignReplicasRequest{1, epoch, []ReplicaDir{{id, 0, dir(1, n)}, {id, 0, dir(1, 0)}}, nil}, w.now)
		got := do(w, out, err).Replicas
		if got[0].Err != nil || w.img.Topic("t").Partitions[0].Dir(1) != dir(1, n) {
			t.Fatal(got[0].Err)
		}
		wantCode(t, got[1].Err, kerr.InvalidRequest)
	}
}

// A replica had moved, and its new directory was lost before that was recorded: what is known of it counts as lost, too.
func TestAReplicaThatIsInALostDirectoryIsNoCandidate(t *testing.T) {
	w := twoDisks(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.placed("alone", 1)
	w.offline(1, dir(1, 1))
	for _, name := range []string{"t", "alone"} {
		p := w.img.Topic(name).Partitions[0].Clone()
		p.Dirs[0] = dir(1, 0) // as it was recorded
		p.ISR, p.ELR, p.LastKnownELR, p.Leader = p.Replicas, nil, nil, 1
		p.PartitionEpoch++
		p.LeaderEpoch++
		w.commit([]metadata.Change{metadata.PartitionChanged{Topic: w.img.Topic(name).ID, Partition: p}})
		req := AssignReplicasRequest{1, w.img.Broker(1).Epoch, []ReplicaDir{{w.img.Topic(name).ID, 0, dir(1, 1)}}, w.rules}
		for range 2 { // the second time changes nothing
			out, err := AssignReplicas(w.img, req, w.now)
			if r := do(w, out, err); r.Replicas[0].Err != nil {
				t.Fatal(r.Replicas[0].Err)
			}
		}
	}
	w.is("t", 0, "isr [2 3] elr [] known [] leader 2")
	w.is("alone", 0, "isr [] elr [] known [1] leader -1")
	req := w.process(1, -1) // the disk is back
	req.Dirs = []metadata.DirID{dir(1, 0), dir(1, 1)}
	w.register(req)
	w.heartbeat(1, false)
	w.is("alone", 0, "isr [1] elr [] known [] leader 1")
}
