package controller

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/hashicorp/raft"
)

func TestAQuorumElectsAnotherWithinASecond(t *testing.T) {
	for _, size := range []int{3, 5} {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			q := newQuorum(t, size).start()
			defer q.stop()
			taken := q.some(3)
			var times []time.Duration
			for range rounds(40) {
				old := q.active()
				old.kill(rng)
				began := time.Now()
				taken = append(taken, q.some(1)...)
				times = append(times, time.Since(began))
				old.start()
				taken = append(taken, q.some(3)...)
				time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
			}
			slices.Sort(times)
			t.Log(size, "voters: fail-over median", times[len(times)/2], "longest", times[len(times)-1])
			if times[len(times)-1] > time.Second {
				t.Error("longer than a second: ", times)
			}
			unique(t, taken)
			q.agree(slices.Max(taken))
			for _, m := range q.members {
				if id := m.node.Image().ClusterID(); id != q.members[0].node.Image().ClusterID() || id == "" {
					t.Error("two clusters")
				}
				if got := len(m.node.Image().Voters()); got != size {
					t.Errorf("%d voters are recorded", got)
				}
			}
		})
	}
}

func TestNobodyStartsBeforeEveryFounderIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3)
		defer q.stop()
		q.members[0].start()
		q.members[1].start()
		time.Sleep(time.Minute)
		for _, m := range q.members[:2] {
			if h := m.node.Hello(); h.Stage != Empty {
				t.Fatalf("node %d: %+v", m.id, h)
			}
		}
		q.members[2].start()
		began := time.Now()
		q.some(1)
		if took := time.Since(began); took > 2*time.Second {
			t.Fatal(took)
		}
		q.agree(1)
		id := q.active().node.Image().ClusterID()
		for _, m := range q.members {
			if h := m.node.Hello(); h.Stage != Started || h.ClusterID != id || len(h.Voters) != 3 {
				t.Fatalf("%+v", h)
			}
		}
	})
}

// A founding is interrupted by a power cut of all nodes at every sync of any of them, and
// again by one of a single node: it must go on from there, to one cluster.
func TestAFoundingThatIsInterruptedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(2, 2))
		q := newQuorum(t, 3)
		var points [][]*vfs.Mem
		var recording sync.Mutex
		for _, m := range q.members {
			m.disk.OnSync = func(vfs.SyncPoint) {
				if !recording.TryLock() {
					return // a point of another node is being recorded: as good
				}
				defer recording.Unlock()
				q.set(func() {
					for _, m := range q.members {
						m.cut = true
					}
				})
				var disks []*vfs.Mem
				for _, m := range q.members {
					disks = append(disks, m.disk.CrashClone(rng))
				}
				points = append(points, disks)
				q.set(func() {
					for _, m := range q.members {
						m.cut = false
					}
				})
			}
		}
		q.start()
		q.some(2)
		q.agree(2)
		for _, m := range q.members {
			m.disk.OnSync = nil
		}
		q.stop()
		for i, disks := range points {
			if testing.Short() && i%5 != 0 {
				continue
			}
			again := newQuorum(t, 3)
			for n, m := range again.members {
				m.disk = disks[n]
				if i%2 == 1 && n != i%3 {
					m.disk = q.members[n].disk.KillClone() // only one node has lost power
				}
			}
			again.start()
			again.some(1)
			again.agree(1)
			again.stop()
			if t.Failed() {
				t.Fatalf("point %d of %d", i, len(points))
			}
		}
		t.Log(len(points), "power cuts")
	})
}

// Nodes lose their power at any moment, several at once too, as the leader or not, and are
// away for so long that only a snapshot brings them back. Nothing that was answered is
// lost, and no number is given out twice.
func TestNothingIsLostThroughCrashesOfAnyNode(t *testing.T) {
	for _, size := range []int{3, 5} {
		synctest.Test(t, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano()) ^ rand.Uint64()
			t.Log("seed", seed)
			rng := rand.New(rand.NewPCG(seed, 3))
			q := newQuorum(t, size).start()
			defer q.stop()
			taken := q.some(5)
			for range rounds(25) {
				down := rng.Perm(size)[:1+rng.IntN(size)]
				for _, i := range down {
					q.members[i].kill(rng)
				}
				if len(down) <= size/2 {
					taken = append(taken, q.some(rng.IntN(80))...)
				}
				for _, i := range down {
					q.members[i].start()
				}
				taken = append(taken, q.some(1+rng.IntN(5))...)
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			}
			unique(t, taken)
			q.agree(slices.Max(taken))
		})
	}
}

func TestALeaderThatIsCutOffDropsWhatItHadAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3).start()
		defer q.stop()
		taken := q.some(10)
		old := q.active()
		old.isolate()
		for range 5 {
			data, err := command{}.encode()
			if err != nil {
				t.Fatal(err)
			}
			old.node.raft.Load().Apply(data, 0)
		}
		taken = append(taken, q.some(60)...)
		old.heal()
		taken = append(taken, q.some(5)...)
		unique(t, taken)
		q.agree(slices.Max(taken))
	})
}

// Whoever asks a leader that has been cut off gets no answer, though it still takes itself
// for the leader (Z13): the request could be decided otherwise by another.
func TestZ13ALeaderThatIsCutOffAnswersNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3).start()
		defer q.stop()
		q.some(3)
		old := q.active()
		old.isolate()
		if n, err := old.take(ctx); err == nil {
			t.Fatalf("%d was answered without a majority", n)
		}
		taken := q.some(5)
		old.heal()
		taken = append(taken, q.some(1)...)
		unique(t, taken)
	})
}

// A voter that lost its disk has forgotten whom it elected and what it had acknowledged.
// Here it and a voter that had been away are the majority: they must not go on without the
// entries that the third one and the lost disk had (Z29).
func TestZ29AVoterWithAnEmptyDiskStaysOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 3))
		q := newQuorum(t, 3).start()
		defer q.stop()
		q.some(3)
		leads := q.active()
		others := q.others(leads)
		away, lost := others[0], others[1]
		q.agree(3)
		away.kill(rng)
		taken := q.some(20)
		lost.kill(rng)
		lost.wipe()
		lost.start() // the leader is there, and tells it that it was another
		time.Sleep(10 * time.Second)
		leads.isolate()
		away.start()
		time.Sleep(30 * time.Second)
		if away.node.Active() || lost.node.Active() || lost.node.Hello().Stage != Empty {
			t.Fatal("a quorum with a voter that has lost its disk")
		}
		leads.heal()
		taken = append(taken, q.some(5)...)
		unique(t, taken)
		for _, m := range []*member{leads, away} {
			if m.node.Image().NextProducerID() < slices.Max(taken) {
				time.Sleep(time.Second)
			}
			if got := m.node.Image().NextProducerID(); got < slices.Max(taken) {
				t.Fatalf("node %d has %d of %d", m.id, got, slices.Max(taken))
			}
		}
	})
}

// A controller that was cut off, or stopped for a while, must not keep the session of a
// broker: its successor may have given the broker's partitions to others (Z30).
func TestZ30ALeaderThatIsCutOffAnswersNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3).start()
		defer q.stop()
		old := q.active()
		epoch := old.node.join(7, 1)
		beat := func(m *member) error {
			_, err := m.node.Heartbeat(ctx, decide.HeartbeatRequest{ID: 7, Epoch: epoch, MetadataIndex: m.node.Image().Index()})
			return err
		}
		if err := beat(old); err != nil {
			t.Fatal(err)
		}
		old.isolate()
		if !old.node.Active() {
			t.Fatal("it knows already")
		}
		if err := beat(old); err == nil {
			t.Fatal("a heartbeat was answered without a majority")
		}
		next := q.active()
		began := time.Now()
		for !next.node.Image().Broker(7).Fenced {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took < 2900*time.Millisecond {
			t.Fatalf("a new controller fenced after %v", took)
		}
	})
}

// An answer to what was sent before the question proves nothing: a leader that was stopped
// finds it when it wakes.
func TestZ30AnAnswerFromBeforeTheQuestionProvesNothing(t *testing.T) {
	servers := raft.Configuration{Servers: []raft.Server{{ID: "0"}, {ID: "1"}, {ID: "2"}, {ID: "3", Suffrage: raft.Nonvoter}}}
	tr := &transport{contacts: map[raft.ServerID]contact{}}
	before := tr.next()
	question := tr.next()
	after := tr.next()
	for _, c := range []struct {
		id   raft.ServerID
		term uint64
		sent uint64
		want bool
	}{{"1", 5, before, false}, {"1", 4, after, false}, {"3", 5, after, false}, {"1", 5, after, true}} {
		tr.contacts = map[raft.ServerID]contact{c.id: {term: c.term, asked: c.sent}}
		if tr.led(servers, "0", 5, question) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

func TestABrokerThatIsBeingFencedIsNotAnsweredBesideTheQueue(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	epoch := n.join(2, 1)
	req := decide.HeartbeatRequest{ID: 2, Epoch: epoch, MetadataIndex: n.Image().Index()}
	if _, beside, err := n.heartbeatBeside(req); !beside || err != nil {
		t.Fatal(err)
	}
	n.setFencing([]metadata.NodeID{2})
	if _, beside, _ := n.heartbeatBeside(req); beside {
		t.Fatal("answered while its fencing is under way")
	}
}

// raft would go on sending and answering heartbeats while a disk hangs: the node must end,
// the leader as well as a follower, and the others go on (R17).
func TestADiskThatHangsTakesOneVoterAway(t *testing.T) {
	for _, leads := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			var hangs atomic.Int32
			hangs.Store(-1)
			q := newQuorum(t, 3)
			for _, m := range q.members {
				m.fault = func(op vfs.Op) (v vfs.Verdict) {
					if hangs.Load() == int32(m.id) && op.Kind == vfs.OpSync {
						v.Stuck = release
					}
					return v
				}
			}
			q.start()
			defer q.stop()
			taken := q.some(3)
			sick := q.active()
			if !leads {
				sick = q.others(sick)[0]
			}
			hangs.Store(int32(sick.id))
			began := time.Now()
			taken = append(taken, q.some(3)...)
			if err := <-sick.node.done; !errors.Is(err, ErrDiskStalled) || time.Since(began) > 6*time.Second {
				t.Fatal(err, time.Since(began))
			}
			sick.node = nil
			q.set(func() { sick.live = nil })
			taken = append(taken, q.some(3)...)
			unique(t, taken)
			close(release)
		})
	}
}
