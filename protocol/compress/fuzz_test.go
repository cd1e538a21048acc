package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// fuzzReader feeds arbitrary bytes to one codec. Whatever they are: no panic, at most limit bytes of output, bounded
// memory, no hang; and what is accepted must decompress to the same in the library that clients use.
func fuzzReader(f *testing.F, codec int8, reference func(src []byte) ([]byte, error)) {
	const limit = 1 << 20
	p := New()
	for _, plain := range contents() {
		if len(plain) <= 128<<10+1 {
			f.Add(mustCompress(f, p, codec, 0, plain))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		start := time.Now()
		var out bytes.Buffer
		var err error
		used := allocated(func() {
			var r io.ReadCloser
			if r, err = p.Reader(codec, src, limit); err == nil {
				_, err = out.ReadFrom(r)
				r.Close()
			}
		})
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("%v for %d bytes", took, len(src))
		}
		if out.Len() > limit {
			t.Fatalf("%d bytes", out.Len())
		}
		if used > 40<<20 {
			t.Fatalf("%d bytes allocated", used)
		}
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		want, err := reference(src)
		if err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("accepted, but the client's library says %v", err)
		}
	})
}

func FuzzGzip(f *testing.F) {
	fuzzReader(f, gzipCodec, func(src []byte) ([]byte, error) {
		var d gzipDecoder
		if err := d.reset(src, 0); err != nil {
			return nil, err
		}
		return io.ReadAll(&d)
	})
}

func FuzzSnappy(f *testing.F) {
	f.Add(s2.EncodeSnappy(nil, []byte("a raw block, a raw block, a raw block")))
	fuzzReader(f, snappyCodec, func(src []byte) ([]byte, error) {
		if !bytes.HasPrefix(src, xerialHeader[:xerialMagic]) {
			return s2.Decode(nil, src)
		}
		var out []byte
		for src = src[len(xerialHeader):]; len(src) > 0; {
			n := int(src[2])<<8 | int(src[3]) | int(src[1])<<16
			block, err := s2.Decode(nil, src[4:4+n])
			if err != nil {
				return nil, err
			}
			out, src = append(out, block...), src[4+n:]
		}
		return out, nil
	})
}

func FuzzLZ4(f *testing.F) {
	fuzzReader(f, lz4Codec, func(src []byte) ([]byte, error) { return io.ReadAll(lz4.NewReader(bytes.NewReader(src))) })
}

func FuzzZstd(f *testing.F) {
	f.Add(zstdFrameOf(0, 17<<3))
	f.Add(zstdFrameOf(zstdSingle, 100))
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		f.Fatal(err)
	}
	fuzzReader(f, zstdCodec, func(src []byte) ([]byte, error) { return d.DecodeAll(src, nil) })
}

func FuzzRoundTrip(f *testing.F) {
	p := New()
	f.Add(int8(gzipCodec), 0, []byte("plain"))
	f.Add(int8(lz4Codec), 12, bytes.Repeat([]byte("plain"), 100))
	f.Fuzz(func(t *testing.T, codec int8, level int, plain []byte) {
		codec = gzipCodec + (codec&0x7f)%4
		if len(plain) == 0 {
			return // a batch holds at least one record
		}
		src, err := p.Compress(codec, level, nil, plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decompress(p, codec, src, int64(len(plain)))
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%s, level %d: %v", names[codec], level, err)
		}
	})
}
