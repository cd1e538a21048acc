package segment

import (
	"hash/crc32"

	"cordwood/protocol/record"
)

// HeaderSum is the CRC-32C over the bytes of every batch that the batch's own CRC does not cover, one after another, as in
// a seal. With the batches' CRCs it covers every byte.
func HeaderSum(batches []record.Batch) (sum uint32) {
	for _, b := range batches {
		sum = crc32.Update(sum, castagnoli, b[:crcStart])
	}
	return sum
}

// HeaderSum is that of the batches in the slice. It reads their headers.
func (s *Slice) HeaderSum() (sum uint32, err error) {
	h := scanHeaders(s, 0, int64(s.n))
	defer h.done()
	for {
		ok, err := h.next()
		if err != nil || !ok {
			return sum, err
		}
		sum = crc32.Update(sum, castagnoli, h.batch[:crcStart])
	}
}

// SealedEnd is where the sealed segments end: what lies below never changes.
func (v *View) SealedEnd() int64 { return v.active().base }
