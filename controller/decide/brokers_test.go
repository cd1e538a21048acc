package decide

import (
	"testing"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestABrokerStartsFencedAndIsLetInOnceItKnowsOfItself(t *testing.T) {
	w := newWorld(t)
	w.register(w.process(1, -1))
	b := w.img.Broker(1)
	if !b.Fenced || b.Epoch != int64(w.img.Index()) {
		t.Fatalf("%+v at %d", b, w.img.Index())
	}
	out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: 1, Epoch: b.Epoch, MetadataIndex: uint64(b.Epoch) - 1}, w.now)
	if r := do(w, out, err); r.CaughtUp || !r.Fenced || !w.img.Broker(1).Fenced {
		t.Fatal("let in before its metadata reached its registration")
	}
	out, err = Heartbeat(w.img, w.s, HeartbeatRequest{ID: 1, Epoch: b.Epoch, MetadataIndex: uint64(b.Epoch), WantFence: true}, w.now)
	if r := do(w, out, err); !r.CaughtUp || !r.Fenced {
		t.Fatal("let in although it is not ready")
	}
	if r := w.heartbeat(1, false); r.Fenced || w.img.Broker(1).Fenced {
		t.Fatal("not let in")
	}
}

func TestHeartbeatsOfAnotherLifeAreRefused(t *testing.T) {
	w := newWorld(t, 1)
	for _, epoch := range []int64{-1, 0, w.img.Broker(1).Epoch - 1, w.img.Broker(1).Epoch + 1} {
		_, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: 1, Epoch: epoch}, w.now)
		wantCode(t, err, kerr.StaleBrokerEpoch)
		_, err = AllocateProducerIDs(w.img, AllocateProducerIDsRequest{1, epoch}, w.now)
		wantCode(t, err, kerr.StaleBrokerEpoch)
	}
	_, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: 2}, w.now)
	wantCode(t, err, kerr.BrokerIDNotRegistered)
}

func TestWrongRegistrationsAreRefused(t *testing.T) {
	cases := map[string]struct {
		spoil func(*RegisterBrokerRequest)
		code  *kerr.Error
	}{
		"another cluster":          {func(r *RegisterBrokerRequest) { r.ClusterID = "other" }, kerr.InconsistentClusterID},
		"negative id":              {func(r *RegisterBrokerRequest) { r.ID = -1 }, kerr.InvalidRegistration},
		"no directories":           {func(r *RegisterBrokerRequest) { r.Dirs = nil }, kerr.InvalidRegistration},
		"reserved directory":       {func(r *RegisterBrokerRequest) { r.Dirs[0] = metadata.DirID{} }, kerr.InvalidRegistration},
		"directory twice":          {func(r *RegisterBrokerRequest) { r.Dirs = append(r.Dirs, r.Dirs[0]) }, kerr.InvalidRegistration},
		"another broker's disk":    {func(r *RegisterBrokerRequest) { r.Dirs[0] = dir(1, 0) }, kerr.InvalidRegistration},
		"id taken":                 {func(r *RegisterBrokerRequest) { r.ID = 1 }, kerr.DuplicateBrokerRegistration},
		"too old for the features": {func(r *RegisterBrokerRequest) { r.Features = map[string]metadata.VersionRange{"f": {Min: 0, Max: 1}} }, kerr.UnsupportedVersion},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.commit([]metadata.Change{metadata.FeatureChanged{Name: "f", Level: 2}})
			req := w.process(2, -1)
			c.spoil(&req)
			_, err := RegisterBroker(w.img, w.s, req, w.now)
			wantCode(t, err, c.code)
		})
	}
}

func TestARetriedRegistrationGetsTheSameEpoch(t *testing.T) {
	w := newWorld(t)
	req := w.process(1, -1)
	w.register(req)
	epoch, index := w.img.Broker(1).Epoch, w.img.Index()
	out, err := RegisterBroker(w.img, w.s, req, w.now)
	if r := do(w, out, err); r.Epoch != epoch || w.img.Index() != index {
		t.Fatal(r, w.img.Index())
	}
}

func TestASecondProcessWithAnotherDiskWaitsForTheSession(t *testing.T) {
	w := newWorld(t, 1)
	req := w.process(1, -1)
	req.Dirs = []metadata.DirID{dir(1, 9)}
	_, err := RegisterBroker(w.img, w.s, req, w.now)
	wantCode(t, err, kerr.DuplicateBrokerRegistration)
	w.now = w.now.Add(timeout)
	w.register(req)
}

// A supervisor's restart after kill -9: the same directories prove that the old process is
// gone, so the partition of one replica is back after two entries and no wait.
func TestAKilledBrokerWithTheSameDisksTakesOverAtOnce(t *testing.T) {
	for _, flush := range []string{"true", "false"} {
		w := newWorld(t, 1)
		w.create(topic("t", 2, 1, "flush.before.ack", flush))
		before := *w.img.Topic("t").Partitions[0]
		w.register(w.process(1, -1))
		w.is("t", 0, "isr [] elr [] known [1] leader -1")
		if !w.img.Broker(1).Fenced {
			t.Fatal("the new life is not fenced")
		}
		w.heartbeat(1, false)
		w.is("t", 0, "isr [1] elr [] known [] leader 1")
		w.is("t", 1, "isr [1] elr [] known [] leader 1")
		p := w.img.Topic("t").Partitions[0]
		if p.LeaderEpoch != before.LeaderEpoch+2 || p.PartitionEpoch != before.PartitionEpoch+2 || p.Recovering {
			t.Fatalf("%+v", p)
		}
	}
}

func TestACleanRestartOfALoneBrokerIsElectedFromTheELR(t *testing.T) {
	w := newWorld(t, 1)
	w.create(topic("t", 1, 1))
	epoch := w.shutDown(1)
	w.is("t", 0, "isr [] elr [1] known [] leader -1")
	w.register(w.process(1, epoch))
	w.is("t", 0, "isr [] elr [1] known [] leader -1")
	w.heartbeat(1, false)
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
}

func TestAnOldCleanFileIsNotClean(t *testing.T) {
	w := newWorld(t, 1)
	w.create(topic("t", 1, 1))
	old := w.shutDown(1)
	w.register(w.process(1, old))
	w.heartbeat(1, false)
	w.register(w.process(1, old)) // killed in its second life, the file of the first is back (Z25)
	w.is("t", 0, "isr [] elr [] known [1] leader -1")
}

func TestABrokerWhoseDiskIsGoneDoesNotGetItsPartitionBack(t *testing.T) {
	w := newWorld(t, 1)
	w.create(topic("t", 1, 1))
	epoch := w.shutDown(1)
	req := w.process(1, epoch)
	req.Dirs = []metadata.DirID{dir(1, 9)}
	w.register(req)
	w.heartbeat(1, false)
	w.is("t", 0, "isr [] elr [] known [1] leader -1")
	req = w.process(1, -1) // the disk was found again
	req.Dirs = []metadata.DirID{dir(1, 9), dir(1, 0)}
	w.silence(1)
	w.register(req)
	w.heartbeat(1, false)
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
}

func TestAReplicaOnANewDiskIsFilledAgainFromTheLeader(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2}}}})
	w.silence(2)
	req := w.process(2, w.img.Broker(2).Epoch)
	req.Dirs = []metadata.DirID{dir(2, 9)}
	w.register(req)
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
	if d := w.img.Topic("t").Partitions[0].Dir(2); d != dir(2, 9) {
		t.Fatal("the replica still belongs to the lost directory", d)
	}
}

func TestControlledShutdownMovesLeadersBeforeTheBrokerStops(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2, 3}}}})
	if w.heartbeat(1, true).ShouldShutDown {
		t.Fatal("told to stop before the others know")
	}
	w.is("t", 0, "isr [2 3] elr [] known [] leader 2")
	if w.heartbeat(1, true).ShouldShutDown {
		t.Fatal("told to stop before the others know")
	}
	w.heartbeat(2, false)
	w.heartbeat(3, false)
	if r := w.heartbeat(1, true); !r.ShouldShutDown || !r.Fenced || !w.img.Broker(1).Fenced {
		t.Fatal(r)
	}
	if r := w.heartbeat(1, true); !r.ShouldShutDown {
		t.Fatal("a repeated question was answered otherwise")
	}
}

func TestSilentBrokersAreFencedTogether(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2, 3}}}})
	w.silence(1, 2)
	w.is("t", 0, "isr [3] elr [1 2] known [] leader 3")
	if next, ok := w.s.NextDeadline(w.img); !ok || next.Sub(w.now) != timeout {
		t.Fatal(next, ok)
	}
	w.silence(3)
	w.is("t", 0, "isr [] elr [3 1 2] known [] leader -1")
	if _, ok := w.s.NextDeadline(w.img); ok {
		t.Fatal("a deadline with everybody fenced")
	}
	w.heartbeat(2, false)
	w.is("t", 0, "isr [2] elr [3 1] known [] leader 2")
}

func TestTheLastKnownLeaderIsNotElectedWhileTheELRLives(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2, 3}}}})
	w.alter("t", 0, 1, 2)
	w.silence(2) // leaves isr {1} with elr {2}
	w.is("t", 0, "isr [1] elr [2] known [] leader 1")
	w.register(w.process(1, -1)) // the leader dies without a clean file
	w.is("t", 0, "isr [] elr [2] known [1] leader -1")
	w.heartbeat(1, false)
	w.is("t", 0, "isr [] elr [2] known [1] leader -1")
	w.heartbeat(2, false)
	w.is("t", 0, "isr [2] elr [] known [1] leader 2")
}

func TestInPageCacheModeNobodyIsElectedBeforeAllAreAsked(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2, 3}}},
		Configs: topic("", 0, 0, "flush.before.ack", "false").Configs})
	w.alter("t", 0, 1, 2)
	w.register(w.process(2, -1))
	w.register(w.process(1, -1))
	w.is("t", 0, "isr [] elr [] known [2 1] leader -1")
	w.heartbeat(1, false)
	w.is("t", 0, "isr [] elr [] known [2 1] leader -1")
	// durable mode from now on does not heal what page-cache mode may have lost
	if err := w.set(ConfigResource{metadata.ResourceTopic, "t"}, "flush.before.ack", "true"); err != nil {
		t.Fatal(err)
	}
	w.heartbeat(2, false)
	w.is("t", 0, "isr [] elr [] known [2 1] leader -1")
}

func TestUnregisteringTakesABrokerOutOfEverything(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1, 2}}}})
	out, err := UnregisterBroker(w.img, UnregisterBrokerRequest{ID: 1}, w.now)
	do(w, out, err)
	w.is("t", 0, "isr [2] elr [] known [] leader 2")
	_, err = UnregisterBroker(w.img, UnregisterBrokerRequest{ID: 1}, w.now)
	wantCode(t, err, kerr.BrokerIDNotRegistered)
}

func TestANewControllerGrantsAFullSession(t *testing.T) {
	w := newWorld(t, 1)
	w.s = NewSessions(timeout)
	w.s.Grant(w.img, w.now)
	w.now = w.now.Add(timeout - time.Millisecond)
	if out := FenceExpired(w.img, w.s, w.rules, w.now); len(out.Changes) != 0 {
		t.Fatal("fenced early")
	}
	w.now = w.now.Add(time.Millisecond)
	if out := FenceExpired(w.img, w.s, w.rules, w.now); len(out.Reply) != 1 {
		t.Fatal("not fenced")
	}
}

func TestProducerIDsComeInBlocksOf1000(t *testing.T) {
	w := newWorld(t, 1)
	for n := range int64(3) {
		out, err := AllocateProducerIDs(w.img, AllocateProducerIDsRequest{1, w.img.Broker(1).Epoch}, w.now)
		if r := do(w, out, err); r.First != n*1000 || r.Count != 1000 {
			t.Fatal(r)
		}
	}
	w.commit([]metadata.Change{metadata.ProducerIDsAllocated{Next: 1<<63 - 1000}})
	_, err := AllocateProducerIDs(w.img, AllocateProducerIDsRequest{1, w.img.Broker(1).Epoch}, w.now)
	wantCode(t, err, kerr.UnknownServerError)
}

// Two replicas, one of which must suffice: the follower leaves the ISR, the leader acknowledges alone, loses its
// tail and comes back first. It must not be taken for complete (KIP-966).
func TestZ7AnUncleanRestartIsNoCandidate(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 2, 3}}},
		Configs: []ConfigEntry{{"flush.before.ack", ptr("false")}}})
	w.silence(2, 3)
	w.is("t", 0, "isr [1] elr [2 3] known [] leader 1")
	w.register(w.process(2, -1))
	w.is("t", 0, "isr [1] elr [3] known [2] leader 1")
	w.register(w.process(1, w.img.Broker(1).Epoch-1)) // the file of an earlier life
	w.is("t", 0, "isr [] elr [3] known [2 1] leader -1")
	w.heartbeat(1, false)
	w.heartbeat(2, false)
	w.is("t", 0, "isr [] elr [3] known [2 1] leader -1")
	w.heartbeat(3, false)
	w.is("t", 0, "isr [3] elr [] known [2 1] leader 3")
}
