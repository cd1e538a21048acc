package partition

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

func TestAppendStampsOffsetsAndEpoch(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.pageCache()
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = 4 })
	items := []*Append{{Batch: batch(3, "a"), Acks: 1}, {Batch: batch(1, "b"), Acks: -1}, {Batch: batch(2, "c")}}
	p.Append(items)
	next := int64(0)
	for i, a := range items {
		if a.Err != nil || a.Base != next || a.Last != next+int64(a.Batch.Count())-1 || a.Epoch != 4 || a.LogStart != 0 {
			t.Errorf("item %d: %+v", i, a)
		}
		if a.Batch.BaseOffset() != a.Base || a.Batch.LeaderEpoch() != 4 {
			t.Errorf("item %d is stamped %d, epoch %d", i, a.Batch.BaseOffset(), a.Batch.LeaderEpoch())
		}
		next = a.Last + 1
	}
	if got := w.read(p, 0); !slices.Equal(got, []string{"a", "a", "a", "b", "c", "c"}) {
		t.Errorf("read %q", got)
	}
}

func TestPageCacheModeCommitsAtOnce(t *testing.T) {
	w := newWorld(t, vfs.NewMem()) // not even running: no flusher is needed
	defer w.crash()
	p := w.pageCache()
	a := produce(p, -1, batch(2, "x"))
	if done, err := p.Acked(a.Last, a.Epoch); !done || err != nil {
		t.Errorf("acked %v, %v", done, err)
	}
	if p.HighWatermark() != 2 {
		t.Errorf("high watermark %d", p.HighWatermark())
	}
}

func TestDurableModeWaitsForTheDisk(t *testing.T) {
	for _, acks := range []int16{0, 1, -1} {
		mem := vfs.NewMem()
		w := newWorld(t, mem)
		p := w.one()
		a := produce(p, acks, batch(2, "x"))
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		if done, _ := p.Acked(a.Last, a.Epoch); done || p.HighWatermark() != 0 {
			t.Errorf("acks %d: committed before any sync", acks)
		}
		w.run() // the sync was asked for, whatever the acks (P6)
		if err := wait(p, a); err != nil {
			t.Errorf("acks %d: %v", acks, err)
		}
		if p.HighWatermark() != 2 {
			t.Errorf("high watermark %d", p.HighWatermark())
		}
		w.crash()
	}
}

func sequenced(id int64, epoch int16, sequence int32, records int) record.Batch {
	return produced(&record.Producer{ID: id, Epoch: epoch, Sequence: sequence}, records, "v")
}

func TestZ21DuplicateWaitsForItsOriginal(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	p := w.one()
	first := produce(p, -1, sequenced(7, 0, 0, 3))
	again := produce(p, -1, sequenced(7, 0, 0, 3))
	if again.Err != nil || !again.Duplicate || again.Base != first.Base || p.End() != 3 {
		t.Fatalf("not answered as a duplicate: %+v", again)
	}
	if done, err := p.Acked(again.Last, again.Epoch); done {
		t.Errorf("the duplicate is acked (%v) while the original is not committed", err)
	}
	w.run()
	if err := errors.Join(wait(p, first), wait(p, again)); err != nil {
		t.Error(err)
	}
}

func TestOneBurstHoldsSuccessiveBatchesOfAProducer(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	p := w.one()
	items := []*Append{
		{Batch: sequenced(7, 0, 0, 2), Acks: -1},
		{Batch: sequenced(7, 0, 2, 2), Acks: -1},
		{Batch: sequenced(7, 0, 2, 2), Acks: -1}, // a duplicate within the burst
		{Batch: sequenced(7, 0, 9, 1), Acks: -1}, // out of order
		{Batch: sequenced(8, 0, 0, 1), Acks: -1},
	}
	p.Append(items)
	for i, want := range []struct {
		base int64
		dup  bool
		err  error
	}{{0, false, nil}, {2, false, nil}, {2, true, nil}, {0, false, kerr.OutOfOrderSequenceNumber}, {4, false, nil}} {
		a := items[i]
		if !errors.Is(a.Err, want.err) || a.Err == nil && (a.Base != want.base || a.Duplicate != want.dup) {
			t.Errorf("item %d: base %d, duplicate %v, error %v; want %+v", i, a.Base, a.Duplicate, a.Err, want)
		}
	}
	if p.End() != 5 {
		t.Errorf("log end %d", p.End())
	}
}

func TestTooLargeForASegmentIsRefusedAlone(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	w.change(metadata.TopicCreated{ID: topicID(1), Name: "t"},
		metadata.PartitionCreated{Topic: topicID(1), Partition: alone()},
		metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: "t", Key: "segment.bytes", Value: "1048576"})
	p := w.get("t", 0)
	items := []*Append{{Batch: sized(2 << 20), Acks: 1}, {Batch: batch(1, "x"), Acks: 1}}
	p.Append(items)
	if !errors.Is(items[0].Err, kerr.RecordListTooLarge) || items[1].Err != nil || items[1].Base != 0 {
		t.Errorf("%v, %v at %d", items[0].Err, items[1].Err, items[1].Base)
	}
}

// pair is a partition on brokers 1 and 2, led by 1.
func pair(isr ...metadata.NodeID) metadata.Partition {
	p := alone()
	p.Replicas, p.ISR, p.MinISR, p.Durable = []metadata.NodeID{1, 2}, isr, 2, false
	if len(isr) < 2 {
		p.ELR = []metadata.NodeID{2}
	}
	return p
}

func TestMinISR(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	w.topic(topicID(1), "t", 1, pair(1, 2))
	p := w.get("t", 0)
	first := produce(p, -1, batch(1, "before"))
	if first.Err != nil {
		t.Fatal(first.Err)
	}
	wtr, woken := newWaiter()
	if !p.AwaitAck(wtr, first.Last, first.Epoch) {
		t.Fatal("acked without the follower")
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.ISR, p.ELR = []metadata.NodeID{1}, []metadata.NodeID{2} })
	<-woken // at once, not at the timeout
	if done, err := p.Acked(first.Last, first.Epoch); !done || !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
		t.Errorf("after the ISR fell: done %v, %v", done, err)
	}
	if p.AwaitAck(wtr, first.Last, first.Epoch) {
		t.Error("parks although there is an outcome")
	}
	end := p.End()
	if a := produce(p, -1, batch(1, "x")); !errors.Is(a.Err, kerr.NotEnoughReplicas) || p.End() != end {
		t.Errorf("acks=all: %v, log end %d (trap 13)", a.Err, p.End())
	}
	if a := produce(p, 1, batch(1, "x")); a.Err != nil || p.HighWatermark() != 0 {
		t.Errorf("acks=1: %v, high watermark %d (trap 14)", a.Err, p.HighWatermark())
	}
}

func TestAppendInAnotherEpoch(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	defer w.crash()
	p := w.pageCache()
	for epoch, want := range map[int32]error{0: nil, 1: kerr.NotLeaderForPartition} {
		a := &Append{Batch: batch(1, "x"), Acks: -1}
		p.AppendIn(epoch, []*Append{a})
		if !errors.Is(a.Err, want) {
			t.Errorf("epoch %d: %v", epoch, a.Err)
		}
	}
	if p.End() != 1 {
		t.Errorf("log end %d", p.End())
	}
}

func TestAppendsOfAnEpochFollowItsBeginningOnDisk(t *testing.T) {
	mem := vfs.NewMem()
	w := newWorld(t, mem)
	p := w.one()
	if w.exists("/data/t-0") {
		t.Error("a partition nobody wrote to has a directory")
	}
	w.run()
	w.acked(p, batch(1, "x"))
	for epoch := int32(1); epoch < 4; epoch++ { // also an epoch without appends
		w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = epoch })
		if epoch != 2 {
			w.acked(p, batch(1, "x"))
		}
	}
	for asked, want := range map[int32][2]int64{0: {0, 1}, 1: {1, 2}, 2: {1, 2}, 3: {3, 3}, 4: {-1, -1}, -5: {-1, -1}} {
		e, end, err := p.EpochEnd(-1, asked)
		if err != nil || int64(e) != want[0] || end != want[1] {
			t.Errorf("end of epoch %d: (%d, %d) %v, want %v", asked, e, end, err, want)
		}
	}
	w.halt()
	w.reopen(mem.CrashClone(nil)) // what is on disk, and no more
	if e, end, err := w.get("t", 0).EpochEnd(-1, 1); err != nil || e != 1 || end != 2 {
		t.Errorf("after a crash, end of epoch 1: (%d, %d) %v", e, end, err)
	}
	w.crash()
}

func TestRoleChangeEndsWaitsAtOnce(t *testing.T) {
	w := newWorld(t, vfs.NewMem()).run()
	defer w.crash()
	w.topic(topicID(1), "t", 1, pair(1, 2))
	p := w.get("t", 0)
	a := produce(p, -1, batch(1, "x"))
	ack, acked := newWaiter()
	fetch, fetched := newWaiter()
	if !p.AwaitAck(ack, a.Last, a.Epoch) || !p.Await(fetch, p.HighWatermark()+1, a.Epoch) {
		t.Fatal("does not park")
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.Leader, p.LeaderEpoch = 2, 1 })
	<-acked
	<-fetched
	if done, err := p.Acked(a.Last, a.Epoch); !done || !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Errorf("trap 55: done %v, %v", done, err)
	}
	if p.Await(fetch, 99, a.Epoch) {
		t.Error("a fetch parks at a follower")
	}
	if b := produce(p, 1, batch(1, "x")); !errors.Is(b.Err, kerr.NotLeaderForPartition) {
		t.Errorf("append to a follower: %v", b.Err)
	}
	w.alter(topicID(1), 0, func(p *metadata.Partition) { p.Leader, p.LeaderEpoch = 1, 2 })
	if done, err := p.Acked(a.Last, a.Epoch); !done || !errors.Is(err, kerr.NotLeaderForPartition) {
		t.Errorf("leader again, of another epoch: done %v, %v", done, err)
	}
	if role, epoch := p.Role(); role != Leader || epoch != 2 {
		t.Errorf("role %s, epoch %d", role, epoch)
	}
}

// TestAwaitWithThePartition races acks and fetches against flushes and elections, slow and fast. In the bubble a lost
// wakeup is a deadlock.
func TestAwaitWithThePartition(t *testing.T) {
	for _, every := range []int{1, 20} {
		synctest.Test(t, func(t *testing.T) { raceAcks(t, every) })
	}
}
