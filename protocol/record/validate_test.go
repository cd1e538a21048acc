package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// rules are those of a default topic.
func rules() *Rules {
	return &Rules{MaxBytes: 1_048_588, MaxDecompressed: 64 << 20, Now: now, BeforeMax: math.MaxInt64, AfterMax: 3_600_000, Codecs: codecs}
}

var everyCodec = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// plainRecord is a record of delta n with the given key and value, null when nil.
func plainRecord(n int64, key, value []byte) []byte {
	body := appendVarint([]byte{0}, 0)
	body = appendVarint(body, n)
	body = appendField(body, key)
	body = appendField(body, value)
	return withLength(appendVarint(body, 0))
}

func withLength(body []byte) []byte { return append(appendVarint(nil, int64(len(body))), body...) }

// wrap makes a batch that declares count records around a payload, right in everything else.
func wrap(t testing.TB, codec Codec, count int32, payload []byte) Batch {
	t.Helper()
	b := make([]byte, Overhead)
	b[offMagic] = Magic
	if codec == None {
		b = append(b, payload...)
	} else {
		var err error
		if b, err = codecs.Compress(int8(codec), 0, b, payload); err != nil {
			t.Fatal(err)
		}
	}
	return finish(b, codec, count)
}

func finish(b []byte, codec Codec, count int32) Batch {
	binary.BigEndian.PutUint32(b[offLength:], uint32(len(b)-LogOverhead))
	v := Batch(b)
	for _, f := range []func(Batch){put32(offCount, count), put32(offLastOffsetDelta, count-1), put64(offBaseTimestamp, now),
		put64(offMaxTimestamp, now), put64(offProducerID, -1), put32(offBaseSequence, -1)} {
		f(v)
	}
	binary.BigEndian.PutUint16(b[offProducerEpoch:], 0xffff)
	v.setAttributes(int16(codec))
	v.setCRC()
	return v
}

func mustAccept(t *testing.T, records []byte, r *Rules) Batch {
	t.Helper()
	var v Validator
	b, err := v.Validate(bytes.Clone(records), r)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if err := b.CheckStored(); err != nil {
		t.Fatalf("what Validate answers is not valid: %v", err)
	}
	return b
}

func mustRefuse(t *testing.T, records []byte, r *Rules, want *kerr.Error) *Invalid {
	t.Helper()
	var v Validator
	_, err := v.Validate(bytes.Clone(records), r)
	var bad *Invalid
	if !errors.As(err, &bad) {
		t.Fatalf("answered %v, want %s", err, want.Message)
	}
	if bad.Code != want || !errors.Is(err, want) || bad.Message == "" {
		t.Fatalf("answered %v, want %s", err, want.Message)
	}
	return bad
}

func TestGoodBatchesOfEveryCodecAndSizeAreAccepted(t *testing.T) {
	for _, codec := range everyCodec {
		for _, c := range []struct{ n, size int }{{1, 0}, {1, 1}, {1, 100_000}, {2, 63}, {3, 64}, {100, 100}, {1000, 300}, {20_000, 5}, {7, 70_000}, {2, 400_000}} {
			b := batchOf(t, codec, c.n, c.size)
			got := mustAccept(t, b, rules())
			if !bytes.Equal(got, b) {
				t.Fatalf("%v, %d records of %d bytes: stored otherwise than sent", codec, c.n, c.size)
			}
		}
	}
}

func TestValidatorKeepsNothingBetweenBatches(t *testing.T) {
	var v Validator
	for round := range 3 {
		for _, codec := range everyCodec {
			for _, n := range []int{1, 1000, 3} {
				b := batchOf(t, codec, n, 200)
				if _, err := v.Validate(bytes.Clone(b), rules()); err != nil {
					t.Fatal(round, codec, n, err)
				}
				bad := bytes.Clone(b)
				bad[len(bad)-1] ^= 1
				Batch(bad).setCRC()
				v.Validate(bad, rules())
				v.Validate(b[:len(b)-1], rules())
				r := rules()
				r.Recompress, r.Compression = true, Zstd
				if _, err := v.Validate(bytes.Clone(b), r); err != nil {
					t.Fatal(round, codec, n, err)
				}
			}
		}
	}
}

func TestBadInput48BatchLength(t *testing.T) {
	b := batchOf(t, None, 3, 100)
	for _, length := range []int32{0, 1, 48, -1, math.MinInt32, math.MaxInt32, int32(len(b)) - LogOverhead + 1, int32(len(b)) - LogOverhead - 1, 49} {
		t.Run(fmt.Sprint(length), func(t *testing.T) { mustRefuse(t, changed(b, put32(offLength, length)), rules(), kerr.CorruptMessage) })
	}
	for _, n := range []int{1, 8, 12, 16, 17, 60, 61, len(b) - 1} {
		t.Run(fmt.Sprintf("cut to %d bytes", n), func(t *testing.T) { mustRefuse(t, b[:n], rules(), kerr.CorruptMessage) })
	}
	t.Run("one byte behind", func(t *testing.T) { mustRefuse(t, append(bytes.Clone(b), 0), rules(), kerr.CorruptMessage) })
}

func TestBadInput49WrongCRC(t *testing.T) {
	for _, codec := range everyCodec {
		b := batchOf(t, codec, 3, 100)
		for i := offCRC; i < len(b); i += 7 {
			bad := bytes.Clone(b)
			bad[i] ^= 1
			mustRefuse(t, bad, rules(), kerr.CorruptMessage)
		}
	}
	// Also when everything else is wrong with it: the CRC is looked at before the records.
	bad := wrap(t, None, 5, []byte("no records at all"))
	bad[len(bad)-1] ^= 1
	mustRefuse(t, bad, rules(), kerr.CorruptMessage)
}

func TestBadInput50Magic(t *testing.T) {
	for magic, want := range map[byte]*kerr.Error{
		0: kerr.UnsupportedForMessageFormat, 1: kerr.UnsupportedForMessageFormat, 3: kerr.UnsupportedForMessageFormat,
		0xff: kerr.CorruptMessage, 0x80: kerr.CorruptMessage,
	} {
		mustRefuse(t, changed(batchOf(t, None, 1, 100), func(b Batch) { b[offMagic] = magic }), rules(), want)
	}
}

func TestBadInput51MoreThanOneBatch(t *testing.T) {
	b := batchOf(t, None, 3, 10)
	mustRefuse(t, append(bytes.Clone(b), b...), rules(), kerr.InvalidRecord)
	mustRefuse(t, bytes.Repeat(b, 10), rules(), kerr.InvalidRecord)
	bad := bytes.Clone(b)
	bad[len(bad)-1] ^= 1
	mustRefuse(t, append(bad, b...), rules(), kerr.InvalidRecord)
}

func TestBadInput52ZeroBatches(t *testing.T) {
	mustRefuse(t, nil, rules(), kerr.InvalidRecord)
	mustRefuse(t, []byte{}, rules(), kerr.InvalidRecord)
}

func TestBadInput53RecordCount(t *testing.T) {
	for _, codec := range everyCodec {
		b := batchOf(t, codec, 3, 10)
		for _, n := range []int32{0, -1, math.MinInt32, math.MaxInt32} {
			mustRefuse(t, changed(b, func(b Batch) { put32(offCount, n)(b); put32(offLastOffsetDelta, n-1)(b) }), rules(), kerr.InvalidRecord)
		}
	}
}

func TestBadInput54CountIsNotTheNumberOfRecords(t *testing.T) {
	for _, codec := range everyCodec {
		for _, size := range []int{10, 200_000} {
			b := batchOf(t, codec, 3, size)
			for _, n := range []int32{1, 2, 4, 100} {
				mustRefuse(t, changed(b, func(b Batch) { put32(offCount, n)(b); put32(offLastOffsetDelta, n-1)(b) }), rules(), kerr.InvalidRecord)
			}
		}
	}
}

func TestBadInput55LastOffsetDelta(t *testing.T) {
	for _, delta := range []int32{-1, 0, 1, 3, math.MaxInt32, math.MinInt32} {
		mustRefuse(t, changed(batchOf(t, None, 3, 10), put32(offLastOffsetDelta, delta)), rules(), kerr.InvalidRecord)
	}
}

// refusedAsRecord puts a bad record behind good ones, so few that all is in memory and so many that it is read
// through the window, in every codec.
func refusedAsRecord(t *testing.T, record func(n int64) []byte) {
	t.Helper()
	for _, codec := range everyCodec {
		for _, before := range []int64{0, 1, 3000} {
			var payload []byte
			for n := range before {
				payload = append(payload, plainRecord(n, []byte("key"), []byte(strings.Repeat("value ", 6)))...)
			}
			for _, after := range []int64{0, 1} {
				whole := append(bytes.Clone(payload), record(before)...)
				if after == 1 {
					whole = append(whole, plainRecord(before+1, nil, nil)...)
				}
				bad := mustRefuse(t, wrap(t, codec, int32(before+1+after), whole), rules(), kerr.InvalidRecord)
				if len(bad.Records) != 1 || int64(bad.Records[0].Index) != before || bad.Records[0].Message == "" {
					t.Fatalf("%v: record errors %+v, want one of record %d", codec, bad.Records, before)
				}
			}
		}
	}
}

func TestBadInput56OffsetDeltas(t *testing.T) {
	for name, delta := range map[string]func(n int64) int64{
		"one less":   func(n int64) int64 { return n - 1 },
		"one more":   func(n int64) int64 { return n + 1 },
		"negative":   func(n int64) int64 { return -5 },
		"2^31 - 1":   func(n int64) int64 { return math.MaxInt32 },
		"beyond int": func(n int64) int64 { return math.MaxInt32 + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			refusedAsRecord(t, func(n int64) []byte { return plainRecord(delta(n), []byte("k"), []byte("v")) })
		})
	}
}

func TestBadInput57RecordLength(t *testing.T) {
	for name, record := range map[string][]byte{
		"zero":                   appendVarint(nil, 0),
		"negative":               appendVarint(nil, -1),
		"most negative":          appendVarint(nil, math.MinInt32),
		"too short for a record": append(appendVarint(nil, 5), 0, 0, 0, 0, 0),
		"more than there is":     appendVarint(nil, 100),
		"2^31 - 1":               appendVarint(nil, math.MaxInt32),
		"beyond 32 bits":         appendVarint(nil, math.MaxInt32+1),
		"not a varint":           bytes.Repeat([]byte{0xff}, 12),
	} {
		t.Run(name, func(t *testing.T) { refusedAsRecord(t, func(int64) []byte { return record }) })
	}
	t.Run("one too long", func(t *testing.T) {
		refusedAsRecord(t, func(n int64) []byte {
			r := plainRecord(n, []byte("k"), []byte("v"))
			r[0] += 2
			return r
		})
	})
	t.Run("one too short", func(t *testing.T) {
		refusedAsRecord(t, func(n int64) []byte {
			r := plainRecord(n, []byte("k"), []byte("value"))
			r[0] -= 2
			return r
		})
	})
}

// recordWith is a record whose part behind the deltas is given.
func recordWith(n int64, rest ...[]byte) []byte {
	body := appendVarint([]byte{0, 0}, n)
	return withLength(append(body, bytes.Join(rest, nil)...))
}

func TestBadInput58KeyAndValueLength(t *testing.T) {
	null, none := appendVarint(nil, -1), appendVarint(nil, 0)
	for _, length := range []int64{-2, -100, math.MinInt32, 1, 100, math.MaxInt32, math.MaxInt32 + 1} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			refusedAsRecord(t, func(n int64) []byte { return recordWith(n, appendVarint(nil, length), null, none) })
			refusedAsRecord(t, func(n int64) []byte { return recordWith(n, null, appendVarint(nil, length), none) })
		})
	}
}

func TestBadInput59HeaderCount(t *testing.T) {
	null := appendVarint(nil, -1)
	header := append(appendVarint(nil, 1), 'k', 1)
	for _, count := range []int64{-1, math.MinInt32, 2, 3, 1000, math.MaxInt32, math.MaxInt32 + 1} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			refusedAsRecord(t, func(n int64) []byte { return recordWith(n, null, null, appendVarint(nil, count), header) })
		})
	}
}

func TestBadInput60HeaderKeyNull(t *testing.T) {
	null, one := appendVarint(nil, -1), appendVarint(nil, 1)
	for _, length := range []int64{-1, -2, 5, math.MaxInt32} {
		refusedAsRecord(t, func(n int64) []byte { return recordWith(n, null, null, one, appendVarint(nil, length), null) })
		if length != -1 { // a null value is fine
			refusedAsRecord(t, func(n int64) []byte {
				return recordWith(n, null, null, one, appendVarint(nil, 0), appendVarint(nil, length))
			})
		}
	}
	for _, codec := range everyCodec {
		mustAccept(t, wrap(t, codec, 1, recordWith(0, null, null, one, appendVarint(nil, 0), null)), rules())
	}
}

func TestBadInput61BaseOffset(t *testing.T) {
	b := batchOf(t, None, 3, 10)
	for _, base := range []int64{1, -1, math.MaxInt64, math.MinInt64} {
		mustRefuse(t, changed(b, put64(0, base)), rules(), kerr.InvalidRecord)
	}
	got := mustAccept(t, changed(b, put32(offLeaderEpoch, 77)), rules())
	if got.Stamp(5, 3); got.LeaderEpoch() != 3 || got.BaseOffset() != 5 {
		t.Fatal("the client's leader epoch is not overwritten")
	}
}

func TestBadInput62ControlBatch(t *testing.T) {
	mustRefuse(t, BuildControl(Control{Type: Commit}, 1, 0, now), rules(), kerr.InvalidRecord)
	for _, codec := range everyCodec {
		mustRefuse(t, changed(batchOf(t, codec, 1, 10), func(b Batch) { b.setAttributes(b.Attributes() | bitControl) }), rules(), kerr.InvalidRecord)
	}
}

func TestBadInput63TransactionalWithoutProducer(t *testing.T) {
	transactional := func(b Batch) { b.setAttributes(b.Attributes() | bitTransactional) }
	mustRefuse(t, changed(batchOf(t, None, 1, 10), transactional), rules(), kerr.InvalidRecord)
	b := NewBuilder(BuilderOptions{Producer: &Producer{ID: 0}, Transactional: true})
	b.Append(now, nil, nil, nil)
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if got := mustAccept(t, batch, rules()); !got.Transactional() || got.ProducerID() != 0 {
		t.Fatal("the handler cannot see what it must authorise")
	}
}

func TestBadInput64ProducerFields(t *testing.T) {
	for name, p := range map[string]Producer{
		"epoch -1":              {ID: 1, Epoch: -1},
		"epoch -2":              {ID: 1, Epoch: -2},
		"sequence -1":           {ID: 1, Sequence: -1},
		"sequence -2^31":        {ID: 0, Sequence: math.MinInt32},
		"producer id -2":        {ID: -2},
		"producer id very low":  {ID: math.MinInt64},
		"all three are missing": {ID: -2, Epoch: -1, Sequence: -1},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBuilder(BuilderOptions{Producer: &p})
			b.Append(now, nil, nil, nil)
			batch, err := b.Build()
			if err != nil {
				t.Fatal(err)
			}
			mustRefuse(t, batch, rules(), kerr.InvalidRecord)
		})
	}
}

func TestBadInput65SequenceWraps(t *testing.T) {
	for _, first := range []int32{0, math.MaxInt32, math.MaxInt32 - 1} {
		b := NewBuilder(BuilderOptions{Producer: &Producer{ID: 5, Sequence: first}})
		for range 3 {
			b.Append(now, nil, nil, nil)
		}
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		mustAccept(t, batch, rules())
	}
}

// batchAt has one record per timestamp.
func batchAt(t *testing.T, codec Codec, base int64, timestamps ...int64) Batch {
	t.Helper()
	b := NewBuilder(BuilderOptions{Codec: codec, Codecs: codecs, BaseTimestamp: base})
	for _, ts := range timestamps {
		b.Append(ts, []byte("k"), nil, nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestBadInput67Timestamps(t *testing.T) {
	const hour = 3_600_000
	day := rules()
	day.BeforeMax = 24 * hour
	for _, codec := range everyCodec {
		for name, c := range map[string]struct {
			rules *Rules
			batch Batch
			bad   []int32 // indexes; nil: accepted
		}{
			"an hour ahead":               {rules(), batchAt(t, codec, now, now, now+hour), nil},
			"an hour and 1 ms ahead":      {rules(), batchAt(t, codec, now, now, now+hour+1, now), []int32{1}},
			"far future":                  {rules(), batchAt(t, codec, now, math.MaxInt64), []int32{0}},
			"far past is fine by default": {rules(), batchAt(t, codec, now, 0, 1, now), nil},
			"a day ago":                   {day, batchAt(t, codec, now, now-24*hour), nil},
			"more than a day ago":         {day, batchAt(t, codec, now, now-24*hour-1, now, now-25*hour), []int32{0, 2}},
			"none, in Kafka's sense":      {day, batchAt(t, codec, -1, -1, -1), nil},
			"none and one that is old":    {day, batchAt(t, codec, -1, -1, 0, now), []int32{1}},
			"base and delta overflow": {rules(), changed(batchAt(t, codec, now, now, now+1), func(b Batch) {
				put64(offBaseTimestamp, math.MaxInt64)(b)
			}), []int32{0, 1}},
		} {
			t.Run(fmt.Sprintf("%v/%s", codec, name), func(t *testing.T) {
				if c.bad == nil {
					mustAccept(t, c.batch, c.rules)
					return
				}
				bad := mustRefuse(t, c.batch, c.rules, kerr.InvalidTimestamp)
				if len(bad.Records) != len(c.bad) {
					t.Fatalf("record errors %+v, want %v", bad.Records, c.bad)
				}
				for i, e := range bad.Records {
					if e.Index != c.bad[i] || e.Message == "" {
						t.Fatalf("record errors %+v, want %v", bad.Records, c.bad)
					}
				}
			})
		}
	}
}

func TestUnboundedTimestampsAreAccepted(t *testing.T) {
	r := rules()
	r.AfterMax = math.MaxInt64
	for _, ts := range []int64{math.MinInt64 / 4, -100, -1, 0, now, math.MaxInt64} {
		mustAccept(t, batchAt(t, None, ts, ts), r)
	}
}

func TestBadInput67MaxTimestampOfTheHeader(t *testing.T) {
	for _, codec := range everyCodec {
		b := batchAt(t, codec, now, now, now+7, now+3)
		for _, far := range []int64{now + 3_600_001, math.MaxInt64} {
			mustRefuse(t, changed(b, put64(offMaxTimestamp, far)), rules(), kerr.InvalidTimestamp)
		}
		r := rules()
		r.BeforeMax = 1000
		mustRefuse(t, changed(b, put64(offMaxTimestamp, now-1001)), r, kerr.InvalidTimestamp)
		mustRefuse(t, changed(b, put64(offMaxTimestamp, -2)), r, kerr.InvalidTimestamp)
		// A wrong one inside the window, or none, becomes right: retention and the time index rely on it.
		for _, wrong := range []int64{-1, now, now + 100} {
			got := mustAccept(t, changed(b, put64(offMaxTimestamp, wrong)), r)
			if got.MaxTimestamp() != now+7 {
				t.Fatalf("%v: %d stays", codec, got.MaxTimestamp()-now)
			}
		}
	}
}

func TestBadInput68UnknownCompression(t *testing.T) {
	for codec := int16(5); codec <= 7; codec++ {
		for _, recompress := range []bool{false, true} {
			r := rules()
			r.Recompress = recompress
			mustRefuse(t, changed(batchOf(t, None, 1, 10), func(b Batch) { b.setAttributes(codec) }), r, kerr.UnsupportedCompressionType)
		}
	}
}

func TestBadInput69AttributeBits(t *testing.T) {
	for bit := 6; bit < 16; bit++ {
		mustRefuse(t, changed(batchOf(t, None, 1, 10), func(b Batch) { b.setAttributes(int16(uint16(1) << bit)) }), rules(), kerr.InvalidRecord)
	}
	// Trap 10: the timestamp type is the topic's to choose.
	for _, logAppendTime := range []bool{false, true} {
		r := rules()
		r.LogAppendTime = logAppendTime
		mustRefuse(t, changed(batchOf(t, None, 1, 10), func(b Batch) { b.setAttributes(bitLogAppendTime) }), r, kerr.InvalidTimestamp)
	}
}

func TestBadInput70Size(t *testing.T) {
	for _, codec := range everyCodec {
		b := batchOf(t, codec, 10, 1000)
		r := rules()
		r.MaxBytes = len(b)
		mustAccept(t, b, r)
		r.MaxBytes--
		mustRefuse(t, b, r, kerr.MessageTooLarge)
		if codec == None {
			continue
		}
		r = rules()
		plain := int64(len(batchOf(t, None, 10, 1000)) - Overhead)
		r.MaxDecompressed = plain
		mustAccept(t, b, r)
		r.MaxDecompressed--
		mustRefuse(t, b, r, kerr.MessageTooLarge)
		r.Recompress, r.Compression = true, None
		mustRefuse(t, b, r, kerr.MessageTooLarge)
	}
}

func TestBadInput71KeyOnCompactedTopic(t *testing.T) {
	for _, codec := range everyCodec {
		payload := plainRecord(0, []byte("k"), nil)
		payload = append(payload, plainRecord(1, nil, []byte("v"))...)
		payload = append(payload, plainRecord(2, []byte{}, nil)...)
		payload = append(payload, plainRecord(3, nil, make([]byte, 100_000))...)
		b := wrap(t, codec, 4, payload)
		mustAccept(t, b, rules())
		r := rules()
		r.KeyRequired = true
		bad := mustRefuse(t, b, r, kerr.InvalidRecord)
		if len(bad.Records) != 2 || bad.Records[0].Index != 1 || bad.Records[1].Index != 3 {
			t.Fatalf("%v: %+v", codec, bad.Records)
		}
		r.Recompress, r.Compression = true, Gzip
		mustRefuse(t, b, r, kerr.InvalidRecord)
		mustAccept(t, wrap(t, codec, 1, plainRecord(0, []byte{}, nil)), r)
	}
}

func TestTimestampErrorsGoBeforeKeyErrors(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	b.Append(now, nil, nil, nil)
	b.Append(now+1<<40, []byte("k"), nil, nil)
	b.Append(now+1<<40, nil, nil, nil)
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	r := rules()
	r.KeyRequired = true
	if bad := mustRefuse(t, batch, r, kerr.InvalidTimestamp); len(bad.Records) != 3 {
		t.Fatalf("%+v", bad.Records)
	}
}

func TestAnswerToManyBadRecordsIsBounded(t *testing.T) {
	r := rules()
	r.KeyRequired = true
	var payload []byte
	for n := range int64(50_000) {
		payload = append(payload, plainRecord(n, nil, nil)...)
	}
	bad := mustRefuse(t, wrap(t, Zstd, 50_000, payload), r, kerr.InvalidRecord)
	if len(bad.Records) != maxRecordErrors || !strings.Contains(bad.Message, "50000") {
		t.Fatalf("%d record errors, %q", len(bad.Records), bad.Message)
	}
}
