package partition

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

const other metadata.NodeID = 2

// twoReplicas is a partition of two replicas, this broker's and another's, led by one of them.
func twoReplicas(leader metadata.NodeID) metadata.Partition {
	return metadata.Partition{Replicas: []metadata.NodeID{self, other}, ISR: []metadata.NodeID{self, other}, Leader: leader,
		LeaderEpoch: 0, MinISR: 1, Durable: true}
}

// register lets a broker in; its epoch is the image's index.
func (w *world) register(id metadata.NodeID) int64 {
	w.t.Helper()
	w.change(metadata.BrokerRegistered{ID: id, Incarnation: metadata.UUID{1, byte(id), byte(w.img.Index())}})
	epoch := w.img.Broker(id).Epoch
	w.change(metadata.BrokerUnfenced{ID: id, Epoch: epoch})
	return epoch
}

// paired is a world with that partition and both brokers registered; epoch is the other's.
func paired(t *testing.T, leader metadata.NodeID, link Link) (w *world, p *Partition, epoch int64) {
	w = newWorld(t, vfs.NewMem(), func(c *Config) { c.Log, c.Link = nil, link })
	w.register(self)
	epoch = w.register(other)
	w.topic(topicID(1), "t", 1, twoReplicas(leader))
	return w, w.get("t", 0), epoch
}

// elect makes a leader for the next epoch, with the ISR as it is.
func (w *world) elect(leader metadata.NodeID) {
	w.t.Helper()
	w.alter(topicID(1), 0, func(m *metadata.Partition) { m.Leader, m.LeaderEpoch = leader, m.LeaderEpoch+1 })
}

// stamped is a batch as a leader serves it.
func stamped(base int64, epoch int32, records int, value string) record.Batch {
	b := batch(records, value)
	b.Stamp(base, epoch)
	return b
}

// answer is what a leader answers with these batches.
func answer(hw int64, batches ...record.Batch) *Fetched {
	f := &Fetched{HighWatermark: hw, DivergingEpoch: -1, DivergingEnd: -1}
	for _, b := range batches {
		f.Records = append(f.Records, b...)
	}
	return f
}

// fetched has p take an answer to a fetch from where it is.
func fetched(p *Partition, f *Fetched) error {
	pos, ok := p.position()
	if !ok {
		return errors.New("no follower")
	}
	var scratch []record.Batch
	return p.appendFetched(&pos, f, &scratch)
}

func mustFetch(t *testing.T, p *Partition, f *Fetched) {
	t.Helper()
	if err := fetched(p, f); err != nil {
		t.Fatal(err)
	}
}

func wantEnd(t *testing.T, p *Partition, end, hw int64) {
	t.Helper()
	if p.End() != end || p.HighWatermark() != hw {
		t.Fatalf("log end %d, high watermark %d; want %d, %d", p.End(), p.HighWatermark(), end, hw)
	}
}

func TestZ1BecomingAFollowerTruncatesNothing(t *testing.T) {
	w, p, _ := paired(t, self, nil)
	for range 3 {
		produce(p, 1, batch(1, "a"))
	}
	w.elect(other)
	wantEnd(t, p, 3, 0)
	w.elect(self)
	wantEnd(t, p, 3, 0)
}

// ask is a fetch of the other broker.
func ask(p *Partition, brokerEpoch int64, leaderEpoch int32, offset int64, lastEpoch int32) (out ReadResult) {
	p.FollowerRead(FollowerRequest{Replica: other, BrokerEpoch: brokerEpoch, Whole: true, FetchPosition: FetchPosition{
		LeaderEpoch: leaderEpoch, Offset: offset, LastEpoch: lastEpoch, HighWatermark: -1, Durable: true, MaxBytes: 1 << 20}}, &out)
	return out
}

func wantDiverging(t *testing.T, out ReadResult, epoch int32, end int64) {
	t.Helper()
	if out.Err != nil || out.DivergingEpoch != epoch || out.DivergingEnd != end || out.Slice.Len() > 0 {
		t.Fatalf("diverging epoch %d end %d, %d bytes, error %v; want epoch %d end %d", out.DivergingEpoch, out.DivergingEnd,
			out.Slice.Len(), out.Err, epoch, end)
	}
}

func TestZ2APositionInAnotherHistoryDiverges(t *testing.T) {
	w, p, epoch := paired(t, self, nil)
	produce(p, 1, batch(5, "a"))
	w.elect(other) // epoch 1: the other one appends to its own log
	w.elect(self)
	produce(p, 1, batch(3, "b"))
	wantDiverging(t, ask(p, epoch, 2, 7, 1), 0, 5)
	if out := ask(p, epoch, 2, 7, 2); out.Err != nil || out.DivergingEnd >= 0 || out.Slice.Len() == 0 {
		t.Fatalf("the same position in our own history: %+v", out)
	}
}

func TestZ3TruncationGoesToTheLesserOfBothEnds(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(0, stamped(0, 0, 4, "a")))
	w.elect(self)
	for range 4 {
		produce(p, 1, batch(1, "b"))
	}
	w.elect(other)
	pos, _ := p.position()
	if err := p.truncate(&pos, 0, 6, 0); err != nil { // the leader's epoch 0 went on to 6; ours ended at 4
		t.Fatal(err)
	}
	wantEnd(t, p, 4, 0)
}

func TestZ4AnEpochWithoutARecordEndsTheOneBefore(t *testing.T) {
	w, p, epoch := paired(t, self, nil)
	produce(p, 1, batch(5, "a"))
	w.elect(other)
	w.elect(self) // epoch 2, nothing appended
	wantDiverging(t, ask(p, epoch, 2, 7, 1), 0, 5)
	produce(p, 1, batch(1, "b"))
	w.elect(other)
	w.elect(self)
	wantDiverging(t, ask(p, epoch, 4, 9, 3), 2, 6)
}

func TestZ5OnlyFetchesOfTheLeadersEpochAreServed(t *testing.T) {
	w, p, epoch := paired(t, self, nil)
	w.elect(self)
	produce(p, 1, batch(1, "a"))
	for _, c := range []struct {
		epoch int32
		want  *kerr.Error
	}{{0, kerr.FencedLeaderEpoch}, {2, kerr.UnknownLeaderEpoch}} {
		if out := ask(p, epoch, c.epoch, 0, -1); !errors.Is(out.Err, c.want) {
			t.Errorf("follower with epoch %d: %v", c.epoch, out.Err)
		}
		var out ReadResult
		p.Read(ReadRequest{LeaderEpoch: c.epoch, LastFetchedEpoch: -1, MaxBytes: 1}, &out)
		if !errors.Is(out.Err, c.want) {
			t.Errorf("consumer with epoch %d: %v", c.epoch, out.Err)
		}
	}
}

func TestABrokerOfAnEarlierLifeOrWithoutAnEpochIsRefused(t *testing.T) {
	w, p, old := paired(t, self, nil)
	produce(p, 1, batch(1, "a"))
	w.change(metadata.BrokerFenced{ID: other, Epoch: old})
	w.register(other)
	for _, epoch := range []int64{-1, old} {
		if out := ask(p, epoch, 0, 0, -1); !errors.Is(out.Err, kerr.StaleBrokerEpoch) {
			t.Errorf("broker epoch %d: %v", epoch, out.Err)
		}
	}
}

func TestZ17ALateAnswerIsDropped(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(2, stamped(0, 0, 2, "a"), stamped(2, 0, 8, "b")))
	late, _ := p.position()
	if err := p.truncate(&late, 0, 2, 0); err != nil {
		t.Fatal(err)
	}
	var scratch []record.Batch
	if err := p.appendFetched(&late, answer(20, stamped(10, 0, 5, "c")), &scratch); !errors.Is(err, errLate) {
		t.Errorf("after a truncation: %v", err)
	}
	wantEnd(t, p, 2, 2)
	now, _ := p.position()
	w.elect(other)
	if err := p.appendFetched(&now, answer(20, stamped(2, 0, 5, "c")), &scratch); !errors.Is(err, errLate) {
		t.Errorf("after another epoch began: %v", err)
	}
	w.elect(self)
	if err := p.appendFetched(&now, answer(20, stamped(2, 0, 5, "c")), &scratch); !errors.Is(err, errLate) {
		t.Errorf("as leader: %v", err)
	}
	wantEnd(t, p, 2, 2)
}

func TestZ18RecordsOfALaterEpochThanTheFetchAreRefused(t *testing.T) {
	_, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(0, stamped(0, 0, 2, "a")))
	if err := fetched(p, answer(0, stamped(2, 1, 2, "b"))); err == nil {
		t.Error("a batch of epoch 1 was taken in epoch 0")
	}
	wantEnd(t, p, 2, 0)
}

func TestADamagedAnswerIsCountedAndNotAppended(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	bad := stamped(1, 0, 1, "b")
	bad[len(bad)-1] ^= 1
	if err := fetched(p, answer(2, stamped(0, 0, 1, "a"), bad)); !errors.Is(err, kerr.CorruptMessage) {
		t.Fatal(err)
	}
	wantEnd(t, p, 0, 0)
	if n := w.set.Stats().Replication.Damaged; n != 1 {
		t.Errorf("%d damaged answers counted", n)
	}
}

func TestAFollowerWhoseLeaderLacksCommittedRecordsStops(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(4, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	w.elect(other)
	pos, _ := p.position()
	if err := p.truncate(&pos, 0, 2, 0); !errors.Is(err, errLate) {
		t.Fatal(err)
	}
	if role, _ := p.Role(); role != Offline || p.End() != 4 {
		t.Fatalf("role %s, log end %d", role, p.End())
	}
	if n := w.set.Stats().Replication.Halted; n != 1 {
		t.Errorf("%d halted replicas counted", n)
	}
}

func TestAnUncleanElectionMayGiveCommittedRecordsUp(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(4, stamped(0, 0, 2, "a"), stamped(2, 0, 2, "b")))
	w.alter(topicID(1), 0, func(m *metadata.Partition) {
		m.LeaderEpoch, m.UncleanEpoch, m.Recovering, m.ISR = m.LeaderEpoch+1, m.LeaderEpoch+1, true, []metadata.NodeID{other}
	})
	pos, _ := p.position()
	if err := p.truncate(&pos, 0, 2, 0); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, p, 2, 2)
	mustFetch(t, p, answer(4, stamped(2, 1, 2, "c")))
	w.elect(other)
	pos, _ = p.position()
	if err := p.truncate(&pos, 1, 3, 0); !errors.Is(err, errLate) { // what is committed since is not given up
		t.Fatal(err)
	}
	if role, _ := p.Role(); role != Offline || p.End() != 4 {
		t.Fatalf("role %s, log end %d", role, p.End())
	}
}

func TestAFollowerBehindTheLeadersStartBeginsThere(t *testing.T) {
	_, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(1, stamped(0, 0, 1, "a")))
	pos, _ := p.position()
	if err := p.startOver(&pos, 105); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, p, 105, 105)
	f := answer(110, stamped(100, 0, 10, "b")) // the leader's log starts inside a batch
	f.LogStart = 105
	mustFetch(t, p, f)
	wantEnd(t, p, 110, 110)
	if p.Start() != 105 {
		t.Errorf("log start %d", p.Start())
	}
}

// What lies between the leader's log start and where both agree is nowhere in this log: kept at the truncation's end, it would be
// in sync without it.
func TestATruncationBelowTheLogsStartBeginsAtTheLeadersStart(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	pos, _ := p.position()
	if err := p.startOver(&pos, 105); err != nil {
		t.Fatal(err)
	}
	mustFetch(t, p, answer(110, stamped(105, 0, 5, "a")))
	w.alter(topicID(1), 0, func(m *metadata.Partition) { m.LeaderEpoch, m.UncleanEpoch = 1, 1 })
	pos, _ = p.position()
	if err := p.truncate(&pos, 0, 50, 20); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, p, 20, 20)
}

func TestAnEpochThatNeverHadARecordStandsInNobodysWay(t *testing.T) {
	w, p, _ := paired(t, other, nil)
	mustFetch(t, p, answer(0, stamped(0, 0, 2, "a")))
	w.elect(self)
	p.mu.Lock()
	_, _, err := p.ready() // epoch 1 is entered, and nothing is written
	p.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	w.elect(other)
	pos, _ := p.position()
	if pos.LastEpoch != 0 {
		t.Errorf("last epoch %d", pos.LastEpoch)
	}
	mustFetch(t, p, answer(0, stamped(2, 0, 2, "b"), stamped(4, 2, 2, "c"))) // the new leader has more of epoch 0
	wantEnd(t, p, 6, 0)
}

// script is a Link that answers AlterPartition as it is told and never answers a fetch.
type script struct {
	asked  chan []Alteration
	answer chan error // nil: applied
}

func newScript() *script {
	return &script{asked: make(chan []Alteration), answer: make(chan error)}
}

func (s *script) AlterPartition(ctx context.Context, changes []Alteration) ([]Altered, error) {
	select {
	case s.asked <- slices.Clone(changes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case err := <-s.answer:
		if errors.Is(err, errLost) {
			return nil, err
		}
		return []Altered{{Err: err, LeaderEpoch: changes[0].LeaderEpoch, PartitionEpoch: changes[0].PartitionEpoch + 1, ISR: ids(changes[0])}}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *script) ReadRange(context.Context, metadata.NodeID, *RangeRequest) (*Range, error) {
	return nil, ErrNotServed
}

// next is the next request, which must come soon.
func (s *script) next(t *testing.T) []Alteration {
	t.Helper()
	select {
	case a := <-s.asked:
		return a
	case <-time.After(time.Minute):
		t.Fatal("nothing was asked for")
	}
	return nil
}

func (s *script) Fetch(ctx context.Context, _ metadata.NodeID, _ *FetchRequest) (*FetchResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var errLost = errors.New("the answer is lost")

func ids(a Alteration) (all []metadata.NodeID) {
	for _, m := range a.ISR {
		all = append(all, m.ID)
	}
	return all
}

// outside is a leader whose follower is out of the ISR and has just caught up with one record: it is proposed to join.
func outside(t *testing.T, link *script) (w *world, p *Partition, epoch int64) {
	w, p, epoch = paired(t, self, link)
	w.alter(topicID(1), 0, func(m *metadata.Partition) { m.ISR = []metadata.NodeID{self} })
	w.run()
	w.acked(p, batch(1, "a"))
	ask(p, epoch, 0, 1, 0)
	return w, p, epoch
}

func TestZ9AProposalCarriesTheBrokerEpochOfTheFetchThatItCameFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newScript()
		w, _, epoch := outside(t, link)
		link.next(t)
		link.answer <- errLost
		w.change(metadata.BrokerFenced{ID: other, Epoch: epoch})
		w.register(other) // with an empty disk, for all we know
		if again := link.next(t); again[0].ISR[1].BrokerEpoch != epoch {
			t.Errorf("broker epoch %d, the fetch had %d", again[0].ISR[1].BrokerEpoch, epoch)
		}
		w.halt()
	})
}

func TestZ12AProposalWhoseAnswerIsLostStaysPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newScript()
		w, p, epoch := outside(t, link)
		first := link.next(t)
		link.answer <- errLost
		again := link.next(t)
		if !slices.Equal(first[0].ISR, again[0].ISR) {
			t.Errorf("asked for %v, then for %v", first, again)
		}
		produce(p, 1, batch(1, "b"))
		synctest.Wait()
		wantEnd(t, p, 2, 1) // the follower may be in the ISR
		link.answer <- nil
		synctest.Wait()
		wantEnd(t, p, 2, 1)
		ask(p, epoch, 0, 2, 0)
		wantEnd(t, p, 2, 2)
		if n := w.set.Stats().Replication.Expansions; n != 1 {
			t.Errorf("%d expansions", n)
		}
		w.halt()
	})
}

func TestARefusedProposalIsRolledBackAndAnOutdatedOneStays(t *testing.T) {
	for _, c := range []struct {
		answer *kerr.Error
		hw     int64
	}{{kerr.IneligibleReplica, 2}, {kerr.InvalidUpdateVersion, 1}, {kerr.FencedLeaderEpoch, 1}} {
		synctest.Test(t, func(t *testing.T) {
			link := newScript()
			w, p, _ := outside(t, link)
			link.next(t)
			produce(p, 1, batch(1, "b"))
			link.answer <- c.answer
			synctest.Wait()
			wantEnd(t, p, 2, c.hw)
			w.halt()
		})
	}
}

// The controller ends a reassignment within the change of the ISR that completes it, and min ISR rises with it. A leader that
// took only the ISR from the answer would go on with the old minimum and move the high watermark alone (Z35).
func TestZ35MinISRRisesWithTheISRThatCompletesAReassignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newScript()
		w, p, epoch := paired(t, self, link)
		w.alter(topicID(1), 0, func(m *metadata.Partition) {
			m.ISR, m.Adding = []metadata.NodeID{self}, []metadata.NodeID{other}
		})
		w.run()
		w.acked(p, batch(1, "a"))
		ask(p, epoch, 0, 1, 0)
		link.next(t)
		link.answer <- nil
		synctest.Wait()
		w.alter(topicID(1), 0, func(m *metadata.Partition) {
			m.ISR, m.Adding, m.MinISR = []metadata.NodeID{self, other}, nil, 2
		})
		late := produce(p, -1, batch(1, "b"))
		link.next(t) // the other one is silent
		link.answer <- nil
		synctest.Wait()
		wantEnd(t, p, 2, 1)
		if err := wait(p, late); !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
			t.Errorf("appended before the ISR shrank: %v", err)
		}
		if a := produce(p, -1, batch(1, "c")); !errors.Is(a.Err, kerr.NotEnoughReplicas) {
			t.Errorf("appended with one of two in sync: %v", a.Err)
		}
		w.halt()
	})
}

func TestAMemberThatDoesNotFetchIsProposedToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := newScript()
		w, p, _ := paired(t, self, link)
		w.run()
		a := produce(p, -1, batch(1, "a"))
		began := time.Now()
		q := link.next(t)
		if lag := time.Since(began); len(q[0].ISR) != 1 || lag < w.set.cfg.MaxLag || lag > 2*w.set.cfg.MaxLag {
			t.Errorf("asked for %v after %s", q[0].ISR, lag)
		}
		link.answer <- nil
		if err := wait(p, a); err != nil {
			t.Error(err)
		}
		if s := w.set.Stats(); s.UnderReplicated != 1 || s.Replication.Shrinks != 1 {
			t.Errorf("%+v", s)
		}
		w.halt()
	})
}

func TestAFollowersRateLimitsWhatItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p, epoch := paired(t, self, newScript())
		w.config("t", "leader.replication.throttled.replicas", "0:2")
		w.change(metadata.ConfigChanged{Type: metadata.ResourceBroker, Name: "1", Key: "leader.replication.throttled.rate", Value: "10000"})
		w.alter(topicID(1), 0, func(m *metadata.Partition) { m.ISR = []metadata.NodeID{self} })
		for range 10 {
			produce(p, 1, sized(8000))
		}
		began, offset, last := time.Now(), int64(0), int32(-1)
		for offset < 10 {
			var out ReadResult
			p.FollowerRead(FollowerRequest{Replica: other, BrokerEpoch: epoch, Whole: true, FetchPosition: FetchPosition{
				Offset: offset, LastEpoch: last, Durable: true}}, &out)
			if out.Err != nil {
				t.Fatal(out.Err)
			}
			if !out.Throttled {
				offset, last = offset+1, 0
				out.Slice.Release()
				continue
			}
			<-time.After(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 5*time.Second || took > 10*time.Second {
			t.Errorf("80 KB at 10 KB/s took %s", took)
		}
	})
}
