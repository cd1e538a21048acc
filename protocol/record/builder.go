package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Producer is the identity of an idempotent producer and the sequence of the batch's first record.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32
}

// BuilderOptions say what kind of batch is built. The zero value is uncompressed and without a producer.
type BuilderOptions struct {
	Codec         Codec
	Level         int
	Codecs        Codecs    // needed with a Codec
	Producer      *Producer // nil: none
	Transactional bool
	Control       bool
	BaseTimestamp int64 // 0: that of the first record
}

// Builder makes a batch with base offset 0 and offset deltas 0,1,2..
type Builder struct {
	o     BuilderOptions
	buf   []byte // room for the header, then the records
	size  int    // of the batch before, as a guess for this one
	count int
	base  int64
	max   int64
}

// NewBuilder makes an empty builder.
func NewBuilder(o BuilderOptions) *Builder { return &Builder{o: o, base: o.BaseTimestamp} }

// Len is the size of the batch so far, before compression; Count its records.
func (b *Builder) Len() int   { return max(len(b.buf), Overhead) }
func (b *Builder) Count() int { return b.count }

// Append adds a record. Everything is copied. A nil key or value is null.
func (b *Builder) Append(timestamp int64, key, value []byte, headers []Header) {
	if b.count == 0 {
		b.buf = make([]byte, Overhead, max(b.size, 512))
		b.max = math.MinInt64
		if b.o.BaseTimestamp == 0 {
			b.base = timestamp
		}
	}
	delta, index := timestamp-b.base, int64(b.count)
	size := 1 + varintSize(delta) + varintSize(index) + fieldSize(key) + fieldSize(value) + varintSize(int64(len(headers)))
	for _, h := range headers {
		size += varintSize(int64(len(h.Key))) + len(h.Key) + fieldSize(h.Value)
	}
	p := appendVarint(b.buf, int64(size))
	p = append(p, 0) // attributes, unused by the format
	p = appendVarint(p, delta)
	p = appendVarint(p, index)
	p = appendField(p, key)
	p = appendField(p, value)
	p = appendVarint(p, int64(len(headers)))
	for _, h := range headers {
		p = append(appendVarint(p, int64(len(h.Key))), h.Key...) // a header's key is never null
		p = appendField(p, h.Value)
	}
	b.buf = p
	b.max = max(b.max, timestamp)
	b.count++
}

func fieldSize(f []byte) int {
	if f == nil {
		return 1
	}
	return varintSize(int64(len(f))) + len(f)
}

func appendField(dst, f []byte) []byte {
	if f == nil {
		return appendVarint(dst, -1)
	}
	return append(appendVarint(dst, int64(len(f))), f...)
}

var errNoRecords = errors.New("record: a batch without records")

// Build answers the batch and leaves the builder empty, ready for another one. The batch is the caller's.
func (b *Builder) Build() (Batch, error) {
	if b.count == 0 {
		return nil, errNoRecords
	}
	out := b.buf
	count, latest := b.count, b.max
	b.buf, b.size, b.count = nil, len(b.buf), 0
	if count > math.MaxInt32 {
		return nil, fmt.Errorf("record: a batch of %d records", count)
	}
	if b.o.Codec != None {
		var err error
		if out, err = b.o.Codecs.Compress(int8(b.o.Codec), b.o.Level, make([]byte, Overhead, Overhead+len(out)/2), out[Overhead:]); err != nil {
			return nil, fmt.Errorf("record: compress with %v: %w", b.o.Codec, err)
		}
	}
	return seal(out, b.attributes(), func(h Batch) {
		producer := Producer{ID: noProducer, Epoch: -1, Sequence: -1}
		if b.o.Producer != nil {
			producer = *b.o.Producer
		}
		h[offMagic] = Magic
		h.Stamp(0, -1)
		h.setMaxTimestamp(latest)
		binary.BigEndian.PutUint32(h[offLastOffsetDelta:], uint32(count-1))
		binary.BigEndian.PutUint64(h[offBaseTimestamp:], uint64(b.base))
		binary.BigEndian.PutUint64(h[offProducerID:], uint64(producer.ID))
		binary.BigEndian.PutUint16(h[offProducerEpoch:], uint16(producer.Epoch))
		binary.BigEndian.PutUint32(h[offBaseSequence:], uint32(producer.Sequence))
		binary.BigEndian.PutUint32(h[offCount:], uint32(count))
	})
}

func (b *Builder) attributes() int16 {
	a := int16(b.o.Codec)
	if b.o.Transactional {
		a |= bitTransactional
	}
	if b.o.Control {
		a |= bitControl
	}
	return a
}
