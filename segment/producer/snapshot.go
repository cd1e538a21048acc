package producer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

const (
	snapshotVersion = 1
	headerSize      = 2 + 4 + 4
	entrySize       = 8 + 2 + 4 + 8 + 4 + 8 + 4 + 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCorrupt is Decode's answer for bytes that are no snapshot. The state then comes from an older snapshot or from
// the whole log.
var ErrCorrupt = errors.New("corrupt producer snapshot")

// entry is one line of a snapshot.
type entry struct {
	id               int64
	epoch            int16
	batch            batch // lastOffset none: no batch in this epoch
	coordinatorEpoch int32
	txnFirst         int64
}

// Encode is the state as a .snapshot file for the log end `end`, without those batches of a running burst that come
// behind it. It answers nil when the state holds something else at or above end: such a file would claim what the log
// below end does not say (P1).
func (s *State) Encode(end int64) []byte {
	producers, ok := s.before(end)
	if !ok {
		return nil
	}
	b := make([]byte, headerSize, headerSize+entrySize*len(producers))
	count := 0
	for _, p := range producers {
		e := entry{id: p.id, epoch: p.epoch, coordinatorEpoch: p.coordinatorEpoch, txnFirst: p.txnFirst,
			batch: batch{lastOffset: none, lastSequence: none, timestamp: p.timestamp}}
		if p.count == 0 {
			b = e.append(b)
			count++
		}
		for i := int(p.count) - 1; i >= 0; i-- {
			e.batch = *p.newest(i)
			b = e.append(b)
			count++
		}
	}
	binary.BigEndian.PutUint16(b, snapshotVersion)
	binary.BigEndian.PutUint32(b[6:], uint32(count))
	binary.BigEndian.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
	return b
}

func (e *entry) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(e.id))
	b = binary.BigEndian.AppendUint16(b, uint16(e.epoch))
	b = binary.BigEndian.AppendUint32(b, uint32(e.batch.lastSequence))
	b = binary.BigEndian.AppendUint64(b, uint64(e.batch.lastOffset))
	b = binary.BigEndian.AppendUint32(b, uint32(e.batch.offsetDelta))
	b = binary.BigEndian.AppendUint64(b, uint64(e.batch.timestamp))
	b = binary.BigEndian.AppendUint32(b, uint32(e.coordinatorEpoch))
	return binary.BigEndian.AppendUint64(b, uint64(e.txnFirst))
}

func parseEntry(b []byte) entry {
	return entry{
		id:    int64(binary.BigEndian.Uint64(b)),
		epoch: int16(binary.BigEndian.Uint16(b[8:])),
		batch: batch{
			lastSequence: int32(binary.BigEndian.Uint32(b[10:])),
			lastOffset:   int64(binary.BigEndian.Uint64(b[14:])),
			offsetDelta:  int32(binary.BigEndian.Uint32(b[22:])),
			timestamp:    int64(binary.BigEndian.Uint64(b[26:])),
		},
		coordinatorEpoch: int32(binary.BigEndian.Uint32(b[34:])),
		txnFirst:         int64(binary.BigEndian.Uint64(b[38:])),
	}
}

// check refuses values that no log can lead to.
func (e *entry) check() error {
	b := &e.batch
	switch {
	case e.id < 0 || e.epoch < none || e.coordinatorEpoch < none || e.txnFirst < none:
	case b.lastOffset < none || b.lastOffset == math.MaxInt64 || b.lastSequence < none || b.offsetDelta < 0:
	case b.lastOffset == none && (b.lastSequence != none || b.offsetDelta != 0):
	case b.lastOffset != none && (b.lastSequence == none || int64(b.offsetDelta) > b.lastOffset):
	default:
		return nil
	}
	return fmt.Errorf("producer %d has impossible values: %w", e.id, ErrCorrupt)
}

// Decode reads a .snapshot file, ours or Kafka's.
func Decode(b []byte) (*State, error) {
	if len(b) < headerSize {
		return nil, fmt.Errorf("%d bytes: %w", len(b), ErrCorrupt)
	}
	if v := binary.BigEndian.Uint16(b); v != snapshotVersion {
		return nil, fmt.Errorf("version %d: %w", v, ErrCorrupt)
	}
	if got, want := crc32.Checksum(b[6:], castagnoli), binary.BigEndian.Uint32(b[2:]); got != want {
		return nil, fmt.Errorf("crc is %08x, the bytes have %08x: %w", want, got, ErrCorrupt)
	}
	count, rest := int64(int32(binary.BigEndian.Uint32(b[6:]))), b[headerSize:]
	if count*entrySize != int64(len(rest)) {
		return nil, fmt.Errorf("%d entries in %d bytes: %w", count, len(b), ErrCorrupt)
	}
	entries := make([]entry, count)
	for i := range entries {
		entries[i] = parseEntry(rest[i*entrySize:])
		if err := entries[i].check(); err != nil {
			return nil, err
		}
	}
	return load(entries)
}

// load puts entries in, those of one producer in the order of the file. Producers go in by their last offsets, which
// is the order of their use, so that a file with too many loses the oldest.
func load(entries []entry) (*State, error) {
	s := New()
	last := make(map[int64]int64, len(entries))
	for _, e := range entries {
		last[e.id] = e.batch.lastOffset
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(last[a.id], last[b.id]), cmp.Compare(a.id, b.id))
	})
	for i, e := range entries {
		s.load(e, i+1 == len(entries) || entries[i+1].id != e.id)
	}
	slices.SortFunc(s.txns.list, func(a, b transaction) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(s.txns.list); i++ {
		if first := s.txns.list[i].first; first == s.txns.list[i-1].first {
			return nil, fmt.Errorf("two transactions begin at offset %d: %w", first, ErrCorrupt)
		}
	}
	return s, nil
}

// load takes one entry; final says that it is its producer's last and so decides all but the older batches.
func (s *State) load(e entry, final bool) {
	p := s.producers[e.id]
	if p == nil {
		p = s.add(e.id)
	}
	p.begin(e.epoch)
	if e.batch.lastOffset != none {
		if p.count > 0 && p.newest(0).lastOffset >= e.batch.lastOffset {
			p.count = 0 // out of order: only the file's last word counts, as for Kafka
		}
		p.push(e.batch)
		p.end = e.batch.lastOffset + 1
		s.end = max(s.end, p.end)
	}
	p.timestamp, p.coordinatorEpoch = e.batch.timestamp, e.coordinatorEpoch
	if final && e.txnFirst != none {
		p.txnFirst = e.txnFirst
		s.unlink(p)
		s.txns.open(e.txnFirst)
	}
}
