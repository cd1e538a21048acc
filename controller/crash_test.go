package controller

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// point is what a power cut at one moment leaves, and what had been answered by then.
type point struct {
	disk   *vfs.Mem
	topics int64
	id     string
}

// Every sync of the whole life of a node, from the first start over snapshots to the stop,
// is a place where the power may fail: what was answered before it must be there.
func TestAPowerCutAtAnySyncLosesNothingThatWasAnswered(t *testing.T) {
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(5, 5))
	var points []point
	var answered atomic.Int64
	var id atomic.Value
	id.Store("")
	record := func() {
		p := point{topics: answered.Load(), id: id.Load().(string)}
		p.disk = mem.CrashClone(rng)
		points = append(points, p)
	}
	mem.OnSync = func(vfs.SyncPoint) { record() }
	cfg := config(mem, "/data/raft")
	cfg.Trailing, cfg.SegmentBytes = 5, 2000
	created := 0
	for range 2 {
		n := start(t, cfg)
		id.Store(n.Image().ClusterID())
		n.join(1, byte(1+created))
		for range 12 {
			n.mustCreate(fmt.Sprintf("t%d", created), 1)
			created++
			answered.Add(1)
			if created%4 == 0 {
				if err := n.raft.Load().Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
		}
		n.stop()
	}
	mem.OnSync = nil
	record()
	for i, p := range points {
		n, err := Open(config(p.disk, "/data/raft"))
		if err != nil {
			t.Fatalf("point %d of %d, %d topics: %v", i, len(points), p.topics, err)
		}
		r := run(t, n)
		select {
		case <-n.Ready():
		case err := <-r.done:
			t.Fatalf("point %d of %d, %d topics: %v", i, len(points), p.topics, err)
		}
		if p.id != "" && n.Image().ClusterID() != p.id {
			t.Fatalf("point %d: another cluster", i)
		}
		for topic := range p.topics {
			if n.Image().Topic(fmt.Sprintf("t%d", topic)) == nil {
				t.Fatalf("point %d: topic %d of %d is lost", i, topic, p.topics)
			}
		}
		r.stop()
	}
	t.Log(len(points), "power cuts")
}

func TestTheImageAfterARestartIsTheSame(t *testing.T) {
	mem := vfs.NewMem()
	cfg := config(mem, "/raft")
	cfg.Trailing, cfg.SegmentBytes = 3, 1000
	n := start(t, cfg)
	n.join(1, 1)
	for i := range 20 {
		n.mustCreate(fmt.Sprintf("t%d", i), 3)
		if i == 9 {
			if err := n.raft.Load().Snapshot().Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
	before, err := metadata.EncodeImage(n.Image())
	if err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = start(t, cfg)
	defer n.stop()
	after, err := metadata.EncodeImage(n.Image())
	if err != nil || !bytes.Equal(before, after) {
		t.Fatal("another image", err)
	}
	if first, _ := n.store.FirstIndex(); first == firstIndex {
		t.Fatal("the snapshot made nothing superfluous")
	}
}

func TestANodeThatLostPartOfItselfDoesNotStart(t *testing.T) {
	mem := vfs.NewMem()
	cfg := config(mem, "/raft")
	cfg.Trailing, cfg.SegmentBytes = 1, 200
	n := start(t, cfg)
	n.join(1, 1)
	n.mustCreate("t", 1)
	if err := n.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	n.mustCreate("u", 1)
	n.stop()
	whole := func(fs vfs.FS, suffix string) (names []string) {
		entries, err := fs.ReadDir("/raft")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), suffix) {
				names = append(names, path.Join("/raft", e.Name()))
			}
		}
		return names
	}
	for name, lose := range map[string]func(fs *vfs.Mem) error{
		"the log":              func(fs *vfs.Mem) error { return fs.RemoveAll("/raft/" + logDir) },
		"the vote":             func(fs *vfs.Mem) error { return fs.Remove("/raft/" + voteFile) },
		"the vote's meaning":   func(fs *vfs.Mem) error { return fs.Corrupt("/raft/"+voteFile, 9, 1) },
		"the snapshot":         func(fs *vfs.Mem) error { return fs.Remove(whole(fs, snapshotSuffix)[0]) },
		"the snapshot's image": func(fs *vfs.Mem) error { return fs.Corrupt(whole(fs, snapshotSuffix)[0], 300, 1) },
	} {
		clone := mem.KillClone()
		if err := lose(clone); err != nil {
			t.Fatal(name, err)
		}
		n, err := Open(config(clone, "/raft"))
		if err == nil {
			t.Errorf("without %s it starts", name)
			_ = n.Close()
		}
	}
	again := start(t, config(mem.KillClone(), "/raft"))
	again.stop()
}

func TestADamagedNewestSnapshotIsMadeUpForByTheLog(t *testing.T) {
	mem := vfs.NewMem()
	n := start(t, config(mem, "/raft"))
	n.join(1, 1)
	for i := range 3 {
		n.mustCreate(fmt.Sprintf("t%d", i), 1)
		if err := n.raft.Load().Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
	}
	n.stop()
	ids, err := n.snaps.names()
	if err != nil || len(ids) != snapshotsKept {
		t.Fatal(ids, err)
	}
	if err := mem.Corrupt(n.snaps.path(ids[0]), 300, 1); err != nil {
		t.Fatal(err)
	}
	n = start(t, config(mem, "/raft"))
	defer n.stop()
	if n.Image().TopicCount() != 3 {
		t.Fatal(n.Image().TopicCount())
	}
}

// faulty is a disk that can begin to fail.
func faulty(kind vfs.Kind, v func() vfs.Verdict) (*vfs.Fault, *atomic.Bool) {
	var broken atomic.Bool
	return vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
		if broken.Load() && op.Kind == kind && strings.HasSuffix(op.Name, ".log") {
			return v()
		}
		return vfs.Verdict{}
	}), &broken
}

func TestADiskThatHangsEndsTheNode(t *testing.T) {
	release := make(chan struct{})
	fs, broken := faulty(vfs.OpSync, func() vfs.Verdict { return vfs.Verdict{Stuck: release} })
	cfg := config(fs, "/raft")
	cfg.DiskStall = 50 * time.Millisecond
	n := start(t, cfg)
	n.join(1, 1)
	broken.Store(true)
	began := time.Now()
	answered := make(chan error, 1)
	go func() { _, err := n.create("t", 1); answered <- err }()
	err := <-n.done
	if !errors.Is(err, ErrDiskStalled) || time.Since(began) > 5*time.Second {
		t.Fatal(err, time.Since(began))
	}
	if err := <-answered; err == nil {
		t.Fatal("a topic was created on a disk that hangs")
	}
	if _, err := n.create("u", 1); err == nil || n.Active() {
		t.Fatal("the node still decides")
	}
	close(release)
}

func TestADiskThatFailsEndsTheNodeAndItsGoroutines(t *testing.T) {
	for _, kind := range []vfs.Kind{vfs.OpSync, vfs.OpWrite} {
		fs, broken := faulty(kind, func() vfs.Verdict { return vfs.Verdict{Err: syscall.EIO} })
		n := start(t, config(fs, "/raft"))
		n.join(1, 1)
		broken.Store(true)
		if _, err := n.create("t", 1); err == nil {
			t.Fatal("a topic was created on a disk that fails")
		}
		if err := <-n.done; !errors.Is(err, ErrDiskFailed) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
	}
}
