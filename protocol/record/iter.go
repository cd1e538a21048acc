package record

import (
	"fmt"
	"io"
	"iter"
)

// Header is one header of a record. A nil Value is null.
type Header struct{ Key, Value []byte }

// Record is one record of a batch. A nil Key or Value is null; empty is empty.
type Record struct {
	Attributes     int8
	OffsetDelta    int32
	TimestampDelta int64
	Offset         int64
	Timestamp      int64 // the batch's, when it has LogAppendTime
	Key, Value     []byte
	HeaderCount    int

	headers []byte // checked; decoded by Headers only, since a header in memory is larger than on the wire (B3)
}

// Headers decodes the headers one after another. Keys and values alias what the record aliases.
func (r *Record) Headers() iter.Seq[Header] {
	return func(yield func(Header) bool) {
		f := fields{p: r.headers}
		for range r.HeaderCount {
			h := Header{Key: f.bytes(), Value: f.bytes()}
			if !yield(h) {
				return
			}
		}
	}
}

// fields reads the parts of a record one after another; a wrong one leaves at behind the end.
type fields struct {
	p  []byte
	at int
}

func (f *fields) number() int64 {
	var v int64
	v, f.at = varint(f.p, f.at)
	return v
}

func (f *fields) bytes() []byte {
	n := f.number()
	if n < -1 || n > int64(len(f.p)-f.at) {
		f.at = bad
	}
	if n < 0 || f.at == bad {
		return nil
	}
	f.at += int(n)
	return f.p[f.at-int(n) : f.at : f.at]
}

// Iter goes through the records of a batch, from a leader, from disk or from our own topics. The bytes need not be
// right: whatever they are, it ends with an error at worst.
type Iter struct {
	batch  Batch
	left   int32
	rest   []byte    // of an uncompressed payload
	window *window   // of a compressed one
	src    io.Closer // what to close
	limit  int64
	record Record
	err    error
}

// Records begins the iteration. c may be nil when the batch is not compressed; limit bounds what it decompresses to (0: DefaultMaxDecompressed).
func (b Batch) Records(c Codecs, limit int64) *Iter {
	it := &Iter{batch: b, left: b.Count(), limit: orDefault(limit)}
	if b.Codec() == None {
		it.rest = b.Payload()
		return it
	}
	if it.left == 0 {
		return it // compacted away; there may be no payload at all
	}
	src, err := b.decompressor(c, limit)
	if err != nil {
		it.err = it.wrap(err)
		return it
	}
	it.src, it.window = src, &window{src: src, buf: make([]byte, 4<<10)}
	return it
}

func (it *Iter) wrap(err error) error {
	return fmt.Errorf("batch at %d: %w", it.batch.BaseOffset(), err)
}

// Next moves to the next record. After it answers false, Err tells the end from a failure.
func (it *Iter) Next() bool {
	if it.err != nil {
		return false
	}
	if it.left <= 0 {
		it.end()
		return false
	}
	p, err := it.cut()
	if err == nil {
		err = it.record.decode(p, it.batch)
	}
	if err != nil {
		it.err = it.wrap(err)
		return false
	}
	it.left--
	return true
}

// Record is the current record. Of a compressed batch it is valid until the next Next, otherwise it aliases the batch.
func (it *Iter) Record() *Record { return &it.record }

// Err is why Next ended early, or nil.
func (it *Iter) Err() error { return it.err }

// Close gives the decompressor back. It may be called more than once.
func (it *Iter) Close() {
	if it.src != nil {
		it.src.Close()
		it.src = nil
	}
	it.left = 0
	it.rest, it.window = nil, nil
}

// cut takes the next whole record, without its length, off the payload.
func (it *Iter) cut() ([]byte, error) {
	if it.window == nil {
		length, i := varint(it.rest, 0)
		if length < minRecord || length > int64(len(it.rest)-i) {
			return nil, corrupt("A record of %d bytes, %d are left", length, len(it.rest))
		}
		p := it.rest[i : i+int(length)]
		it.rest = it.rest[i+int(length):]
		return p, nil
	}
	f := it.window
	length, ok := f.number(maxVarint)
	if ok && length >= minRecord && length <= it.limit && f.grow(int(length)) {
		p := f.bytes()[:length]
		f.take(int(length))
		return p, nil
	}
	if f.err != nil && f.err != io.EOF {
		return nil, ofCodec(f.err, it.limit)
	}
	return nil, corrupt("The payload ends before its %d records do", it.batch.Count())
}

// end looks whether the payload ends where the records do.
func (it *Iter) end() {
	more := len(it.rest) > 0
	if f := it.window; f != nil {
		more = f.r < f.w || f.fill()
		if f.err != nil && f.err != io.EOF {
			it.err = it.wrap(ofCodec(f.err, it.limit))
			return
		}
	}
	if more {
		it.err = it.wrap(corrupt("The payload goes on behind its %d records", it.batch.Count()))
	}
}

// decode reads p, a record behind its length.
func (r *Record) decode(p []byte, b Batch) error {
	f := fields{p: p, at: 1}
	r.Attributes = int8(p[0])
	r.TimestampDelta, f.at = varlong(p, f.at, maxVarlong)
	r.OffsetDelta = int32(f.number())
	r.Key, r.Value = f.bytes(), f.bytes()
	headers := f.number()
	if f.at == bad || r.OffsetDelta < 0 || headers != 0 && skipHeaders(p, f.at, headers) != len(p) || headers == 0 && f.at != len(p) {
		return corrupt("A record of %d bytes is malformed", len(p))
	}
	r.HeaderCount, r.headers = int(headers), p[f.at:]
	r.Offset = b.BaseOffset() + int64(r.OffsetDelta)
	r.Timestamp = b.BaseTimestamp() + r.TimestampDelta
	if b.LogAppendTime() {
		r.Timestamp = b.MaxTimestamp()
	}
	return nil
}
