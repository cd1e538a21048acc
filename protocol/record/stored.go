package record

import (
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
)

// CheckFrame is the sanity of the header of a batch that comes from a leader or from disk: it is the only check of
// base offset and leader epoch, which the CRC does not cover. Compaction leaves batches with fewer records than
// offsets, down to none.
func (b Batch) CheckFrame() error {
	if len(b) < Overhead || int64(b.int32(offLength)) != int64(len(b))-LogOverhead {
		return fmt.Errorf("a batch of %d bytes says it has another length: %w", len(b), kerr.CorruptMessage)
	}
	if m := int8(b[offMagic]); m != Magic {
		return badMagic(m)
	}
	base, last := b.BaseOffset(), b.LastOffsetDelta()
	if base < 0 || last < 0 || base > math.MaxInt64-1-int64(last) {
		return fmt.Errorf("base offset %d, last offset delta %d: %w", base, last, kerr.CorruptMessage)
	}
	if n := b.Count(); n < 0 || int64(n) > int64(last)+1 {
		return fmt.Errorf("%d records in %d offsets: %w", n, int64(last)+1, kerr.CorruptMessage)
	}
	return nil
}

// CheckStored is the check of followers and of recovery: CheckFrame and the CRC. The records were checked by the
// leader that appended them.
func (b Batch) CheckStored() error {
	if err := b.CheckFrame(); err != nil {
		return err
	}
	return b.CheckCRC()
}
