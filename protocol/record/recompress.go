package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
)

// keepBytes is the largest scratch buffer that a Validator keeps from one batch to the next.
const keepBytes = 4 << 20

// recompress checks the records of b and writes them anew with the topic's codec (trap 11). It needs the whole payload
// in memory; the batch it answers is a new buffer, since b is part of a request.
func (v *Validator) recompress(b Batch, r *Rules) (Batch, error) {
	plain := b.Payload()
	if b.Codec() != None {
		if len(plain) == 0 { // bad input 79
			return nil, invalidRecord("The compressed payload is empty")
		}
		var err error
		if plain, err = v.decompress(b, r); err != nil {
			return nil, err
		}
	}
	w := newWalk(b.Count())
	if w.whole(plain); w.wrong != nil {
		return nil, w.wrong
	}
	if err := v.contents(b, r, &w); err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, Overhead+len(plain)), b[:Overhead]...)
	if r.Compression == None {
		out = append(out, plain...)
	} else {
		var err error
		if out, err = r.Codecs.Compress(int8(r.Compression), r.Level, out, plain); err != nil {
			return nil, &Invalid{Code: kerr.UnknownServerError, Message: fmt.Sprintf("Recompression with %v: %v", r.Compression, err)}
		}
	}
	if r.MaxBytes > 0 && len(out) > r.MaxBytes {
		return nil, tooLarge(fmt.Sprintf("The batch, recompressed with %v,", r.Compression), len(out), r.MaxBytes)
	}
	return seal(out, b.Attributes()&^bitsCodec|int16(r.Compression), func(fresh Batch) { r.stampTimestamps(fresh, &w) })
}

// seal makes out, a header and a payload, a batch: length, attributes, what adjust changes, and the CRC over it all.
func seal(out []byte, attributes int16, adjust func(Batch)) (Batch, error) {
	if len(out)-LogOverhead > math.MaxInt32 {
		return nil, tooLarge("The batch", len(out), math.MaxInt32)
	}
	b := Batch(out[:len(out):len(out)])
	binary.BigEndian.PutUint32(b[offLength:], uint32(len(b)-LogOverhead))
	b.setAttributes(attributes)
	adjust(b)
	b.setCRC()
	return b, nil
}

// decompress reads the payload of b into the scratch buffer, which grows with what arrives (B3).
func (v *Validator) decompress(b Batch, r *Rules) ([]byte, error) {
	src, err := b.decompressor(r.Codecs, r.MaxDecompressed)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	buf := v.plain[:0]
	if cap(buf) == 0 {
		buf = make([]byte, 0, windowSize)
	}
	for idle := 0; err == nil; idle++ {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		var n int
		if n, err = src.Read(buf[len(buf):cap(buf)]); n > 0 {
			buf, idle = buf[:len(buf)+n], 0
		}
		if idle > 100 {
			err = io.ErrNoProgress
		}
	}
	v.plain = nil
	if cap(buf) <= keepBytes {
		v.plain = buf
	}
	if err != io.EOF {
		return nil, ofCodec(err, orDefault(r.MaxDecompressed))
	}
	return buf, nil
}
