package controller

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"
)

func allocate(n *running, epoch int64) error {
	_, _, err := Do(ctx, n.Node, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AllocateProducerIDsReply], error) {
		return decide.AllocateProducerIDs(img, decide.AllocateProducerIDsRequest{Broker: 1, Epoch: epoch}, now)
	})
	return err
}

// BenchmarkDo is one decision with its fsync, alone and with many at once.
func BenchmarkDo(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprint(parallel), func(b *testing.B) {
			n := start(b, config(vfs.OS(), filepath.Join(b.TempDir(), "raft")))
			defer n.stop()
			epoch := n.join(1, 1)
			b.SetParallelism((parallel + 1) / 2)
			b.ResetTimer()
			if parallel == 1 {
				for b.Loop() {
					if err := allocate(n, epoch); err != nil {
						b.Fatal(err)
					}
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := allocate(n, epoch); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkHeartbeat changes nothing and is answered beside the queue.
func BenchmarkHeartbeat(b *testing.B) {
	n := start(b, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	epoch := n.join(1, 1)
	for b.Loop() {
		if _, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: 1, Epoch: epoch, MetadataIndex: n.Image().Index()}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is Open to Ready, in an empty directory and with a full log.
func BenchmarkStart(b *testing.B) {
	for _, entries := range []int{0, 8000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			cfg := config(vfs.OS(), filepath.Join(b.TempDir(), "raft"))
			if entries > 0 {
				n := start(b, cfg)
				epoch := n.join(1, 1)
				for range entries {
					if err := allocate(n, epoch); err != nil {
						b.Fatal(err)
					}
				}
				n.stop()
			}
			var lives atomic.Int64
			for b.Loop() {
				if entries == 0 {
					cfg.Dir = filepath.Join(b.TempDir(), fmt.Sprint(lives.Add(1)))
				}
				n := start(b, cfg)
				b.StopTimer()
				n.stop()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkTakeover is a broker with 10,000 partitions that was killed and comes back:
// two entries with all of them.
func BenchmarkTakeover10000(b *testing.B) {
	n := start(b, config(vfs.OS(), filepath.Join(b.TempDir(), "raft")))
	defer n.stop()
	n.join(1, 1)
	for i := range 100 {
		n.mustCreate(fmt.Sprintf("t%d", i), 100)
	}
	life := byte(1)
	for b.Loop() {
		life++
		n.join(1, life)
	}
	if p := n.Image().Topic("t7").Partitions[3]; p.Leader != 1 || p.LeaderEpoch == 0 {
		b.Fatalf("%+v", p)
	}
}
