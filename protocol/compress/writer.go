package compress

import (
	"fmt"
	"io"
	"slices"
)

// Writer streams what is written to it, compressed, to dst: for a payload that should not be in memory as a whole.
// Close ends the stream and must be called in any case; the writer must not be touched afterwards.
func (p *Pool) Writer(codec int8, level int, dst io.Writer) (io.WriteCloser, error) {
	switch codec {
	case gzipCodec:
		w, back, err := p.gzipWriter(level)
		if err != nil {
			return nil, err
		}
		w.gz.Reset(dst)
		return &stream{to: w.gz, back: back}, nil
	case snappyCodec:
		return &blocks{to: dst, size: xerialBlock, head: xerialHeader, add: appendXerialBlock}, nil
	case lz4Codec:
		c, back := p.lz4Block(level)
		return &blocks{to: dst, size: lz4WriteBlock, head: lz4Header, tail: lz4EndMark, back: back,
			add: func(dst, src []byte) ([]byte, error) { return appendLZ4Block(c, dst, src) }}, nil
	case zstdCodec:
		e, back, err := p.zstdEncoder(level)
		if err != nil {
			return nil, err
		}
		e.Reset(dst)
		return &stream{to: e, back: func() { e.Reset(nil); back() }}, nil
	default:
		return nil, fmt.Errorf("%w %d", errUnknownCodec, codec)
	}
}

// stream is a writer of a library; back gives it to its pool.
type stream struct {
	to   io.WriteCloser
	back func()
}

func (s *stream) Write(p []byte) (int, error) {
	if s.back == nil {
		return 0, errClosed
	}
	return s.to.Write(p)
}

func (s *stream) Close() error {
	if s.back == nil {
		return nil
	}
	err := s.to.Close()
	s.back()
	s.back = nil
	return err
}

// blocks cuts what is written into blocks that are compressed one by one.
type blocks struct {
	to         io.Writer
	size       int
	head, tail []byte // of the stream
	add        func(dst, src []byte) ([]byte, error)
	back       func()

	block, out []byte
	begun      bool
	closed     bool
	err        error
}

func (b *blocks) Write(p []byte) (int, error) {
	if b.closed {
		return 0, errClosed
	}
	n := 0
	for b.err == nil && n < len(p) {
		if b.block == nil {
			b.block = make([]byte, 0, b.size)
		}
		k := min(len(p)-n, b.size-len(b.block))
		b.block = append(b.block, p[n:n+k]...)
		if n += k; len(b.block) == b.size {
			b.flush(nil)
		}
	}
	return n, b.err
}

// flush writes the head, if that is not done, the block, if there is one, and the tail.
func (b *blocks) flush(tail []byte) {
	b.out = b.out[:0]
	if !b.begun {
		b.begun, b.out = true, append(b.out, b.head...)
	}
	if len(b.block) > 0 {
		var out []byte
		if out, b.err = b.add(b.out, b.block); b.err != nil {
			return
		}
		b.out = out
	}
	b.block = b.block[:0]
	b.out = append(b.out, tail...)
	_, b.err = b.to.Write(b.out)
}

func (b *blocks) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	if b.err == nil {
		b.flush(b.tail)
	}
	if b.back != nil {
		b.back()
	}
	return b.err
}

// appendBlocks compresses src with one block after another.
func appendBlocks(dst, src []byte, size int, add func(dst, src []byte) ([]byte, error)) ([]byte, error) {
	var err error
	for chunk := range slices.Chunk(src, size) {
		if dst, err = add(dst, chunk); err != nil {
			return nil, err
		}
	}
	return dst, nil
}
