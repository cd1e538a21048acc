package record

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type wanted struct {
	timestamp  int64
	key, value []byte
	headers    []Header
}

func variety() []wanted {
	return []wanted{
		{now, []byte("key"), []byte("value"), nil},
		{now + 1, nil, []byte("no key"), nil},
		{now - 5, []byte("tombstone"), nil, nil},
		{now, []byte{}, []byte{}, []Header{{Key: []byte("h"), Value: []byte("v")}, {Key: []byte{}, Value: nil}, {Key: []byte("e"), Value: []byte{}}}},
		{now + 1<<40, nil, nil, nil},
		{0, bytes.Repeat([]byte("k"), 70_000), bytes.Repeat([]byte("v"), 200_000), []Header{{Key: []byte("big"), Value: make([]byte, 90_000)}}},
		{now, []byte("last"), []byte("last"), nil},
	}
}

func built(t *testing.T, codec Codec, all []wanted) Batch {
	t.Helper()
	b := NewBuilder(BuilderOptions{Codec: codec, Codecs: codecs})
	for _, w := range all {
		b.Append(w.timestamp, w.key, w.value, w.headers)
	}
	if b.Count() != len(all) {
		t.Fatal(b.Count())
	}
	size := b.Len()
	batch, err := b.Build()
	if err != nil || codec == None && size != len(batch) {
		t.Fatal(err, size, len(batch))
	}
	if b.Count() != 0 || b.Len() != Overhead {
		t.Fatal("the builder is not empty")
	}
	return batch
}

func TestIterationAnswersWhatWasBuilt(t *testing.T) {
	for _, codec := range everyCodec {
		batch := built(t, codec, variety())
		batch.Stamp(1000, 1)
		it := batch.Records(codecs, 1<<20)
		defer it.Close()
		for i, w := range variety() {
			if !it.Next() {
				t.Fatalf("%v: ends before record %d: %v", codec, i, it.Err())
			}
			r := it.Record()
			if r.Offset != 1000+int64(i) || r.OffsetDelta != int32(i) || r.Timestamp != w.timestamp || r.TimestampDelta != w.timestamp-now {
				t.Fatalf("%v: record %d: %+v", codec, i, r)
			}
			if !same(r.Key, w.key) || !same(r.Value, w.value) || r.HeaderCount != len(w.headers) {
				t.Fatalf("%v: record %d: key, value or headers differ", codec, i)
			}
			n := 0
			for h := range r.Headers() {
				if !same(h.Key, w.headers[n].Key) || !same(h.Value, w.headers[n].Value) {
					t.Fatalf("%v: record %d, header %d: %+v", codec, i, n, h)
				}
				n++
			}
		}
		for range 2 {
			if it.Next() || it.Err() != nil {
				t.Fatalf("%v: goes on: %v", codec, it.Err())
			}
		}
		it.Close()
		if it.Close(); it.Next() {
			t.Fatal("goes on after Close")
		}
	}
}

// same tells null from empty.
func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

func TestFranzGoReadsWhatIsBuilt(t *testing.T) {
	for _, codec := range everyCodec {
		batch := built(t, codec, variety())
		batch.Stamp(1000, 1)
		p, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t", Offset: 1000},
			&kmsg.FetchResponseTopicPartition{HighWatermark: 2000, RecordBatches: batch}, kgo.DefaultDecompressor(), nil)
		if p.Err != nil || len(p.Records) != len(variety()) {
			t.Fatal(codec, p.Err, len(p.Records))
		}
		for i, w := range variety() {
			r := p.Records[i]
			if r.Offset != 1000+int64(i) || r.Timestamp.UnixMilli() != w.timestamp || !same(r.Key, w.key) || !same(r.Value, w.value) || len(r.Headers) != len(w.headers) {
				t.Fatalf("%v: record %d: %+v", codec, i, r)
			}
			for n, h := range r.Headers {
				if h.Key != string(w.headers[n].Key) || !bytes.Equal(h.Value, w.headers[n].Value) {
					t.Fatalf("%v: record %d, header %d", codec, i, n)
				}
			}
		}
	}
}

func TestIterationOfDamagedBatchEndsWithAnError(t *testing.T) {
	for _, codec := range everyCodec {
		good := built(t, codec, variety()[:5])
		for name, bad := range map[string]Batch{
			"count too high":     changed(good, put32(offCount, 6)),
			"count too low":      changed(good, put32(offCount, 4)),
			"count 0":            changed(wrap(t, None, 1, plainRecord(0, nil, nil)), put32(offCount, 0)),
			"count negative":     changed(wrap(t, None, 1, plainRecord(0, nil, nil)), put32(offCount, -1)),
			"payload cut":        Batch(good[:len(good)-1]),
			"no payload":         Batch(good[:Overhead]),
			"no records":         wrap(t, codec, 3, []byte("neither records nor anything else")),
			"record 2^31-1 long": wrap(t, codec, 1, append(appendVarint(nil, 1<<31-1), make([]byte, 100)...)),
			"unknown codec":      changed(good, func(b Batch) { b.setAttributes(6) }),
		} {
			it := bad.Records(codecs, 1<<20)
			for it.Next() {
			}
			if !errors.Is(it.Err(), kerr.CorruptMessage) {
				t.Errorf("%v, %s: %v", codec, name, it.Err())
			}
			it.Close()
		}
		if codec != None {
			it := good.Records(codecs, 10)
			for it.Next() {
			}
			if !errors.Is(it.Err(), kerr.MessageTooLarge) {
				t.Errorf("%v: past the limit: %v", codec, it.Err())
			}
			it.Close()
		}
	}
}

func TestCompressedBatchWithoutCodecsIsAnError(t *testing.T) {
	b := batchOf(t, Zstd, 3, 10)
	it := b.Records(nil, 1<<20)
	if it.Next() || it.Err() == nil {
		t.Error("iterated")
	}
	it.Close()
	if _, _, err := b.MaxTimestampOffset(nil, 1<<20); err == nil {
		t.Error("searched")
	}
	for _, recompress := range []bool{false, true} {
		r := rules()
		r.Codecs, r.Recompress = nil, recompress
		mustRefuse(t, b, r, kerr.CorruptMessage)
	}
}

func TestCompactedBatchIsIterated(t *testing.T) {
	for _, codec := range everyCodec {
		payload := append(plainRecord(3, []byte("a"), nil), plainRecord(9, []byte("b"), nil)...)
		b := changed(wrap(t, codec, 2, payload), put32(offLastOffsetDelta, 11))
		b.Stamp(100, 1)
		it := b.Records(codecs, 1000)
		var offsets []int64
		for it.Next() {
			offsets = append(offsets, it.Record().Offset)
		}
		it.Close()
		if fmt.Sprint(offsets) != "[103 109]" || it.Err() != nil || b.NextOffset() != 112 {
			t.Fatal(codec, offsets, it.Err())
		}
		// The last batch of a producer may be kept without records, and without any payload (trap 51).
		empty := changed(Batch(b[:Overhead]), func(b Batch) { put32(offCount, 0)(b); put32(offLength, minBatchLength)(b) })
		if err := empty.CheckStored(); err != nil {
			t.Fatal(err)
		}
		if it := empty.Records(codecs, 1000); it.Next() || it.Err() != nil {
			t.Fatal(codec, it.Err())
		}
	}
}

func TestSearchByTimestamp(t *testing.T) {
	for _, codec := range everyCodec {
		stamps := []int64{10, 30, 20, 50, 50, 40}
		b := batchAt(t, codec, 10, stamps...)
		b.Stamp(100, 0)
		for ts, want := range map[int64]string{
			-5: "100 10 true", 10: "100 10 true", 11: "101 30 true", 30: "101 30 true", 31: "103 50 true",
			50: "103 50 true", 51: "-1 -1 false",
		} {
			offset, stamp, ok, err := b.FirstAt(ts, codecs, 1<<20)
			if got := fmt.Sprint(offset, stamp, ok); err != nil || got != want {
				t.Errorf("%v: first at %d: %s, %v, want %s", codec, ts, got, err, want)
			}
		}
		if offset, stamp, err := b.MaxTimestampOffset(codecs, 1<<20); offset != 103 || stamp != 50 || err != nil {
			t.Errorf("%v: largest: %d %d %v", codec, offset, stamp, err)
		}
		b.StampLogAppendTime(77)
		if offset, stamp, ok, err := b.FirstAt(60, codecs, 1<<20); offset != 100 || stamp != 77 || !ok || err != nil {
			t.Errorf("%v: LogAppendTime: %d %d %v %v", codec, offset, stamp, ok, err)
		}
		if offset, stamp, err := b.MaxTimestampOffset(codecs, 1<<20); offset != 100 || stamp != 77 || err != nil {
			t.Errorf("%v: LogAppendTime: %d %d %v", codec, offset, stamp, err)
		}
	}
}

func TestSearchInDamagedOrLargeBatches(t *testing.T) {
	for _, codec := range everyCodec {
		bad := wrap(t, codec, 3, append(plainRecord(0, nil, nil), 1, 2, 3))
		if _, _, err := bad.MaxTimestampOffset(codecs, 1<<20); !errors.Is(err, kerr.InvalidRecord) {
			t.Errorf("%v: %v", codec, err)
		}
		// The record that is looked for lies before the damage: it is found.
		if offset, _, ok, err := bad.FirstAt(now, codecs, 1<<20); offset != 0 || !ok || err != nil {
			t.Errorf("%v: %d %v %v", codec, offset, ok, err)
		}
		large := batchOf(t, codec, 5, 150_000)
		if offset, _, ok, err := large.FirstAt(now+4, codecs, 1<<20); offset != 4 || !ok || err != nil {
			t.Errorf("%v: %d %v %v", codec, offset, ok, err)
		}
		gaps := changed(wrap(t, codec, 2, append(plainRecord(3, nil, nil), plainRecord(9, nil, nil)...)), put32(offLastOffsetDelta, 11))
		if offset, _, err := gaps.MaxTimestampOffset(codecs, 1<<20); offset != 3 || err != nil {
			t.Errorf("%v: compacted: %d %v", codec, offset, err)
		}
		if codec != None {
			if _, _, err := large.MaxTimestampOffset(codecs, 1000); !errors.Is(err, kerr.MessageTooLarge) {
				t.Errorf("%v: %v", codec, err)
			}
		}
	}
	if _, _, ok, err := changed(batchOf(t, None, 1, 1), put32(offCount, 0)).FirstAt(0, codecs, 1); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestBuilderRefusesAnEmptyBatch(t *testing.T) {
	if _, err := NewBuilder(BuilderOptions{}).Build(); err == nil {
		t.Fatal("a batch without records")
	}
}

func TestControlBatchReadsBack(t *testing.T) {
	for _, c := range []Control{{Type: Commit, CoordinatorEpoch: 7}, {Type: Abort, CoordinatorEpoch: -1}, {Version: 1, Type: Commit}} {
		b := BuildControl(c, 99, 3, now)
		if err := b.CheckStored(); err != nil {
			t.Fatal(err)
		}
		if !b.Control() || !b.Transactional() || b.ProducerID() != 99 || b.ProducerEpoch() != 3 || b.BaseSequence() != -1 || b.Count() != 1 || b.MaxTimestamp() != now {
			t.Fatalf("%+v", b)
		}
		it := b.Records(nil, 0)
		if !it.Next() {
			t.Fatal(it.Err())
		}
		if got, err := ParseControl(it.Record()); err != nil || got != c {
			t.Fatal(got, err)
		}
		var marker kmsg.EndTxnMarker
		if err := marker.ReadFrom(it.Record().Value); err != nil || marker.CoordinatorEpoch != c.CoordinatorEpoch || marker.Version != c.Version {
			t.Fatal(marker, err)
		}
		var key kmsg.ControlRecordKey
		if err := key.ReadFrom(it.Record().Key); err != nil || int16(key.Type) != int16(c.Type) {
			t.Fatal(key, err)
		}
	}
}

func TestMalformedControlRecords(t *testing.T) {
	for name, c := range map[string]struct {
		key, value []byte
		ok         bool
	}{
		"null":              {nil, nil, false},
		"short key":         {[]byte{0, 0, 0}, make([]byte, 6), false},
		"negative version":  {[]byte{0xff, 0xff, 0, 0}, make([]byte, 6), false},
		"short value":       {[]byte{0, 0, 0, 1}, make([]byte, 5), false},
		"negative marker":   {[]byte{0, 0, 0, 1}, []byte{0xff, 0xff, 0, 0, 0, 0}, false},
		"longer than known": {[]byte{0, 9, 0, 1, 5}, make([]byte, 20), true},
		"another type":      {[]byte{0, 0, 0, 2}, nil, true},
	} {
		if _, err := ParseControl(&Record{Key: c.key, Value: c.value}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
