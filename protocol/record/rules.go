package record

import (
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
)

// DefaultMaxDecompressed bounds what one batch may decompress to when the limit given is 0.
const DefaultMaxDecompressed = 256 << 20

func orDefault(limit int64) int64 {
	if limit > 0 {
		return limit
	}
	return DefaultMaxDecompressed
}

// Rules are what a topic asks of the batches produced to it.
type Rules struct {
	MaxBytes        int   // max.message.bytes: of the whole batch, as stored; 0 is no bound
	MaxDecompressed int64 // of the payload; 0 is DefaultMaxDecompressed
	KeyRequired     bool  // cleanup.policy has compact

	LogAppendTime       bool  // message.timestamp.type: Now becomes the timestamp of the batch
	Now                 int64 // ms
	BeforeMax, AfterMax int64 // ms around Now that a client's timestamps must keep to; not with LogAppendTime

	// Recompress: compression.type names a codec, Compression; a batch of another codec is written anew at Level.
	// Without it (compression.type=producer) every codec is stored as sent.
	Recompress  bool
	Compression Codec
	Level       int

	Codecs Codecs
}

// timestamps is the allowed range, both ends included. Sums that do not fit are unbounded.
func (r *Rules) timestamps() (from, to int64) {
	from, to = r.Now-r.BeforeMax, r.Now+r.AfterMax
	if r.BeforeMax > 0 && from > r.Now {
		from = math.MinInt64
	}
	if r.AfterMax > 0 && to < r.Now {
		to = math.MaxInt64
	}
	return from, to
}

// header checks everything in the header of a produced batch, after its CRC (bad inputs 53, 55, 62, 64, 68, 69).
func (r *Rules) header(b Batch) error {
	a := b.Attributes()
	if b.Codec() > Zstd {
		return &Invalid{Code: kerr.UnsupportedCompressionType, Message: fmt.Sprintf("Unknown compression codec %d", b.Codec())}
	}
	if a&bitControl != 0 {
		return invalidRecord("Clients are not allowed to write control batches")
	}
	if a&bitLogAppendTime != 0 {
		return &Invalid{Code: kerr.InvalidTimestamp, Message: "Producers must not set the timestamp type to LogAppendTime"}
	}
	if a&^bitsFromClients != 0 {
		return invalidRecord(fmt.Sprintf("Attributes %#x have bits that clients must not set", uint16(a)))
	}
	if n := b.Count(); n <= 0 {
		return invalidRecord(fmt.Sprintf("The batch declares %d records", n))
	}
	if b.LastOffsetDelta() != b.Count()-1 {
		return invalidRecord(fmt.Sprintf("The last offset delta is %d for %d records", b.LastOffsetDelta(), b.Count()))
	}
	return producerFields(b)
}

// producerFields: a producer id comes with epoch and sequence. Sequences may wrap inside a batch (bad input 65).
func producerFields(b Batch) error {
	id := b.ProducerID()
	switch {
	case id < noProducer:
		return invalidRecord(fmt.Sprintf("Producer id %d", id))
	case id == noProducer && b.Transactional():
		return invalidRecord("A transactional batch needs a producer id")
	case id == noProducer:
		return nil // what epoch and sequence say has no meaning
	case b.ProducerEpoch() < 0:
		return invalidRecord(fmt.Sprintf("Producer epoch %d of producer id %d", b.ProducerEpoch(), id))
	case b.BaseSequence() < 0:
		return invalidRecord(fmt.Sprintf("Sequence %d of producer id %d", b.BaseSequence(), id))
	}
	return nil
}
