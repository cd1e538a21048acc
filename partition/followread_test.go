package partition

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

// followed is a follower whose fetcher is moved by hand: each call of answers is one round with the leader.
func followed(t *testing.T) (w *world, p *Partition, answers func(...*Fetched)) {
	t.Helper()
	w, p, _ = paired(t, other, newScript())
	return w, p, func(all ...*Fetched) {
		f := p.fetches.Load()
		f.takeChanges()
		r := f.next(time.Now())
		f.full = false
		var to FetchResponse
		for _, a := range all {
			a.PartitionID = PartitionID{p.topic.id, p.index}
			to.Partitions = append(to.Partitions, *a)
		}
		if len(all) > 0 && r.Partitions == 0 {
			t.Fatal("the partition is not asked for")
		}
		f.take(&to)
	}
}

// followerRead is a consumer's read at a follower.
func followerRead(p *Partition, offset int64) (out ReadResult) {
	p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Whole: true, FromFollower: true}, &out)
	return out
}

func wantRead(t *testing.T, p *Partition, when string, err *kerr.Error) {
	t.Helper()
	out := followerRead(p, 0)
	defer out.Slice.Release()
	switch {
	case err == nil && (out.Err != nil || out.Slice.Len() == 0):
		t.Errorf("%s: %d bytes, %v", when, out.Slice.Len(), out.Err)
	case err != nil && !errors.Is(out.Err, err):
		t.Errorf("%s: %d bytes, %v, not %v", when, out.Slice.Len(), out.Err, err)
	}
}

func TestAFollowerServesReadsUpToItsHighWatermark(t *testing.T) {
	_, p, answers := followed(t)
	answers(answer(2, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	for _, c := range []struct {
		offset int64
		bytes  bool
		err    error
	}{{0, true, nil}, {2, false, nil}, {4, false, nil}, {5, false, kerr.OffsetNotAvailable}, {-1, false, kerr.OffsetOutOfRange}} {
		out := followerRead(p, c.offset)
		if out.Err != c.err || (out.Slice.Len() > 0) != c.bytes || !out.AtFollower { //nolint:errorlint // exactly that one
			t.Errorf("offset %d: %d bytes, %v", c.offset, out.Slice.Len(), out.Err)
		}
		if out.Slice.Len() > 0 && out.Slice.End() != 2 {
			t.Errorf("offset %d: read up to %d", c.offset, out.Slice.End())
		}
		if out.Err == nil && (out.HighWatermark != 2 || out.LastStable != 2) {
			t.Errorf("offset %d: high watermark %d, last stable %d", c.offset, out.HighWatermark, out.LastStable)
		}
		out.Slice.Release()
	}
	var out ReadResult
	p.Read(ReadRequest{LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1}, &out)
	if !errors.Is(out.Err, kerr.NotLeaderForPartition) {
		t.Errorf("without FromFollower: %v", out.Err)
	}
	for epoch, err := range map[int32]error{0: nil, 1: kerr.UnknownLeaderEpoch} {
		p.Read(ReadRequest{LeaderEpoch: epoch, LastFetchedEpoch: -1, MaxBytes: 1, FromFollower: true}, &out)
		if !errors.Is(out.Err, err) {
			t.Errorf("with leader epoch %d: %v", epoch, out.Err)
		}
		out.Slice.Release()
	}
}

// Whoever is told of a log start above its offset knows that the leader may have it still (KIP-392).
func TestAFollowerBelowWhoseLogStartIsReadTellsIt(t *testing.T) {
	_, p, answers := followed(t)
	answers(answer(4, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	trimmed := answer(4)
	trimmed.LogStart = 2
	answers(trimmed)
	if out := followerRead(p, 1); !errors.Is(out.Err, kerr.OffsetOutOfRange) || out.LogStart != 2 || out.HighWatermark != -1 {
		t.Errorf("%v, log start %d, high watermark %d", out.Err, out.LogStart, out.HighWatermark)
	}
}

func TestP21AFollowerIsReadFromOnlyWhileItsLeaderAgrees(t *testing.T) {
	w, p, answers := followed(t)
	wantRead(t, p, "before the leader has answered", kerr.NotLeaderForPartition)
	answers(answer(2, stamped(0, 0, 2, "a")))
	wantRead(t, p, "after it has", nil)
	answers()
	wantRead(t, p, "when there is no news", nil)
	w.elect(other)
	wantRead(t, p, "in the next leader epoch", kerr.NotLeaderForPartition)
	answers()
	wantRead(t, p, "when its leader has no news of it", nil)
	answers(&Fetched{Err: kerr.KafkaStorageError, HighWatermark: -1, DivergingEnd: -1})
	wantRead(t, p, "while its leader refuses it", kerr.NotLeaderForPartition)
	w.elect(self)
	wantRead(t, p, "as the leader", nil)
	w.alter(topicID(1), 0, func(m *metadata.Partition) { m.Leader, m.LeaderEpoch = metadata.NoNode, m.LeaderEpoch+1 })
	wantRead(t, p, "without a leader", kerr.NotLeaderForPartition)
}

// What an unclean election gave up was committed here, as far as this replica knows.
func TestP21RecordsThatAnElectionGaveUpAreNotServed(t *testing.T) {
	w, p, answers := followed(t)
	answers(answer(4, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	w.alter(topicID(1), 0, func(m *metadata.Partition) {
		m.LeaderEpoch, m.UncleanEpoch, m.Recovering, m.ISR = m.LeaderEpoch+1, m.LeaderEpoch+1, true, []metadata.NodeID{other}
	})
	wantRead(t, p, "after the election", kerr.NotLeaderForPartition)
	answers(&Fetched{HighWatermark: 2, DivergingEpoch: 0, DivergingEnd: 2})
	wantEnd(t, p, 2, 2)
	wantRead(t, p, "after the truncation, before the leader has seen where the log ends now", kerr.NotLeaderForPartition)
	answers(answer(2))
	wantRead(t, p, "after it has", nil)
	if out := followerRead(p, 3); !errors.Is(out.Err, kerr.OffsetNotAvailable) {
		t.Errorf("where records were given up: %v", out.Err)
	}
}

func TestP21AFollowerThatDoesNotHearItsLeaderSendsConsumersBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p, answers := followed(t)
		answers(answer(2, stamped(0, 0, 2, "a")))
		time.Sleep(w.set.cfg.MaxLag)
		wantRead(t, p, "after the longest silence", nil)
		time.Sleep(time.Millisecond)
		wantRead(t, p, "after a longer one", kerr.NotLeaderForPartition)
		answers()
		wantRead(t, p, "when it answers again", nil)
	})
}

func TestAReadThatIsParkedAtAFollowerIsWokenByItsHighWatermark(t *testing.T) {
	_, p, answers := followed(t)
	answers(answer(2, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	out := followerRead(p, 2)
	woken := make(chan struct{}, 1)
	waiter := &Waiter{Wake: func() { woken <- struct{}{} }}
	if !p.Await(waiter, out.HighWatermark+1, out.Epoch) {
		t.Fatal("not parked")
	}
	answers(answer(4))
	<-woken
	if out = followerRead(p, 2); out.Err != nil || out.Slice.End() != 4 {
		t.Errorf("up to %d, %v", out.Slice.End(), out.Err)
	}
	out.Slice.Release()
}

func TestALeaderKnowsWhichFollowersHaveAnOffset(t *testing.T) {
	w, p, epoch := paired(t, self, newScript())
	for range 3 {
		produce(p, 1, batch(2, "a"))
	}
	holds := func(offset int64) bool { return len(p.Holders(offset, nil)) == 1 }
	if holds(0) {
		t.Error("it has not fetched yet")
	}
	var out ReadResult
	p.FollowerRead(FollowerRequest{Replica: other, BrokerEpoch: epoch, FetchPosition: FetchPosition{Offset: 4, LastEpoch: 0, LogStart: 2}}, &out)
	if out.Err != nil {
		t.Fatal(out.Err)
	}
	out.Slice.Release()
	for offset, want := range map[int64]bool{1: false, 2: true, 4: true, 5: false} {
		if holds(offset) != want {
			t.Errorf("offset %d: %v", offset, !want)
		}
	}
	p.mu.Lock()
	if holds(2) {
		t.Error("somebody has the partition, and a read waited or saw it in between")
	}
	p.mu.Unlock()
	w.elect(other)
	if holds(2) {
		t.Error("it leads no more")
	}
}
