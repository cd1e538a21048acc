package record

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Validator checks produced batches. It holds scratch memory, so it is worth keeping; one goroutine uses it at a time.
type Validator struct {
	window []byte // for compressed batches
}

// Validate checks one partition's bytes of a Produce completely and answers the one batch in them (B2), for which it
// may change timestamp fields and CRC in place. The batch is a new buffer only when it was recompressed. An error is
// an *Invalid.
//
// The order is Kafka's: framing, base offset, size, CRC, header, then the records; so a client with several mistakes
// gets the same code as from Kafka.
func (v *Validator) Validate(records []byte, r *Rules) (Batch, error) {
	b, err := cut(records)
	if err != nil {
		return nil, err
	}
	if b.BaseOffset() != 0 { // bad input 61; the leader epoch is overwritten later whatever it is
		return nil, invalidRecord(fmt.Sprintf("The base offset is %d, it must be 0", b.BaseOffset()))
	}
	if r.MaxBytes > 0 && len(b) > r.MaxBytes { // trap 12
		return nil, tooLarge("The batch", len(b), r.MaxBytes)
	}
	if err := b.CheckCRC(); err != nil { // bad input 49
		return nil, &Invalid{Code: kerr.CorruptMessage, Message: "The batch is damaged: " + err.Error()}
	}
	if err := r.header(b); err != nil {
		return nil, err
	}
	if r.Recompress && b.Codec() != r.Compression {
		return v.recompress(b, r)
	}
	w := newWalk(b.Count())
	if err := v.walk(b, r, &w); err != nil {
		return nil, err
	}
	if err := v.contents(b, r, &w); err != nil {
		return nil, err
	}
	if r.stampTimestamps(b, &w) {
		b.setCRC()
	}
	return b, nil
}

// stampTimestamps makes the header's largest timestamp true, as Kafka does: retention and the time index rely on it.
// It says whether the CRC must follow.
func (r *Rules) stampTimestamps(b Batch, seen *walk) bool {
	latest := b.BaseTimestamp() + seen.maxDelta
	if r.LogAppendTime {
		b.setAttributes(b.Attributes() | bitLogAppendTime)
		latest = r.Now
	} else if latest == b.MaxTimestamp() {
		return false
	}
	b.setMaxTimestamp(latest)
	return true
}

// cut finds exactly one batch (traps 9; bad inputs 48, 50, 51, 52).
func cut(records []byte) (Batch, error) {
	if len(records) == 0 {
		return nil, invalidRecord("A produce request must have exactly one record batch per partition, there is none")
	}
	b, rest, err := Next(records)
	if err != nil {
		return nil, ofFrame(err, len(records))
	}
	if len(rest) == 0 {
		return b, nil
	}
	if _, _, err := Next(rest); err == nil {
		return nil, invalidRecord("A produce request must have exactly one record batch per partition, there are more")
	}
	return nil, corrupt("%d bytes follow the batch", len(rest))
}

func ofFrame(err error, have int) *Invalid {
	var code *kerr.Error
	if errors.As(err, &code) {
		return &Invalid{Code: code, Message: "No record batch: " + err.Error()}
	}
	return corrupt("The record batch is longer than the %d bytes that are there", have)
}

// walk steps over the records of b.
func (v *Validator) walk(b Batch, r *Rules, w *walk) error {
	if b.Codec() == None {
		w.whole(b.Payload())
	} else if err := v.stream(b, r, w); err != nil {
		return err
	}
	if w.wrong != nil {
		return w.wrong
	}
	return nil
}

func (v *Validator) stream(b Batch, r *Rules, w *walk) error {
	if len(b.Payload()) == 0 { // bad input 79: the count says there is something
		w.tooFew(false)
		return nil
	}
	src, err := b.decompressor(r.Codecs, r.MaxDecompressed)
	if err != nil {
		return err
	}
	defer src.Close()
	if v.window == nil {
		v.window = make([]byte, windowSize)
	}
	if err := w.stream(&window{src: src, buf: v.window}); err != nil {
		return ofCodec(err, orDefault(r.MaxDecompressed))
	}
	return nil
}

// contents judges keys and timestamps by what the walk has gathered. Only a batch that may be wrong is walked again,
// to find out which records are.
func (v *Validator) contents(b Batch, r *Rules, seen *walk) error {
	base := b.BaseTimestamp()
	from, to := r.timestamps()
	inRange := r.LogAppendTime || within(base, seen.minDelta, from, to) && within(base, seen.maxDelta, from, to)
	if !inRange || r.KeyRequired && seen.keyless {
		found := finding{rules: r, base: base, from: from, to: to}
		again := newWalk(b.Count())
		again.each = found.look
		if err := v.walk(b, r, &again); err != nil {
			return err
		}
		if err := found.err(); err != nil {
			return err
		}
	}
	// The header's own maximum is corrected, but not when it is outside the window (bad input 67).
	if latest := b.MaxTimestamp(); !r.LogAppendTime && !within(latest, 0, from, to) && latest != noTimestamp {
		return outOfRange(fmt.Sprintf("The batch's largest timestamp %d is outside of [%d, %d]", latest, from, to))
	}
	return nil
}

// within says whether base+delta is in the range, sums that do not fit being outside.
func within(base, delta, from, to int64) bool {
	t := base + delta
	if (base^t)&(delta^t) < 0 {
		return false
	}
	return from <= t && t <= to
}

func outOfRange(message string) *Invalid {
	return &Invalid{Code: kerr.InvalidTimestamp, Message: message}
}

// finding collects what is wrong with single records (traps 10; bad inputs 67, 71).
type finding struct {
	rules          *Rules
	base, from, to int64
	total          int
	times          bool
	records        []RecordError
}

func (f *finding) look(h head) bool {
	switch {
	case f.rules.KeyRequired && h.keyless:
		f.add(h.index, "Compacted topic cannot accept message without key")
	case f.rules.LogAppendTime || f.base+h.timestampDelta == noTimestamp:
	case !within(f.base, h.timestampDelta, f.from, f.to):
		f.times = true
		f.add(h.index, fmt.Sprintf("Timestamp %d is out of range, it should be within [%d, %d]",
			f.base+h.timestampDelta, f.from, f.to))
	}
	return true
}

func (f *finding) add(index int32, message string) {
	f.total++
	if len(f.records) < maxRecordErrors {
		f.records = append(f.records, RecordError{Index: index, Message: message})
	}
}

func (f *finding) err() error {
	if f.total == 0 {
		return nil
	}
	i := invalidRecord(fmt.Sprintf("%d records have been rejected", f.total))
	if f.times { // goes first, as in Kafka
		i = outOfRange("One or more records have been rejected due to invalid timestamp")
	}
	i.Records = f.records
	return i
}
