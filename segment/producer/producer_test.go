package producer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// given describes a stamped batch; the payload does not matter here.
type given struct {
	id     int64
	epoch  int16
	seq    int32
	count  int32 // 0 means 1
	offset int64
	ts     int64
	txn    bool
}

const transactional, control = 1 << 4, 1 << 5

func (g given) batch() record.Batch {
	b := make([]byte, record.Overhead)
	count := max(g.count, 1)
	binary.BigEndian.PutUint64(b, uint64(g.offset))
	binary.BigEndian.PutUint32(b[8:], record.Overhead-12)
	b[16] = 2
	if g.txn {
		b[22] = transactional
	}
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	binary.BigEndian.PutUint64(b[35:], uint64(g.ts))
	binary.BigEndian.PutUint64(b[43:], uint64(g.id))
	binary.BigEndian.PutUint16(b[51:], uint16(g.epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(g.seq))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	return b
}

// marker is a stamped control batch with its parsed content.
func (g given) marker() record.Batch {
	g.seq = -1
	b := g.batch()
	b[22] = transactional | control
	return b
}

func stateOf(batches ...given) *State {
	s := New()
	for _, g := range batches {
		s.Append(g.batch(), 1000)
	}
	return s
}

func TestCheckObeysSequencesAndEpochs(t *testing.T) {
	const last = math.MaxInt32
	p := func(epoch int16, seq, count int32, offset int64) given {
		return given{id: 7, epoch: epoch, seq: seq, count: count, offset: offset, ts: offset * 10}
	}
	six := []given{p(0, 0, 10, 0), p(0, 10, 1, 10), p(0, 11, 5, 20), p(0, 16, 1, 30), p(0, 17, 2, 40), p(0, 19, 1, 50)}
	wrapped := []given{p(0, last-1, 2, 0), p(0, 0, 1, 2)}
	across := []given{p(0, last-1, 4, 0)}
	for _, c := range []struct {
		name string
		log  []given
		next given
		want error
		dup  int64 // base offset + 1
		v2   error // what CheckV2 answers, when not the same
	}{
		{name: "no producer id", log: six, next: given{id: -1, epoch: -1, seq: -1}},
		{name: "negative epoch", next: p(-1, 0, 1, 0), want: kerr.InvalidRecord},
		{name: "negative sequence", next: p(0, -1, 1, 0), want: kerr.InvalidRecord},
		{name: "unknown producer begins", next: p(0, 0, 1, 0)},
		{name: "unknown producer goes on", next: p(3, 99, 1, 0), v2: kerr.OutOfOrderSequenceNumber},
		{name: "next", log: six, next: p(0, 20, 3, 0)},
		{name: "gap", log: six, next: p(0, 21, 1, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "retry of the last", log: six, next: p(0, 19, 1, 0), dup: 51},
		{name: "retry of the second", log: six, next: p(0, 10, 1, 0), dup: 11},
		{name: "retry of the sixth last", log: six, next: p(0, 0, 10, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "retry with another size", log: six, next: p(0, 11, 4, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "older epoch", log: []given{p(2, 0, 1, 0)}, next: p(1, 1, 1, 0), want: kerr.InvalidProducerEpoch},
		{name: "retry in an older epoch", log: []given{p(1, 0, 1, 0), p(2, 0, 1, 1)}, next: p(1, 0, 1, 0),
			want: kerr.InvalidProducerEpoch},
		{name: "new epoch begins", log: six, next: p(1, 0, 1, 0)},
		{name: "new epoch goes on", log: six, next: p(1, 20, 1, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "wrap to 0", log: []given{p(0, last, 1, 0)}, next: p(0, 0, 1, 0)},
		{name: "no wrap to 1", log: []given{p(0, last, 1, 0)}, next: p(0, 1, 1, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "0 without a wrap", log: six, next: p(0, 0, 1, 0), want: kerr.OutOfOrderSequenceNumber},
		{name: "after the wrap", log: wrapped, next: p(0, 1, 1, 0)},
		{name: "retry before the wrap", log: wrapped, next: p(0, last-1, 2, 0), dup: 1},
		{name: "retry across the wrap", log: across, next: p(0, last-1, 4, 0), dup: 1},
		{name: "after a batch across the wrap", log: across, next: p(0, 2, 1, 0)},
		{name: "another producer", log: six, next: given{id: 8, seq: 5}, v2: kerr.OutOfOrderSequenceNumber},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stateOf(c.log...)
			dup, err := s.Check(c.next.batch(), 2000)
			if !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if (dup != nil) != (c.dup > 0) {
				t.Fatalf("duplicate %+v, want base offset %d", dup, c.dup-1)
			}
			if dup != nil && (dup.BaseOffset != c.dup-1 || dup.LastOffset != c.dup-1+int64(max(c.next.count, 1))-1 ||
				dup.Timestamp != dup.BaseOffset*10 || dup.BaseSequence != c.next.seq) {
				t.Fatalf("duplicate %+v, want base offset %d", dup, c.dup-1)
			}
			if c.v2 == nil {
				c.v2 = c.want
			}
			if _, err := s.CheckV2(c.next.batch(), 2000); !errors.Is(err, c.v2) {
				t.Fatalf("version 2: error %v, want %v", err, c.v2)
			}
		})
	}
}

func TestRefusalsCarryKafkaCodes(t *testing.T) {
	s := stateOf(given{id: 1, epoch: 2, seq: 0})
	_, err := s.Check(given{id: 1, epoch: 1}.batch(), 0)
	var code *kerr.Error
	if !errors.As(err, &code) || code.Code != 47 {
		t.Errorf("got %v, want code 47", err)
	}
	_, err = s.Check(given{id: 1, epoch: 2, seq: 9}.batch(), 0)
	if !errors.As(err, &code) || code.Code != 45 {
		t.Errorf("got %v, want code 45", err)
	}
}

func TestAppliedTwiceIsAppliedOnce(t *testing.T) {
	log := []given{{id: 1, seq: 0, count: 3, offset: 0}, {id: 2, seq: 0, offset: 3}, {id: 1, seq: 3, offset: 4}}
	once, twice := stateOf(log...), stateOf(append(log, log...)...)
	if a, b := fmt.Sprint(once.Producers()), fmt.Sprint(twice.Producers()); a != b {
		t.Errorf("once: %s\ntwice: %s", a, b)
	}
	if dup, _ := twice.Check(log[0].batch(), 0); dup == nil || dup.BaseOffset != 0 {
		t.Errorf("the first batch is gone")
	}
	if string(once.Encode(5)) != string(twice.Encode(5)) {
		t.Error("snapshots differ")
	}
}

func TestBurstIsCheckedBatchByBatchAndRolledBack(t *testing.T) {
	s := stateOf(
		given{id: 1, seq: 0, offset: 0}, given{id: 1, seq: 1, offset: 1}, given{id: 1, seq: 2, offset: 2},
		given{id: 1, seq: 3, offset: 3}, given{id: 1, seq: 4, offset: 4}, given{id: 3, epoch: 1, offset: 5})
	before, producers := string(s.Encode(6)), fmt.Sprint(s.Producers())
	burst := []given{
		{id: 1, seq: 5, offset: 6}, {id: 1, seq: 6, offset: 7, txn: true}, {id: 2, seq: 0, offset: 8, txn: true},
		{id: 1, seq: 7, offset: 9, txn: true}, {id: 3, epoch: 2, seq: 0, offset: 10}, {id: -1, offset: 11},
	}
	s.Begin()
	for i, g := range burst {
		if dup, err := s.Check(g.batch(), 0); dup != nil || err != nil {
			t.Fatalf("batch %d of the burst: %v, %v", i, dup, err)
		}
		s.Append(g.batch(), 0)
	}
	if dup, err := s.Check(burst[0].batch(), 0); dup == nil || dup.BaseOffset != 6 {
		t.Fatalf("duplicate within the burst: %v, %v", dup, err)
	}
	s.Rollback()
	s.Rollback() // nothing left to take back
	if after := string(s.Encode(6)); after != before {
		t.Errorf("snapshot differs after the rollback: %s, before %s", fmt.Sprint(s.Producers()), producers)
	}
	if _, ok := s.FirstUnstable(); ok {
		t.Error("a transaction that was never written is open")
	}
	s.Begin()
	for _, g := range burst {
		s.Append(g.batch(), 0)
	}
	s.Commit()
	s.Rollback()
	if s.Len() != 3 || s.End() != 11 {
		t.Errorf("%d producers, end %d after the commit", s.Len(), s.End())
	}
	s.invariants(t)
}

// TestSnapshotInTheMiddleOfABurst is a roll while a burst is written: the file must say what the log says there.
func TestSnapshotInTheMiddleOfABurst(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 3))
		old, burst := randomBatches(rng, 20, 0), []given(nil)
		if len(old) > 0 {
			burst = randomBatches(rng, 12, 100)
		}
		s := stateOf(old...)
		s.Begin()
		for _, g := range burst {
			s.Append(g.batch(), 0)
		}
		for cut := range burst {
			want := stateOf(append(slices.Clone(old), burst[:cut]...)...)
			end := burst[cut].offset
			if !bytes.Equal(s.Encode(end), want.Encode(end)) {
				t.Fatalf("seed %d: the snapshot before batch %d of the burst differs", seed, cut)
			}
		}
		if end := stateOf(old...).End(); end > 0 && s.Encode(end-1) != nil {
			t.Fatalf("seed %d: a snapshot of what is long past", seed)
		}
		if whole := s.End(); !bytes.Equal(s.Encode(whole), stateOf(append(old, burst...)...).Encode(whole)) {
			t.Fatalf("seed %d: the snapshot behind the burst differs", seed)
		}
		s.invariants(t)
	}
}

// randomBatches is data batches of four producers from an offset on, with new epochs and transactions among them.
func randomBatches(rng *rand.Rand, n int, offset int64) []given {
	var list []given
	for range rng.IntN(n) {
		g := given{id: rng.Int64N(4), epoch: int16(offset / 10), seq: rng.Int32N(9), count: 1 + rng.Int32N(3),
			offset: offset, ts: rng.Int64N(99), txn: rng.IntN(3) == 0}
		list, offset = append(list, g), offset+int64(g.count)
	}
	return list
}

func TestRollbackAfterForgettingInTheSameBurst(t *testing.T) {
	s := New()
	s.SetLimit(2)
	s.Append(given{id: 1, offset: 0}.batch(), 0)
	s.Append(given{id: 2, offset: 1}.batch(), 0)
	s.Begin()
	for i, id := range []int64{1, 3, 4, 1, 5} {
		s.Append(given{id: id, seq: 1, offset: int64(2 + i)}.batch(), 0)
	}
	s.Rollback()
	s.invariants(t)
	if s.Len() != 0 {
		t.Errorf("%v is left of a burst that forgot everybody", s.Producers())
	}
}

func TestCapacityForgetsTheLeastRecentlyUsed(t *testing.T) {
	s := New()
	s.SetLimit(3)
	for i, id := range []int64{1, 2, 3, 1, 4} { // 2 goes
		s.Append(given{id: id, seq: int32(i), offset: int64(i)}.batch(), 0)
		s.invariants(t)
	}
	if got := ids(s); got != "[1 3 4]" {
		t.Fatalf("remembers %s", got)
	}
	if dup, err := s.Check(given{id: 3, seq: 2}.batch(), 0); dup == nil {
		t.Fatalf("no duplicate: %v", err)
	}
	s.Append(given{id: 5, offset: 9}.batch(), 0) // 1 goes, for a retry is a use, too
	if got := ids(s); got != "[3 4 5]" {
		t.Fatalf("remembers %s", got)
	}
	s.SetLimit(1)
	if got := ids(s); got != "[5]" {
		t.Fatalf("remembers %s", got)
	}
}

func TestFloodOfProducersIsBounded(t *testing.T) {
	s := New()
	s.SetLimit(100)
	open := given{id: 1, offset: 0, txn: true}
	s.Append(open.batch(), 0)
	b := given{}.batch()
	flood := func(from, n int64) {
		for id := from; id < from+n; id++ {
			binary.BigEndian.PutUint64(b, uint64(id))
			binary.BigEndian.PutUint64(b[43:], uint64(id))
			if _, err := s.Check(b, id); err != nil {
				t.Fatal(err)
			}
			s.Append(b, id)
		}
	}
	flood(2, 1000)
	if s.Len() != 100 {
		t.Fatalf("%d producers, limit 100", s.Len())
	}
	if first, ok := s.FirstUnstable(); !ok || first != 0 {
		t.Errorf("the open transaction is gone: %d, %v", first, ok)
	}
	s.invariants(t)
}

func TestExpiryGoesByTheBrokersClock(t *testing.T) {
	s := New()
	s.Append(given{id: 1, offset: 0, ts: -1}.batch(), 1000)
	s.Append(given{id: 2, offset: 1, ts: math.MaxInt64}.batch(), 1500)
	s.Append(given{id: 3, offset: 2, txn: true}.batch(), 1000)
	s.Expire(1999, 1000)
	if got := ids(s); got != "[1 2 3]" {
		t.Fatalf("at 1999: %s", got)
	}
	s.Expire(2000, 1000)
	if got := ids(s); got != "[2 3]" {
		t.Fatalf("at 2000: %s, want 1 gone", got)
	}
	s.Expire(1<<40, 1000)
	if got := ids(s); got != "[3]" {
		t.Fatalf("much later: %s, want only the open transaction", got)
	}
	back := decoded(t, stateOf(given{id: 1, offset: 0, ts: 5}).Encode(1))
	back.Expire(5000, 1000)
	back.Expire(5999, 1000)
	if back.Len() != 1 {
		t.Fatal("a producer from a snapshot did not get its full time")
	}
	back.Expire(6000, 1000)
	if back.Len() != 0 {
		t.Fatal("a producer from a snapshot never expires")
	}
}

func TestDropBeforeForgetsWhatTheLogLost(t *testing.T) {
	s := stateOf(given{id: 1, offset: 0, count: 5}, given{id: 2, offset: 5, txn: true}, given{id: 3, offset: 6})
	s.DropBefore(4)
	if got := ids(s); got != "[1 2 3]" {
		t.Fatalf("below 4: %s", got)
	}
	s.DropBefore(6)
	if got := ids(s); got != "[2 3]" {
		t.Fatalf("below 6: %s", got)
	}
	if first, ok := s.FirstUnstable(); !ok || first != 6 {
		t.Errorf("first unstable %d, %v; want the log start", first, ok)
	}
	s.invariants(t)
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	s := stateOf(given{id: 1, offset: 0}, given{id: 2, offset: 1})
	b := given{id: 1}.batch()
	seq, offset := uint32(1), uint64(2)
	if n := testing.AllocsPerRun(1000, func() {
		binary.BigEndian.PutUint32(b[53:], seq)
		binary.BigEndian.PutUint64(b, offset)
		seq, offset = seq+1, offset+1
		s.Begin()
		if dup, err := s.Check(b, 5); dup != nil || err != nil {
			t.Fatal(dup, err)
		}
		s.Append(b, 5)
		if dup, _ := s.Check(b, 5); dup == nil {
			t.Fatal("no duplicate")
		}
		s.Commit()
	}); n > 0 {
		t.Errorf("an append allocates %v times", n)
	}
}

func ids(s *State) string {
	var list []int64
	for _, p := range s.Producers() {
		list = append(list, p.ProducerID)
	}
	return fmt.Sprint(list)
}

// invariants checks the State against itself: P3, P5 and that list and map agree.
func (s *State) invariants(t *testing.T) {
	t.Helper()
	listed, open := 0, 0
	var before *producer
	for p := s.oldest; p != nil; before, p = p, p.newer {
		listed++
		if p.older != before || s.producers[p.id] != p || p.txnFirst != none {
			t.Fatalf("producer %d is in the list wrongly", p.id)
		}
	}
	if s.newest != before {
		t.Fatal("the list's new end is wrong")
	}
	for id, p := range s.producers {
		if p.id != id || p.count > remembered {
			t.Fatalf("producer %d is stored as %d with %d batches", p.id, id, p.count)
		}
		if p.txnFirst != none {
			open++
			if i, ok := s.txns.find(p.txnFirst); !ok || s.txns.list[i].last != none {
				t.Fatalf("the transaction of producer %d is not open", id)
			}
		}
	}
	if listed+open != len(s.producers) || len(s.txns.list) != open+s.txns.closed {
		t.Fatalf("%d listed, %d open, %d producers, %d transactions, %d closed", listed, open, len(s.producers),
			len(s.txns.list), s.txns.closed)
	}
	if open < len(s.producers) && len(s.producers) > s.limit {
		t.Fatalf("%d producers, limit %d", len(s.producers), s.limit)
	}
}
