package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Overhead is the size of a batch without its payload.
const Overhead = 61

// LogOverhead is the size of base offset and batch length, the part of a batch that batchLength does not count.
const LogOverhead = 12

// Magic is the only batch format served.
const Magic = 2

// Codec is a compression codec as the low bits of a batch's attributes name it.
type Codec int8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

func (c Codec) String() string {
	if c >= 0 && int(c) < len(codecNames) {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", int8(c))
}

// Codecs compresses and decompresses payloads; protocol/compress has the implementation.
type Codecs interface {
	// Reader streams what src decompresses to. Reading more than limit bytes fails with an error that has
	// TooLarge() bool; any other error means that src is corrupt. Close gives the reader back.
	Reader(codec int8, src []byte, limit int64) (io.ReadCloser, error)
	// Compress appends the compressed src to dst. Level 0 is the codec's default.
	Compress(codec int8, level int, dst, src []byte) ([]byte, error)
	// Writer streams what is written to it, compressed, to dst. It must be closed.
	Writer(codec int8, level int, dst io.Writer) (io.WriteCloser, error)
}

const (
	offLength          = 8
	offLeaderEpoch     = 12
	offMagic           = 16
	offCRC             = 17
	offAttributes      = 21 // what the CRC covers begins here
	offLastOffsetDelta = 23
	offBaseTimestamp   = 27
	offMaxTimestamp    = 35
	offProducerID      = 43
	offProducerEpoch   = 51
	offBaseSequence    = 53
	offCount           = 57

	bitsCodec              = 7
	bitLogAppendTime       = 1 << 3
	bitTransactional       = 1 << 4
	bitControl             = 1 << 5
	bitDeleteHorizon       = 1 << 6
	bitsFromClients        = bitsCodec | bitTransactional // what a Produce may set
	minBatchLength         = Overhead - LogOverhead
	maxSequence            = 1<<31 - 1
	noProducer             = -1
	noTimestamp      int64 = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is a view of exactly one batch (B1). Its methods read the header in place.
type Batch []byte

// Next cuts the first batch off b, looking at length and magic only. It answers io.EOF when b is empty,
// io.ErrUnexpectedEOF when b ends inside the batch, and an error that wraps a kerr code when there is no batch.
func Next(b []byte) (Batch, []byte, error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}
	if len(b) <= offMagic {
		return nil, b, io.ErrUnexpectedEOF
	}
	if m := int8(b[offMagic]); m != Magic {
		return nil, b, badMagic(m)
	}
	n := int64(int32(binary.BigEndian.Uint32(b[offLength:])))
	if n < minBatchLength {
		return nil, b, fmt.Errorf("batch length %d is below %d: %w", n, minBatchLength, kerr.CorruptMessage)
	}
	n += LogOverhead
	if n > int64(len(b)) {
		return nil, b, io.ErrUnexpectedEOF
	}
	return Batch(b[:n:n]), b[n:], nil
}

// badMagic: older formats are known but not served, a negative one is no format at all (bad input 50).
func badMagic(m int8) error {
	if m < 0 {
		return fmt.Errorf("magic %d: %w", m, kerr.CorruptMessage)
	}
	return fmt.Errorf("magic %d, only %d is served: %w", m, Magic, kerr.UnsupportedForMessageFormat)
}

func (b Batch) int16(at int) int16 { return int16(binary.BigEndian.Uint16(b[at:])) }
func (b Batch) int32(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func (b Batch) int64(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }

func (b Batch) BaseOffset() int64      { return b.int64(0) }
func (b Batch) LeaderEpoch() int32     { return b.int32(offLeaderEpoch) }
func (b Batch) CRC() uint32            { return binary.BigEndian.Uint32(b[offCRC:]) }
func (b Batch) Attributes() int16      { return b.int16(offAttributes) }
func (b Batch) LastOffsetDelta() int32 { return b.int32(offLastOffsetDelta) }
func (b Batch) BaseTimestamp() int64   { return b.int64(offBaseTimestamp) }
func (b Batch) MaxTimestamp() int64    { return b.int64(offMaxTimestamp) }
func (b Batch) ProducerID() int64      { return b.int64(offProducerID) }
func (b Batch) ProducerEpoch() int16   { return b.int16(offProducerEpoch) }
func (b Batch) BaseSequence() int32    { return b.int32(offBaseSequence) }
func (b Batch) Count() int32           { return b.int32(offCount) }

// LastOffset is the offset of the last record, NextOffset the one behind it (exclusive).
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

func (b Batch) Codec() Codec        { return Codec(b.Attributes() & bitsCodec) }
func (b Batch) LogAppendTime() bool { return b.Attributes()&bitLogAppendTime != 0 }
func (b Batch) Transactional() bool { return b.Attributes()&bitTransactional != 0 }
func (b Batch) Control() bool       { return b.Attributes()&bitControl != 0 }

// HasProducer says whether an idempotent producer sent the batch.
func (b Batch) HasProducer() bool { return b.ProducerID() >= 0 }

// LastSequence is the sequence of the last record; sequences wrap from 2^31-1 to 0 (trap 20). -1 without one.
func (b Batch) LastSequence() int32 {
	first := b.BaseSequence()
	if first < 0 {
		return first
	}
	return int32((int64(first) + int64(b.LastOffsetDelta())) & maxSequence)
}

// Payload is the records, compressed when Codec is set.
func (b Batch) Payload() []byte { return b[Overhead:] }

// decompressor streams the payload of a compressed batch.
func (b Batch) decompressor(c Codecs, limit int64) (io.ReadCloser, error) {
	if c == nil {
		return nil, corrupt("No codecs to decompress %v with", b.Codec())
	}
	limit = orDefault(limit)
	src, err := c.Reader(int8(b.Codec()), b.Payload(), limit)
	if err != nil {
		return nil, ofCodec(err, limit)
	}
	return src, nil
}

// Stamp writes what the leader decides. Neither field is covered by the CRC.
func (b Batch) Stamp(base int64, leaderEpoch int32) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[offLeaderEpoch:], uint32(leaderEpoch))
}

// StampLogAppendTime makes ms the timestamp of every record (trap 11): attribute bit, maxTimestamp and CRC change.
func (b Batch) StampLogAppendTime(ms int64) {
	b.setAttributes(b.Attributes() | bitLogAppendTime)
	b.setMaxTimestamp(ms)
	b.setCRC()
}

// CheckCRC compares the CRC with the bytes it covers.
func (b Batch) CheckCRC() error {
	if got := crc32.Checksum(b[offAttributes:], castagnoli); got != b.CRC() {
		return fmt.Errorf("crc is %08x, the bytes have %08x: %w", b.CRC(), got, kerr.CorruptMessage)
	}
	return nil
}

func (b Batch) setAttributes(a int16) { binary.BigEndian.PutUint16(b[offAttributes:], uint16(a)) }
func (b Batch) setMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[offMaxTimestamp:], uint64(ms))
}
func (b Batch) setCRC() {
	binary.BigEndian.PutUint32(b[offCRC:], crc32.Checksum(b[offAttributes:], castagnoli))
}
