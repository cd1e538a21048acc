package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// bounded runs f and fails when it takes long or allocates more than a small multiple of the limit it works with.
func bounded(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > limit {
		t.Fatalf("allocated %d bytes", used)
	}
}

func seeds(f *testing.F) {
	for _, codec := range everyCodec {
		f.Add([]byte(batchOf(f, codec, 3, 40)))
		f.Add([]byte(batchOf(f, codec, 300, 10)))
	}
	f.Add([]byte(BuildControl(Control{Type: Commit}, 1, 2, now)))
}

func FuzzHeader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, rest, err := Next(data)
		if err != nil {
			if b != nil || err == io.EOF && len(data) > 0 {
				t.Fatal(err)
			}
			return
		}
		if len(b)+len(rest) != len(data) || len(b) < Overhead {
			t.Fatal(len(b), len(rest), len(data))
		}
		var k kmsg.RecordBatch
		if err := k.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(b.BaseOffset(), b.Attributes(), b.LastOffsetDelta(), b.ProducerID(), b.BaseSequence(), b.Count(), len(b.Payload())),
			fmt.Sprint(k.FirstOffset, k.Attributes, k.LastOffsetDelta, k.ProducerID, k.FirstSequence, k.NumRecords, len(k.Records)); got != want {
			t.Fatal(got, want)
		}
		if b.CheckFrame() == nil && (b.LastOffset() < b.BaseOffset() || b.NextOffset() < 0) {
			t.Fatal(b.BaseOffset(), b.LastOffset(), b.NextOffset())
		}
		if b.HasProducer() && b.BaseSequence() >= 0 && b.LastSequence() < 0 {
			t.Fatal(b.BaseSequence(), b.LastSequence())
		}
		b.Stamp(7, 8)
		if b.BaseOffset() != 7 || b.LeaderEpoch() != 8 {
			t.Fatal("not stamped")
		}
	})
}

// FuzzValidate feeds arbitrary bytes, made to look like a batch with a right CRC so that they get past the header.
// What is accepted must be what the independent codec reads.
func FuzzValidate(f *testing.F) {
	for _, codec := range everyCodec {
		b := batchOf(f, codec, 3, 40)
		f.Add(int8(codec), int8(None), int32(3), []byte(b.Payload()))
	}
	f.Add(int8(None), int8(Zstd), int32(1), plainRecord(0, nil, nil))
	f.Fuzz(func(t *testing.T, codec, to int8, count int32, payload []byte) {
		r := rules()
		r.MaxDecompressed = 1 << 20
		r.KeyRequired = codec&16 != 0
		r.LogAppendTime = codec&32 != 0
		r.Recompress = to >= 0
		r.Compression = Codec((to & 0x7f) % 5)
		records := finish(append(append(make([]byte, 0, Overhead+len(payload)), headerOnly...), payload...), Codec(codec&7), count)
		var b Batch
		var err error
		bounded(t, 48<<20, func() { b, err = new(Validator).Validate(records, r) })
		if err != nil {
			var bad *Invalid
			if !errors.As(err, &bad) || bad.Code == nil || bad.Message == "" {
				t.Fatalf("%#v", err)
			}
			return
		}
		if err := b.CheckStored(); err != nil {
			t.Fatal(err)
		}
		if r.Recompress && b.Codec() != r.Compression {
			t.Fatal(b.Codec())
		}
		accepted(t, b)
	})
}

// FuzzWalk compares the three ways through the same payload: words at a time, field by field, and in pieces through a
// window of any size.
func FuzzWalk(f *testing.F) {
	f.Add(int32(3), uint8(0), uint8(7), []byte(batchOf(f, None, 3, 40).Payload()))
	f.Add(int32(200), uint8(200), uint8(100), []byte(batchOf(f, None, 200, 4).Payload()))
	f.Fuzz(func(t *testing.T, count int32, size, piece uint8, payload []byte) {
		fast, slow, pieces := newWalk(count), newWalk(count), newWalk(count)
		fast.whole(payload)
		slow.each = func(head) bool { return true }
		slow.whole(payload)
		src := &chopped{rest: payload, piece: 1 + int(piece)}
		if err := pieces.stream(&window{src: src, buf: make([]byte, 16+int(size))}); err != nil {
			t.Fatal(err)
		}
		for _, other := range []walk{slow, pieces} {
			if (fast.wrong == nil) != (other.wrong == nil) || fast.next != other.next || fast.minDelta != other.minDelta ||
				fast.maxDelta != other.maxDelta || fast.keyless != other.keyless {
				t.Fatalf("%+v %v\n%+v %v", fast, fast.wrong, other, other.wrong)
			}
		}
	})
}

// chopped answers at most piece bytes per Read, and sometimes none.
type chopped struct {
	rest  []byte
	piece int
	reads int
}

func (c *chopped) Read(p []byte) (int, error) {
	if c.reads++; c.reads%3 == 0 {
		return 0, nil
	}
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

var headerOnly = func() []byte {
	h := make([]byte, Overhead)
	h[offMagic] = Magic
	return h
}()

// accepted checks B2 with other code than the walk: the iterator, and kmsg's reader of records.
func accepted(t *testing.T, b Batch) {
	t.Helper()
	it := b.Records(codecs, 1<<20)
	defer it.Close()
	n, latest := int32(0), int64(-1<<63)
	for it.Next() {
		if it.Record().OffsetDelta != n {
			t.Fatal("offset delta", it.Record().OffsetDelta, n)
		}
		for range it.Record().Headers() {
		}
		latest = max(latest, it.Record().Timestamp)
		n++
	}
	if it.Err() != nil || n != b.Count() || latest != b.MaxTimestamp() {
		t.Fatal(it.Err(), n, b.Count(), latest, b.MaxTimestamp())
	}
	payload := b.Payload()
	if b.Codec() != None {
		src, err := codecs.Reader(int8(b.Codec()), payload, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if payload, err = io.ReadAll(src); err != nil {
			t.Fatal(err)
		}
		src.Close()
	}
	for i := range n {
		length, j := varint(payload, 0)
		var k kmsg.Record
		if err := k.ReadFrom(payload[:j+int(length)]); err != nil || k.OffsetDelta != i {
			t.Fatal("record", i, err)
		}
		payload = payload[j+int(length):]
	}
	if len(payload) != 0 {
		t.Fatal("bytes behind the last record")
	}
}

// FuzzValidateBytes feeds arbitrary bytes as they are.
func FuzzValidateBytes(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r := rules()
		r.MaxDecompressed = 1 << 20
		sent := bytes.Clone(data)
		b, err := new(Validator).Validate(data, r)
		if err != nil {
			if !bytes.Equal(data, sent) {
				t.Fatal("a refused batch was changed")
			}
			return
		}
		accepted(t, b)
	})
}

func FuzzIterate(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, _, err := Next(data)
		if err != nil {
			return
		}
		bounded(t, 48<<20, func() {
			it := b.Records(codecs, 1<<20)
			n := 0
			for ; it.Next(); n++ {
				headers := 0
				for range it.Record().Headers() {
					headers++
				}
				if headers != it.Record().HeaderCount {
					t.Fatal(headers, it.Record().HeaderCount)
				}
				ParseControl(it.Record())
			}
			it.Close()
			if it.Err() == nil && n != int(max(b.Count(), 0)) {
				t.Fatal(n, b.Count())
			}
			offset, stamp, ok, err := b.FirstAt(now, codecs, 1<<20)
			if ok && (stamp < now || offset < b.BaseOffset() && b.BaseOffset() < 1<<62) {
				t.Fatal(offset, stamp, err)
			}
			b.MaxTimestampOffset(codecs, 1<<20)
		})
	})
}

func FuzzControl(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		c, err := ParseControl(&Record{Key: key, Value: value})
		if err != nil || c.Type != Abort && c.Type != Commit {
			return
		}
		it := BuildControl(c, 1, 1, now).Records(nil, 0)
		if !it.Next() {
			t.Fatal(it.Err())
		}
		if again, err := ParseControl(it.Record()); err != nil || again != c {
			t.Fatal(again, c, err)
		}
	})
}

func FuzzBuildValidateIterate(f *testing.F) {
	f.Add(int8(0), int64(now), []byte("k"), []byte("v"), uint8(3))
	f.Add(int8(4), int64(now-1), []byte(nil), bytes.Repeat([]byte("v"), 3000), uint8(200))
	f.Fuzz(func(t *testing.T, codec int8, ts int64, key, value []byte, n uint8) {
		ts = max(0, ts%(now+3_600_000))
		b := NewBuilder(BuilderOptions{Codec: Codec((codec & 0x7f) % 5), Codecs: codecs, Producer: &Producer{ID: int64(n)}})
		headers := []Header{{Key: key, Value: value}, {Key: value, Value: key}}
		for i := range int(n) + 1 {
			b.Append(max(0, ts-int64(i)), key, value, headers[:i%3])
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		r := rules()
		r.MaxBytes = 0
		got, err := new(Validator).Validate(bytes.Clone(batch), r)
		if err != nil || !bytes.Equal(got, batch) {
			t.Fatal(err)
		}
		it := got.Records(codecs, 1<<30)
		defer it.Close()
		for i := range int(n) + 1 {
			if !it.Next() || !same(it.Record().Key, key) || !same(it.Record().Value, value) || it.Record().Timestamp != max(0, ts-int64(i)) {
				t.Fatal(i, it.Err())
			}
			k := 0
			for h := range it.Record().Headers() {
				if !bytes.Equal(h.Key, headers[k].Key) || !same(h.Value, headers[k].Value) {
					t.Fatal("header", k)
				}
				k++
			}
		}
		if it.Next() || it.Err() != nil {
			t.Fatal(it.Err())
		}
	})
}
