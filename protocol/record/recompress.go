package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
)

// recompress checks the records of b and writes them anew with the topic's codec (trap 11). The payload streams from
// one codec into the other, so that a batch of a megabyte never is the 256 MiB in memory that it may decompress to
// (B3, bad input 74). The batch it answers is a new buffer, since b is part of a request.
func (v *Validator) recompress(b Batch, r *Rules) (Batch, error) {
	if b.Codec() != None && len(b.Payload()) == 0 { // bad input 79
		return nil, invalidRecord("The compressed payload is empty")
	}
	out := &output{most: math.MaxInt32, b: append(make([]byte, 0, Overhead+len(b.Payload())), b[:Overhead]...)}
	if r.MaxBytes > 0 {
		out.most = r.MaxBytes
	}
	to, err := r.writer(out)
	if err != nil {
		return nil, unwritten(r, err)
	}
	defer to.Close()
	w := newWalk(b.Count())
	if err := v.rewrite(b, r, &w, to); err != nil {
		return nil, err
	}
	if err := v.contents(b, r, &w); err != nil {
		return nil, err
	}
	if err := to.Close(); err != nil {
		return nil, unwritten(r, err)
	}
	if out.size > int64(out.most) {
		return nil, tooLarge(fmt.Sprintf("The batch, recompressed with %v,", r.Compression), int(min(out.size, math.MaxInt32)), out.most)
	}
	return seal(out.b, b.Attributes()&^bitsCodec|int16(r.Compression), func(fresh Batch) { r.stampTimestamps(fresh, &w) })
}

func unwritten(r *Rules, err error) *Invalid {
	return &Invalid{Code: kerr.UnknownServerError, Message: fmt.Sprintf("Recompression with %v: %v", r.Compression, err)}
}

// rewrite walks over the records of b and copies them.
func (v *Validator) rewrite(b Batch, r *Rules, w *walk, to io.Writer) error {
	if b.Codec() == None {
		if w.whole(b.Payload()); w.wrong != nil {
			return w.wrong
		}
		if _, err := to.Write(b.Payload()); err != nil {
			return unwritten(r, err)
		}
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
	copied := &copied{from: src, to: to}
	err = w.stream(&window{src: copied, buf: v.window})
	switch {
	case copied.err != nil:
		return unwritten(r, copied.err)
	case err != nil:
		return ofCodec(err, orDefault(r.MaxDecompressed))
	case w.wrong != nil:
		return w.wrong
	}
	return nil
}

// copied is a reader whose bytes also go to a writer. An error of the writer ends it and stays in err.
type copied struct {
	from io.Reader
	to   io.Writer
	err  error
}

func (c *copied) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if n > 0 {
		if _, c.err = c.to.Write(p[:n]); c.err != nil {
			return 0, c.err
		}
	}
	return n, err
}

// writer compresses with the topic's codec.
func (r *Rules) writer(out *output) (io.WriteCloser, error) {
	if r.Compression == None {
		return out, nil
	}
	return r.Codecs.Writer(int8(r.Compression), r.Level, out)
}

// output keeps what fits a batch and counts the rest: whether the records are right is found out first.
type output struct {
	b    []byte
	most int
	size int64
}

func (o *output) Write(p []byte) (int, error) {
	if o.size == 0 {
		o.size = int64(len(o.b))
	}
	if o.size += int64(len(p)); o.size <= int64(o.most) {
		o.b = append(o.b, p...)
	}
	return len(p), nil
}

func (o *output) Close() error { return nil }

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
