package partition

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

func TestLookup(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	w.topic(topicID(1), "a", 3, alone())
	w.topic(topicID(2), "b", 1, alone())
	w.topic(topicID(3), "elsewhere", 2, metadata.Partition{
		Replicas: []metadata.NodeID{2}, ISR: []metadata.NodeID{2}, Leader: 2, MinISR: 1})
	for _, c := range []struct {
		topic string
		id    metadata.TopicID
		index int32
		found bool
	}{
		{"a", topicID(1), 0, true}, {"a", topicID(1), 2, true}, {"a", topicID(1), 3, false}, {"a", topicID(1), -1, false},
		{"b", topicID(2), 0, true}, {"b", topicID(2), 1, false}, {"c", topicID(9), 0, false}, {"", metadata.TopicID{}, 0, false},
		{"elsewhere", topicID(3), 0, false},
	} {
		byName, byID := w.set.Lookup([]byte(c.topic), c.index), w.set.ByID(c.id, c.index)
		if (byName != nil) != c.found || byName != byID {
			t.Errorf("%s-%d: %v by name, %v by id", c.topic, c.index, byName != nil, byID != nil)
		}
	}
	p := w.get("a", 2)
	w.change(metadata.PartitionCreated{Topic: topicID(1), Index: 3, Partition: alone()})
	if w.get("a", 3) == nil || w.get("a", 2) != p {
		t.Error("adding a partition moved the others")
	}
	if n := testing.AllocsPerRun(100, func() { w.set.Lookup([]byte("a"), 1); w.set.ByID(topicID(2), 0) }); n != 0 {
		t.Errorf("%v allocations per look-up", n)
	}
	if st := w.set.Stats(); st.Partitions != 5 || st.Leaders != 5 {
		t.Errorf("%+v", st)
	}
}

func TestDeletedTopicIsRenamedAndRemovedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewMem()).run()
		w.topic(topicID(1), "t", 2, alone())
		p := w.get("t", 0)
		a := w.acked(p, batch(1, "old"))
		fetch, fetched := newWaiter()
		if !p.Await(fetch, 5, a.Epoch) {
			t.Fatal("does not park")
		}
		w.change(metadata.TopicDeleted{ID: topicID(1)})
		<-fetched
		if w.set.Lookup([]byte("t"), 0) != nil || w.set.ByID(topicID(1), 0) != nil {
			t.Error("still found")
		}
		var out ReadResult
		if p.Read(ReadRequest{LeaderEpoch: -1, LastFetchedEpoch: -1}, &out); !errors.Is(out.Err, kerr.UnknownTopicOrPartition) {
			t.Errorf("a reader that still holds the partition: %v", out.Err)
		}
		if b := produce(p, 1, batch(1, "x")); !errors.Is(b.Err, kerr.UnknownTopicOrPartition) {
			t.Errorf("a producer that still holds it: %v", b.Err)
		}
		if w.exists("/data/t-0") || !deleted(w) {
			t.Errorf("not renamed: %q", w.list("/data"))
		}
		w.topic(topicID(2), "t", 1, alone()) // the same name at once
		q := w.get("t", 0)
		w.acked(q, batch(1, "new"))
		if got := w.read(q, 0); !slices.Equal(got, []string{"new"}) {
			t.Errorf("the new topic reads %q", got)
		}
		time.Sleep(59 * time.Second)
		if !deleted(w) {
			t.Error("removed too early")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if deleted(w) {
			t.Errorf("not removed: %q", w.list("/data"))
		}
		w.crash()
	})
}

func deleted(w *world) bool {
	return slices.ContainsFunc(w.list("/data"), func(n string) bool { return strings.HasSuffix(n, "-delete") })
}

func TestDeletionGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := newWorld(t, mem).run()
		w.acked(w.one(), batch(1, "x"))
		w.change(metadata.TopicDeleted{ID: topicID(1)})
		w.halt()
		w.reopen(mem.CrashClone(nil))
		w.run()
		if !deleted(w) {
			t.Errorf("the renaming did not survive: %q", w.list("/data"))
		}
		time.Sleep(2 * time.Minute)
		if deleted(w) {
			t.Error("not removed")
		}
		w.crash()
	})
}

func TestReplicaGivenToOthersIsSetAside(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	w.acked(w.one(), batch(1, "x"))
	w.alter(topicID(1), 0, func(p *metadata.Partition) {
		p.Replicas, p.ISR, p.Leader, p.LeaderEpoch = []metadata.NodeID{2}, []metadata.NodeID{2}, 2, 1
	})
	if w.set.Lookup([]byte("t"), 0) != nil || w.exists("/data/t-0") {
		t.Error("still hosted")
	}
	if !slices.ContainsFunc(w.list("/data"), func(n string) bool { return strings.HasSuffix(n, "-stray") }) {
		t.Errorf("%q", w.list("/data"))
	}
}

// Z28: a topic id that the image does not know is never a reason to delete.
func TestZ28UnknownDirectoriesStay(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.topic(topicID(1), "known", 1, alone())
	w.topic(topicID(2), "unknown", 1, alone())
	w.acked(w.get("known", 0), batch(1, "x"))
	w.acked(w.get("unknown", 0), batch(1, "x"))
	if err := mem.MkdirAll("/data/lost+found", 0o700); err != nil {
		t.Fatal(err)
	}
	w.close(5)

	full := w.img
	w.open()
	w.img = metadata.Empty() // an image that has lost a topic, or is older than it
	w.topic(topicID(1), "known", 1, alone())
	if !w.exists("/data/unknown-0") || !w.exists("/data/lost+found") {
		t.Fatalf("%q", w.list("/data"))
	}
	w.close(6)

	w.open()
	w.img = full
	w.set.Apply(full)
	if got := w.read(w.get("unknown", 0), 0); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	w.crash()
}

func TestZ20OldTopicOfTheNameIsNotServed(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	w.acked(w.one(), batch(3, "old"))
	w.close(5)

	w.open()
	w.img = metadata.Empty() // deleted and created again while this broker was away
	w.topic(topicID(2), "t", 1, alone())
	w.run()
	defer w.crash()
	p := w.get("t", 0)
	if p.End() != 0 {
		t.Errorf("log end %d", p.End())
	}
	w.acked(p, batch(1, "new"))
	if got := w.read(p, 0); !slices.Equal(got, []string{"new"}) {
		t.Errorf("read %q", got)
	}
	if !slices.ContainsFunc(w.list("/data"), func(n string) bool { return strings.HasSuffix(n, "-stray") }) {
		t.Errorf("the old one is gone: %q", w.list("/data"))
	}
}

func TestCleanStopNeedsNoRecovery(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.topic(topicID(1), "t", 3, alone())
	for i := range int32(3) {
		w.acked(w.get("t", i), batch(2, "x"))
	}
	w.close(42)
	for _, name := range []string{".kafka_cleanshutdown", "cordwood-clean"} {
		if !w.exists("/data", name) {
			t.Errorf("%s is missing: %q", name, w.list("/data"))
		}
	}
	w.reopen(mem)
	if e := w.set.Directories()[0].BrokerEpoch; e != 42 {
		t.Errorf("broker epoch %d", e)
	}
	for _, name := range []string{".kafka_cleanshutdown", "cordwood-clean"} {
		if w.exists("/data", name) {
			t.Errorf("%s is still there", name)
		}
	}
	for i := range int32(3) {
		p := w.get("t", i)
		if !p.standing.Load().log.Recovery().Clean || p.HighWatermark() != 2 {
			t.Errorf("partition %d: high watermark %d, %+v", i, p.HighWatermark(), p.standing.Load().log.Recovery())
		}
	}
	w.crash()
	w.reopen(mem.KillClone())
	if e := w.set.Directories()[0].BrokerEpoch; e != -1 {
		t.Errorf("after kill -9, broker epoch %d", e)
	}
	w.crash()
}

// Z25: whatever happens in a life, its clean-shutdown files cannot vouch for the next.
func TestZ25CleanFilesAreGoneBeforeLogsAreWritten(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.acked(w.one(), batch(2, "x"))
	w.close(42)
	w.reopen(mem)
	w.run()
	w.acked(w.get("t", 0), batch(2, "y"))
	w.halt()
	w.reopen(mem.CrashClone(nil))
	if e := w.set.Directories()[0].BrokerEpoch; e != -1 {
		t.Errorf("the files of an earlier life are believed: broker epoch %d", e)
	}
	if p := w.get("t", 0); p.End() != 4 {
		t.Errorf("log end %d", p.End())
	}
	w.crash()
}

func TestSecondProcessIsRefused(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": vfs.NewMem(), "disk": vfs.OS()} {
		dir := filepath.Join(t.TempDir(), name)
		w := newWorld(t, fsys, func(c *Config) { c.Dirs = []string{dir} })
		_, err := Open(w.cfg)
		var locked *vfs.LockedError
		if !errors.As(err, &locked) {
			t.Errorf("%s: second open: %v", name, err)
		} else if name == "disk" && locked.PID != os.Getpid() {
			t.Errorf("the error does not name the first process: %v", err)
		}
		w.crash()
		w.open()
		w.crash()
	}
}

func TestConfigReachesLogsAndRules(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.one()
	w.acked(p, batch(1, "x"))
	w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "max.message.bytes", Value: "1234"},
		metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "cleanup.policy", Value: "compact"},
		metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "compression.type", Value: "zstd"})
	r := p.Rules()
	if r.MaxBytes != 1234 || !r.KeyRequired || !r.Recompress || r.Compression != 4 {
		t.Errorf("rules %+v", *r)
	}
	if c := p.standing.Load().log.Config(); c.MaxMessageBytes != 1234 || !c.Compact || c.Delete {
		t.Errorf("log config %+v", c)
	}
}

func TestOpenFailureOfOneLogConcernsItAlone(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.topic(topicID(1), "t", 2, alone())
	w.acked(w.get("t", 0), batch(1, "x"))
	w.acked(w.get("t", 1), batch(1, "x"))
	w.crash()
	bad := vfs.NewFault(mem, func(op vfs.Op) vfs.Verdict {
		if strings.Contains(op.Name, "t-0/partition.metadata") {
			return vfs.Verdict{Err: os.ErrPermission}
		}
		return vfs.Verdict{}
	})
	w.reopen(bad)
	w.run()
	defer w.crash()
	if a := produce(w.get("t", 0), 1, batch(1, "y")); !errors.Is(a.Err, kerr.KafkaStorageError) {
		t.Errorf("append to the broken one: %v", a.Err)
	}
	w.acked(w.get("t", 1), batch(1, "y"))
}

// The journal may hold what the broken log's own file lost: it must not start over before that is mended.
func TestOpenFailureKeepsTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk(every(time.Millisecond))
		w := newWorld(t, disk)
		w.set.dirs[0].flusher.from = 1
		const logs = 40
		w.topic(topicID(1), "t", logs, alone())
		w.run()
		for round := range 4 {
			var wg sync.WaitGroup
			for i := range int32(logs) {
				wg.Go(func() { w.acked(w.get("t", i), batch(1, number(round))) })
			}
			wg.Wait()
		}
		w.halt()
		left := disk.mem.CrashClone(nil)
		w.crash()
		w.cfg.FS = vfs.NewFault(left, func(op vfs.Op) vfs.Verdict {
			if strings.Contains(op.Name, "/partition.metadata") {
				return vfs.Verdict{Err: os.ErrPermission}
			}
			return vfs.Verdict{}
		})
		if _, err := Open(w.cfg); err == nil || !strings.Contains(err.Error(), "move /data/cordwood-journal away") {
			t.Fatalf("opened without its journal: %v", err)
		}
		w.reopen(left.KillClone()) // mended
		w.settle()
		for i := range int32(logs) {
			if n := len(w.read(w.get("t", i), 0)); n != 4 {
				t.Errorf("partition %d has %d of 4 acked records", i, n)
			}
		}
		w.crash()
	})
}

func TestPlacement(t *testing.T) {
	mem := vfs.NewMem()
	ids := []metadata.DirID{{1}, {2}}
	dirs := []string{"/one", "/two"}
	for i, d := range dirs {
		if err := errors.Join(mem.MkdirAll(d, 0o700), segment.WriteMeta(mem, d, segment.Meta{ClusterID: "c", NodeID: 1, DirectoryID: ids[i]})); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, mem, func(c *Config) { c.Dirs = dirs }).run()
	p := alone()
	p.Dirs = []metadata.DirID{ids[1]}
	w.topic(topicID(1), "named", 2, p)
	w.topic(topicID(2), "free", 4, alone())
	count := map[string]int{}
	for p := range w.set.Each() {
		count[p.Topic()+p.Describe().Dir]++
	}
	if count["named/two"] != 2 || count["free/one"] != 3 || count["free/two"] != 1 {
		t.Errorf("%v", count)
	}
	w.acked(w.get("named", 0), batch(1, "x"))
	w.acked(w.get("free", 0), batch(1, "x"))
	w.close(3)
	w.reopen(mem)
	if w.get("named", 0).Describe().Dir != "/two" || w.get("named", 0).End() != 1 {
		t.Error("not found where it was")
	}
	w.crash()
}

func TestCloseAnswersThoseWhoWait(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	w.topic(topicID(1), "t", 1, pair(1, 2))
	p := w.get("t", 0)
	a := produce(p, -1, batch(1, "x"))
	ack, acked := newWaiter()
	if !p.AwaitAck(ack, a.Last, a.Epoch) {
		t.Fatal("does not park")
	}
	if err := w.set.Close(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	<-acked
	if done, err := p.Acked(a.Last, a.Epoch); !done || err == nil {
		t.Errorf("done %v, %v", done, err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"t-0": true, "a-b-12": true, "t-01": false, "t--1": true, "t-": false, "-0": false, "raft": false, "t-x": false,
		"t-4294967296": false, "..-0": false, "t-0.0123456789abcdef0123456789abcdef-delete": false,
	} {
		topic, index, ok := parseDirectory(name)
		if ok != want || ok && directoryName(topic, index) != name {
			t.Errorf("%q: %q %d %v", name, topic, index, ok)
		}
	}
}

func TestLogWithoutTopicIDIsNotServed(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.acked(w.one(), batch(1, "x"))
	w.crash()
	if err := mem.Remove("/data/t-0/partition.metadata"); err != nil {
		t.Fatal(err)
	}
	w.reopen(mem)
	if a := produce(w.get("t", 0), 1, batch(1, "y")); !errors.Is(a.Err, kerr.KafkaStorageError) {
		t.Errorf("append: %v", a.Err)
	}
	if !w.exists("/data/t-0") {
		t.Error("its directory was moved")
	}
	w.crash()
}

func TestCloseThatIsCutShortLeavesNoCleanFiles(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	w.acked(w.one(), batch(1, "x"))
	w.halt()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.set.Close(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if w.exists("/data/cordwood-clean") || w.exists("/data/.kafka_cleanshutdown") {
		t.Error("clean-shutdown files")
	}
	w.reopen(mem)
	w.settle()
	if got := w.read(w.get("t", 0), 0); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	w.crash()
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{"no directory": {Self: 1}, "no id": {Self: -1, Dirs: []string{"/data"}}} {
		c.FS = vfs.NewMem()
		if _, err := Open(c); err == nil {
			t.Errorf("%s: opens", name)
		}
	}
	fault := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpReadDir {
			return vfs.Verdict{Err: os.ErrPermission}
		}
		return vfs.Verdict{}
	})
	if _, err := Open(Config{Self: 1, Dirs: []string{"/data"}, FS: fault}); err == nil {
		t.Error("opens although no directory can be read")
	}
}

func FuzzDirectoryName(f *testing.F) {
	for _, s := range []string{"t-0", "a-b-12", "t-01", "-0", "t-2147483648", "__consumer_offsets-49"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		topic, index, ok := parseDirectory(name)
		if ok && (directoryName(topic, index) != name || index < 0 || metadata.ValidTopicName(topic) != nil) {
			t.Errorf("%q is taken for %q, %d", name, topic, index)
		}
	})
}
