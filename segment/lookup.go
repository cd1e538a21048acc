package segment

import (
	"fmt"

	"cordwood/protocol/record"
)

// maxDecompressed bounds one batch decompressed for a lookup by time.
const maxDecompressed = 256 << 20

// largestTimestamp is the largest record timestamp of the segment, -1 without any. Of a sealed segment it is the last
// entry of the time index, which a roll always writes.
func (s *Segment) largestTimestamp() (int64, error) {
	if ts := s.maxTimestamp.Load(); ts != unknownTimestamp {
		return ts, nil
	}
	size := s.tail.size.Load()
	if size == 0 {
		return noTimestamp, nil
	}
	times, err := s.timeEntries(size)
	if err != nil {
		return 0, err
	}
	ts := noTimestamp
	if len(times) > 0 {
		ts = times[len(times)-1].timestamp
	}
	s.maxTimestamp.CompareAndSwap(unknownTimestamp, ts)
	return ts, nil
}

// timeEntries is the segment's time index. A missing or damaged file is made again from the log; a sealed segment that
// has batches with timestamps has at least one entry.
func (s *Segment) timeEntries(size int64) ([]timeEntry, error) {
	if m := s.memory.Load(); m != nil {
		return m.times.items(), nil
	}
	b, found, err := s.owner.readAux(s.base, timeSuffix)
	if err == nil && found {
		var times []timeEntry
		if times, err = decodeTimes(b); err == nil {
			return times, nil
		}
	} else if err != nil {
		return nil, err
	}
	f, err := s.log.acquire()
	if err != nil {
		return nil, err
	}
	defer s.log.release()
	if err := s.rebuild(f, size); err != nil {
		return nil, err
	}
	return s.memory.Load().times.items(), nil
}

// OffsetForTime finds the first record with a timestamp of at least ts, searching inside the batch (trap 35). ok is false
// when there is none. It may find a record that is not committed; the caller compares.
func (l *Log) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, ok bool, err error) {
	v, start := l.view.Load(), l.Start()
	for i := max(v.at(start), 0); i < len(v.segments); i++ {
		s := v.segments[i]
		newest, err := s.largestTimestamp()
		if err != nil {
			return 0, 0, 0, false, err
		}
		if newest < ts {
			continue
		}
		found, offset, timestamp, epoch, err := l.searchTime(s, ts, start)
		if err != nil || found {
			return offset, timestamp, epoch, found, err
		}
	}
	return 0, 0, 0, false, nil
}

// searchTime is OffsetForTime in one segment, at or above start.
func (l *Log) searchTime(s *Segment, ts, start int64) (found bool, offset, timestamp int64, epoch int32, err error) {
	times, err := s.timeEntries(s.tail.size.Load())
	if err != nil {
		return false, 0, 0, 0, err
	}
	size, _ := s.tail.get() // now: it covers every entry read before
	f, err := s.log.acquire()
	if err != nil {
		return false, 0, 0, 0, err
	}
	defer s.log.release()
	// All batches up to an entry's have at most its timestamp, so the search begins behind the last entry below ts.
	from := max(start, s.base)
	if n := timeFloor(times, ts-1); n > 0 {
		from = max(from, s.base+int64(times[n-1].offset))
	}
	p, ok, err := s.find(f, from, size)
	if err != nil || !ok {
		return false, 0, 0, 0, err
	}
	err = s.walk(f, p.position, size, func(b record.Batch, position, bytes int64) error {
		if b.MaxTimestamp() < ts {
			return nil
		}
		whole := make(record.Batch, bytes)
		if n, err := f.ReadAt(whole, position); n < len(whole) {
			return fmt.Errorf("%w: read of %d bytes at %d: %w", ErrCorrupt, bytes, position, err)
		}
		o, t, ok, err := firstRecord(whole, ts, start, l.codecs)
		if err != nil {
			return err
		}
		if ok {
			found, offset, timestamp, epoch = true, o, t, whole.LeaderEpoch()
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return found, offset, timestamp, epoch, err
}

// firstRecord is the first record of a batch at or above start with a timestamp of at least ts.
func firstRecord(b record.Batch, ts, start int64, codecs record.Codecs) (offset, timestamp int64, ok bool, err error) {
	if b.BaseOffset() >= start {
		return b.FirstAt(ts, codecs, maxDecompressed)
	}
	it := b.Records(codecs, maxDecompressed)
	defer it.Close()
	for it.Next() {
		if r := it.Record(); r.Offset >= start && r.Timestamp >= ts {
			return r.Offset, r.Timestamp, true, nil
		}
	}
	return 0, 0, false, it.Err()
}

// MaxTimestamp finds the first record with the largest timestamp (ListOffsets -3). ok is false when no record has one.
func (l *Log) MaxTimestamp() (offset, timestamp int64, epoch int32, ok bool, err error) {
	v, start := l.view.Load(), l.Start()
	best, newest := -1, noTimestamp
	for i := max(v.at(start), 0); i < len(v.segments); i++ {
		ts, err := v.segments[i].largestTimestamp()
		if err != nil {
			return 0, 0, 0, false, err
		}
		if ts > newest {
			best, newest = i, ts
		}
	}
	if best < 0 {
		return 0, 0, 0, false, nil
	}
	found, offset, timestamp, epoch, err := l.searchTime(v.segments[best], newest, start)
	return offset, timestamp, epoch, found, err
}
