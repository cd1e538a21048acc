package compress

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
)

// gzipDecoder reads all members of a source. The decoder takes single bytes from a bytes.Reader, so it never reads
// ahead, and what follows the last member is taken for a header and refused (C3).
type gzipDecoder struct {
	src bytes.Reader
	gz  gzip.Reader
}

func (d *gzipDecoder) reset(src []byte, _ int64) error {
	d.src.Reset(src)
	return d.gz.Reset(&d.src)
}

func (d *gzipDecoder) Read(p []byte) (int, error) { return d.gz.Read(p) }

func (d *gzipDecoder) idle() bool {
	d.src.Reset(nil)
	d.gz.Header = gzip.Header{}
	return true
}

// gzipWriter is a pooled gzip.Writer with the slice it writes to.
type gzipWriter struct {
	gz  *gzip.Writer
	out appender
}

// gzipWriter takes an idle writer; back gives it back.
func (p *Pool) gzipWriter(level int) (w *gzipWriter, back func(), err error) {
	slot := level
	if level < 1 || level > 9 {
		slot, level = 0, gzip.DefaultCompression
	}
	w, _ = p.gzips[slot].Get().(*gzipWriter)
	if w == nil {
		gz, err := gzip.NewWriterLevel(nil, level)
		if err != nil {
			return nil, nil, err
		}
		w = &gzipWriter{gz: gz}
	}
	return w, func() {
		w.out.b = nil
		w.gz.Reset(nil)
		p.gzips[slot].Put(w)
	}, nil
}

func (p *Pool) gzip(level int, dst, src []byte) ([]byte, error) {
	w, back, err := p.gzipWriter(level)
	if err != nil {
		return nil, err
	}
	defer back()
	w.out.b = dst
	w.gz.Reset(&w.out)
	_, err = w.gz.Write(src)
	if err == nil {
		err = w.gz.Close()
	}
	return w.out.b, err
}
