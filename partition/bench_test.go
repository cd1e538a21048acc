package partition

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

func benchWorld(b *testing.B, durable bool, partitions int, change ...func(*Config)) *world {
	dir, err := os.MkdirTemp(".", "bench-") // not on a tmpfs
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	change = append(change, func(c *Config) { c.Dirs = []string{dir}; c.Log = nil })
	w := newWorld(b, vfs.OS(), change...).run()
	p := alone()
	p.Durable = durable
	w.topic(topicID(1), "t", partitions, p)
	w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "retention.bytes", Value: "1000000000"})
	b.Cleanup(w.crash)
	return w
}

// BenchmarkAppend is the path of acks=1 in page-cache mode: one batch a call.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) { benchAppend(b, 1, size, false) })
	}
	b.Run("1KB/16-in-a-burst", func(b *testing.B) { benchAppend(b, 16, 1<<10, false) })
	b.Run("1KB/idempotent", func(b *testing.B) { benchAppend(b, 1, 1<<10, true) })
}

func benchAppend(b *testing.B, burst, size int, idempotent bool) {
	w := benchWorld(b, false, 1)
	p := w.get("t", 0)
	items := make([]*Append, burst)
	for i := range items {
		items[i] = &Append{Batch: sized(size), Acks: 1}
		if idempotent {
			items[i].Batch = produced(&record.Producer{ID: 5}, 1, string(make([]byte, size-80)))
		}
	}
	p.Append(items)
	b.SetBytes(int64(burst * len(items[0].Batch)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if idempotent {
			setSequence(items[0].Batch, int32(i+1))
		}
		p.Append(items)
	}
	b.StopTimer()
	if items[0].Err != nil {
		b.Fatal(items[0].Err)
	}
}

// setSequence is what the next batch of the producer has; nobody checks the CRC here.
func setSequence(batch record.Batch, sequence int32) {
	batch[53], batch[54], batch[55], batch[56] = byte(sequence>>24), byte(sequence>>16), byte(sequence>>8), byte(sequence)
}

// BenchmarkRead finds 64 KB somewhere in the log, without reading the bytes.
func BenchmarkRead(b *testing.B) {
	w := benchWorld(b, false, 1)
	p := w.get("t", 0)
	for range 10_000 {
		produce(p, 1, sized(1<<10))
	}
	var out ReadResult
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		offset := int64(i*7919) % 9000
		p.Read(ReadRequest{Offset: offset, LeaderEpoch: 0, LastFetchedEpoch: 0, MaxBytes: 64 << 10, Whole: true}, &out)
		if out.Err != nil || out.Slice.Len() == 0 {
			b.Fatal(out.Err)
		}
		out.Slice.Release()
	}
}

// BenchmarkReadAtTheEnd is a poll that finds nothing new.
func BenchmarkReadAtTheEnd(b *testing.B) {
	w := benchWorld(b, false, 1)
	p := w.get("t", 0)
	produce(p, 1, sized(1<<10))
	var out ReadResult
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		p.Read(ReadRequest{Offset: 1, LeaderEpoch: 0, LastFetchedEpoch: 0, MaxBytes: 64 << 10, Whole: true}, &out)
	}
}

// BenchmarkAckDurable is acks=all in durable mode: producers that keep a number of batches in flight each.
func BenchmarkAckDurable(b *testing.B) {
	for _, c := range []struct{ producers, flight, size int }{{1, 1, 1 << 10}, {16, 1, 1 << 10}, {4, 100, 1 << 10}, {4, 100, 16 << 10}} {
		b.Run(fmt.Sprintf("producers=%d/flight=%d/%dKB", c.producers, c.flight, c.size>>10), func(b *testing.B) {
			w := benchWorld(b, true, 1)
			p := w.get("t", 0)
			w.acked(p, sized(c.size))
			b.SetBytes(int64(c.size))
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range c.producers {
				wg.Go(func() { pipeline(b, p, c.flight, c.size, &left) })
			}
			wg.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
			st := w.set.Stats().Dirs[0]
			b.ReportMetric(float64(b.N)/float64(st.Syncs), "acks/sync")
		})
	}
}

// BenchmarkAckManyLogs is acks=all in durable mode on many logs, each with one producer that keeps 5 batches in flight.
func BenchmarkAckManyLogs(b *testing.B) {
	for _, logs := range []int{8, 32, 100, 1000} {
		for _, size := range []int{1 << 10, 16 << 10} {
			for _, journal := range []int64{-1, segment.DefaultJournalBytes} {
				b.Run(fmt.Sprintf("logs=%d/%dKB/journal=%v", logs, size>>10, journal > 0), func(b *testing.B) {
					w := benchWorld(b, true, logs, func(c *Config) { c.JournalLimit = journal })
					for i := range int32(logs) {
						produce(w.get("t", i), -1, sized(size))
					}
					w.settle()
					b.SetBytes(int64(size))
					b.ResetTimer()
					var left atomic.Int64
					left.Store(int64(b.N))
					var wg sync.WaitGroup
					for i := range int32(logs) {
						wg.Go(func() { pipeline(b, w.get("t", i), 5, size, &left) })
					}
					wg.Wait()
					b.StopTimer()
					b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acks/s")
				})
			}
		}
	}
}

func pipeline(b *testing.B, p *Partition, flight, size int, left *atomic.Int64) {
	ring := make([]Append, flight)
	for i := range ring {
		ring[i] = Append{Batch: sized(size), Acks: -1, Last: -1}
	}
	w, woken := newWaiter()
	one := make([]*Append, 1)
	for n := 0; ; n++ {
		a := &ring[n%flight]
		for done := a.Last < 0; !done; {
			var err error
			if done, err = p.Acked(a.Last, a.Epoch); err != nil {
				b.Error(err)
			}
			if !done && p.AwaitAck(w, a.Last, a.Epoch) {
				<-woken
			}
		}
		if left.Add(-1) < 0 {
			return
		}
		one[0] = a
		p.Append(one)
	}
}

// BenchmarkFlushRound measures one round of n dirty logs, one 1 KB batch each, with a sync each and with the journal:
// where the journal is cheaper is journalFrom.
func BenchmarkFlushRound(b *testing.B) {
	for _, n := range []int{1, 10, 32, 64, 100, 300, 1000, 5000} {
		for _, journal := range []bool{false, true} {
			if journal && n < 10 {
				continue
			}
			b.Run(fmt.Sprintf("logs=%d/journal=%v", n, journal), func(b *testing.B) { benchRound(b, n, journal) })
		}
	}
}

func benchRound(b *testing.B, n int, journal bool) {
	w := benchWorld(b, true, n, func(c *Config) {
		if !journal {
			c.JournalLimit = -1
		}
	})
	d := w.set.dirs[0]
	f := d.flusher
	if journal {
		f.from = 1
	}
	items := make([]*Append, n)
	round := func() {
		f.mu.Lock()
		f.running = false // everything is queued before the first worker begins
		f.mu.Unlock()
		for i := range n {
			items[i] = produce(w.get("t", int32(i)), -1, sized(1<<10))
		}
		start := time.Now()
		f.start()
		for i, a := range items {
			if err := wait(w.get("t", int32(i)), a); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(start).Microseconds())/1000, "ms/last")
	}
	round()
	b.ResetTimer()
	for range b.N {
		round()
	}
}
