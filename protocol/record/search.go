package record

import "fmt"

// FirstAt finds the first record with a timestamp of at least ts, for ListOffsets (trap 35). It walks record headers
// only, streaming through a compressed batch, and does not look further than the record.
func (b Batch) FirstAt(ts int64, c Codecs, limit int64) (offset, timestamp int64, ok bool, err error) {
	if b.MaxTimestamp() < ts || b.Count() <= 0 {
		return -1, -1, false, nil
	}
	if b.LogAppendTime() { // one timestamp for all
		return b.BaseOffset(), b.MaxTimestamp(), true, nil
	}
	base := b.BaseTimestamp()
	err = b.search(c, limit, func(h head) bool {
		if base+h.timestampDelta < ts {
			return true
		}
		offset, timestamp, ok = b.BaseOffset()+h.offsetDelta, base+h.timestampDelta, true
		return false
	})
	if !ok {
		offset, timestamp = -1, -1
	}
	return offset, timestamp, ok, err
}

// MaxTimestampOffset finds the first record that has the largest timestamp in the batch.
func (b Batch) MaxTimestampOffset(c Codecs, limit int64) (offset, timestamp int64, err error) {
	if b.Count() <= 0 {
		return -1, -1, nil
	}
	if b.LogAppendTime() {
		return b.BaseOffset(), b.MaxTimestamp(), nil
	}
	offset, timestamp = -1, -1
	base := b.BaseTimestamp()
	err = b.search(c, limit, func(h head) bool {
		if t := base + h.timestampDelta; t > timestamp || offset < 0 {
			offset, timestamp = b.BaseOffset()+h.offsetDelta, t
		}
		return true
	})
	return offset, timestamp, err
}

// search shows the heads of the records to each until it answers false. Offsets may have gaps: b is a stored batch.
func (b Batch) search(c Codecs, limit int64, each func(head) bool) error {
	w := newWalk(b.Count())
	w.gaps, w.each = true, each
	if b.Codec() == None {
		w.whole(b.Payload())
	} else {
		src, err := b.decompressor(c, limit)
		if err != nil {
			return fmt.Errorf("batch at %d: %w", b.BaseOffset(), err)
		}
		defer src.Close()
		if err := w.stream(&window{src: src, buf: make([]byte, windowSize)}); err != nil {
			return fmt.Errorf("batch at %d: %w", b.BaseOffset(), ofCodec(err, orDefault(limit)))
		}
	}
	if w.wrong != nil {
		return fmt.Errorf("batch at %d: %w", b.BaseOffset(), w.wrong)
	}
	return nil
}
