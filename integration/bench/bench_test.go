package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestABatchIsAValidRecordBatch(t *testing.T) {
	for _, size := range []int{1100, 16 << 10, 64 << 10, 1 << 20} {
		b := newBatch(size, 1000)
		if len(b) > max(size, batchHeader+1020) || len(b) < size-1100 {
			t.Errorf("a batch of %d bytes, asked for %d", len(b), size)
		}
		var r kmsg.RecordBatch
		if err := r.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		if r.Magic != 2 || int(r.Length) != len(b)-12 || uint32(r.CRC) != crc32.Checksum(b[21:], castagnoli) ||
			int(r.NumRecords) != batchRecords(b) || r.LastOffsetDelta != r.NumRecords-1 || r.ProducerID != -1 || r.FirstSequence != -1 {
			t.Errorf("header %+v", r)
		}
		rest := r.Records
		for i := range r.NumRecords {
			n, k := binary.Varint(rest)
			var rec kmsg.Record
			if err := rec.ReadFrom(rest[:k+int(n)]); err != nil || rec.OffsetDelta != i || len(rec.Value) != 1000 {
				t.Fatalf("record %d: %v, %d", i, err, rec.OffsetDelta)
			}
			rest = rest[k+int(n):]
		}
		if len(rest) > 0 {
			t.Errorf("%d bytes behind the last record", len(rest))
		}
	}
}

func TestRequestsDecode(t *testing.T) {
	batch := newBatch(1100, 1000)
	p := kmsg.NewPtrProduceRequest()
	p.Version = 7
	if err := p.ReadFrom(produceRequest("topic", 3, -1, batch)[4+15:]); err != nil {
		t.Fatal(err)
	}
	if q := p.Topics[0]; q.Topic != "topic" || q.Partitions[0].Partition != 3 || !bytes.Equal(q.Partitions[0].Records, batch) || p.Acks != -1 {
		t.Errorf("%+v", p)
	}
	f := kmsg.NewPtrFetchRequest()
	f.Version = 11
	if err := f.ReadFrom(fetchRequest("topic", 3, 77, 64<<10)[4+15:]); err != nil {
		t.Fatal(err)
	}
	if q := f.Topics[0]; q.Topic != "topic" || q.Partitions[0].FetchOffset != 77 || q.Partitions[0].PartitionMaxBytes != 64<<10 || f.SessionEpoch != -1 {
		t.Errorf("%+v", f)
	}
}

func TestProduceCountsWhatIsAnswered(t *testing.T) {
	for name, spec := range map[string]loadSpec{
		"one connection": load16k, "many": loadSmall.over(4), "few partitions": loadSmall.over(4).into(1),
		"many partitions": loadSmall.over(2).into(100), "large": load1m,
	} {
		f := startFake(t)
		batch := int64(len(newBatch(spec.batch, spec.record)))
		r, err := produce(leaders{f.addr()}, "t", spec, 200*batch, time.Minute)
		if err != nil || r.requests != 200 || f.produced.Load() != 200 || r.bytes != 200*batch || r.latency.total != 200 {
			t.Errorf("%s: %v, %d requests, %d produced, %d bytes", name, err, r.requests, f.produced.Load(), r.bytes)
		}
	}
}

func TestProduceStopsWhenItsTimeIsUp(t *testing.T) {
	f := startFake(t)
	f.delay = time.Millisecond
	r, err := produce(leaders{f.addr()}, "t", load16k, 1<<40, 100*time.Millisecond)
	if err != nil || r.requests == 0 || r.requests != f.produced.Load() {
		t.Errorf("%v, %d requests, %d produced", err, r.requests, f.produced.Load())
	}
}

func TestAnErrorCodeStopsTheLoad(t *testing.T) {
	f := startFake(t)
	f.refuse.Store(1)
	if _, err := produce(leaders{f.addr()}, "t", load16k, 1e6, time.Second); err == nil {
		t.Error("no error")
	}
}

func TestAPacedLoadKeepsItsScheduleAndCountsStalls(t *testing.T) {
	f := startFake(t)
	f.delay = 2 * time.Millisecond // two connections answer at most 1,000 a second, half of what is due
	spec := pacedSpec{loadSpec: loadSmall.over(2).into(10), rate: 2000, time: 200 * time.Millisecond}
	r, err := producePaced(leaders{f.addr()}, "t", spec, spec.schedule())
	if err != nil || r.requests != 400 || f.produced.Load() != 400 {
		t.Fatalf("%v, %d requests, %d produced", err, r.requests, f.produced.Load())
	}
	// The last request waits for 200 on its connection, 2 ms each, and was due 200 ms after the first.
	if m := r.latency.quantile(0.99); m < 150*time.Millisecond {
		t.Errorf("p99 %v: the delay of waiting requests is not counted", m)
	}
}

// With three leaders every request goes to the one that leads its partition, and none is left out.
func TestAPacedLoadGoesToTheLeaders(t *testing.T) {
	spec := pacedSpec{loadSpec: loadSmall.over(6).into(10), rate: 10_000, time: 100 * time.Millisecond}
	var fakes []*fakeBroker
	var to leaders
	for range 3 {
		f := startFake(t)
		f.kept = map[string][][]byte{}
		fakes, to = append(fakes, f), append(to, f.addr())
	}
	r, err := producePaced(to, "t", spec, spec.schedule())
	if err != nil || r.requests != 1000 {
		t.Fatalf("%v, %d requests", err, r.requests)
	}
	for p := range spec.partitions {
		for i, f := range fakes {
			want := 0
			if i == p%3 {
				want = 100
			}
			if got := len(f.kept["t"+strconv.Itoa(p)]); got != want {
				t.Errorf("partition %d at node %d: %d records, want %d", p, i+1, got, want)
			}
		}
	}
}

func TestEndToEndCountsFromTheScheduleUntilTheConsumerHasIt(t *testing.T) {
	f := startFake(t)
	f.kept = map[string][][]byte{}
	f.delay = 2 * time.Millisecond // one connection answers at most 500 a second, half of what is due
	spec := pacedSpec{loadSpec: loadSmall, rate: 1000, time: 200 * time.Millisecond}
	acked, received, err := endToEnd(f.addr(), "t", spec, 0)
	if err != nil || acked.requests != 200 || received.requests != 200 {
		t.Fatalf("%v, %d acknowledged, %d received", err, acked.requests, received.requests)
	}
	if m := received.latency.quantile(0.99); m < 150*time.Millisecond {
		t.Errorf("p99 %v: the delay of waiting records is not counted", m)
	}
}

func TestEndToEndEndsWithItsProducer(t *testing.T) {
	f := startFake(t)
	f.refuse.Store(1 << 40)
	spec := pacedSpec{loadSpec: loadSmall, rate: 1000, time: 200 * time.Millisecond}
	if _, _, err := endToEnd(f.addr(), "t", spec, 0); err == nil {
		t.Error("no error")
	}
}

func TestConsumeReadsRoundAndRound(t *testing.T) {
	for _, maxBytes := range []int32{1000, 16 << 10, 40_000, 1 << 20} {
		f := startFake(t)
		volume := 3 * f.batches * int64(len(f.batch))
		n, fetches, err := consume(f.addr(), "t", maxBytes, volume, 10*time.Second)
		if err != nil || n < volume || fetches == 0 {
			t.Errorf("max %d: %d of %d bytes in %d fetches, %v", maxBytes, n, volume, fetches, err)
		}
	}
}

func TestFirstAckRetriesUntilTheRecordIsAcknowledged(t *testing.T) {
	f := startFake(t)
	f.refuse.Store(3)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := firstAck(ctx, f.addr(), "t", true); err != nil || f.produced.Load() != 1 || f.created.Load() != 1 {
		t.Errorf("%v, %d produced, %d created", err, f.produced.Load(), f.created.Load())
	}
}

func TestFirstAckGivesUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := firstAck(ctx, "127.0.0.1:1", "t", true); !errors.Is(err, context.DeadlineExceeded) && err == nil {
		t.Error("no error")
	}
}

func TestLimitsMoveTheirBytes(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	for _, mode := range []string{"receive", "send"} {
		r, err := b.limitOf(mode, 64<<10, 4<<20)
		if err != nil || r.Bytes != 4<<20 || r.Wall <= 0 {
			t.Errorf("%s: %+v, %v", mode, r, err)
		}
	}
	h, err := b.syncLatency(1000, 5)
	if err != nil || h.total != 5 || h.quantile(0.5) <= 0 {
		t.Errorf("sync: %v", err)
	}
}

func TestHistogramErrorIsBelowOnePercent(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	var h histogram
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(r.ExpFloat64() * 1e6)
		h.add(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999} {
		got, want := h.quantile(q), all[int(q*float64(len(all)))]
		if d := float64(got-want) / float64(want); d > 0.001 || d < -0.01 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	var last time.Duration = -1
	for slot := range 40 * 128 {
		if v := valueOf(slot); v <= last && slot > 0 || slotOf(v) != slot && slot > 0 {
			t.Fatalf("slot %d begins at %v, which is in slot %d", slot, v, slotOf(v))
		}
		last = valueOf(slot)
	}
}

func TestReportShowsMediansRangesAndRatios(t *testing.T) {
	r, s := newReport(), &scenarios[0]
	for i, v := range []float64{3, 1, 2} {
		r.add(s, "rate", "MB/s", "Cordwood", v*100)
		r.add(s, "rate", "MB/s", "Kafka", v*float64(i+1)*10)
	}
	var out strings.Builder
	r.printScenario(&out, s)
	for _, want := range []string{"200.0 (100.0-300.0)", "30.0 (20.0-60.0)", "5.00 x (3.33-10.0)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	name := t.TempDir() + "/bench.md"
	if err := r.writeMarkdown(name, &bench{rounds: 3, volume: 2e9}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || !strings.Contains(string(b), "| rate | MB/s | 200.0 (100.0-300.0) |") {
		t.Errorf("%v\n%s", err, b)
	}
}

// Every scenario runs once against the fake broker, with little data: what is checked is the bench.
func TestEveryScenarioMeasures(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range scenarios {
		s := &scenarios[i]
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // they mostly wait
			b := &bench{rounds: 1, volume: 2e6, warm: 1e5, seconds: 5 * time.Second, paced: 300 * time.Millisecond,
				idle: 300 * time.Millisecond, dir: t.TempDir(), bin: self, report: newReport()}
			if err := s.run(b, s); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			b.report.printScenario(&out, s)
			t.Log(out.String())
			if len(b.report.rows) == 0 {
				t.Error("nothing measured")
			}
			if left, _ := filepath.Glob(b.dir + "/*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
