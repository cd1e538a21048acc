package partition

import (
	"encoding/binary"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"sync"
	"testing"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

func manyID(i int) (id metadata.TopicID) {
	binary.BigEndian.PutUint32(id[:], uint32(i)*2654435761)
	binary.BigEndian.PutUint32(id[4:], uint32(i)+1)
	return id
}

// TestCreationIsNotQuadratic creates topics one image at a time: four times as many allocate about four times as much.
func TestCreationIsNotQuadratic(t *testing.T) {
	create := func(n int) (bytes uint64) {
		w := newWorld(t, vfs.NewMem(), func(c *Config) { c.Log = nil })
		defer w.crash()
		for i := range n {
			img, err := w.img.With(w.img.Index()+1, []metadata.Change{
				metadata.TopicCreated{ID: manyID(i), Name: "topic-" + strconv.Itoa(i)},
				metadata.PartitionCreated{Topic: manyID(i), Partition: alone()}})
			if err != nil {
				t.Fatal(err)
			}
			w.img = img
			before := allocated()
			w.set.Apply(img)
			bytes += allocated() - before
		}
		return bytes
	}
	small, large := create(1000), create(4000)
	t.Logf("1,000 topics %d KB, 4,000 topics %d KB", small>>10, large>>10)
	if large > 8*small {
		t.Errorf("4 times as many topics took %.1f times as much", float64(large)/float64(small))
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestTenThousandPartitions writes to each of 10,000 partitions on a real disk, stops cleanly, and starts again.
func TestTenThousandPartitions(t *testing.T) {
	if testing.Short() {
		t.Log("10,000 partitions are for the full run")
		return
	}
	const n = 10_000
	dir := t.TempDir()
	p := alone()
	p.Durable = false
	w := newWorld(t, vfs.OS(), func(c *Config) { c.Dirs = []string{dir}; c.Log = nil; c.JournalLimit = 64 << 20 })
	w.run()
	start := time.Now()
	w.topic(topicID(1), "t", n, p)
	t.Logf("created in %s", time.Since(start))
	start = time.Now()
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := k; i < n; i += 8 {
				if a := produce(w.get("t", int32(i)), 1, batch(1, "x")); a.Err != nil {
					t.Error(a.Err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("first appends in %s", time.Since(start))
	start = time.Now()
	w.close(1)
	t.Logf("closed in %s", time.Since(start))

	before := heap()
	start = time.Now()
	w.reopen(w.fs)
	took := time.Since(start)
	files := openFiles(t)
	t.Logf("started in %s, heap +%d MB, %d files open", took, (heap()-before)>>20, files)
	if took > 3*time.Second || files > 2000 {
		t.Errorf("start took %s with %d files open", took, files)
	}
	if grown := heap() - before; grown > 100<<20 {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
	for _, i := range []int32{0, 777, n - 1} {
		if p := w.get("t", i); p.HighWatermark() != 1 {
			t.Errorf("partition %d: high watermark %d", i, p.HighWatermark())
		}
	}
	w.crash()
	start = time.Now()
	w.reopen(w.fs)
	t.Logf("after a crash started in %s, heap +%d MB", time.Since(start), (heap()-before)>>20)
	w.crash()
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Log(err)
	}
	return len(entries)
}
