package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// zstdDecoder streams: the library keeps one window and two blocks. It reads through zstdSource, which checks every
// frame before the library sees it and bounds the window.
type zstdDecoder struct {
	src zstdSource
	dec *zstd.Decoder
}

// newZstdDecoder: one block at a time in the caller's goroutine, no dictionaries.
func newZstdDecoder() *zstdDecoder {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.WithDecoderMaxMemory(maxZstdWindow))
	if err != nil {
		panic("compress: constant zstd options refused: " + err.Error())
	}
	return &zstdDecoder{dec: dec}
}

func (d *zstdDecoder) reset(src []byte, limit int64) error {
	d.src.reset(src, limit)
	return d.dec.Reset(&d.src)
}

// Read reports the source's own error when it has one: the library may translate it.
func (d *zstdDecoder) Read(p []byte) (int, error) {
	n, err := d.dec.Read(p)
	if err != nil && d.src.err != nil && d.src.err != io.EOF {
		err = d.src.err
	}
	return n, err
}

func (d *zstdDecoder) idle() bool {
	d.src.reset(nil, 0)
	if d.dec.Reset(nil) != nil || d.src.widest > keepBytes {
		d.dec.Close()
		return false
	}
	return true
}

// zstdEncoder takes an idle encoder with the client's settings: a 64 KiB window costs little compression on batches and
// much memory is saved. back gives it back.
func (p *Pool) zstdEncoder(level int) (e *zstd.Encoder, back func(), err error) {
	speed := zstd.SpeedDefault
	if level != 0 {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	pool := &p.zstds[speed-zstd.SpeedFastest]
	e, _ = pool.Get().(*zstd.Encoder)
	if e == nil {
		e, err = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(speed),
			zstd.WithEncoderConcurrency(1),
			zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(64<<10),
			zstd.WithEncoderCRC(false), // the batch has its own
			zstd.WithZeroFrames(true))
		if err != nil {
			return nil, nil, err
		}
	}
	return e, func() { pool.Put(e) }, nil
}

func (p *Pool) zstd(level int, dst, src []byte) ([]byte, error) {
	e, back, err := p.zstdEncoder(level)
	if err != nil {
		return nil, err
	}
	defer back()
	return e.EncodeAll(src, dst), nil
}
