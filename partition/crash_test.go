package partition

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// shot is a disk after a power cut, and what was acked before it.
type shot struct {
	at    vfs.SyncPoint
	disk  *vfs.Mem
	acked map[string][]string // by topic-partition, in order
}

// camera takes a picture of the disk at every sync point. What was acked is copied first: a record acked after that
// may be in the picture or not, one acked before must.
type camera struct {
	mem   *vfs.Mem
	every int

	mu    sync.Mutex
	n     int
	acked map[string][]string
	shots []shot
}

func newCamera(every int) *camera {
	c := &camera{mem: vfs.NewMem(), every: every, acked: map[string][]string{}}
	c.mem.OnSync = c.onSync
	return c
}

func (c *camera) onSync(at vfs.SyncPoint) {
	c.mu.Lock()
	c.n++
	n := c.n
	acked := map[string][]string{}
	for k, v := range c.acked {
		acked[k] = slices.Clone(v)
	}
	c.mu.Unlock()
	if n%c.every != 0 {
		return
	}
	var rng *rand.Rand // half of the cuts keep nothing that was not synced, the others some of it
	if n/c.every%2 == 1 {
		rng = rand.New(rand.NewPCG(uint64(n), 3))
	}
	s := shot{at: at, disk: c.mem.CrashClone(rng), acked: acked}
	c.mu.Lock()
	c.shots = append(c.shots, s)
	c.mu.Unlock()
}

func (c *camera) ack(partition, value string) {
	c.mu.Lock()
	c.acked[partition] = append(c.acked[partition], value)
	c.mu.Unlock()
}

// TestAckedRecordsSurviveEveryPowerCut plays scripts of appends from several producers and cuts the power at every
// sync point: each record acked before the cut is there after it, in order and at its place.
func TestAckedRecordsSurviveEveryPowerCut(t *testing.T) {
	for _, c := range []struct {
		name                      string
		partitions, appends, each int
		journal                   int64
		segment                   string
		every                     int
	}{
		{name: "one log", partitions: 1, appends: 40, each: 1, every: 1},
		{name: "four logs", partitions: 4, appends: 30, each: 2, every: 3},
		{name: "rolling", partitions: 2, appends: 40, each: 1, segment: "1048576", every: 2},
		{name: "journal", partitions: 150, appends: 4, each: 1, journal: 1 << 20, every: 40},
		{name: "full journal", partitions: 150, appends: 4, each: 1, journal: 40 << 10, every: 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			cam := newCamera(c.every)
			w := newWorld(t, cam.mem, func(cfg *Config) { cfg.JournalLimit = cmp.Or(c.journal, -1); cfg.Log = nil })
			w.run()
			w.topic(topicID(1), "t", c.partitions, alone())
			size := 10
			if c.segment != "" {
				w.config("t", "segment.bytes", c.segment)
				size = 100_000
			}
			play(w, cam, c.partitions, c.appends, c.each, size)
			w.close(4)
			t.Logf("%d power cuts", len(cam.shots))
			for _, s := range cam.shots {
				checkShot(t, w.img, s, c.journal)
				if t.Failed() {
					t.Fatalf("cut at %+v", s.at)
				}
			}
		})
	}
}

func play(w *world, cam *camera, partitions, appends, each, size int) {
	var wg sync.WaitGroup
	for i := range partitions {
		for k := range each {
			wg.Go(func() {
				p := w.get("t", int32(i))
				for n := range appends {
					v := name("%d/%d/%d", i, k, n)
					v += string(make([]byte, size))
					if err := wait(p, produce(p, -1, batch(1, v))); err != nil {
						w.t.Errorf("append: %v", err)
						return
					}
					cam.ack(p.name(), v)
				}
			})
		}
	}
	wg.Wait()
}

func checkShot(t *testing.T, img *metadata.Image, s shot, journal int64) {
	t.Helper()
	w := &world{t: t, fs: s.disk, img: img}
	w.cfg = Config{Self: self, Dirs: []string{"/data"}, FS: s.disk, JournalLimit: cmp.Or(journal, -1)}
	w.open()
	w.set.Apply(img)
	w.settle()
	for p := range w.set.Each() {
		want := s.acked[p.name()]
		if len(want) == 0 {
			continue
		}
		got := w.read(p, 0)
		at := 0
		for _, v := range want {
			i := slices.Index(got, v)
			if i < 0 {
				t.Errorf("%s: an acked record is lost (%d of %d there)", p.name(), len(got), len(want))
				break
			}
			at = max(at, i)
		}
	}
	w.crash()
}

// TestRecoveryIsIdempotent: opening, crashing and opening again gives the same log.
func TestRecoveryIsIdempotent(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	p := w.one()
	for i := range 20 {
		w.acked(p, batch(1, number(i)))
	}
	for i := range 5 { // unsynced at the cut
		produce(p, 1, batch(1, number(100+i)))
	}
	w.halt()
	disk := mem.CrashClone(rand.New(rand.NewPCG(1, 2)))
	var before []string
	for life := range 4 {
		w.reopen(disk)
		w.settle()
		got := w.read(w.get("t", 0), 0)
		if life > 0 && !slices.Equal(got, before) {
			t.Fatalf("life %d reads %d records, the one before %d", life, len(got), len(before))
		}
		before = got
		w.crash()
		disk = disk.KillClone()
	}
	if len(before) < 20 {
		t.Errorf("%d records", len(before))
	}
}
