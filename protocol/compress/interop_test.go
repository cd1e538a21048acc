package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/snappy/xerial"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFranzGoReadsWhatIsCompressedHere(t *testing.T) {
	p := New()
	d := kgo.DefaultDecompressor()
	each(t, func(t *testing.T, codec int8) {
		for name, want := range contents() {
			for level := range 10 {
				src := mustCompress(t, p, codec, level, want)
				got, err := d.Decompress(src, kgo.CompressionCodecType(codec))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, level %d: %v", name, level, err)
				}
			}
		}
	})
}

func TestWhatFranzGoCompressesIsRead(t *testing.T) {
	p := New()
	for codec, choices := range map[int8][]kgo.CompressionCodec{
		gzipCodec:   {kgo.GzipCompression(), kgo.GzipCompression().WithLevel(1), kgo.GzipCompression().WithLevel(9)},
		snappyCodec: {kgo.SnappyCompression()},
		lz4Codec:    {kgo.Lz4Compression(), kgo.Lz4Compression().WithLevel(512), kgo.Lz4Compression().WithLevel(1 << 17)},
		zstdCodec:   {kgo.ZstdCompression(), kgo.ZstdCompression().WithLevel(1), kgo.ZstdCompression().WithLevel(4)},
	} {
		t.Run(names[codec], func(t *testing.T) {
			for i, choice := range choices {
				c, err := kgo.DefaultCompressor(choice)
				if err != nil {
					t.Fatal(err)
				}
				for name, want := range contents() {
					src, used := c.Compress(new(bytes.Buffer), want)
					if int8(used) != codec {
						t.Fatalf("franz-go used codec %d", used)
					}
					got, err := decompress(p, codec, src, int64(len(want)))
					if err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s, choice %d: %v", name, i, err)
					}
				}
			}
		})
	}
}

func TestOtherWritersAreRead(t *testing.T) {
	p := New()
	type writer func(t *testing.T, plain []byte) []byte
	lz4Writer := func(options ...lz4.Option) writer {
		return func(t *testing.T, plain []byte) []byte {
			var b bytes.Buffer
			w := lz4.NewWriter(&b)
			if err := w.Apply(options...); err != nil {
				t.Fatal(err)
			}
			w.Write(plain)
			w.Close()
			return b.Bytes()
		}
	}
	zstdWriter := func(stream bool, options ...zstd.EOption) writer {
		return func(t *testing.T, plain []byte) []byte {
			var b bytes.Buffer
			w, err := zstd.NewWriter(&b, options...)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if !stream {
				return w.EncodeAll(plain, nil)
			}
			for rest := plain; len(rest) > 0; {
				n := min(len(rest), 10_000)
				w.Write(rest[:n])
				rest = rest[n:]
			}
			w.Close()
			return b.Bytes()
		}
	}
	for _, c := range []struct {
		name  string
		codec int8
		write writer
	}{
		{"standard library gzip", gzipCodec, func(t *testing.T, plain []byte) []byte {
			var b bytes.Buffer
			w := stdgzip.NewWriter(&b)
			w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
			w.Write(plain)
			w.Close()
			return b.Bytes()
		}},
		{"several gzip members", gzipCodec, func(t *testing.T, plain []byte) []byte {
			half := len(plain) / 2
			return append(mustCompress(t, p, gzipCodec, 0, plain[:half]), mustCompress(t, p, gzipCodec, 0, plain[half:])...)
		}},
		{"raw snappy", snappyCodec, func(t *testing.T, plain []byte) []byte { return s2.EncodeSnappy(nil, plain) }},
		{"raw snappy, better", snappyCodec, func(t *testing.T, plain []byte) []byte { return s2.EncodeSnappyBetter(nil, plain) }},
		{"xerial snappy", snappyCodec, func(t *testing.T, plain []byte) []byte { return xerial.Encode(nil, plain) }},
		{"lz4, 64 KiB blocks", lz4Codec, lz4Writer(lz4.BlockSizeOption(lz4.Block64Kb))},
		{"lz4, 4 MiB blocks", lz4Codec, lz4Writer(lz4.BlockSizeOption(lz4.Block4Mb))},
		{"lz4, all checksums", lz4Codec, lz4Writer(lz4.BlockChecksumOption(true), lz4.ChecksumOption(true))},
		{"lz4, no checksum", lz4Codec, lz4Writer(lz4.ChecksumOption(false))},
		{"zstd, small window", zstdCodec, zstdWriter(false, zstd.WithWindowSize(1<<10))},
		{"zstd, 8 MiB window", zstdCodec, zstdWriter(false, zstd.WithWindowSize(8<<20))},
		{"zstd, 128 MiB window", zstdCodec, zstdWriter(false, zstd.WithWindowSize(128<<20), zstd.WithSingleSegment(false))},
		{"zstd, single segment", zstdCodec, zstdWriter(false, zstd.WithSingleSegment(true))},
		{"zstd, no content size, 128 MiB window", zstdCodec, zstdWriter(true, zstd.WithWindowSize(128<<20), zstd.WithEncoderConcurrency(1))},
		{"zstd, best", zstdCodec, zstdWriter(true, zstd.WithEncoderLevel(zstd.SpeedBestCompression))},
		{"two zstd frames", zstdCodec, func(t *testing.T, plain []byte) []byte {
			half := len(plain) / 2
			return append(mustCompress(t, p, zstdCodec, 0, plain[:half]), mustCompress(t, p, zstdCodec, 0, plain[half:])...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, want := range contents() {
				src := c.write(t, want)
				got, err := decompress(p, c.codec, src, int64(len(want)))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s: %d of %d bytes, %v", name, len(got), len(want), err)
				}
				if _, err := decompress(p, c.codec, src, int64(len(want))-1); !errors.Is(err, ErrTooLarge) {
					t.Fatalf("%s, one byte less allowed: %v", name, err)
				}
			}
		})
	}
}
