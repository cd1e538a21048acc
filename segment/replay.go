package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
)

// leftover is what the journal holds of one log.
type leftover struct {
	replayed bool
	entries  []leftEntry
	voids    []void
}

type leftEntry struct {
	incarnation    uint64
	base, end      int64
	start, synced  int64
	position, size int64 // of the bytes in the journal
}

type void struct {
	incarnation uint64
	to          int64
}

// clip is where the entry ends after the truncations that came later.
func (o *leftover) clip(e leftEntry) int64 {
	end := e.end
	for _, v := range o.voids {
		if v.incarnation > e.incarnation {
			end = min(end, v.to)
		}
	}
	return end
}

var errBadJournal = errors.New("journal is damaged")

// read finds the generation and lists its records. A record that is not whole ends the list: it was being written when
// the crash came, so nobody was told about it.
func (j *Journal) read() error {
	size, err := j.file.Size()
	if err != nil {
		return err
	}
	generation := uint64(0)
	for slot := range int64(2) {
		g, err := j.readSlot(slot)
		if err != nil {
			return err
		}
		generation = max(generation, g)
	}
	if generation == 0 {
		// The crash came before the first generation was durable, or the file is garbage. Either way it promised nothing.
		j.left = nil
		return nil
	}
	j.generation.Store(generation)
	w := window{read: j.file.ReadAt}
	position := int64(journalBegin)
	for {
		n, err := j.readRecord(&w, position, size, generation)
		if err != nil {
			if !errors.Is(err, errBadJournal) && !errors.Is(err, ErrCorrupt) {
				return err
			}
			break
		}
		position += n
	}
	j.position, j.reserved = position, size
	if len(j.left) > 0 {
		j.log.Info("journal has entries", zap.String("event", "CW-0319"), zap.Int("logs", len(j.left)), zap.Int64("bytes", position-journalBegin))
	}
	return nil
}

// readSlot is the generation of a slot, 0 if it is not whole.
func (j *Journal) readSlot(slot int64) (uint64, error) {
	const fields = len(journalMagic) + 4 + 8
	b := make([]byte, fields+4)
	n, err := j.file.ReadAt(b, slot*journalSlot)
	if n < len(b) {
		if err == io.EOF {
			err = nil
		}
		return 0, err
	}
	if string(b[:len(journalMagic)]) != journalMagic || crc32.Checksum(b[:fields], castagnoli) != be.Uint32(b[fields:]) {
		return 0, nil
	}
	if v := be.Uint32(b[len(journalMagic):]); v != journalVersion {
		return 0, fmt.Errorf("journal version %d, only %d is known", v, journalVersion)
	}
	return be.Uint64(b[len(journalMagic)+4:]), nil
}

// readRecord lists the record at position and returns its size.
func (j *Journal) readRecord(w *window, position, size int64, generation uint64) (int64, error) {
	room := size - position
	if room < recordHead+recordFields {
		return 0, errBadJournal
	}
	head, err := w.bytes(position, recordHead+recordFields, windowSize)
	if err != nil {
		return 0, err
	}
	length, sum := int64(be.Uint32(head)), be.Uint32(head[4:])
	d := decoder{b: head[recordHead:]}
	if g := uint64(d.int64()); length < recordFields || length > room-recordHead || g != generation {
		return 0, errBadJournal
	}
	kind := d.take(1)[0]
	k := journalKey{topic: [16]byte(d.take(16)), partition: int32(d.uint32())}
	incarnation, base, end, start, synced := uint64(d.int64()), d.int64(), d.int64(), d.int64(), d.int64()
	if err := j.checkRecord(w, position+recordHead, length, sum); err != nil {
		return 0, err
	}
	o := j.left[k]
	if o == nil {
		o = &leftover{}
		j.left[k] = o
	}
	switch kind {
	case kindData:
		o.entries = append(o.entries, leftEntry{incarnation, base, end, start, synced, position + recordHead + recordFields, length - recordFields})
	case kindVoid:
		o.voids = append(o.voids, void{incarnation, base})
	default:
		return 0, fmt.Errorf("journal record of kind %d", kind)
	}
	return recordHead + length, nil
}

func (j *Journal) checkRecord(w *window, position, length int64, want uint32) error {
	sum := uint32(0)
	for at := position; at < position+length; {
		n := min(position+length-at, windowSize)
		piece, err := w.bytes(at, n, windowSize)
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, piece)
		at += n
	}
	if sum != want {
		return errBadJournal
	}
	return nil
}

// point is the end of what the log's own files held durably when its entries were written, below 0 without entries. It
// counts like a recovery point.
func (j *Journal) point(k journalKey) int64 {
	point := int64(-1)
	if j == nil || j.left[k] == nil {
		return point
	}
	o := j.left[k]
	for _, e := range o.entries {
		point = max(point, e.synced)
	}
	for _, v := range o.voids {
		point = min(point, v.to)
	}
	return point
}

// Unreplayed is the number of logs with entries that were not voided and that no log took over by Replay: those of deleted
// topics, or of logs that could not be opened.
func (j *Journal) Unreplayed() int {
	n := 0
	for _, o := range j.left {
		if !o.replayed && slices.ContainsFunc(o.entries, func(e leftEntry) bool { return o.clip(e) > e.base }) {
			n++
		}
	}
	return n
}

// Replay appends to l what its own files lost in the crash and the journal holds, and returns the number of batches. Call
// it for every log before anything else is appended, then Sync the log.
func (j *Journal) Replay(l *Log) (batches int, err error) {
	if j == nil || j.left[l.journalKey()] == nil || l.topicID == [16]byte{} || l.partition < 0 {
		return 0, nil
	}
	o := j.left[l.journalKey()]
	for _, e := range o.entries {
		n, err := j.replay(l, e, o.clip(e))
		batches += n
		if err != nil {
			return batches, fmt.Errorf("replay journal onto %s: %w", l.name, err)
		}
	}
	o.replayed = true
	l.recovery.Replayed += batches
	if batches > 0 {
		l.log.Info("journal replayed", zap.String("event", "CW-0320"), zap.String("log", l.name),
			zap.Int("batches", batches), zap.Int64("end", l.End()))
	}
	return batches, nil
}

func (j *Journal) replay(l *Log, e leftEntry, end int64) (int, error) {
	if end <= l.End() || e.base > l.End() && e.base >= end {
		return 0, nil
	}
	if e.base > l.End() && e.start > l.End() {
		// What lay between was trimmed before it was durable.
		if err := l.Reset(e.base); err != nil {
			return 0, err
		}
	}
	data := make([]byte, e.size)
	if n, err := j.file.ReadAt(data, e.position); n < len(data) {
		return 0, fmt.Errorf("%w: %w", errBadJournal, err)
	}
	var fresh []record.Batch
	next := l.End()
	for len(data) > 0 {
		b, rest, err := record.Next(data)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errBadJournal, err)
		}
		data = rest
		if b.BaseOffset() < next {
			continue // the log's own file kept it
		}
		if b.NextOffset() > end {
			break // truncated since
		}
		if e.base > next {
			return 0, fmt.Errorf("%w: entry begins at %d, the log ends at %d", errBadJournal, e.base, next)
		}
		fresh = append(fresh, b)
		next = b.NextOffset()
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	if err := l.Append(fresh, fresh[len(fresh)-1].LeaderEpoch()); err != nil {
		return 0, err
	}
	return len(fresh), l.Trim(min(e.start, l.End()))
}
