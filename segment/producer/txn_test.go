package producer

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

func commit(epoch int32) record.Control {
	return record.Control{Type: record.Commit, CoordinatorEpoch: epoch}
}

func abort(epoch int32) record.Control {
	return record.Control{Type: record.Abort, CoordinatorEpoch: epoch}
}

// wantUnstable checks FirstUnstable; -1 means none.
func wantUnstable(t *testing.T, s *State, want int64) {
	t.Helper()
	first, ok := s.FirstUnstable()
	if !ok {
		first = -1
	}
	if first != want {
		t.Fatalf("first unstable offset %d, want %d", first, want)
	}
	s.invariants(t)
}

func TestTransactionHoldsTheLastStableOffsetUntilItsMarkerIsCommitted(t *testing.T) {
	s := New()
	wantUnstable(t, s, -1)
	s.Append(given{id: 1, offset: 10, count: 5, txn: true}.batch(), 0)
	s.Append(given{id: 2, offset: 15, txn: true}.batch(), 0)
	s.Append(given{id: 1, offset: 16, seq: 5, txn: true}.batch(), 0)
	s.Append(given{id: 3, offset: 17}.batch(), 0)
	wantUnstable(t, s, 10)

	txn, ok := s.CompleteTxn(given{id: 1, offset: 18}.marker(), abort(4), 0)
	want := CompletedTxn{ProducerID: 1, FirstOffset: 10, LastOffset: 18, LastStable: 15, Aborted: true}
	if !ok || txn != want {
		t.Fatalf("completed %+v, %v; want %+v", txn, ok, want)
	}
	wantUnstable(t, s, 10) // the marker is not committed yet
	if lso := s.LastStable(18); lso != 10 {
		t.Fatalf("last stable %d with the marker at the high watermark, want 10", lso)
	}
	if lso := s.LastStable(19); lso != 15 {
		t.Fatalf("last stable %d, want 15", lso)
	}
	txn, ok = s.CompleteTxn(given{id: 2, offset: 19}.marker(), commit(4), 0)
	want = CompletedTxn{ProducerID: 2, FirstOffset: 15, LastOffset: 19, LastStable: 20}
	if !ok || txn != want {
		t.Fatalf("completed %+v, %v; want %+v", txn, ok, want)
	}
	if lso := s.LastStable(12); lso != 12 {
		t.Fatalf("last stable %d above the high watermark 12", lso)
	}
	s.Advance(20)
	wantUnstable(t, s, -1)
	if lso := s.LastStable(20); lso != 20 {
		t.Fatalf("last stable %d, want the high watermark", lso)
	}
}

func TestTransactionsCompletedOutOfOrder(t *testing.T) {
	s := New()
	for i := range int64(5) {
		s.Append(given{id: i, offset: i, txn: true}.batch(), 0)
	}
	for i, id := range []int64{3, 1, 4} {
		s.CompleteTxn(given{id: id, offset: int64(5 + i)}.marker(), commit(0), 0)
	}
	s.Advance(6) // the marker of 3 only
	wantUnstable(t, s, 0)
	s.CompleteTxn(given{id: 0, offset: 8}.marker(), commit(0), 0)
	s.Advance(8) // those of 1 and 4
	wantUnstable(t, s, 0)
	s.Advance(9)
	wantUnstable(t, s, 2)
	s.CompleteTxn(given{id: 2, offset: 9}.marker(), commit(0), 0)
	s.Advance(10)
	wantUnstable(t, s, -1)
}

func TestMarkerWithoutTransaction(t *testing.T) {
	s := New()
	if txn, ok := s.CompleteTxn(given{id: 1, epoch: 3, offset: 0}.marker(), commit(7), 0); ok {
		t.Fatalf("completed %+v", txn)
	}
	if _, ok := s.CompleteTxn(given{id: -1, offset: 1}.marker(), commit(7), 0); ok {
		t.Fatal("a marker without producer completed something")
	}
	want := Info{ProducerID: 1, Epoch: 3, LastSequence: -1, CoordinatorEpoch: 7, TxnFirstOffset: -1}
	if got := s.Producers()[0]; got != want {
		t.Fatalf("producer is %+v, want %+v", got, want)
	}
	// In the epoch that a marker began there is no batch yet, so it begins at 0.
	if _, err := s.Check(given{id: 1, epoch: 3, seq: 1}.batch(), 0); !errors.Is(err, kerr.OutOfOrderSequenceNumber) {
		t.Errorf("sequence 1: %v", err)
	}
	if _, err := s.Check(given{id: 1, epoch: 3, seq: 0}.batch(), 0); err != nil {
		t.Errorf("sequence 0: %v", err)
	}
}

func TestMarkersOfOldEpochsAreRefused(t *testing.T) {
	s := New()
	s.Append(given{id: 1, epoch: 5, offset: 0, txn: true}.batch(), 0)
	s.CompleteTxn(given{id: 1, epoch: 5, offset: 1}.marker(), commit(3), 0)
	for _, c := range []struct {
		id          int64
		epoch       int16
		coordinator int32
		want        error
	}{
		{2, 0, 0, nil},
		{1, 5, 3, nil}, // a retry by the same coordinator
		{1, 6, 3, nil},
		{1, 5, 4, nil},
		{1, 4, 4, kerr.InvalidProducerEpoch},
		{1, 5, 2, kerr.TransactionCoordinatorFenced},
	} {
		if err := s.CheckMarker(given{id: c.id, epoch: c.epoch}.marker(), commit(c.coordinator)); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestPlainBatchInsideATransactionIsRefused(t *testing.T) {
	s := stateOf(given{id: 1, offset: 0, txn: true})
	if _, err := s.Check(given{id: 1, seq: 1}.batch(), 0); !errors.Is(err, kerr.InvalidTxnState) {
		t.Errorf("plain batch: %v", err)
	}
	if _, err := s.Check(given{id: 1, seq: 1, txn: true}.batch(), 0); err != nil {
		t.Errorf("transactional batch: %v", err)
	}
}

func TestMarkerAppliedTwiceEndsOneTransaction(t *testing.T) {
	s := stateOf(given{id: 1, offset: 0, txn: true})
	first := given{id: 1, offset: 1}.marker()
	s.CompleteTxn(first, abort(0), 0)
	s.Append(given{id: 1, seq: 1, offset: 2, txn: true}.batch(), 0)
	if txn, ok := s.CompleteTxn(first, abort(0), 0); ok {
		t.Fatalf("the old marker ended %+v", txn)
	}
	wantUnstable(t, s, 0)
	s.Advance(2)
	wantUnstable(t, s, 2)
}

func TestApplyTakesEveryKindOfBatch(t *testing.T) {
	s := New()
	apply := func(b record.Batch) (CompletedTxn, bool) {
		txn, ok, err := s.Apply(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		return txn, ok
	}
	apply(given{id: -1, offset: 0}.batch())
	apply(given{id: 1, epoch: 2, offset: 1, txn: true}.batch())
	wantUnstable(t, s, 1)
	b := record.BuildControl(abort(9), 1, 2, 77)
	b.Stamp(2, 0)
	txn, ok := apply(b)
	if want := (CompletedTxn{ProducerID: 1, FirstOffset: 1, LastOffset: 2, LastStable: 3, Aborted: true}); !ok || txn != want {
		t.Fatalf("completed %+v, %v; want %+v", txn, ok, want)
	}
	if p := s.Producers()[0]; p.CoordinatorEpoch != 9 || p.LastTimestamp != 77 {
		t.Errorf("producer is %+v", p)
	}
	if _, _, err := s.Apply(given{id: 1, offset: 3}.marker(), 0); err == nil {
		t.Error("a control batch without a record was applied")
	}
}
