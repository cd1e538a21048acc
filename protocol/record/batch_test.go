package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"testing"

	"cordwood/protocol/compress"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var codecs = compress.New()

const now = 1_700_000_000_000 // ms

// batchOf builds a batch of n records of about size bytes, one per millisecond from now on.
func batchOf(t testing.TB, codec Codec, n, size int) Batch {
	t.Helper()
	b := NewBuilder(BuilderOptions{Codec: codec, Codecs: codecs})
	rng := rand.New(rand.NewSource(int64(n)))
	value := make([]byte, size)
	for i := range n {
		for k := range value {
			value[k] = "abcdefghijklmnopqrstuvwxyz     "[rng.Intn(31)]
		}
		b.Append(now+int64(i), fmt.Appendf(nil, "key-%d", i), value, nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// changed is a copy of b with f applied and a right CRC.
func changed(b Batch, f func(Batch)) Batch {
	c := Batch(bytes.Clone(b))
	f(c)
	c.setCRC()
	return c
}

func put32(at int, v int32) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
}

func put64(at int, v int64) func(Batch) {
	return func(b Batch) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
}

func TestBatchViewAgreesWithAnIndependentCodec(t *testing.T) {
	b := NewBuilder(BuilderOptions{Producer: &Producer{ID: 1 << 40, Epoch: 7, Sequence: 99}, Transactional: true})
	b.Append(now, []byte("k"), []byte("v"), nil)
	b.Append(now+5, nil, nil, nil)
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(1234, 56)
	var k kmsg.RecordBatch
	if err := k.ReadFrom(batch); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(batch.BaseOffset(), batch.LeaderEpoch(), int32(batch.CRC()), batch.Attributes(), batch.LastOffsetDelta(),
		batch.BaseTimestamp(), batch.MaxTimestamp(), batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence(), batch.Count(),
		len(batch)-LogOverhead, batch.Payload()),
		fmt.Sprint(k.FirstOffset, k.PartitionLeaderEpoch, k.CRC, k.Attributes, k.LastOffsetDelta,
			k.FirstTimestamp, k.MaxTimestamp, k.ProducerID, k.ProducerEpoch, k.FirstSequence, k.NumRecords,
			k.Length, k.Records); got != want {
		t.Fatalf("\n%s\n%s", got, want)
	}
	if !batch.Transactional() || batch.Control() || batch.LogAppendTime() || batch.Codec() != None || !batch.HasProducer() {
		t.Fatalf("attributes %#x", batch.Attributes())
	}
	if batch.LastOffset() != 1235 || batch.NextOffset() != 1236 || batch.LastSequence() != 100 {
		t.Fatal(batch.LastOffset(), batch.NextOffset(), batch.LastSequence())
	}
	if err := batch.CheckStored(); err != nil {
		t.Fatalf("stamping broke it: %v", err)
	}
}

func TestLastSequenceWraps(t *testing.T) {
	b := batchOf(t, None, 3, 1)
	for first, want := range map[int32]int32{0: 2, 10: 12, math.MaxInt32: 1, math.MaxInt32 - 1: 0, math.MaxInt32 - 2: math.MaxInt32, -1: -1} {
		if got := changed(b, put32(offBaseSequence, first)).LastSequence(); got != want {
			t.Errorf("%d: %d, want %d", first, got, want)
		}
	}
}

func TestLogAppendTimeStampKeepsTheBatchValid(t *testing.T) {
	b := batchOf(t, Snappy, 3, 100)
	b.StampLogAppendTime(now + 500)
	if !b.LogAppendTime() || b.MaxTimestamp() != now+500 || b.Codec() != Snappy {
		t.Fatal(b.Attributes(), b.MaxTimestamp())
	}
	if err := b.CheckStored(); err != nil {
		t.Fatal(err)
	}
	it := b.Records(codecs, 1<<20)
	defer it.Close()
	for it.Next() {
		if it.Record().Timestamp != now+500 {
			t.Fatal(it.Record().Timestamp)
		}
	}
}

func TestNextCutsBatchAfterBatch(t *testing.T) {
	one, two := batchOf(t, None, 1, 10), batchOf(t, Zstd, 5, 100)
	all := append(bytes.Clone(one), two...)
	a, rest, err := Next(all)
	if err != nil || !bytes.Equal(a, one) || cap(a) != len(a) {
		t.Fatal(err)
	}
	b, rest, err := Next(rest)
	if err != nil || !bytes.Equal(b, two) || len(rest) != 0 {
		t.Fatal(err)
	}
	if _, _, err := Next(rest); err != io.EOF {
		t.Fatal(err)
	}
	for n := 1; n < len(one); n++ {
		if _, _, err := Next(one[:n]); err != io.ErrUnexpectedEOF {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	for length, want := range map[int32]error{-1: kerr.CorruptMessage, 0: kerr.CorruptMessage, 48: kerr.CorruptMessage,
		math.MinInt32: kerr.CorruptMessage, math.MaxInt32: io.ErrUnexpectedEOF} {
		if _, _, err := Next(changed(one, put32(offLength, length))); !errors.Is(err, want) {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

func TestStoredBatchIsCheckedWithoutItsRecords(t *testing.T) {
	good := batchOf(t, LZ4, 10, 100)
	for name, c := range map[string]struct {
		change func(Batch)
		ok     bool
	}{
		"as built":                     {func(Batch) {}, true},
		"stamped":                      {func(b Batch) { b.Stamp(1<<40, 3) }, true},
		"compacted to one":             {put32(offCount, 1), true},
		"compacted to none":            {put32(offCount, 0), true},
		"control":                      {func(b Batch) { b.setAttributes(bitControl | bitDeleteHorizon) }, true},
		"last offset there is":         {func(b Batch) { b.Stamp(math.MaxInt64-10, 3) }, true},
		"offsets past the last":        {func(b Batch) { b.Stamp(math.MaxInt64-9, 3) }, false},
		"negative base offset":         {func(b Batch) { b.Stamp(-1, 3) }, false},
		"more records than offsets":    {put32(offCount, 11), false},
		"negative count":               {put32(offCount, -1), false},
		"negative last offset delta":   {put32(offLastOffsetDelta, -1), false},
		"another magic":                {func(b Batch) { b[offMagic] = 1 }, false},
		"another length":               {put32(offLength, 60), false},
		"length of the smallest batch": {put32(offLength, minBatchLength), false},
	} {
		if err := changed(good, c.change).CheckStored(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := offCRC; i < len(good); i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if err := Batch(bad).CheckStored(); err == nil {
			t.Fatalf("byte %d changed and nobody saw", i)
		}
	}
}

func TestVarintsReadAsWritten(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 1 << 20, math.MaxInt32, math.MinInt32, math.MaxInt32 + 1, math.MaxInt64, math.MinInt64} {
		p := appendVarint(nil, v)
		if len(p) != varintSize(v) {
			t.Errorf("%d takes %d bytes, not %d", v, len(p), varintSize(v))
		}
		if got, n := varlong(p, 0, maxVarlong); got != v || n != len(p) {
			t.Errorf("%d read as %d in %d", v, got, n)
		}
		fits := v >= math.MinInt32 && v <= math.MaxInt32
		if got, n := varint(p, 0); fits != (n == len(p)) || fits && got != v {
			t.Errorf("%d read as int32 %d in %d", v, got, n)
		}
		for cut := range p {
			if _, n := varlong(p[:cut], 0, maxVarlong); n != bad {
				t.Errorf("%d cut to %d bytes ends at %d", v, cut, n)
			}
		}
	}
	// Bad inputs 39, 40, 41.
	if v, n := varint([]byte{0x80, 0}, 0); v != 0 || n != 2 {
		t.Errorf("a long zero: %d in %d", v, n)
	}
	for name, p := range map[string][]byte{
		"5 bytes, high bits":  {0xff, 0xff, 0xff, 0xff, 0x7f},
		"6 bytes":             {0xff, 0xff, 0xff, 0xff, 0xff, 0},
		"never ends":          bytes.Repeat([]byte{0xff}, 20),
		"11 bytes":            append(bytes.Repeat([]byte{0x80}, 10), 0),
		"10 bytes, high bits": append(bytes.Repeat([]byte{0xff}, 9), 2),
	} {
		if _, n := varint(p, 0); n != bad {
			t.Errorf("%s is an int32 of %d bytes", name, n)
		}
		if _, n := varlong(p, 0, maxVarlong); n != bad && len(p) > 6 {
			t.Errorf("%s is an int64 of %d bytes", name, n)
		}
	}
}
