package compress

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Codec numbers in the attributes of a record batch.
const (
	gzipCodec   = 1
	snappyCodec = 2
	lz4Codec    = 3
	zstdCodec   = 4
	codecs      = 5
)

// ErrCorrupt wraps every failure to decompress but one.
var ErrCorrupt = errors.New("corrupt compressed data")

// ErrTooLarge is the one: the output passes the caller's limit.
var ErrTooLarge error = tooLarge{}

type tooLarge struct{}

func (tooLarge) Error() string { return "decompressed data is larger than allowed" }

// TooLarge lets a package that must not import this one recognise the error.
func (tooLarge) TooLarge() bool { return true }

var errUnknownCodec = errors.New("unknown compression codec")

// keepBytes is the largest buffer that stays in a pool. One batch with a huge window or block must not pin its memory.
const keepBytes = 4 << 20

// Pool holds idle readers and writers.
type Pool struct {
	readers [codecs]sync.Pool // *reader
	gzips   [10]sync.Pool     // *gzip.Writer by level, 0 is the default
	lz4s    [10]sync.Pool     // *lz4Block by level, 0 is the fast one
	zstds   [4]sync.Pool      // *zstd.Encoder by speed
}

// New makes an empty pool. One for the process is enough.
func New() *Pool { return &Pool{} }

// decoder is one codec's half of a reader.
type decoder interface {
	// reset begins with a new, non-empty source. limit is for decoders that must know a size before they decode.
	reset(src []byte, limit int64) error
	io.Reader
	// idle drops all references to the source. It says whether the decoder may be used again.
	idle() bool
}

// reader is a decoder with the cap (C1). It goes back to its pool on Close.
type reader struct {
	pool    *sync.Pool
	decoder decoder
	left    int64
	err     error // once set, what every Read answers
	open    bool
}

// Reader streams what src decompresses to. The caller must Close it and must not touch it afterwards.
func (p *Pool) Reader(codec int8, src []byte, limit int64) (io.ReadCloser, error) {
	if codec < gzipCodec || codec > zstdCodec {
		return nil, fmt.Errorf("%w %d", errUnknownCodec, codec)
	}
	if len(src) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrCorrupt)
	}
	pool := &p.readers[codec]
	r, _ := pool.Get().(*reader)
	if r == nil {
		r = &reader{pool: pool, decoder: newDecoder(codec)}
	}
	r.left, r.err, r.open = max(limit, 0), nil, true
	if err := r.decoder.reset(src, r.left); err != nil {
		r.Close()
		return nil, refine(err)
	}
	return r, nil
}

func newDecoder(codec int8) decoder {
	switch codec {
	case gzipCodec:
		return &gzipDecoder{}
	case snappyCodec:
		return &snappyDecoder{}
	case lz4Codec:
		return &lz4Decoder{}
	default:
		return newZstdDecoder()
	}
}

// refine keeps the two errors callers know and makes everything else ErrCorrupt: a decoder that stops in the middle
// reports io.ErrUnexpectedEOF, a bare io.EOF from a header is as much a truncation.
func refine(err error) error {
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// Read asks the decoder for up to one byte more than is left: that byte tells an output of exactly limit bytes from
// a larger one.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	if int64(len(p))-1 > r.left {
		p = p[:r.left+1]
	}
	n, err := r.decoder.Read(p)
	if int64(n) > r.left {
		n, r.err = int(r.left), ErrTooLarge
		r.left = 0
		return n, r.err
	}
	r.left -= int64(n)
	if err != nil && err != io.EOF {
		err = refine(err)
	}
	r.err = err
	return n, err
}

var errClosed = errors.New("compress: reader is closed")

// Close gives the reader back; a second Close does nothing.
func (r *reader) Close() error {
	if !r.open {
		return nil
	}
	r.open, r.err = false, errClosed
	if r.decoder.idle() {
		r.pool.Put(r)
	}
	return nil
}

// Compress appends the compressed src to dst. Level 0 is the codec's default; the others are those of Kafka's
// compression.gzip.level (1..9, -1), compression.lz4.level (1..17) and compression.zstd.level (-131072..22).
func (p *Pool) Compress(codec int8, level int, dst, src []byte) ([]byte, error) {
	switch codec {
	case gzipCodec:
		return p.gzip(level, dst, src)
	case snappyCodec:
		return appendXerial(dst, src)
	case lz4Codec:
		return p.lz4(level, dst, src)
	case zstdCodec:
		return p.zstd(level, dst, src)
	default:
		return nil, fmt.Errorf("%w %d", errUnknownCodec, codec)
	}
}

// appender is an io.Writer onto a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
