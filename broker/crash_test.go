package broker

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/segment/vfs"
)

// crashPoint is what a power cut left at one sync of a scripted run, and what had been acknowledged by then.
type crashPoint struct {
	at    string
	disk  *vfs.Mem
	acked uint64 // records 0..acked-1 of topic "t"
}

// script runs a broker on mem: an automatic topic, a topic of two partitions, an idempotent producer, a group. It
// takes a power cut at every sync point.
func script(t *testing.T, records uint64) []crashPoint {
	var mu sync.Mutex
	var points []crashPoint
	var acked uint64
	rng := rand.New(rand.NewPCG(1, 2))
	mem := vfs.NewMem()
	mem.OnSync = func(p vfs.SyncPoint) {
		mu.Lock()
		defer mu.Unlock()
		var tear *rand.Rand
		if rng.IntN(2) == 0 {
			tear = rng // keep a random part of what was not synced
		}
		points = append(points, crashPoint{fmt.Sprintf("sync %d (%+v)", len(points), p), mem.CrashClone(tear), acked})
	}
	n := startNode(t, "/data", func(c *Config) { c.FS = mem; c.Offsets.Partitions = 1; c.Topic.SegmentBytes = 1 << 20 })
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if _, err := kadm.NewClient(cl).CreateTopic(testContext(t), 2, 1, nil, "second"); err != nil {
		t.Fatal(err)
	}
	for i := range records {
		r := &kgo.Record{Value: binary.BigEndian.AppendUint64(make([]byte, 0, 60<<10), i)[:60<<10]}
		if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		acked = i + 1
		mu.Unlock()
	}
	reader := n.client(kgo.ConsumeTopics("t"), kgo.ConsumerGroup("g"), kgo.DisableAutoCommit())
	if err := reader.CommitRecords(testContext(t), consume(t, reader, int(records))...); err != nil {
		t.Fatal(err)
	}
	n.close()
	return points
}

func TestEverySyncPointKeepsWhatWasAcknowledged(t *testing.T) {
	const records = 40
	points := script(t, records)
	if len(points) < 2*records {
		t.Fatalf("only %d sync points: the records were not synced one by one", len(points))
	}
	for i := 0; i < len(points); i += 1 + len(points)/60 {
		p := points[i]
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			n := startNode(t, "/data", func(c *Config) { c.FS = p.disk; c.Offsets.Partitions = 1 })
			defer n.close()
			if p.acked == 0 {
				return
			}
			cl := n.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().AtStart()}}))
			for j, r := range consume(t, cl, int(p.acked)) {
				if got := binary.BigEndian.Uint64(r.Value); got != uint64(j) || r.Offset != int64(j) {
					t.Fatalf("%s: record %d at offset %d, want %d", p.at, got, r.Offset, j)
				}
			}
		})
	}
}
