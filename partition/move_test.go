package partition

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

func diskID(n byte) metadata.DirID { return metadata.DirID{n, 15: 200} }

// disks is a broker with the directories /a, /b and /c, which tells on moved when a replica has moved.
type disks struct {
	*world
	moved chan struct{}
}

func newDisks(t *testing.T, fsys vfs.FS, change ...func(*Config)) *disks {
	d := &disks{moved: make(chan struct{}, 1)}
	for i, path := range []string{"/a", "/b", "/c"} {
		err := vfs.MkdirAllSync(fsys, path)
		if err == nil {
			err = segment.WriteMeta(fsys, path, segment.Meta{ClusterID: "c", NodeID: int32(self), DirectoryID: diskID(byte(i + 1))})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d.world = newWorld(t, fsys, append(change, func(c *Config) {
		c.Dirs = []string{"/a", "/b", "/c"}
		c.Moved = func() { notify(d.moved) }
	})...)
	return d
}

// in is a partition that only this broker has, in that directory.
func in(n byte) metadata.Partition {
	p := alone()
	p.Dirs = []metadata.DirID{diskID(n)}
	return p
}

func (d *disks) move(to string) {
	d.t.Helper()
	if err := d.set.Move(context.Background(), "t", 0, to); err != nil {
		d.t.Fatal(err)
	}
}

// told lets metadata name the directory that the replica is in.
func (d *disks) told() {
	d.t.Helper()
	for _, m := range d.set.Misplaced(d.img) {
		d.alter(m.Topic, m.Index, func(p *metadata.Partition) { p.Dirs = []metadata.DirID{m.Dir} })
	}
}

// is fails unless the replica is in that directory and nowhere else, but for what waits for its removal.
func (d *disks) is(path string) {
	d.t.Helper()
	for _, dir := range []string{"/a", "/b", "/c"} {
		for _, n := range d.list(dir) {
			if strings.HasPrefix(n, "t-0") && !strings.HasSuffix(n, "-delete") && (dir != path || n != "t-0") {
				d.t.Errorf("%s holds %s, the replica should be in %s", dir, n, path)
			}
		}
	}
	if got := d.get("t", 0).Describe().Dir; got != path || !d.exists(path, "t-0") {
		d.t.Errorf("the replica is in %s, want %s", got, path)
	}
}

// load appends until stop is called, and says what was acked.
func load(t *testing.T, p func() *Partition, each func(string)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			v := name("load %d", i)
			if err := wait(p(), produce(p(), -1, batch(1, v))); err != nil {
				t.Errorf("append: %v", err)
				return
			}
			each(v)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func TestAReplicaMovesWhileItIsUsed(t *testing.T) {
	for _, durable := range []bool{true, false} {
		t.Run(name("durable %v", durable), func(t *testing.T) {
			mem := vfs.NewMem()
			d := newDisks(t, mem)
			d.run()
			m := in(1)
			m.Durable = durable
			d.topic(topicID(1), "t", 1, m)
			d.config("t", "segment.bytes", "1048576")
			p := d.get("t", 0)
			for range 60 {
				d.acked(p, sized(100_000))
			}
			var acked []string
			stop := load(t, func() *Partition { return p }, func(v string) { acked = append(acked, v) })
			reading, read := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			for range 2 { // consumers notice nothing
				wg.Go(func() {
					for reading.Err() == nil {
						d.read(p, rand.Int64N(p.HighWatermark()))
					}
				})
			}
			for _, to := range []string{"/b", "/c", "/a"} {
				d.move(to)
				if f, ok := p.Moving(); ok && f.Dir != to {
					t.Errorf("%+v", f)
				}
				<-d.moved
				if got := p.Describe().Dir; got != to {
					t.Fatalf("in %s, want %s", got, to)
				}
				d.told()
			}
			stop()
			read()
			wg.Wait()
			if got := d.read(p, 60); !slices.Equal(got, acked) || len(acked) == 0 {
				t.Errorf("%d records are read, %d were acked", len(got), len(acked))
			}
			d.is("/a")
			if st := d.set.Stats(); st.Replication.Moved != 3 || st.Dirs[0].Replicas != 1 || st.Dirs[1].Replicas != 0 || st.Moving != 0 {
				t.Errorf("%+v", st)
			}
			end := p.End()
			d.close(3)
			d.reopen(mem)
			d.is("/a")
			if p = d.get("t", 0); p.End() != end || !p.standing.Load().log.Recovery().Clean {
				t.Errorf("after a clean stop it ends at %d, %+v; want %d", p.End(), p.standing.Load().log.Recovery(), end)
			}
			d.crash()
		})
	}
}

// TestAMoveSurvivesEveryPowerCut cuts the power at every sync of a move under load: what comes back is one replica with all
// that was acked, and the move goes on to its end.
func TestAMoveSurvivesEveryPowerCut(t *testing.T) {
	cam := newCamera(1)
	d := newDisks(t, cam.mem, func(c *Config) { c.Log = nil; c.CheckpointInterval = 20 * time.Millisecond })
	d.run()
	d.topic(topicID(1), "t", 1, in(1))
	p := d.get("t", 0)
	for i := range 5 {
		v := name("before %d", i)
		d.acked(p, batch(1, v))
		cam.ack("t-0", v)
	}
	cam.shots = nil
	var told atomic.Pointer[metadata.Image] // what a controller may say after the cut
	told.Store(d.img)
	var images []*metadata.Image
	var mu sync.Mutex
	onSync := cam.mem.OnSync
	cam.mem.OnSync = func(at vfs.SyncPoint) {
		mu.Lock()
		defer mu.Unlock()
		img := told.Load()
		before := len(cam.shots)
		onSync(at)
		for range len(cam.shots) - before {
			images = append(images, img)
		}
	}
	stop := load(t, func() *Partition { return p }, func(v string) { cam.ack("t-0", v) })
	for _, to := range []string{"/b", "/c"} {
		d.move(to)
		<-d.moved
		d.told()
		told.Store(d.img)
	}
	stop()
	d.close(4)
	t.Logf("%d power cuts", len(cam.shots))
	seen := map[string]int{}
	for i, s := range cam.shots {
		checkMove(t, images[i], s, seen)
		if t.Failed() {
			t.Fatalf("cut %d at %+v", i, s.at)
		}
	}
	t.Log(seen)
	for _, want := range []string{"future", "moved and future", "moved"} {
		if seen[want] == 0 {
			t.Errorf("no cut left %q: %v", want, seen)
		}
	}
}

// TestACopyHoldsNothingThatTheReplicaMayLose cuts the power while a replica moves whose records nobody has synced: the copy must
// not keep records whose offsets the replica gives to others afterwards, in the same leader epoch.
func TestACopyHoldsNothingThatTheReplicaMayLose(t *testing.T) {
	cam := newCamera(1)
	d := newDisks(t, cam.mem, func(c *Config) { c.Log = nil })
	d.run()
	m := in(1)
	m.Durable = false
	d.topic(topicID(1), "t", 1, m)
	p := d.get("t", 0)
	d.acked(p, batch(1, "on disk"))
	if _, err := p.standing.Load().log.Sync(); err != nil {
		t.Fatal(err)
	}
	d.acked(p, batch(1, "in the page cache"))
	cam.shots = nil
	d.move("/b")
	<-d.moved
	d.close(4)
	seen := map[string]int{}
	for i, s := range cam.shots {
		checkMove(t, d.img, s, seen)
		if t.Failed() {
			t.Fatalf("cut %d at %+v", i, s.at)
		}
	}
	if seen["future"] == 0 {
		t.Errorf("no cut left a copy: %v", seen)
	}
}

func checkMove(t *testing.T, img *metadata.Image, s shot, seen map[string]int) {
	t.Helper()
	d := &disks{world: &world{t: t, fs: s.disk, img: img}, moved: make(chan struct{}, 1)}
	d.cfg = Config{Self: self, Dirs: []string{"/a", "/b", "/c"}, FS: s.disk, Moved: func() { notify(d.moved) }}
	var kinds []string
	for _, dir := range d.cfg.Dirs {
		for _, n := range d.list(dir) {
			if _, _, future, moved := segment.Moving(n); future {
				kinds = append(kinds, "future")
			} else if moved {
				kinds = append(kinds, "moved")
			}
		}
	}
	slices.Sort(kinds)
	slices.Reverse(kinds)
	seen[strings.Join(kinds, " and ")]++
	d.open()
	d.set.Apply(img)
	d.settle()
	p := d.get("t", 0)
	if role, _ := p.Role(); role == Offline {
		t.Fatal("offline")
	}
	d.wants(p, s.acked["t-0"])
	v := "after the cut"
	d.acked(p, batch(1, v))
	for d.told(); ; d.told() { // the move goes on
		if _, moving := p.Moving(); !moving {
			break
		}
		<-d.moved
	}
	d.told()
	d.wants(p, s.acked["t-0"])
	if got := d.read(p, 0); got[len(got)-1] != v {
		t.Errorf("the last record is %q", got[len(got)-1])
	}
	d.is(p.Describe().Dir)
	d.crash()
}

// wants checks that all of want is there, in order.
func (d *disks) wants(p *Partition, want []string) {
	d.t.Helper()
	got := d.read(p, 0)
	for i, v := range want {
		if i >= len(got) || got[i] != v {
			d.t.Fatalf("record %d of %d that were acked is lost: %d there", i, len(want), len(got))
		}
	}
}

func TestAMoveIsUndone(t *testing.T) {
	d := newDisks(t, vfs.NewMem(), func(c *Config) { c.CopyThrottle = -1 })
	d.run()
	defer d.crash()
	d.topic(topicID(1), "t", 1, in(1))
	p := d.get("t", 0)
	d.acked(p, batch(3, "x"))
	d.move("/b")
	if f, ok := p.Moving(); !ok || f != (Moving{Dir: "/b", Lag: 3}) {
		t.Fatalf("%+v, %v", f, ok)
	}
	d.move("/b") // once more changes nothing
	d.move("/c") // somewhere else
	if f, ok := p.Moving(); !ok || f.Dir != "/c" {
		t.Fatalf("%+v, %v", f, ok)
	}
	d.move("/a")
	if f, ok := p.Moving(); ok {
		t.Fatalf("%+v", f)
	}
	d.is("/a")
	d.acked(p, batch(1, "y"))
}

func TestAMoveGoesOnAfterARestart(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem := vfs.NewMem()
		d := newDisks(t, mem, func(c *Config) { c.CopyThrottle = -1 })
		d.run()
		d.topic(topicID(1), "t", 1, in(1))
		d.acked(d.get("t", 0), batch(3, "x"))
		d.move("/b")
		if clean {
			d.close(7)
			d.cfg.CopyThrottle = 0
			d.reopen(mem)
		} else {
			d.halt()
			d.cfg.CopyThrottle = 0
			d.reopen(mem.CrashClone(nil))
		}
		d.run()
		<-d.moved
		d.told()
		d.is("/b")
		if got := d.read(d.get("t", 0), 0); len(got) != 3 {
			t.Errorf("read %q", got)
		}
		d.crash()
	}
}

// The directory that the replica goes to dies: the replica stays where it is, and is served.
func TestTheTargetOfAMoveFails(t *testing.T) {
	d := newDisks(t, vfs.NewMem(), func(c *Config) { c.CopyThrottle = -1 })
	d.run()
	defer d.crash()
	d.topic(topicID(1), "t", 1, in(1))
	p := d.get("t", 0)
	d.acked(p, batch(3, "x"))
	d.move("/b")
	d.set.dirs[1].fail(errors.New("dead"))
	d.set.throttles.copies.rate.Store(noThrottle)
	for _, ok := p.Moving(); ok; _, ok = p.Moving() {
		time.Sleep(time.Millisecond)
	}
	d.acked(p, batch(1, "y"))
	if err := d.set.Move(context.Background(), "t", 0, "/b"); !errors.Is(err, kerr.KafkaStorageError) {
		t.Error(err)
	}
	d.move("/c")
	<-d.moved
	if got := d.read(p, 0); len(got) != 4 || p.Describe().Dir != "/c" {
		t.Errorf("%q in %s", got, p.Describe().Dir)
	}
}

// A write of the copy hangs: only its directory goes offline.
func TestTheTargetOfAMoveHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		var on atomic.Bool
		disk := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
			if on.Load() && strings.HasPrefix(op.Name, "/b/") {
				return vfs.Verdict{Stuck: hang}
			}
			return vfs.Verdict{}
		})
		d := newDisks(t, disk, func(c *Config) { c.CopyThrottle = -1 })
		d.run()
		d.topic(topicID(1), "t", 1, in(1))
		p := d.get("t", 0)
		d.acked(p, batch(3, "x"))
		d.move("/b")
		on.Store(true)
		d.set.throttles.copies.rate.Store(noThrottle)
		time.Sleep(20 * time.Second)
		if !d.set.dirs[1].isFailed() || d.set.dirs[0].isFailed() {
			t.Error("the wrong directory is offline")
		}
		if _, ok := p.Moving(); ok {
			t.Error("it still moves")
		}
		d.acked(p, batch(1, "y"))
		close(hang)
		d.crash()
	})
}

// The directory that the replica is in dies: it is offline, and what is copied of it stays.
func TestTheSourceOfAMoveFails(t *testing.T) {
	mem := vfs.NewMem()
	d := newDisks(t, mem, func(c *Config) { c.CopyThrottle = -1 })
	d.run()
	d.topic(topicID(1), "t", 1, in(1))
	p := d.get("t", 0)
	d.acked(p, batch(3, "x"))
	d.move("/b")
	d.set.dirs[0].fail(errors.New("dead"))
	d.set.throttles.copies.rate.Store(noThrottle)
	if role, _ := p.Role(); role != Offline {
		t.Error(role)
	}
	for _, to := range []string{"/a", "/c"} {
		if err := d.set.Move(context.Background(), "t", 0, to); !errors.Is(err, kerr.KafkaStorageError) {
			t.Errorf("%s: %v", to, err)
		}
	}
	d.crash()
	d.reopen(mem.KillClone())
	if role, _ := d.get("t", 0).Role(); role != Leader || d.get("t", 0).Describe().Dir != "/a" {
		t.Error(role)
	}
	if got := d.read(d.get("t", 0), 0); len(got) > 3 {
		t.Errorf("%q", got)
	}
	d.crash()
}

// A disk that a replica has moved to is not there at the next start: nothing is made in its place, and the controller is told.
func TestAReplicaOnAMissingDiskIsNotMadeAnew(t *testing.T) {
	mem := vfs.NewMem()
	d := newDisks(t, mem)
	d.run()
	d.topic(topicID(1), "t", 1, in(1))
	d.acked(d.get("t", 0), batch(3, "x"))
	d.move("/b")
	<-d.moved // and metadata does not know yet
	d.crash()
	d.cfg.Dirs = []string{"/a", "/c"}
	d.reopen(mem)
	p := d.get("t", 0)
	if a := produce(p, 1, batch(1, "y")); !errors.Is(a.Err, kerr.KafkaStorageError) {
		t.Errorf("append: %v", a.Err)
	}
	if got := d.set.Misplaced(d.img); len(got) != 1 || got[0].Dir != diskID(2) {
		t.Errorf("the controller is told %+v", got)
	}
	d.crash()
	d.cfg.Dirs = []string{"/a", "/b", "/c"} // it is back
	d.reopen(mem)
	d.settle()
	if got := d.read(d.get("t", 0), 0); len(got) != 3 {
		t.Errorf("read %q", got)
	}
	d.told()
	d.is("/b")
	d.crash()
}

func TestMoveTellsWhatIsWrong(t *testing.T) {
	d := newDisks(t, vfs.NewMem())
	d.run()
	defer d.crash()
	long := strings.Repeat("x", 220)
	d.topic(topicID(1), "t", 1, in(1))
	d.topic(topicID(3), "elsewhere", 1, metadata.Partition{Replicas: []metadata.NodeID{2}, ISR: []metadata.NodeID{2}, Leader: 2, MinISR: 1})
	d.acked(d.get("t", 0), batch(1, "x"))
	d.set.dirs[2].fail(errors.New("dead"))
	for _, c := range []struct {
		topic string
		index int32
		dir   string
		want  error
	}{
		{"t", 0, "/nowhere", kerr.LogDirNotFound}, {"t", 0, "", kerr.LogDirNotFound}, {"t", 0, "/a/t-0", kerr.LogDirNotFound},
		{"t", 0, "/c", kerr.KafkaStorageError}, {"t", 1, "/b", kerr.UnknownTopicOrPartition}, {"t", -1, "/b", kerr.UnknownTopicOrPartition},
		{"none", 0, "/b", kerr.UnknownTopicOrPartition}, {"../t", 0, "/b", kerr.UnknownTopicOrPartition},
		{"elsewhere", 0, "/b", kerr.ReplicaNotAvailable}, {long, 0, "/b", kerr.InvalidTopicException}, {"t", 0, "/a/", nil},
	} {
		if err := d.set.Move(context.Background(), c.topic, c.index, c.dir); !errors.Is(err, c.want) {
			t.Errorf("%s-%d to %q: %v, want %v", c.topic, c.index, c.dir, err, c.want)
		}
	}
	if d.is("/a"); len(d.set.preferred) != 1 {
		t.Errorf("remembered: %v", d.set.preferred)
	}
}

// What is wanted of a replica before it comes is remembered; and one that nothing was written of is put elsewhere at once.
func TestAReplicaComesWhereItIsWanted(t *testing.T) {
	d := newDisks(t, vfs.NewMem())
	d.run()
	defer d.crash()
	d.topic(topicID(1), "t", 1, metadata.Partition{Replicas: []metadata.NodeID{2}, ISR: []metadata.NodeID{2}, Leader: 2, MinISR: 1,
		Dirs: []metadata.DirID{{}}})
	if err := d.set.Move(context.Background(), "t", 0, "/c"); !errors.Is(err, kerr.ReplicaNotAvailable) {
		t.Fatal(err)
	}
	d.alter(topicID(1), 0, func(p *metadata.Partition) {
		*p = in(1)
		p.PartitionEpoch, p.LeaderEpoch = 1, 1
	})
	d.told()
	p := d.get("t", 0)
	if got := p.Describe().Dir; got != "/c" || len(d.set.preferred) > 0 {
		t.Errorf("in %s; still remembered: %v", got, d.set.preferred)
	}
	d.move("/b")
	d.told()
	d.acked(p, batch(1, "x"))
	d.is("/b")
}

func TestADeletedTopicTakesItsCopyAlong(t *testing.T) {
	d := newDisks(t, vfs.NewMem(), func(c *Config) { c.CopyThrottle = -1 })
	d.run()
	defer d.crash()
	d.topic(topicID(1), "t", 1, in(1))
	d.acked(d.get("t", 0), batch(3, "x"))
	d.move("/b")
	d.change(metadata.TopicDeleted{ID: topicID(1)})
	d.topic(topicID(2), "t", 1, in(2))
	d.acked(d.get("t", 0), batch(1, "new"))
	d.is("/b")
}

func TestCopiesAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisks(t, vfs.NewMem())
		d.run()
		d.change(metadata.ConfigChanged{Type: metadata.ResourceBroker, Key: "replica.alter.log.dirs.io.max.bytes.per.second", Value: "1048576"})
		d.topic(topicID(1), "t", 1, in(1))
		p := d.get("t", 0)
		for range 100 {
			d.acked(p, sized(100_000))
		}
		began := time.Now()
		d.move("/b")
		<-d.moved
		// The first second's bytes are free, the last few MiB go with the swap.
		if took := time.Since(began); took < 3*time.Second || took > 12*time.Second {
			t.Errorf("10 MB in %s", took)
		}
		d.crash()
	})
}
