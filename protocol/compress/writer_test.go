package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// What a Writer makes of pieces is what Compress makes of the whole, to whoever reads it.
func TestPiecesAreReadAsTheWhole(t *testing.T) {
	p := New()
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{0, 1, 100, xerialBlock, lz4WriteBlock, lz4WriteBlock + 1, 300_000} {
		plain := make([]byte, size)
		for i := range plain {
			plain[i] = byte(rng.IntN(4))
		}
		for codec := int8(gzipCodec); codec <= zstdCodec; codec++ {
			for _, level := range []int{0, 1, 9} {
				var out bytes.Buffer
				w, err := p.Writer(codec, level, &out)
				if err != nil {
					t.Fatal(err)
				}
				for rest := plain; len(rest) > 0; {
					n := min(len(rest), 1+rng.IntN(40_000))
					if _, err := w.Write(rest[:n]); err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := errors.Join(w.Close(), w.Close()); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte("late")); err == nil {
					t.Errorf("codec %d: written after the end", codec)
				}
				if codec == lz4Codec && size == 0 {
					continue // a frame of zero blocks, which is refused (bad input 77)
				}
				got, err := decompress(p, codec, out.Bytes(), int64(size))
				if err != nil || !bytes.Equal(got, plain) {
					t.Errorf("codec %d, level %d, %d bytes: read %d, %v", codec, level, size, len(got), err)
				}
			}
		}
	}
	if _, err := p.Writer(9, 0, io.Discard); err == nil {
		t.Error("codec 9 writes")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestAWriterWhoseTargetFailsSaysSo(t *testing.T) {
	p := New()
	for codec := int8(gzipCodec); codec <= zstdCodec; codec++ {
		for range 3 { // what goes back to the pool works again
			w, err := p.Writer(codec, 0, full{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Write(make([]byte, 1<<20))
			if err = errors.Join(err, w.Close()); err == nil {
				t.Errorf("codec %d: no error", codec)
			}
		}
		if got, err := decompress(p, codec, mustCompress(t, p, codec, 0, []byte("fine")), 10); err != nil || string(got) != "fine" {
			t.Errorf("codec %d afterwards: %q, %v", codec, got, err)
		}
	}
}

// A Writer holds a block and its tables, however much goes through it.
func TestAWriterKeepsNothing(t *testing.T) {
	p := New()
	chunk := make([]byte, 1<<20)
	for codec := int8(gzipCodec); codec <= zstdCodec; codec++ {
		used := allocated(func() {
			w, err := p.Writer(codec, 0, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			for range 128 {
				if _, err := w.Write(chunk); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		})
		if used > 4<<20 {
			t.Errorf("codec %d: %d bytes allocated for 128 MiB", codec, used)
		}
	}
}
