package coordinator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// served runs one shard outside of a bubble.
func served(b *testing.B, l *memLog) *Runtime {
	r := New(Config{NewMachine: func(int32) machine.Machine { return group.New(group.Config{Rand: rand.NewChaCha8([32]byte{})}) }})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	r.Elected(0, 1, l.lead(1))
	for r.Stats().Loads == 0 || r.Stats().Loading > 0 {
		time.Sleep(time.Millisecond)
	}
	b.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// Commits of 64 clients at once, through the queue, the rules and a log in memory.
func BenchmarkCommitsOf64Clients(b *testing.B) {
	r := served(b, newMemLog())
	var client atomic.Int64
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 9, fmt.Sprint("g", client.Add(1)), -1
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: make([]kmsg.OffsetCommitRequestTopicPartition, 1)}}
		for pb.Next() {
			if _, err := r.Do(context.Background(), 0, func(m machine.Machine, _ uint64, now time.Time) machine.Result {
				return m.(*group.Machine).OffsetCommit(req, now)
			}); err != nil {
				b.Error(err)
			}
		}
	})
}

// A shard with 100,000 commits in its log is loaded.
func BenchmarkLoad100000Commits(b *testing.B) {
	l := newMemLog()
	for i := range 1000 {
		entries := make([]machine.Entry, 100)
		for j := range entries {
			entries[j] = offsetOf(fmt.Sprint("group-", (i*100+j)%5000), int64(i))
		}
		l.put(batchOf(b, plain, entries...))
	}
	cfg := Config{NewMachine: func(int32) machine.Machine {
		return group.New(group.Config{Rand: rand.NewChaCha8([32]byte{})})
	}}
	cfg.fill()
	s := newShard(&cfg, &counters{}, 0, 1, wholeLog{l.lead(1), l})
	s.begin(b.Context())
	for b.Loop() {
		if err := s.load(); err != nil {
			b.Fatal(err)
		}
	}
}

// wholeLog reads as much at once as the buffer takes.
type wholeLog struct {
	Log
	l *memLog
}

func (w wholeLog) Read(offset int64, buf []byte) ([]byte, error) {
	i := int(offset / 100)
	for buf = buf[:0]; i < len(w.l.batches) && len(buf)+len(w.l.batches[i]) <= cap(buf); i++ {
		buf = append(buf, w.l.batches[i]...)
	}
	return buf, nil
}
