package record

import (
	"fmt"
	"math/rand"
	"testing"
)

// sized builds a batch of about total bytes with records of the given size, JSON-like values that compress to about a third.
func sized(t testing.TB, codec Codec, record, total int) Batch {
	t.Helper()
	rng := rand.New(rand.NewSource(1))
	b := NewBuilder(BuilderOptions{Codec: codec, Codecs: codecs})
	for i := 0; b.Len() < total-record; i++ {
		value := make([]byte, 0, record)
		for len(value) < record-20 {
			value = fmt.Appendf(value, `{"order":%d,"customer":"%08x","state":"paid","amount":%d.%02d},`, rng.Intn(1e7), rng.Uint32(), rng.Intn(1000), rng.Intn(100))
		}
		b.Append(now+int64(i), fmt.Appendf(nil, "key%05d", i), value[:max(0, record-20)], nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestValidationAllocatesNothing(t *testing.T) {
	var v Validator
	r := rules()
	for _, n := range []int{1, 1000} {
		for _, codec := range everyCodec {
			b := batchOf(t, codec, n, 100)
			// The least of several runs: the codecs' pools may be emptied by a collection.
			least := 1e9
			for range 30 {
				least = min(least, testing.AllocsPerRun(1, func() {
					if _, err := v.Validate(b, r); err != nil {
						t.Fatal(err)
					}
				}))
			}
			if least > 0 {
				t.Errorf("%v, %d records: %v allocations", codec, n, least)
			}
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	for _, codec := range everyCodec {
		for _, record := range []int{1000, 100} {
			for _, total := range []int{16 << 10, 64 << 10, 1 << 20} {
				batch := sized(b, codec, record, total)
				b.Run(fmt.Sprintf("%v/record%d/batch%dKiB", codec, record, total>>10), func(b *testing.B) {
					var v Validator
					r := rules()
					b.SetBytes(int64(total))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := v.Validate(batch, r); err != nil {
							b.Fatal(err)
						}
					}
					perRecord := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(batch.Count())
					b.ReportMetric(perRecord, "ns/record")
				})
			}
		}
	}
}

// BenchmarkWalk is validation without the CRC: what the budget of 15 ns a record is about. The bytes are in cache, as
// they are right after the CRC.
func BenchmarkWalk(b *testing.B) {
	for _, record := range []int{1000, 100} {
		for _, total := range []int{16 << 10, 64 << 10, 1 << 20} {
			batch := sized(b, None, record, total)
			b.Run(fmt.Sprintf("record%d/batch%dKiB", record, total>>10), func(b *testing.B) {
				for b.Loop() {
					w := newWalk(batch.Count())
					if w.whole(batch.Payload()); w.wrong != nil {
						b.Fatal(w.wrong)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Count()), "ns/record")
			})
		}
	}
}

func BenchmarkCheckStored(b *testing.B) {
	for _, total := range []int{1 << 10, 16 << 10, 1 << 20} {
		batch := sized(b, None, 200, total)
		b.Run(fmt.Sprintf("batch%dKiB", total>>10), func(b *testing.B) {
			b.SetBytes(int64(len(batch)))
			for b.Loop() {
				if err := batch.CheckStored(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIterate(b *testing.B) {
	for _, codec := range []Codec{None, Zstd} {
		batch := sized(b, codec, 100, 64<<10)
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				it := batch.Records(codecs, 1<<30)
				for it.Next() {
				}
				it.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(batch.Count()), "ns/record")
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	builder := NewBuilder(BuilderOptions{})
	key, value := []byte("key00000"), make([]byte, 80)
	b.ReportAllocs()
	for b.Loop() {
		for i := range 100 {
			builder.Append(now+int64(i), key, value, nil)
		}
		if _, err := builder.Build(); err != nil {
			b.Fatal(err)
		}
	}
}
