package producer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// MaxProducers is how many producers a log remembers unless SetLimit says otherwise.
const MaxProducers = 100_000

// State is the producers of one log. Make it with New or Decode.
type State struct {
	producers map[int64]*producer // made with the first producer
	// Producers without an open transaction, in the order of their last use: the ones that may be forgotten.
	oldest, newest *producer
	txns           transactions
	end            int64 // behind the last batch or marker of any producer
	limit          int
	undo           []undo // of the burst, newest last
	burst          bool   // Begin was called, and neither Commit nor Rollback since
	endBefore      int64  // end at Begin
	dup            BatchMeta
}

// BatchMeta describes a batch that is in the log.
type BatchMeta struct {
	BaseOffset, LastOffset     int64
	BaseSequence, LastSequence int32
	Timestamp                  int64 // its max timestamp
}

// Info describes one producer, as DescribeProducers tells it; -1 stands for none.
type Info struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnFirstOffset   int64
}

// New returns the state of an empty log.
func New() *State { return &State{limit: MaxProducers} }

// SetLimit changes how many producers are remembered.
func (s *State) SetLimit(n int) {
	s.limit = max(n, 1)
	for len(s.producers) > s.limit && s.oldest != nil {
		s.forget(s.oldest)
	}
}

// Check says what to do with a client's data batch: append it (nil, nil), answer it as a duplicate with the
// original's offsets and timestamp (dup, valid until the next call), or refuse it (an error that wraps a kerr
// code). The duplicate may itself not be committed yet, so its answer waits for the high watermark too (Z21).
// Only the base offset and leader epoch of b are not looked at; now is in milliseconds.
func (s *State) Check(b record.Batch, now int64) (dup *BatchMeta, err error) {
	return s.check(b, now, false)
}

// CheckV2 is Check for a producer that runs transaction version 2: it bumps its epoch with every transaction, so
// an unknown one can only be at its beginning (trap 20).
func (s *State) CheckV2(b record.Batch, now int64) (dup *BatchMeta, err error) {
	return s.check(b, now, true)
}

func (s *State) check(b record.Batch, now int64, v2 bool) (*BatchMeta, error) {
	id := b.ProducerID()
	if id < 0 {
		return nil, nil
	}
	epoch, first := b.ProducerEpoch(), b.BaseSequence()
	if epoch < 0 || first < 0 { // bad input 64
		return nil, fmt.Errorf("producer %d sends epoch %d, sequence %d: %w", id, epoch, first, kerr.InvalidRecord)
	}
	p := s.producers[id]
	if p == nil {
		if v2 && first != 0 {
			return nil, fmt.Errorf("unknown producer %d begins with sequence %d: %w", id, first,
				kerr.OutOfOrderSequenceNumber)
		}
		return nil, nil
	}
	if epoch == p.epoch {
		if old := p.find(first, b.LastSequence()); old != nil {
			s.use(p, now)
			s.dup = BatchMeta{
				BaseOffset: old.lastOffset - int64(old.offsetDelta), LastOffset: old.lastOffset,
				BaseSequence: first, LastSequence: old.lastSequence, Timestamp: old.timestamp,
			}
			return &s.dup, nil
		}
	}
	if err := p.accepts(epoch, first); err != nil {
		return nil, err
	}
	if p.txnFirst != none && !b.Transactional() {
		return nil, fmt.Errorf("producer %d writes outside its open transaction: %w", id, kerr.InvalidTxnState)
	}
	return nil, nil
}

// Append takes a stamped data batch into the state (P2). The next Check of the same producer sees it, so the
// batches of one burst are checked and appended one by one before they are written together.
func (s *State) Append(b record.Batch, now int64) {
	id := b.ProducerID()
	if id < 0 || b.Control() {
		return
	}
	p := s.producers[id]
	if p != nil && b.LastOffset() < p.end {
		return
	}
	if p == nil {
		p = s.add(id)
		s.remember(p, b.BaseOffset(), true)
	} else {
		s.remember(p, b.BaseOffset(), false)
	}
	p.begin(b.ProducerEpoch())
	p.push(batch{
		lastOffset: b.LastOffset(), timestamp: b.MaxTimestamp(),
		lastSequence: b.LastSequence(), offsetDelta: b.LastOffsetDelta(),
	})
	s.advance(p, b, now)
	if p.txnFirst == none && b.Transactional() {
		s.unlink(p) // P3
		p.txnFirst = b.BaseOffset()
		s.txns.open(p.txnFirst)
	}
}

// advance notes that p wrote b.
func (s *State) advance(p *producer, b record.Batch, now int64) {
	p.timestamp, p.end = b.MaxTimestamp(), b.NextOffset()
	s.end = max(s.end, p.end)
	s.use(p, now)
}

// Apply takes any stamped batch of the log into the state: recovery and followers call it for every batch, and so
// does the leader after a write (P2). For a marker that ended a transaction it answers that transaction. What is
// applied is in the log, so it ends a burst like Commit.
func (s *State) Apply(b record.Batch, now int64) (txn CompletedTxn, completed bool, err error) {
	s.Commit()
	if b.ProducerID() < 0 {
		return CompletedTxn{}, false, nil
	}
	if !b.Control() {
		s.Append(b, now)
		return CompletedTxn{}, false, nil
	}
	c, err := marker(b)
	if err != nil {
		return CompletedTxn{}, false, err
	}
	txn, completed = s.CompleteTxn(b, c, now)
	return txn, completed, nil
}

// Len is the number of producers.
func (s *State) Len() int { return len(s.producers) }

// End is behind the last batch or marker of any producer in the state; 0 without any.
func (s *State) End() int64 { return s.end }

// Producers lists the producers by id.
func (s *State) Producers() []Info {
	infos := make([]Info, 0, len(s.producers))
	for _, p := range s.sorted() {
		infos = append(infos, Info{
			ProducerID: p.id, Epoch: p.epoch, LastSequence: p.lastSequence(), LastTimestamp: p.timestamp,
			CoordinatorEpoch: p.coordinatorEpoch, TxnFirstOffset: p.txnFirst,
		})
	}
	return infos
}

// sorted is the producers by id.
func (s *State) sorted() []*producer {
	all := make([]*producer, 0, len(s.producers))
	for _, p := range s.producers {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *producer) int { return cmp.Compare(a.id, b.id) })
	return all
}
