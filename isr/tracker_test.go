package isr

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

var epoch0 = time.Unix(1000, 0)

func nodes(ids ...metadata.NodeID) []metadata.NodeID { return ids }

// leader is broker 1 of a partition in leader epoch 5.
func leader(end, hw int64, isr []metadata.NodeID, min int32, replicas ...metadata.NodeID) *Tracker {
	p := metadata.Partition{Replicas: replicas, ISR: isr, Leader: 1, LeaderEpoch: 5, PartitionEpoch: 7, MinISR: min}
	t := NewTracker(1, p, end, hw, epoch0)
	t.Appended(end, end, epoch0)
	return t
}

func fetchAt(t *Tracker, from metadata.NodeID, offset int64) Fetch {
	return Fetch{Replica: from, BrokerEpoch: 100, RegisteredEpoch: 100, LeaderEpoch: t.p.LeaderEpoch, Offset: offset,
		LastEpoch: t.p.LeaderEpoch, EpochOfEnd: t.p.LeaderEpoch, EndOfEpoch: t.end, Durable: true}
}

func check(tb testing.TB, t *Tracker) {
	tb.Helper()
	if err := t.CheckInvariants(); err != nil {
		tb.Fatal(err)
	}
}

func TestZ6HighWatermarkStandsBelowMinISR(t *testing.T) {
	tr := leader(10, 10, nodes(1), 2, 1, 2)
	if e := tr.Appended(20, 20, epoch0); e.HighWatermark != 10 {
		t.Errorf("one member of two needed: high watermark %d, want 10", e.HighWatermark)
	}
	check(t, tr)
}

func TestZ8BrokerEpochMustBeCurrent(t *testing.T) {
	for _, broker := range []int64{-1, 99} {
		tr := leader(10, 10, nodes(1), 1, 1, 2)
		f := fetchAt(tr, 2, 10)
		f.BrokerEpoch = broker
		e, err := tr.Fetched(f, epoch0)
		if !errors.Is(err, kerr.StaleBrokerEpoch) || e.Propose != nil {
			t.Errorf("broker epoch %d: %v, proposal %v; want a refusal", broker, err, e.Propose)
		}
		check(t, tr)
	}
}

func TestZ10FencedFollowerMayNotJoin(t *testing.T) {
	tr := leader(10, 10, nodes(1), 1, 1, 2)
	f := fetchAt(tr, 2, 10)
	f.FencedOrStopping = true
	if e, err := tr.Fetched(f, epoch0); err != nil || e.Propose != nil {
		t.Errorf("proposal %v, error %v", e.Propose, err)
	}
	check(t, tr)
}

func TestZ11JoiningReplicaCountsAtOnce(t *testing.T) {
	tr := leader(10, 10, nodes(1), 1, 1, 2)
	if e, err := tr.Fetched(fetchAt(tr, 2, 10), epoch0); err != nil || e.Propose == nil {
		t.Fatalf("no proposal: %v", err)
	}
	if e := tr.Appended(20, 20, epoch0); e.HighWatermark != 10 {
		t.Errorf("high watermark %d while 2 is joining at 10", e.HighWatermark)
	}
	check(t, tr)
}

func TestZ12OnlyACertainRefusalRollsBack(t *testing.T) {
	tr := leader(10, 10, nodes(1), 1, 1, 2)
	e, _ := tr.Fetched(fetchAt(tr, 2, 10), epoch0)
	tr.Tick(epoch0.Add(time.Hour))
	tr.Committed(tr.p, epoch0) // old news
	other := *e.Propose
	other.PartitionEpoch--
	tr.Rejected(other, epoch0)
	if tr.State() != Expanding || !slices.Equal(tr.EffectiveISR(), nodes(1, 2)) {
		t.Errorf("no longer pending: %s", tr)
	}
	check(t, tr)
	tr.Rejected(*e.Propose, epoch0)
	if tr.State() != Committed || !slices.Equal(tr.EffectiveISR(), nodes(1)) {
		t.Errorf("not rolled back: %s", tr)
	}
	check(t, tr)
}

func TestZ14FollowerBelowEpochStartMayNotJoin(t *testing.T) {
	p := metadata.Partition{Replicas: nodes(1, 2), ISR: nodes(1), Leader: 1, LeaderEpoch: 5, MinISR: 2}
	tr := NewTracker(1, p, 20, 10, epoch0)
	if e, err := tr.Fetched(fetchAt(tr, 2, 15), epoch0); err != nil || e.Propose != nil {
		t.Errorf("at 15, epoch start 20: proposal %v, error %v", e.Propose, err)
	}
	if e, err := tr.Fetched(fetchAt(tr, 2, 20), epoch0); err != nil || e.Propose == nil {
		t.Errorf("at 20, epoch start 20: no proposal, error %v", err)
	}
	check(t, tr)
}

func TestZ15PositionIsForgottenWithTheEpoch(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2), 1, 1, 2)
	if _, err := tr.Fetched(fetchAt(tr, 2, 10), epoch0); err != nil {
		t.Fatal(err)
	}
	// Broker 2 was removed and added again, empty; the leader sees only the outcome.
	p := tr.p
	p.LeaderEpoch, p.PartitionEpoch = 7, 9
	tr.Committed(p, epoch0)
	if r := tr.follower(2); r.end != unknown || r.durable != unknown {
		t.Errorf("follower 2 is still at %d", r.end)
	}
	check(t, tr)
}

func TestZ15AnotherDirectoryIsAnotherReplica(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2), 1, 1, 2)
	if _, err := tr.Fetched(fetchAt(tr, 2, 10), epoch0); err != nil {
		t.Fatal(err)
	}
	p := tr.p
	p.PartitionEpoch++
	p.Dirs = []metadata.DirID{{1}, {2}}
	tr.Committed(p, epoch0)
	if r := tr.follower(2); r.end != unknown {
		t.Errorf("follower 2 is still at %d", r.end)
	}
	check(t, tr)
}

func TestZ16DivergingFetchRecordsNothing(t *testing.T) {
	tr := leader(10, 5, nodes(1, 2), 2, 1, 2)
	f := fetchAt(tr, 2, 10)
	f.LastEpoch, f.EpochOfEnd, f.EndOfEpoch = 4, 4, 6
	e, err := tr.Fetched(f, epoch0)
	var d *Diverging
	if !errors.As(err, &d) || *d != (Diverging{4, 6}) {
		t.Fatalf("error %v", err)
	}
	if e.HighWatermark != 5 || tr.follower(2).end != unknown {
		t.Errorf("a position of another history was taken: %s", tr)
	}
	check(t, tr)
}

func TestZ32ACaughtUpReplicaThatMayNotJoinHoldsNobodyUp(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2), 2, 1, 2, 3)
	fenced := fetchAt(tr, 3, 10)
	fenced.FencedOrStopping = true
	if _, err := tr.Fetched(fenced, epoch0); err != nil {
		t.Fatal(err)
	}
	tr.Appended(20, 20, epoch0)
	if e, err := tr.Fetched(fetchAt(tr, 2, 20), epoch0); err != nil || e.HighWatermark != 20 {
		t.Errorf("high watermark %d, error %v", e.HighWatermark, err)
	}
	check(t, tr)
}

// Silence is noticed after MaxLag, a third of Kafka's 30 s, if there is something to be missed.
func TestASilentFollowerIsDroppedWhileOthersProgress(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2, 3), 2, 1, 2, 3)
	now := epoch0
	for n := range int64(200) {
		now = now.Add(100 * time.Millisecond)
		tr.Appended(11+n, 11+n, now)
		if _, err := tr.Fetched(fetchAt(tr, 2, 11+n), now); err != nil {
			t.Fatal(err)
		}
		e := tr.Tick(now)
		check(t, tr)
		if e.Propose == nil {
			continue
		}
		if len(e.Propose.ISR) != 2 || e.Propose.contains(3) || now.Sub(epoch0) <= DefaultMaxLag {
			t.Fatalf("after %s: %v", now.Sub(epoch0), e.Propose)
		}
		if now.Sub(epoch0) > 11*time.Second {
			t.Fatalf("only after %s", now.Sub(epoch0))
		}
		return
	}
	t.Fatal("never")
}

func TestAFencedFollowerHoldsTheHighWatermarkUpNoLonger(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2, 3), 2, 1, 2, 3)
	tr.Appended(20, 20, epoch0)
	if e, err := tr.Fetched(fetchAt(tr, 2, 20), epoch0); err != nil || e.HighWatermark != 10 {
		t.Fatal(e, err)
	}
	p := tr.p // the entry that fences broker 3
	p.PartitionEpoch, p.ISR = p.PartitionEpoch+1, nodes(1, 2)
	if e := tr.Committed(p, epoch0); e.HighWatermark != 20 {
		t.Errorf("high watermark %d", e.HighWatermark)
	}
	check(t, tr)
}

func TestZ35MinISRComesWithThePartition(t *testing.T) {
	tr := leader(10, 10, nodes(1, 3), 1, 1, 3)
	p := tr.p
	p.PartitionEpoch, p.MinISR, p.ISR = 8, 2, nodes(1)
	tr.Committed(p, epoch0)
	if e := tr.Appended(20, 20, epoch0); e.HighWatermark != 10 || !tr.UnderMinISR() {
		t.Errorf("high watermark %d alone, with min ISR 2", e.HighWatermark)
	}
	check(t, tr)
}

func TestZ37PositionCountsWhenOnDisk(t *testing.T) {
	p := metadata.Partition{Replicas: nodes(1, 2), ISR: nodes(1, 2), Leader: 1, MinISR: 1, Durable: true}
	tr := NewTracker(1, p, 10, 0, epoch0)
	tr.Appended(10, 10, epoch0)
	f := fetchAt(tr, 2, 10)
	f.Durable = false
	if e, err := tr.Fetched(f, epoch0); err != nil || e.HighWatermark != 0 {
		t.Errorf("high watermark %d on a page-cache position, error %v", e.HighWatermark, err)
	}
	f.Durable = true
	if e, err := tr.Fetched(f, epoch0); err != nil || e.HighWatermark != 10 {
		t.Errorf("high watermark %d, error %v", e.HighWatermark, err)
	}
	check(t, tr)
}

func TestNewLeaderDoesNotShrinkAtOnce(t *testing.T) {
	tr := leader(10, 0, nodes(1, 2), 1, 1, 2)
	if e := tr.Tick(epoch0.Add(DefaultMaxLag)); e.Propose != nil {
		t.Errorf("shrinks after %s", DefaultMaxLag)
	}
	if e := tr.Tick(epoch0.Add(DefaultMaxLag + 1)); e.Propose == nil {
		t.Error("does not shrink")
	}
	check(t, tr)
}

func TestBusyLeaderSeesFollowersKeepUp(t *testing.T) {
	tr := leader(10, 10, nodes(1, 2), 1, 1, 2)
	now := epoch0
	for end := int64(20); end < 1000; end += 10 { // always one fetch behind
		if _, err := tr.Fetched(fetchAt(tr, 2, end-10), now); err != nil {
			t.Fatal(err)
		}
		tr.Appended(end, end, now)
		now = now.Add(time.Second)
		if e := tr.Tick(now); e.Propose != nil {
			t.Fatalf("shrinks at %s", now.Sub(epoch0))
		}
		check(t, tr)
	}
}

func TestCheckpointedHighWatermarkIsAHint(t *testing.T) {
	p := metadata.Partition{Replicas: nodes(1), ISR: nodes(1), Leader: 1, MinISR: 1}
	for _, hw := range []int64{-5, 0, 10, 99} {
		tr := NewTracker(1, p, 10, hw, epoch0)
		if want := max(0, min(hw, 10)); tr.HighWatermark() != want {
			t.Errorf("hint %d: high watermark %d", hw, tr.HighWatermark())
		}
		check(t, tr)
	}
}

// TestRandomSteps plays random steps against one tracker, with a controller that answers late, loses answers and
// changes things by itself, and checks invariants and the step after each.
func TestRandomSteps(t *testing.T) {
	for seed := range uint64(3000) {
		if err := randomRun(rand.New(rand.NewPCG(seed, 1)), 120); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func randomRun(r *rand.Rand, steps int) error {
	all := nodes(1, 2, 3, 4)[:1+r.IntN(4)]
	p := metadata.Partition{Replicas: all, ISR: all, Leader: 1, MinISR: int32(1 + r.IntN(len(all))), Durable: r.IntN(2) == 0}
	end := int64(r.IntN(20))
	tr := NewTracker(1, p, end, int64(r.IntN(20)), epoch0)
	m := &world{r: r, p: p, end: end, now: epoch0, ends: map[metadata.NodeID]int64{}}
	for range steps {
		state, hw := tr.state, tr.hw
		what, e := m.step(tr)
		if tr.p.LeaderEpoch != m.seen {
			m.seen, state = tr.p.LeaderEpoch, tr.state
		}
		if e.HighWatermark != tr.hw {
			return fmt.Errorf("%s: effects say %d: %s", what, e.HighWatermark, tr)
		}
		if err := errors.Join(tr.CheckInvariants(), tr.CheckStep(state, hw)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// world is what surrounds the tracker: the controller's record, the logs and the outstanding proposal.
type world struct {
	r            *rand.Rand
	p            metadata.Partition
	end, durable int64
	ends         map[metadata.NodeID]int64
	now          time.Time
	proposal     *Proposal
	seen         int32
}

func (w *world) step(t *Tracker) (string, Effects) {
	w.now = w.now.Add(time.Duration(w.r.IntN(3000)) * time.Millisecond)
	var e Effects
	what := "append"
	switch k := w.r.IntN(20); {
	case k < 5:
		w.end += int64(w.r.IntN(5))
		w.durable += w.r.Int64N(w.end - w.durable + 1)
		e = t.Appended(w.end, w.durable, w.now)
	case k < 14 && len(w.p.Replicas) > 1:
		what = "fetch"
		e = w.fetch(t)
	case k < 16:
		what = "tick"
		e = t.Tick(w.now)
	case k < 18:
		what = "answer"
		e = w.answer(t)
	default:
		what = "change"
		e = w.change(t)
	}
	if e.Propose != nil {
		w.proposal = e.Propose
	}
	return what, e
}

func (w *world) fetch(t *Tracker) Effects {
	id := w.p.Replicas[1+w.r.IntN(len(w.p.Replicas)-1)]
	f := fetchAt(t, id, w.ends[id])
	f.Durable = w.r.IntN(3) > 0
	f.FencedOrStopping = w.r.IntN(10) == 0
	if w.r.IntN(12) == 0 {
		f.LastEpoch, f.EpochOfEnd = f.LastEpoch-1, f.LastEpoch-2
	}
	if w.r.IntN(30) == 0 {
		w.ends[id] = 0 // lost its disk
	}
	e, err := t.Fetched(f, w.now)
	if err == nil {
		w.ends[id] = f.Offset + w.r.Int64N(w.end-f.Offset+1)
	}
	return e
}

// answer applies or refuses the outstanding proposal; sometimes it is applied and the answer is lost.
func (w *world) answer(t *Tracker) Effects {
	none := Effects{HighWatermark: t.hw}
	p := w.proposal
	if p == nil {
		return none
	}
	if p.PartitionEpoch != w.p.PartitionEpoch || p.LeaderEpoch != w.p.LeaderEpoch {
		return none // INVALID_UPDATE_VERSION: stays pending
	}
	if w.r.IntN(4) == 0 {
		return t.Rejected(*p, w.now)
	}
	w.p.PartitionEpoch++
	w.p.ISR = nil
	for _, m := range p.ISR {
		w.p.ISR = append(w.p.ISR, m.ID)
	}
	if w.r.IntN(3) == 0 {
		return none
	}
	return t.Committed(w.p, w.now)
}

func (w *world) change(t *Tracker) Effects {
	w.p.PartitionEpoch++
	switch w.r.IntN(4) {
	case 0:
		w.p.LeaderEpoch++
	case 1:
		w.p.MinISR = int32(1 + w.r.IntN(len(w.p.Replicas)))
	case 2:
		w.p.Durable = !w.p.Durable
	case 3:
		w.p.ISR = w.p.ISR[:1:1]
	}
	if w.r.IntN(3) == 0 {
		return Effects{HighWatermark: t.hw} // the feed is late
	}
	return t.Committed(w.p, w.now)
}

func TestSingleReplicaPathDoesNotAllocate(t *testing.T) {
	tr := leader(0, 0, nodes(1), 1, 1)
	end := int64(0)
	n := testing.AllocsPerRun(1000, func() {
		end++
		tr.Appended(end, end, epoch0)
	})
	if n != 0 || tr.HighWatermark() != end {
		t.Errorf("%v allocations, high watermark %d of %d", n, tr.HighWatermark(), end)
	}
}

func BenchmarkAppended(b *testing.B) {
	for _, replicas := range [][]metadata.NodeID{nodes(1), nodes(1, 2, 3)} {
		b.Run(fmt.Sprintf("replicas=%d", len(replicas)), func(b *testing.B) {
			tr := leader(0, 0, replicas, 1, replicas...)
			b.ReportAllocs()
			for i := range int64(b.N) {
				tr.Appended(i, i, epoch0)
			}
		})
	}
}

// Trap 33: only who is in the committed ISR and has said that its log includes the offset.
func TestHoldersHaveTheOffsetInALogThatIsInSync(t *testing.T) {
	l := leader(20, 10, nodes(1, 2, 3, 4), 1, 1, 2, 3, 4, 5)
	for from, at := range map[metadata.NodeID][2]int64{2: {0, 15}, 3: {8, 20}, 5: {0, 20}} {
		f := fetchAt(l, from, at[1])
		f.LogStart, f.FencedOrStopping = at[0], from == 5 // it does not join
		if _, err := l.Fetched(f, epoch0); err != nil {
			t.Fatal(err)
		}
	}
	for offset, want := range map[int64]string{0: "[{2 15}]", 8: "[{2 15} {3 20}]", 15: "[{2 15} {3 20}]", 16: "[{3 20}]", 20: "[{3 20}]", 21: "[]"} {
		if got := fmt.Sprint(l.Holders(offset, nil)); got != want {
			t.Errorf("offset %d: %s, not %s", offset, got, want)
		}
	}
	p := *l.Partition()
	p.LeaderEpoch, p.PartitionEpoch = p.LeaderEpoch+1, p.PartitionEpoch+1
	next := NewTracker(1, p, 20, 10, epoch0)
	if got := next.Holders(0, nil); len(got) > 0 {
		t.Errorf("nobody has fetched in this epoch, and there is %v", got)
	}
}
