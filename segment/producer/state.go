package producer

import "cordwood/protocol/record"

// MaxProducers is how many producers one log remembers.
const MaxProducers = 100_000

// State is the producers of one log. The zero value is not usable; see New.
type State struct{}

// BatchMeta describes a batch that is in the log.
type BatchMeta struct {
	BaseOffset, LastOffset     int64
	BaseSequence, LastSequence int32
	Timestamp                  int64 // the batch's max timestamp
}

// CompletedTxn is a transaction that a marker ended.
type CompletedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // of the marker
	LastStable  int64 // last stable offset once the marker is committed
	Aborted     bool  // true: belongs into the .txnindex
}

// Info describes one producer, as DescribeProducers tells it.
type Info struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	TxnFirstOffset   int64 // -1: no open transaction
}

// New returns the state of an empty log.
func New() *State { return &State{} }

// Check says what to do with a data batch of a client: append it (nil, nil), answer a duplicate with the original
// batch's offsets and timestamp (dup, valid until the next call), or refuse it (kerr code).
func (s *State) Check(b record.Batch, now int64) (dup *BatchMeta, err error) { return nil, nil }

// CheckMarker says whether a control batch may be appended.
func (s *State) CheckMarker(b record.Batch, c record.Control) error { return nil }

// Begin starts a burst: Rollback undoes every Append since.
func (s *State) Begin() {}

// Rollback undoes the Appends since Begin (the write failed).
func (s *State) Rollback() {}

// Append takes a stamped data batch into the state. A batch below what is already in it is ignored, so that the
// same batch may be applied again after the write.
func (s *State) Append(b record.Batch, now int64) {}

// CompleteTxn takes a stamped control batch into the state.
func (s *State) CompleteTxn(b record.Batch, c record.Control, now int64) (CompletedTxn, bool) {
	return CompletedTxn{}, false
}

// Apply takes any stamped batch into the state, as recovery and followers do: Append or, for a control batch,
// ParseControl and CompleteTxn.
func (s *State) Apply(b record.Batch, now int64) (txn CompletedTxn, completed bool, err error) {
	return CompletedTxn{}, false, nil
}

// Expire forgets producers unused for maxAge (milliseconds).
func (s *State) Expire(now, maxAge int64) {}

// DropBefore forgets producers whose last batch is below the log start.
func (s *State) DropBefore(logStart int64) {}

// FirstUnstable is the first offset of the earliest transaction that is open, or whose marker is not committed yet.
func (s *State) FirstUnstable() (offset int64, ok bool) { return 0, false }

// Advance tells the high watermark: transactions whose marker is below it become stable.
func (s *State) Advance(highWatermark int64) {}

// LastStable is Advance and the last stable offset for this high watermark.
func (s *State) LastStable(highWatermark int64) int64 { return highWatermark }

// Len is the number of producers.
func (s *State) Len() int { return 0 }

// Producers lists the producers by id.
func (s *State) Producers() []Info { return nil }

// Encode is the state as a Kafka .snapshot file for the log end `end`; nil when the state already holds something at or above end.
func (s *State) Encode(end int64) []byte { return nil }

// Decode reads a .snapshot file.
func Decode(b []byte) (*State, error) { return New(), nil }
