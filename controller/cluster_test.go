package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/hashicorp/raft"
)

// voter is the lower half of a node: store, votes, snapshots, fsm and streams, without a
// decider. Three of them show that raft's followers can live on it too.
type voter struct {
	t     *testing.T
	id    metadata.NodeID
	disk  *vfs.Mem
	peers *[3]*voter
	cut   atomic.Bool

	stream atomic.Pointer[stream]
	store  *store
	fsm    *fsm
	raft   *raft.Raft
	end    context.CancelFunc
	trans  *transport
}

func (v *voter) dial(ctx context.Context, to metadata.NodeID) (net.Conn, error) {
	peer := v.peers[to]
	if v.cut.Load() || peer.cut.Load() || peer.stream.Load() == nil {
		return nil, errors.New("no way")
	}
	a, b := net.Pipe()
	if err := peer.stream.Load().handOver(ctx, b); err != nil {
		return nil, err
	}
	return &wire{a, v, peer}, nil
}

// wire breaks when either end is cut off.
type wire struct {
	net.Conn
	from, to *voter
}

func (w *wire) Write(p []byte) (int, error) {
	if w.from.cut.Load() || w.to.cut.Load() {
		_ = w.Close()
		return 0, errors.New("cut")
	}
	return w.Conn.Write(p)
}

func (v *voter) start() {
	v.t.Helper()
	cfg := config(v.disk, "/raft")
	cfg.NodeID, cfg.SegmentBytes, cfg.Trailing = v.id, 2000, 20
	if err := cfg.fill(); err != nil {
		v.t.Fatal(err)
	}
	g := newGuard(time.Minute)
	n := &Node{cfg: cfg, log: cfg.Log, guard: g}
	n.stream = newStream(v.id, v.dial)
	v.fsm = newFSM(g)
	v.stream.Store(n.stream)
	var err error
	if v.store, err = openStore(&cfg, g, holdReserve(v.disk, "/raft", cfg.Log)); err != nil {
		v.t.Fatal(err)
	}
	votes, err := openStable(v.disk, "/raft", g)
	if err != nil {
		v.t.Fatal(err)
	}
	snaps := &snapshots{fs: v.disk, dir: "/raft", guard: g, log: cfg.Log}
	v.trans = newTransport(n)
	if v.store.isNew() {
		var c raft.Configuration
		for i := range v.peers {
			c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: raft.ServerAddress(fmt.Sprint(i))})
		}
		if err := raft.BootstrapCluster(n.raftConfig(), v.store, votes, snaps, v.trans, c); err != nil {
			v.t.Fatal(err)
		}
	}
	if v.raft, err = raft.NewRaft(n.raftConfig(), v.fsm, v.store, votes, snaps, v.trans); err != nil {
		v.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.end = cancel
	go v.trans.run(ctx)
}

// kill ends it without a close of its files, and loses what was not synced.
func (v *voter) kill(powerCut func(*vfs.Mem) *vfs.Mem) {
	v.t.Helper()
	if err := v.raft.Shutdown().Error(); err != nil {
		v.t.Fatal(err)
	}
	v.end()
	if err := v.trans.Close(); err != nil {
		v.t.Fatal(err)
	}
	v.stream.Store(nil)
	v.disk = powerCut(v.disk)
}

func leader(voters *[3]*voter) *voter {
	for {
		for _, v := range voters {
			if !v.cut.Load() && v.raft.State() == raft.Leader {
				return v
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// commit proposes one fact at whoever leads, and again until it is in.
func commit(voters *[3]*voter, next int64) {
	for {
		v := leader(voters)
		if v.raft.Barrier(time.Second).Error() == nil {
			img := v.fsm.image.Load()
			if img.NextProducerID() >= next {
				return
			}
			data, _ := encodeCommand(img.Index(), []metadata.Change{metadata.ProducerIDsAllocated{Next: next}})
			if f := v.raft.Apply(data, time.Second); f.Error() == nil && f.Response() == nil {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestThreeVotersAgreeOnThisLogThroughCrashesAndSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 1))
		power := func(disk *vfs.Mem) *vfs.Mem { return disk.CrashClone(rng) }
		var voters [3]*voter
		for i := range voters {
			voters[i] = &voter{t: t, id: metadata.NodeID(i), disk: vfs.NewMem(), peers: &voters}
			if err := vfs.MkdirAllSync(voters[i].disk, "/raft"); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range voters {
			v.start()
		}
		next := int64(0)
		some := func(n int) {
			for range n {
				next++
				commit(&voters, next)
			}
		}
		some(10)
		// A follower is away so long that only a snapshot can bring it back.
		away := voters[(leader(&voters).id+1)%3]
		away.kill(power)
		away.cut.Store(true)
		some(60)
		if err := leader(&voters).raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		away.cut.Store(false)
		away.start()
		some(10)
		// A leader is cut off with entries of its own, which it must drop when it comes back.
		old := leader(&voters)
		old.cut.Store(true)
		for range 5 {
			data, _ := encodeCommand(0, nil)
			old.raft.Apply(data, 0)
		}
		some(10)
		old.cut.Store(false)
		some(10)
		for _, v := range voters {
			v.kill(power)
		}
		for _, v := range voters {
			v.start()
		}
		some(5)
		time.Sleep(5 * time.Second)
		for _, v := range voters {
			if got := v.fsm.image.Load().NextProducerID(); got != next {
				t.Errorf("voter %d has %d of %d", v.id, got, next)
			}
			v.kill(power)
		}
	})
}
