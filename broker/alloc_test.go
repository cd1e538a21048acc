//go:build !race

package broker

import (
	"encoding/binary"
	"io"
	"math"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
	"cordwood/protocol/record"
)

// frameOf is a request as bytes, to be sent again and again.
func frameOf(q kmsg.Request) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(q.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(q.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = kbin.AppendNullableString(b, kmsg.StringPtr("raw"))
	if q.IsFlexible() {
		b = append(b, 0)
	}
	b = q.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// exchange sends a frame n times and reads the answers into buf, without an allocation of its own. It returns the size
// of the last one.
func exchange(t testing.TB, c net.Conn, frame, buf []byte, n int) (size int) {
	for range n {
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf[:4]); err != nil {
			t.Fatal(err)
		}
		size = int(binary.BigEndian.Uint32(buf))
		if _, err := io.ReadFull(c, buf[:size]); err != nil {
			t.Fatal(err)
		}
	}
	return size
}

// allocations is how many heap objects the whole process makes per exchange: the least of a few measurements, since
// heartbeats, the runtime and a collection that empties the pools can only add.
func allocations(t testing.TB, c net.Conn, frame, buf []byte) float64 {
	const n = 500
	least := math.Inf(1)
	for range 4 {
		exchange(t, c, frame, buf, n/4) // fills pools, buffers and maps
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		exchange(t, c, frame, buf, n)
		runtime.ReadMemStats(&after)
		least = min(least, float64(after.Mallocs-before.Mallocs)/n)
	}
	return least
}

func benchFetch(offset int64, most int32) []byte {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.ReplicaID, q.MaxBytes, q.SessionEpoch = 12, -1, most, -1
	f := kmsg.NewFetchRequestTopic()
	f.Topic = "t"
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = offset, most, -1, -1
	f.Partitions = append(f.Partitions, p)
	q.Topics = append(q.Topics, f)
	return frameOf(q)
}

func batchOfSize(t testing.TB, records, size int) record.Batch {
	b := record.NewBuilder(record.BuilderOptions{BaseTimestamp: 1})
	for range records {
		b.Append(1, nil, []byte(strings.Repeat("x", size)), nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// produced is the frame of a Produce.
func produced(t testing.TB, acks int16, records, size int) []byte {
	return frameOf(produceRequest("t", acks, 10000, batchOfSize(t, records, size)))
}

// memoryDir is in memory where the machine has that: while a slow disk syncs, what runs in the background allocates, too.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "cordwood")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestHotPathAllocatesNothing(t *testing.T) {
	n := startNode(t, memoryDir(t), func(c *Config) {
		c.Topic.TimestampBeforeMax = metadata.Millis(1<<63 - 1)
	})
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("first")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	buf := make([]byte, 4<<20)
	cases := []struct {
		name        string
		frame       []byte // nil: a fetch at the log end
		least, most int    // bytes of an answer that is what the name says
	}{ // in this order: the fetches read what was produced
		{"produce, 1 record, acks=1", produced(t, 1, 1, 1000), 40, 100},
		{"produce, 1,000 records, acks=1", produced(t, 1, 1000, 100), 40, 100},
		{"produce, 1 record, acks=all", produced(t, -1, 1, 1000), 40, 100},
		{"fetch, small, copied", benchFetch(10, 4096), 3000, 5000},
		{"fetch, large, by sendfile", benchFetch(10, 256<<10), 200 << 10, 257 << 10},
		{"fetch of nothing at the log end", nil, 40, 100},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			frame := test.frame
			if frame == nil {
				frame = benchFetch(n.b.partitions.Lookup([]byte("t"), 0).HighWatermark(), 4096)
			}
			c, err := net.Dial("tcp", n.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := allocations(t, c, frame, buf); got > 0.2 {
				t.Errorf("%.2f allocations per request", got)
			}
			if size := exchange(t, c, frame, buf, 1); size < test.least || size > test.most {
				t.Errorf("the answer has %d bytes, want %d to %d", size, test.least, test.most)
			}
		})
	}
}
