package producer

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// CompletedTxn is a transaction that a marker ended.
type CompletedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // the marker's
	LastStable  int64 // the last stable offset once the marker is committed
	Aborted     bool  // then it belongs into the .txnindex
}

// CheckMarker says whether a marker may be appended: neither from a producer epoch nor from a transaction
// coordinator that is outdated (R15).
func (s *State) CheckMarker(b record.Batch, c record.Control) error {
	p := s.producers[b.ProducerID()]
	switch {
	case p == nil:
		return nil
	case b.ProducerEpoch() < p.epoch:
		return fmt.Errorf("producer %d has epoch %d, the marker %d: %w", p.id, p.epoch, b.ProducerEpoch(),
			kerr.InvalidProducerEpoch)
	case c.CoordinatorEpoch < p.coordinatorEpoch:
		return fmt.Errorf("producer %d had a marker of coordinator epoch %d, this one is of %d: %w", p.id,
			p.coordinatorEpoch, c.CoordinatorEpoch, kerr.TransactionCoordinatorFenced)
	}
	return nil
}

// CompleteTxn takes a stamped control batch into the state (P2) and answers the transaction that it ended. A marker
// without an open transaction ends none, but its epochs count.
func (s *State) CompleteTxn(b record.Batch, c record.Control, now int64) (CompletedTxn, bool) {
	id := b.ProducerID()
	if id < 0 {
		return CompletedTxn{}, false
	}
	p := s.producers[id]
	if p != nil && b.LastOffset() < p.end {
		return CompletedTxn{}, false
	}
	if p == nil {
		p = s.add(id)
	}
	p.begin(b.ProducerEpoch())
	p.coordinatorEpoch = c.CoordinatorEpoch
	first := p.txnFirst
	if first != none {
		p.txnFirst = none
		s.link(p)
	}
	s.advance(p, b, now)
	if first == none {
		return CompletedTxn{}, false
	}
	txn := CompletedTxn{ProducerID: id, FirstOffset: first, LastOffset: b.LastOffset(), LastStable: b.NextOffset(),
		Aborted: c.Type == record.Abort}
	s.txns.close(first, txn.LastOffset)
	if open, ok := s.txns.firstOpen(); ok {
		txn.LastStable = open
	}
	return txn, true
}

// marker reads the control record of a control batch.
func marker(b record.Batch) (record.Control, error) {
	records := b.Records(nil, 0) // a control batch is never compressed
	defer records.Close()
	if !records.Next() {
		err := records.Err()
		if err == nil {
			err = kerr.CorruptMessage
		}
		return record.Control{}, fmt.Errorf("control batch at offset %d without a record: %w", b.BaseOffset(), err)
	}
	c, err := record.ParseControl(records.Record())
	if err != nil {
		return record.Control{}, fmt.Errorf("control batch at offset %d: %w", b.BaseOffset(), err)
	}
	return c, nil
}

// FirstUnstable is P3; ok is false when there is no such transaction.
func (s *State) FirstUnstable() (offset int64, ok bool) { return s.txns.first() }

// Advance says that the high watermark has come this far: transactions with their marker below it are stable.
func (s *State) Advance(highWatermark int64) { s.txns.stabilise(highWatermark) }

// LastStable is the last stable offset at a high watermark: what read_committed may see ends there (trap 25).
func (s *State) LastStable(highWatermark int64) int64 {
	s.txns.stabilise(highWatermark)
	if first, ok := s.txns.first(); ok {
		return min(first, highWatermark)
	}
	return highWatermark
}

// transactions are the ones that hold the last stable offset back, in the order of their first offsets. That is
// the order in which they begin, so a new one goes to the end.
type transactions struct {
	list   []transaction
	closed int   // how many have their marker
	next   int64 // the smallest of these markers' offsets, if closed > 0
	start  int64 // log start: nothing below it is unstable
}

type transaction struct {
	first int64
	last  int64 // offset of the marker, or none while open
}

func (t *transactions) open(first int64) {
	t.list = append(t.list, transaction{first: first, last: none})
}

// find is the place of the transaction that begins at first.
func (t *transactions) find(first int64) (int, bool) {
	return slices.BinarySearchFunc(t.list, first, func(x transaction, first int64) int {
		switch {
		case x.first < first:
			return -1
		case x.first > first:
			return 1
		}
		return 0
	})
}

func (t *transactions) close(first, last int64) {
	i, found := t.find(first)
	if !found {
		return
	}
	t.list[i].last = last
	if t.closed == 0 || last < t.next {
		t.next = last
	}
	t.closed++
}

// cancel forgets an open transaction whose batch was never written.
func (t *transactions) cancel(first int64) {
	if i, found := t.find(first); found {
		t.list = slices.Delete(t.list, i, i+1)
	}
}

func (t *transactions) first() (int64, bool) {
	if len(t.list) == 0 {
		return 0, false
	}
	return max(t.list[0].first, t.start), true
}

func (t *transactions) firstOpen() (int64, bool) {
	for _, x := range t.list {
		if x.last == none {
			return max(x.first, t.start), true
		}
	}
	return 0, false
}

// stabilise drops the transactions whose marker is below end.
func (t *transactions) stabilise(end int64) {
	if t.closed == 0 || t.next >= end {
		return
	}
	t.list = slices.DeleteFunc(t.list, func(x transaction) bool { return x.last != none && x.last < end })
	t.closed, t.next = 0, 0
	for _, x := range t.list {
		if x.last == none {
			continue
		}
		if t.closed == 0 || x.last < t.next {
			t.next = x.last
		}
		t.closed++
	}
}
