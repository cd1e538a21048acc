package segment

import (
	"fmt"
	"math"
	"sort"
)

// timeEntry says that timestamp is the largest one up to offset (relative to the segment's base), and that the batch
// that ends with offset has it.
type timeEntry struct {
	timestamp int64
	offset    int32
}

const timeEntrySize = 12

// noTimestamp: no batch has one. unknownTimestamp: nobody looked yet.
const (
	noTimestamp      int64 = -1
	unknownTimestamp int64 = math.MinInt64
)

// timeFloor is the number of entries with a timestamp <= ts.
func timeFloor(entries []timeEntry, ts int64) int {
	return sort.Search(len(entries), func(i int) bool { return entries[i].timestamp > ts })
}

func encodeTimes(entries []timeEntry) []byte {
	b := make([]byte, 0, len(entries)*timeEntrySize)
	for _, e := range entries {
		b = be.AppendUint64(b, uint64(e.timestamp))
		b = be.AppendUint32(b, uint32(e.offset))
	}
	return b
}

// decodeTimes checks a whole .timeindex file: timestamps rise, offsets do not fall.
func decodeTimes(b []byte) ([]timeEntry, error) {
	if len(b)%timeEntrySize != 0 {
		return nil, fmt.Errorf("time index of %d bytes", len(b))
	}
	entries := make([]timeEntry, 0, len(b)/timeEntrySize)
	last := timeEntry{timestamp: noTimestamp, offset: 0}
	for ; len(b) > 0; b = b[timeEntrySize:] {
		e := timeEntry{timestamp: int64(be.Uint64(b)), offset: int32(be.Uint32(b[8:]))}
		if e.timestamp <= last.timestamp || e.offset < last.offset {
			return nil, fmt.Errorf("time index entry %d: (%d, %d) after (%d, %d)",
				len(entries), e.timestamp, e.offset, last.timestamp, last.offset)
		}
		entries = append(entries, e)
		last = e
	}
	return entries, nil
}
