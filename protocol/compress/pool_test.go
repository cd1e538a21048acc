package compress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var names = map[int8]string{gzipCodec: "gzip", snappyCodec: "snappy", lz4Codec: "lz4", zstdCodec: "zstd"}

// each runs f as one subtest per codec.
func each(t *testing.T, f func(t *testing.T, codec int8)) {
	for codec := int8(gzipCodec); codec <= zstdCodec; codec++ {
		t.Run(names[codec], func(t *testing.T) { f(t, codec) })
	}
}

// decompress reads everything that src holds.
func decompress(p *Pool, codec int8, src []byte, limit int64) ([]byte, error) {
	r, err := p.Reader(codec, src, limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func mustCompress(t testing.TB, p *Pool, codec int8, level int, src []byte) []byte {
	t.Helper()
	out, err := p.Compress(codec, level, nil, src)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// contents are payloads that compress well, badly and not at all, around the sizes where blocks change.
func contents() map[string][]byte {
	rng := rand.New(rand.NewSource(1))
	random := make([]byte, 300_000)
	rng.Read(random)
	text := []byte(strings.Repeat("a record about order 4711, customer 17, amount 19.99; ", 40_000))
	return map[string][]byte{
		"one byte":        {7},
		"hundred bytes":   text[:100],
		"32 KiB":          text[:32<<10],
		"64 KiB":          text[:64<<10],
		"64 KiB + 1":      text[:64<<10+1],
		"128 KiB + 1":     text[:128<<10+1],
		"2 MB of text":    text,
		"300 KB of noise": random,
		"mixed":           append(append([]byte{}, random[:100_000]...), text[:200_000]...),
		"5 MiB of zeros":  make([]byte, 5<<20),
	}
}

func TestWhatIsCompressedReadsBackTheSame(t *testing.T) {
	p := New()
	levels := map[int8][]int{
		gzipCodec:   {-1, 0, 1, 6, 9, 99},
		snappyCodec: {0},
		lz4Codec:    {0, 1, 8, 9, 12, 17},
		zstdCodec:   {-131072, -1, 0, 1, 3, 7, 19, 22},
	}
	each(t, func(t *testing.T, codec int8) {
		for name, want := range contents() {
			for _, level := range levels[codec] {
				if len(want) > 1<<20 && level > 9 {
					continue // slow levels on small contents only
				}
				prefix := []byte("before")
				out, err := p.Compress(codec, level, prefix, want)
				if err != nil {
					t.Fatalf("%s, level %d: %v", name, level, err)
				}
				if !bytes.HasPrefix(out, prefix) {
					t.Fatalf("%s, level %d: what was in dst is gone", name, level)
				}
				got, err := decompress(p, codec, out[len(prefix):], int64(len(want)))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s, level %d: %d bytes of %d, error %v", name, level, len(got), len(want), err)
				}
			}
		}
	})
}

func TestOutputOfExactlyTheLimitIsReadAndOneByteMoreIsNot(t *testing.T) {
	p := New()
	each(t, func(t *testing.T, codec int8) {
		for name, want := range contents() {
			src := mustCompress(t, p, codec, 0, want)
			for _, limit := range []int64{0, 1, int64(len(want)) - 1, int64(len(want)), int64(len(want)) + 1, 1 << 40} {
				got, err := decompress(p, codec, src, limit)
				if limit >= int64(len(want)) {
					if err != nil || len(got) != len(want) {
						t.Fatalf("%s, limit %d: %d bytes, error %v", name, limit, len(got), err)
					}
					continue
				}
				if !errors.Is(err, ErrTooLarge) || int64(len(got)) > limit {
					t.Fatalf("%s, limit %d: %d bytes, error %v", name, limit, len(got), err)
				}
				var large interface{ TooLarge() bool }
				if !errors.As(err, &large) || !large.TooLarge() {
					t.Fatalf("%s: %v does not say TooLarge", name, err)
				}
			}
		}
	})
}

// Bad input 78. Xerial framing has no end mark: cut between two blocks it is a shorter stream, which the count of
// records in the batch shows.
func TestTruncatedStreamIsCorrupt(t *testing.T) {
	p := New()
	want := contents()["mixed"][99_000:101_000]
	each(t, func(t *testing.T, codec int8) {
		src := mustCompress(t, p, codec, 0, want)
		for n := range src {
			if codec == snappyCodec && n == len(xerialHeader) {
				continue
			}
			if _, err := decompress(p, codec, src[:n], 1<<20); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%d of %d bytes: %v", n, len(src), err)
			}
		}
	})
}

// Bad input 78.
func TestTrailingGarbageIsCorrupt(t *testing.T) {
	p := New()
	want := contents()["hundred bytes"]
	each(t, func(t *testing.T, codec int8) {
		src := mustCompress(t, p, codec, 0, want)
		for n := 1; n < 40; n++ {
			for _, fill := range []byte{0, 1, 0x1f, 0x50, 0xff} {
				bad := append(append([]byte{}, src...), bytes.Repeat([]byte{fill}, n)...)
				if _, err := decompress(p, codec, bad, 1<<20); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%d bytes of %#x behind the end: %v", n, fill, err)
				}
			}
		}
	})
}

func TestFlippedBitNeverReadsAsLongerOrPanics(t *testing.T) {
	p := New()
	want := contents()["64 KiB + 1"]
	each(t, func(t *testing.T, codec int8) {
		src := mustCompress(t, p, codec, 0, want)
		bad := make([]byte, len(src))
		for bit := 0; bit < len(src)*8; bit += 1 + len(src)/500 {
			copy(bad, src)
			bad[bit/8] ^= 1 << (bit % 8)
			got, err := decompress(p, codec, bad, 1<<20)
			if len(got) > 1<<20 {
				t.Fatalf("bit %d: %d bytes", bit, len(got))
			}
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("bit %d: unexpected kind of error: %v", bit, err)
			}
		}
	})
}

func TestEmptySourceIsCorrupt(t *testing.T) {
	p := New()
	each(t, func(t *testing.T, codec int8) {
		if _, err := p.Reader(codec, nil, 1); !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func TestUnknownCodecIsRefused(t *testing.T) {
	p := New()
	for _, codec := range []int8{-1, 0, 5, 7, 127} {
		if _, err := p.Reader(codec, []byte{1}, 1); err == nil {
			t.Fatalf("codec %d has a reader", codec)
		}
		if _, err := p.Compress(codec, 0, nil, []byte{1}); err == nil {
			t.Fatalf("codec %d compresses", codec)
		}
	}
}

func TestClosedReaderReadsNothing(t *testing.T) {
	p := New()
	each(t, func(t *testing.T, codec int8) {
		r, err := p.Reader(codec, mustCompress(t, p, codec, 0, []byte("abc")), 10)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		r.Close()
		if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
			t.Fatalf("%d bytes, %v", n, err)
		}
	})
}

// A reader that failed or was left in the middle goes back to the pool and must not show in the next use (C4).
func TestReaderIsCleanAfterEveryKindOfUse(t *testing.T) {
	p := New()
	want := contents()["2 MB of text"]
	other := contents()["300 KB of noise"]
	each(t, func(t *testing.T, codec int8) {
		src, noise := mustCompress(t, p, codec, 0, want), mustCompress(t, p, codec, 0, other)
		for round := range 20 {
			bad := append([]byte{}, noise...)
			bad[len(bad)/2] ^= 0x55
			for _, b := range [][]byte{noise, bad, noise[:len(noise)/2]} {
				if r, err := p.Reader(codec, b, 100_000); err == nil {
					io.CopyN(io.Discard, r, int64(round*7000))
					r.Close()
				}
			}
			if got, err := decompress(p, codec, src, 1<<30); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	})
}

func TestPoolIsUsedByManyGoroutines(t *testing.T) {
	p := New()
	all := contents()
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for g := range 8 {
		wg.Go(func() {
			codec := int8(1 + g%4)
			for name, want := range all {
				out, err := p.Compress(codec, 0, nil, want)
				if err == nil {
					var got []byte
					if got, err = decompress(p, codec, out, 1<<30); err == nil && !bytes.Equal(got, want) {
						err = fmt.Errorf("%s with %s differs", name, names[codec])
					}
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatal(err)
	default:
	}
}

// allocated is the number of bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestSteadyReadingAllocatesNothing(t *testing.T) {
	p := New()
	want := contents()["128 KiB + 1"]
	buf := make([]byte, 64<<10)
	each(t, func(t *testing.T, codec int8) {
		src := mustCompress(t, p, codec, 0, want)
		least := 1e9 // of several runs: a collection may empty the pool
		for range 30 {
			least = min(least, testing.AllocsPerRun(1, func() {
				r, err := p.Reader(codec, src, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, err = r.Read(buf)
				}
				r.Close()
			}))
		}
		if least > 0 {
			t.Fatalf("%v allocations per stream", least)
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	bench(b, func(b *testing.B, p *Pool, codec int8, src []byte, size int) {
		buf := make([]byte, 64<<10)
		for b.Loop() {
			r, err := p.Reader(codec, src, 1<<30)
			if err != nil {
				b.Fatal(err)
			}
			n, total := 0, 0
			for err == nil {
				n, err = r.Read(buf)
				total += n
			}
			r.Close()
			if total != size {
				b.Fatal(total, err)
			}
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	bench(b, func(b *testing.B, p *Pool, codec int8, src []byte, size int) {
		plain, err := decompress(p, codec, src, 1<<30)
		if err != nil {
			b.Fatal(err)
		}
		dst := make([]byte, 0, 2<<20)
		for b.Loop() {
			if _, err := p.Compress(codec, 0, dst, plain); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// bench uses JSON lines with random numbers and ids: they compress to about a quarter.
func bench(b *testing.B, f func(b *testing.B, p *Pool, codec int8, src []byte, size int)) {
	p := New()
	rng := rand.New(rand.NewSource(1))
	plain := make([]byte, 0, 1<<20+200)
	for len(plain) < 1<<20 {
		plain = fmt.Appendf(plain, `{"order":%d,"customer":"%08x","state":%q,"amount":%d.%02d,"note":"delivery by %s"}`+"\n",
			rng.Intn(1e7), rng.Uint32(), []string{"new", "paid", "sent"}[rng.Intn(3)], rng.Intn(1000), rng.Intn(100),
			[]string{"bicycle", "train", "ship", "foot"}[rng.Intn(4)])
	}
	for codec := int8(gzipCodec); codec <= zstdCodec; codec++ {
		for _, size := range []int{16 << 10, 64 << 10, 1 << 20} {
			src := mustCompress(b, p, codec, 0, plain[:size])
			b.Run(fmt.Sprintf("%s/%dKiB", names[codec], size>>10), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				f(b, p, codec, src, size)
			})
		}
	}
}
