package segment

import (
	"slices"

	"cordwood/protocol/record"
)

// sparse is the offset and time index of a segment while it is in memory: fed with every batch in order, by Append, by
// recovery and by a rebuild, so all three make the same entries. Entries are Kafka's (LogSegment.append): a batch gets
// one when more than interval bytes lie between it and the last batch that got one.
type sparse struct {
	base    int64
	offsets growing[offsetEntry]
	times   growing[timeEntry]

	// The writer's.
	since          int64 // bytes since the batch with the last entry, it included
	maxTimestamp   int64
	maxOffset      int64 // last offset of the first batch that has maxTimestamp
	firstTimestamp int64 // max timestamp of the first batch, what Kafka rolls by (trap 52)
	empty          bool
}

func newSparse(base int64) *sparse {
	return &sparse{base: base, maxTimestamp: noTimestamp, maxOffset: base, firstTimestamp: noTimestamp, empty: true}
}

// add takes a batch (its header is enough) of size bytes at position.
func (x *sparse) add(b record.Batch, position, size int64, interval int) {
	ts := b.MaxTimestamp()
	if x.empty {
		x.firstTimestamp, x.empty = ts, false
	}
	if ts > x.maxTimestamp {
		x.maxTimestamp, x.maxOffset = ts, b.LastOffset()
	}
	if x.since > int64(interval) {
		x.offsets.add(offsetEntry{offset: int32(b.LastOffset() - x.base), position: int32(position)})
		x.addTime()
		x.since = 0
	}
	x.since += size
}

// addTime enters the largest timestamp so far, if it has none yet. Called for each offset entry, at roll and at close.
func (x *sparse) addTime() {
	last := noTimestamp
	if t := x.times.items(); len(t) > 0 {
		last = t[len(t)-1].timestamp
	}
	if x.maxTimestamp > last {
		x.times.add(timeEntry{timestamp: x.maxTimestamp, offset: int32(x.maxOffset - x.base)})
	}
}

// full says that the segment has to roll because an index file would grow above limit bytes. The time index keeps one
// place for the entry at roll.
func (x *sparse) full(limit int) bool {
	return x.offsets.len() >= limit/offsetEntrySize || x.times.len() >= limit/timeEntrySize-1
}

// cut drops what points at position and behind, or at the relative offset rel and behind.
func (x *sparse) cut(position int64, rel int64) {
	o := x.offsets.items()
	n := len(o)
	for n > 0 && int64(o[n-1].position) >= position {
		n--
	}
	t := x.times.items()
	m := len(t)
	for m > 0 && int64(t[m-1].offset) >= rel {
		m--
	}
	x.offsets.set(slices.Clone(o[:n]))
	x.times.set(slices.Clone(t[:m]))
	x.since = position
	if n > 0 {
		x.since = position - int64(o[n-1].position)
	}
}

func (x *sparse) clone() *sparse {
	c := newSparse(x.base)
	c.offsets.set(slices.Clone(x.offsets.items()))
	c.times.set(slices.Clone(x.times.items()))
	c.since, c.maxTimestamp, c.maxOffset, c.firstTimestamp, c.empty = x.since, x.maxTimestamp, x.maxOffset, x.firstTimestamp, x.empty
	return c
}
