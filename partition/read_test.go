package partition

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

func TestReadBounds(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	p := w.one()
	w.run()
	w.acked(p, batch(4, "a"))
	w.acked(p, batch(4, "b"))
	w.halt() // from here on nothing is synced: 8 is committed, 8 to 11 is not
	produce(p, 1, batch(4, "c"))
	for _, c := range []struct {
		name   string
		offset int64
		epoch  int32
		bytes  int
		err    *kerr.Error
		empty  bool
	}{
		{"start", 0, -1, 1 << 20, nil, false},
		{"middle of a batch", 5, 0, 1 << 20, nil, false},
		{"high watermark", 8, -1, 1 << 20, nil, true},
		{"above the high watermark (trap 29)", 10, -1, 1 << 20, nil, true},
		{"log end", 12, -1, 1 << 20, nil, true},
		{"above the log end", 13, -1, 1 << 20, kerr.OffsetOutOfRange, true},
		{"negative", -1, -1, 1 << 20, kerr.OffsetOutOfRange, true},
		{"no room, but the first batch whole (trap 27)", 0, -1, 1, nil, false},
		{"newer epoch (trap 37)", 0, 1, 1 << 20, kerr.UnknownLeaderEpoch, true},
	} {
		var out ReadResult
		p.Read(ReadRequest{Offset: c.offset, LeaderEpoch: c.epoch, LastFetchedEpoch: -1, MaxBytes: c.bytes, Whole: true}, &out)
		if c.err == nil && out.Err != nil || c.err != nil && !errors.Is(out.Err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, out.Err, c.err)
			continue
		}
		if (out.Slice.Len() == 0) != c.empty {
			t.Errorf("%s: %d bytes", c.name, out.Slice.Len())
		}
		if out.Err == nil && (out.HighWatermark != 8 || out.LastStable != 8 || out.LogStart != 0) {
			t.Errorf("%s: high watermark %d, last stable %d, start %d", c.name, out.HighWatermark, out.LastStable, out.LogStart)
		}
		if out.Err != nil && (out.HighWatermark != -1 || out.LastStable != -1 || out.LogStart != -1) {
			t.Errorf("%s: an error with offsets", c.name)
		}
		out.Slice.Release()
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 3 })
	var out ReadResult
	if p.Read(ReadRequest{Offset: 0, LeaderEpoch: 0, LastFetchedEpoch: -1}, &out); !errors.Is(out.Err, kerr.FencedLeaderEpoch) {
		t.Errorf("older epoch: %v", out.Err)
	}
}

func TestReadOfAPartitionNobodyWroteTo(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	p := w.one()
	for offset, want := range map[int64]error{0: nil, 1: kerr.OffsetOutOfRange} {
		var out ReadResult
		p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 100}, &out)
		if !errors.Is(out.Err, want) || out.Slice.Len() != 0 {
			t.Errorf("offset %d: %v", offset, out.Err)
		}
	}
	for ts, want := range map[int64]int64{LatestOffset: 0, EarliestOffset: 0, MaxTimestampOffset: -1, 5: -1} {
		if o, err := p.ListOffset(ts, false, -1); err != nil || o.Offset != want {
			t.Errorf("timestamp %d: %+v, %v", ts, o, err)
		}
	}
}

func TestDivergingClientIsTold(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.one()
	w.acked(p, batch(5, "a"))
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 3 })
	w.acked(p, batch(5, "b"))
	for _, c := range []struct {
		offset      int64
		last, epoch int32
		end         int64
	}{
		{5, 0, -1, -1},  // had all of epoch 0
		{10, 3, -1, -1}, // and all of epoch 3
		{7, 0, 0, 5},    // had more of epoch 0 than there is (KIP-320)
		{7, 2, 0, 5},    // had an epoch that is not in this log
	} {
		var out ReadResult
		p.Read(ReadRequest{Offset: c.offset, LeaderEpoch: -1, LastFetchedEpoch: c.last, MaxBytes: 1 << 20}, &out)
		if out.Err != nil || out.DivergingEpoch != c.epoch || out.DivergingEnd != c.end {
			t.Errorf("at %d after epoch %d: (%d, %d) %v", c.offset, c.last, out.DivergingEpoch, out.DivergingEnd, out.Err)
		}
		out.Slice.Release()
	}
}

func TestReadCommittedStopsAtAnOpenTransaction(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.one()
	w.acked(p, batch(2, "plain"))
	b := record.NewBuilder(record.BuilderOptions{Producer: &record.Producer{ID: 9}, Transactional: true})
	b.Append(1, nil, []byte("txn"), nil)
	txn, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	w.acked(p, txn)
	w.acked(p, batch(2, "plain"))
	var out ReadResult
	p.Read(ReadRequest{Offset: 0, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Committed: true}, &out)
	if out.Err != nil || out.LastStable != 2 || out.HighWatermark != 5 || out.Slice.End() != 2 {
		t.Errorf("last stable %d, high watermark %d, read to %d, %v", out.LastStable, out.HighWatermark, out.Slice.End(), out.Err)
	}
	out.Slice.Release()
	p.Read(ReadRequest{Offset: 3, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Committed: true}, &out)
	if out.Err != nil || out.Slice.Len() != 0 {
		t.Errorf("above the last stable offset: %d bytes, %v", out.Slice.Len(), out.Err)
	}
	for committed, want := range map[bool]int64{false: 5, true: 2} {
		if o, err := p.ListOffset(LatestOffset, committed, -1); err != nil || o.Offset != want {
			t.Errorf("latest, committed %v: %+v, %v", committed, o, err)
		}
	}
	if all, err := p.Producers(); err != nil || len(all) != 1 || all[0].ProducerID != 9 {
		t.Errorf("producers %+v, %v", all, err)
	}
}

func TestListOffset(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.one()
	at := func(ts ...int64) record.Batch {
		b := record.NewBuilder(record.BuilderOptions{})
		for _, ts := range ts {
			b.Append(ts, nil, []byte("v"), nil)
		}
		out, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	w.acked(p, at(1000, 1010, 1020))
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 2 })
	w.acked(p, at(1500, 1200))
	for _, c := range []struct {
		ts   int64
		want Offset
	}{
		{LatestOffset, Offset{5, -1, 2}},
		{EarliestOffset, Offset{0, -1, 0}},
		{EarliestLocalOffset, Offset{0, -1, 0}},
		{MaxTimestampOffset, Offset{3, 1500, 2}},
		{LatestTieredOffset, noOffset},
		{EarliestPendingOffset, noOffset},
		{-9, noOffset}, // bad input 142
		{0, Offset{0, 1000, 0}},
		{1005, Offset{1, 1010, 0}}, // inside the batch (trap 35)
		{1021, Offset{3, 1500, 2}},
		{1501, noOffset},
	} {
		if got, err := p.ListOffset(c.ts, false, -1); err != nil || got != c.want {
			t.Errorf("timestamp %d: %+v, %v; want %+v", c.ts, got, err, c.want)
		}
	}
	if _, err := p.ListOffset(LatestOffset, false, 1); !errors.Is(err, kerr.FencedLeaderEpoch) {
		t.Errorf("older epoch: %v", err)
	}
	if _, err := p.ListOffset(LatestOffset, false, 3); !errors.Is(err, kerr.UnknownLeaderEpoch) {
		t.Errorf("newer epoch: %v", err)
	}
}

// Trap 36: after an election the end is not told before what the election found is committed.
func TestZ19OffsetsAreNotToldBeforeTheyAreSafe(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	w.topic(topicID(1), "t", 1, pair(1, 2))
	p := w.get("t", 0)
	produce(p, 1, batch(3, "x")) // the follower does not have them
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 1 })
	if p.Applied() {
		t.Error("applied")
	}
	for _, ts := range []int64{LatestOffset, 0, MaxTimestampOffset} {
		if o, err := p.ListOffset(ts, false, -1); !errors.Is(err, kerr.OffsetNotAvailable) {
			t.Errorf("timestamp %d: %+v, %v", ts, o, err)
		}
	}
	if o, err := p.ListOffset(EarliestOffset, false, -1); err != nil || o.Offset != 0 {
		t.Errorf("earliest: %+v, %v", o, err)
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { // the follower leaves
		p.ISR, p.MinISR = []metadata.NodeID{1}, 1
	})
	if o, err := p.ListOffset(LatestOffset, false, -1); err != nil || o.Offset != 3 || !p.Applied() {
		t.Errorf("latest: %+v, %v", o, err)
	}
}

func TestDeleteRecords(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem).run()
	p := w.one()
	w.acked(p, batch(5, "a"))
	w.acked(p, batch(5, "b"))
	for _, c := range []struct {
		offset, start int64
		err           error
	}{
		{11, -1, kerr.OffsetOutOfRange}, // bad input 144
		{-2, -1, kerr.OffsetOutOfRange},
		{0, 0, nil},
		{7, 7, nil},
		{3, 7, nil}, // below the start: nothing to do
	} {
		if start, err := p.DeleteRecords(c.offset); start != c.start || !errors.Is(err, c.err) {
			t.Errorf("to %d: %d, %v", c.offset, start, err)
		}
	}
	if got := w.read(p, 7); len(got) != 3 {
		t.Errorf("read %q", got)
	}
	var out ReadResult
	if p.Read(ReadRequest{Offset: 6, LeaderEpoch: -1, LastFetchedEpoch: -1}, &out); !errors.Is(out.Err, kerr.OffsetOutOfRange) {
		t.Errorf("read of a deleted record: %v", out.Err)
	}
	w.halt()
	w.reopen(mem.CrashClone(nil))
	if p = w.get("t", 0); p.Start() != 7 {
		t.Errorf("after a crash the log starts at %d: deleted records came back", p.Start())
	}
	if start, err := p.DeleteRecords(-1); err != nil || start != 10 {
		t.Errorf("to the high watermark: %d, %v", start, err)
	}
	w.config("t", "cleanup.policy", "compact")
	if _, err := p.DeleteRecords(-1); !errors.Is(err, kerr.PolicyViolation) {
		t.Errorf("on a compacted topic: %v", err)
	}
	w.crash()
}
