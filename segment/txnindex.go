package segment

import (
	"fmt"
)

// AbortedTxn is one entry of a .txnindex: an aborted transaction, in the segment that holds its marker.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // of the marker
	LastStable  int64 // last stable offset when the marker was written
}

const (
	abortedTxnSize    = 34
	abortedTxnVersion = 0
)

func encodeAborted(txns []AbortedTxn) []byte {
	b := make([]byte, 0, len(txns)*abortedTxnSize)
	for _, t := range txns {
		b = be.AppendUint16(b, abortedTxnVersion)
		b = be.AppendUint64(b, uint64(t.ProducerID))
		b = be.AppendUint64(b, uint64(t.FirstOffset))
		b = be.AppendUint64(b, uint64(t.LastOffset))
		b = be.AppendUint64(b, uint64(t.LastStable))
	}
	return b
}

func decodeAborted(b []byte, base int64) ([]AbortedTxn, error) {
	if len(b)%abortedTxnSize != 0 {
		return nil, fmt.Errorf("transaction index of %d bytes", len(b))
	}
	txns := make([]AbortedTxn, 0, len(b)/abortedTxnSize)
	last := base - 1
	for ; len(b) > 0; b = b[abortedTxnSize:] {
		t := AbortedTxn{int64(be.Uint64(b[2:])), int64(be.Uint64(b[10:])), int64(be.Uint64(b[18:])), int64(be.Uint64(b[26:]))}
		if v := be.Uint16(b); v != abortedTxnVersion || t.LastOffset <= last || t.FirstOffset > t.LastOffset {
			return nil, fmt.Errorf("transaction index entry %d: version %d, %+v after marker %d", len(txns), v, t, last)
		}
		txns = append(txns, t)
		last = t.LastOffset
	}
	return txns, nil
}

// abortedTxns is the segment's list, read from its file when it is not in memory. No file is an empty list.
func (s *Segment) abortedTxns() ([]AbortedTxn, error) {
	if p := s.aborted.Load(); p != nil {
		return *p, nil
	}
	b, _, err := s.owner.readAux(s.base, txnSuffix)
	if err != nil {
		return nil, err
	}
	txns, err := decodeAborted(b, s.base)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, s.log.name(), err)
	}
	s.aborted.CompareAndSwap(nil, &txns)
	return txns, nil
}

// addAborted appends to the list. The writer's.
func (s *Segment) addAborted(t AbortedTxn) {
	var old []AbortedTxn
	if p := s.aborted.Load(); p != nil {
		old = *p
	}
	txns := append(old[:len(old):len(old)], t)
	s.aborted.Store(&txns)
}

// AbortedIn lists the aborted transactions that overlap [from, to) (trap 25).
func (l *Log) AbortedIn(from, to int64) ([]AbortedTxn, error) {
	v := l.view.Load()
	var found []AbortedTxn
	for i := max(v.at(from), 0); i < len(v.segments); i++ {
		txns, err := v.segments[i].abortedTxns()
		if err != nil {
			return nil, err
		}
		for _, t := range txns {
			if t.LastOffset >= from && t.FirstOffset < to {
				found = append(found, t)
			}
			if t.LastStable >= to {
				return found, nil // everything below `to` was decided here: no later marker can concern it
			}
		}
	}
	return found, nil
}
