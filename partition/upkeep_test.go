package partition

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

func TestHighWatermarksAreCheckpointed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := newWorld(t, mem).run()
		p := w.pageCache()
		produce(p, 1, batch(7, "x"))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		data, err := vfs.ReadFile(mem, "/data/replication-offset-checkpoint", 1000)
		if err != nil || string(data) != "0\n1\nt 0 7\n" {
			t.Errorf("%q, %v", data, err)
		}
		w.crash()
	})
}

// Z31: the checkpointed high watermark is a hint; without it nothing is cut off.
func TestZ31MissingHighWatermarksLoseNothing(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	p := w.one()
	w.acked(p, batch(5, "x"))
	w.close(3)
	if err := mem.Remove("/data/replication-offset-checkpoint"); err != nil {
		t.Fatal(err)
	}
	w.reopen(mem)
	if p = w.get("t", 0); p.HighWatermark() != 5 || len(w.read(p, 0)) != 5 {
		t.Errorf("high watermark %d", p.HighWatermark())
	}
	w.crash()
}

func TestRetentionDropsAndRemovesSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		w := newWorld(t, mem).run()
		w.topic(topicID(1), "t", 1, alone())
		w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "segment.bytes", Value: "1048576"},
			metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "retention.bytes", Value: "3000000"})
		p := w.get("t", 0)
		for range 100 {
			w.acked(p, sized(100_000))
		}
		logs := func() (n int) {
			for _, name := range w.list("/data/t-0") {
				if strings.HasSuffix(name, ".log") {
					n++
				}
			}
			return n
		}
		if n := logs(); n < 9 {
			t.Fatalf("%d segments", n)
		}
		time.Sleep(32 * time.Second) // the first pass is after half a minute
		synctest.Wait()
		if p.Start() == 0 || p.Describe().Size > 4_200_000 || logs() > 4 {
			t.Errorf("start %d, size %d, %d segments", p.Start(), p.Describe().Size, logs())
		}
		if !slices.ContainsFunc(w.list("/data/t-0"), func(n string) bool { return strings.HasSuffix(n, ".deleted") }) {
			t.Errorf("not kept for file.delete.delay: %q", w.list("/data/t-0"))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if slices.ContainsFunc(w.list("/data/t-0"), func(n string) bool { return strings.HasSuffix(n, ".deleted") }) {
			t.Errorf("not removed: %q", w.list("/data/t-0"))
		}
		if got := w.read(p, p.Start()); int64(len(got)) != p.End()-p.Start() {
			t.Errorf("%d records from %d to %d", len(got), p.Start(), p.End())
		}
		w.crash()
	})
}

// Z33: retention stops at the high watermark, however old the records are.
func TestZ33RetentionKeepsWhatIsNotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewMem()).run()
		w.topic(topicID(1), "t", 1, pair(1, 2)) // the follower has nothing
		w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "segment.bytes", Value: "1048576"},
			metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "retention.ms", Value: "1000"})
		p := w.get("t", 0)
		for range 30 {
			if a := produce(p, 1, sized(100_000)); a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if p.Start() != 0 || p.HighWatermark() != 0 {
			t.Errorf("start %d, high watermark %d", p.Start(), p.HighWatermark())
		}
		w.alter(topicID(1), 0, func(p *metadata.Partition) { p.ISR, p.MinISR = []metadata.NodeID{1}, 1 })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if p.Start() == 0 {
			t.Error("nothing was dropped once it was committed")
		}
		w.crash()
	})
}

func TestIdleProducersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, vfs.NewMem()).run()
		p := w.one()
		w.acked(p, sequenced(7, 0, 0, 1))
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if all, _ := p.Producers(); len(all) != 1 {
			t.Errorf("%d producers after 23 h", len(all))
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if all, _ := p.Producers(); len(all) != 0 {
			t.Errorf("%d producers after 25 h", len(all))
		}
		w.crash()
	})
}

func TestIdleSetDoesNotTouchTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem(), func(vfs.Op) vfs.Verdict { return vfs.Verdict{} })
		w := newWorld(t, fault).run()
		w.topic(topicID(1), "t", 50, alone())
		w.acked(w.get("t", 0), batch(1, "x"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before := fault.Count()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := fault.Count() - before; n > 20 { // retention may look at the one segment
			t.Errorf("%d operations in an idle hour", n)
		}
		w.crash()
	})
}
