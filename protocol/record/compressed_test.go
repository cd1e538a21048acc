package record

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kerr"
)

// sealed is a batch of one record whose compressed payload is given as it is.
func sealed(codec Codec, payload []byte) Batch {
	b := make([]byte, Overhead, Overhead+len(payload))
	b[offMagic] = Magic
	return finish(append(b, payload...), codec, 1)
}

func compressed(t testing.TB, codec Codec, level int, plain []byte) []byte {
	t.Helper()
	out, err := codecs.Compress(int8(codec), level, nil, plain)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// bothWays refuses a batch when it is stored as sent and when it is recompressed.
func bothWays(t *testing.T, b Batch, want *kerr.Error) {
	t.Helper()
	r := rules()
	r.MaxBytes = 2 << 20
	r.MaxDecompressed = 8 << 20
	mustRefuse(t, b, r, want)
	r.Recompress, r.Compression = true, None
	mustRefuse(t, b, r, want)
}

func TestBadInput74Bombs(t *testing.T) {
	zeros := make([]byte, 16<<20)
	value := plainRecord(0, nil, zeros) // a proper record
	for _, codec := range everyCodec[1:] {
		var before, after runtime.MemStats
		bombs := []Batch{sealed(codec, compressed(t, codec, 1, zeros)), sealed(codec, compressed(t, codec, 1, value))}
		runtime.ReadMemStats(&before)
		for _, bomb := range bombs {
			bothWays(t, bomb, kerr.MessageTooLarge)
		}
		runtime.ReadMemStats(&after)
		// Four runs to the cap of 8 MiB: none of them keeps what it reads, beyond a batch of 2 MiB that grows.
		if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
			t.Errorf("%v: %d bytes allocated", codec, used)
		}
	}
	member := compressed(t, Gzip, 9, zeros)
	bothWays(t, sealed(Gzip, bytes.Repeat(member, 64)), kerr.MessageTooLarge)
	// gzip in gzip is not unpacked twice; to us it is a payload without records.
	bothWays(t, sealed(Gzip, compressed(t, Gzip, 9, member)), kerr.InvalidRecord)
}

func TestBadInput75Zstd(t *testing.T) {
	plain := plainRecord(0, []byte("k"), []byte("v"))
	// A frame with a raw block: window byte, block header, block.
	frame := func(descriptor byte, rest ...byte) []byte {
		b := append([]byte{0x28, 0xB5, 0x2F, 0xFD, descriptor}, rest...)
		h := len(plain)<<3 | 1
		return append(append(b, byte(h), byte(h>>8), byte(h>>16)), plain...)
	}
	mustAccept(t, sealed(Zstd, frame(0, 17<<3)), rules()) // 128 MiB
	bothWays(t, sealed(Zstd, frame(0, 17<<3|1)), kerr.CorruptMessage)
	bothWays(t, sealed(Zstd, frame(0, 0xff)), kerr.CorruptMessage)
	bothWays(t, sealed(Zstd, frame(1, 0, 9)), kerr.CorruptMessage) // dictionary 9
	skippable := []byte{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}
	mustAccept(t, sealed(Zstd, append(bytes.Clone(skippable), frame(0, 0)...)), rules())
	mustAccept(t, sealed(Zstd, append(frame(0, 0), skippable...)), rules())
}

func TestBadInput76Snappy(t *testing.T) {
	plain := plainRecord(0, []byte("k"), []byte("v"))
	mustAccept(t, sealed(Snappy, s2.EncodeSnappy(nil, plain)), rules())
	xerial := []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}
	for name, payload := range map[string][]byte{
		"declares 4 GiB":      {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'},
		"xerial block -1":     append(bytes.Clone(xerial), 0xff, 0xff, 0xff, 0xff, 1, 0, 'x'),
		"xerial block 2^31-1": append(bytes.Clone(xerial), 0x7f, 0xff, 0xff, 0xff, 1, 0, 'x'),
	} {
		t.Run(name, func(t *testing.T) { bothWays(t, sealed(Snappy, payload), kerr.CorruptMessage) })
	}
}

func TestBadInput77LZ4(t *testing.T) {
	// Independent 64 KiB blocks with a content checksum, which is wrong.
	plain := plainRecord(0, []byte("k"), []byte("v"))
	frame := []byte{0x04, 0x22, 0x4D, 0x18, 0x64, 0x40, 0xA7, byte(len(plain)), 0, 0, 0x80}
	frame = append(append(frame, plain...), 0, 0, 0, 0, 1, 2, 3, 4)
	bothWays(t, sealed(LZ4, frame), kerr.CorruptMessage)
	bothWays(t, sealed(LZ4, []byte{0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0}), kerr.CorruptMessage) // zero blocks

	dependent := []byte{0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0xC0, byte(len(plain)), 0, 0, 0x80}
	dependent = append(append(dependent, plain...), 0, 0, 0, 0)
	mustAccept(t, sealed(LZ4, dependent), rules())
	large := []byte{0x04, 0x22, 0x4D, 0x18, 0x60, 0x70, 0x73, byte(len(plain)), 0, 0, 0x80} // 4 MiB blocks
	large = append(append(large, plain...), 0, 0, 0, 0)
	mustAccept(t, sealed(LZ4, large), rules())
}

func TestBadInput78TruncatedOrTrailing(t *testing.T) {
	plain := plainRecord(0, []byte("key"), []byte("value value value value"))
	for _, codec := range everyCodec[1:] {
		payload := compressed(t, codec, 0, plain)
		for n := 1; n < len(payload); n++ {
			if codec == Snappy && n == 16 {
				continue // the xerial header alone is an empty stream, bad input 79
			}
			bothWays(t, sealed(codec, payload[:n]), kerr.CorruptMessage)
		}
		for n := 1; n < 30; n += 3 {
			bothWays(t, sealed(codec, append(bytes.Clone(payload), bytes.Repeat([]byte{0xAA}, n)...)), kerr.CorruptMessage)
		}
	}
}

func TestBadInput79EmptyPayload(t *testing.T) {
	for _, codec := range everyCodec {
		bothWays(t, sealed(codec, nil), kerr.InvalidRecord)
		if codec == None || codec == LZ4 { // an lz4 frame of nothing has zero blocks, bad input 77
			continue
		}
		bothWays(t, sealed(codec, compressed(t, codec, 0, nil)), kerr.InvalidRecord)
	}
	bothWays(t, sealed(Snappy, s2.EncodeSnappy(nil, nil)), kerr.InvalidRecord)
}

func TestBatchIsRecompressedToTheTopicsCodec(t *testing.T) {
	for _, from := range everyCodec {
		for _, to := range everyCodec {
			b := batchOf(t, from, 200, 300)
			b.setAttributes(b.Attributes() | bitTransactional)
			put64(offProducerID, 42)(b)
			put32(offBaseSequence, 7)(b)
			b[offProducerEpoch], b[offProducerEpoch+1] = 0, 3
			b.setCRC()
			r := rules()
			r.Recompress, r.Compression = true, to
			sent := bytes.Clone(b)
			var v Validator
			got, err := v.Validate(sent, r)
			if err != nil {
				t.Fatal(from, to, err)
			}
			if !bytes.Equal(sent, b) {
				t.Fatal(from, to, "the request's bytes were written to")
			}
			if (from == to) != bytes.Equal(got, b) {
				t.Fatal(from, to, "only a batch of another codec is rewritten")
			}
			if err := got.CheckStored(); err != nil || got.Codec() != to {
				t.Fatal(from, to, err, got.Codec())
			}
			if got.ProducerID() != 42 || got.ProducerEpoch() != 3 || got.BaseSequence() != 7 || !got.Transactional() || got.Control() {
				t.Fatal(from, to, "producer fields are lost")
			}
			sameRecords(t, b, got)
			mustAccept(t, got, rules())
		}
	}
}

func sameRecords(t *testing.T, a, b Batch) {
	t.Helper()
	x, y := a.Records(codecs, 1<<30), b.Records(codecs, 1<<30)
	defer x.Close()
	defer y.Close()
	for x.Next() {
		if !y.Next() {
			t.Fatal("records are missing", y.Err())
		}
		p, q := x.Record(), y.Record()
		if p.Offset != q.Offset || p.Timestamp != q.Timestamp || !bytes.Equal(p.Key, q.Key) || !bytes.Equal(p.Value, q.Value) {
			t.Fatalf("%+v\n%+v", p, q)
		}
	}
	if y.Next() || x.Err() != nil || y.Err() != nil {
		t.Fatal("not the same end", x.Err(), y.Err())
	}
}

// Trap 11.
func TestRecompressedBatchIsMeasuredAgain(t *testing.T) {
	b := batchOf(t, Gzip, 100, 1000)
	r := rules()
	r.Recompress, r.Compression = true, None
	plain := mustAccept(t, b, r)
	r.MaxBytes = len(plain)
	mustAccept(t, b, r)
	r.MaxBytes--
	mustRefuse(t, b, r, kerr.MessageTooLarge)
}

// Trap 11.
func TestLogAppendTimeTopicStampsEveryBatch(t *testing.T) {
	for _, from := range everyCodec {
		for _, recompress := range []bool{false, true} {
			r := rules()
			r.LogAppendTime, r.BeforeMax = true, 1000
			r.Recompress, r.Compression = recompress, LZ4
			got := mustAccept(t, batchAt(t, from, 5, 5, 1<<60, 7), r) // timestamps that CreateTime would refuse
			if !got.LogAppendTime() || got.MaxTimestamp() != now {
				t.Fatal(from, recompress, got.Attributes(), got.MaxTimestamp())
			}
		}
	}
}
