package segment

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

var be = binary.BigEndian

// offsetEntry says that the batch at position ends with offset (relative to the segment's base).
type offsetEntry struct{ offset, position int32 }

const offsetEntrySize = 8

// growing is a list that one goroutine appends to while others read the part that is published.
type growing[T any] struct{ room atomic.Pointer[room[T]] }

type room[T any] struct {
	n     atomic.Int32
	items []T // len is the capacity
}

// items is the published part.
func (g *growing[T]) items() []T {
	r := g.room.Load()
	if r == nil {
		return nil
	}
	return r.items[:r.n.Load()]
}

func (g *growing[T]) len() int {
	r := g.room.Load()
	if r == nil {
		return 0
	}
	return int(r.n.Load())
}

// add appends; it allocates when the room is used up, which then doubles.
func (g *growing[T]) add(item T) {
	r := g.room.Load()
	if r == nil || int(r.n.Load()) == len(r.items) {
		r = g.grow(r)
	}
	n := r.n.Load()
	r.items[n] = item
	r.n.Store(n + 1)
}

func (g *growing[T]) grow(old *room[T]) *room[T] {
	r := &room[T]{}
	if old == nil {
		r.items = make([]T, 8)
	} else {
		r.items = make([]T, 2*len(old.items))
		copy(r.items, old.items)
		r.n.Store(old.n.Load())
	}
	g.room.Store(r)
	return r
}

// set replaces the list.
func (g *growing[T]) set(items []T) {
	if len(items) == 0 {
		g.room.Store(nil)
		return
	}
	r := &room[T]{items: items}
	r.n.Store(int32(len(items)))
	g.room.Store(r)
}

func encodeOffsets(entries []offsetEntry) []byte {
	b := make([]byte, 0, len(entries)*offsetEntrySize)
	for _, e := range entries {
		b = be.AppendUint32(b, uint32(e.offset))
		b = be.AppendUint32(b, uint32(e.position))
	}
	return b
}

func decodeOffset(b []byte) offsetEntry {
	return offsetEntry{offset: int32(be.Uint32(b)), position: int32(be.Uint32(b[4:]))}
}

// decodeOffsets checks a whole .index file: entries rise in both fields and stay inside the log file of size bytes.
// (Whether an entry names a batch is checked where it is used, against the batch.)
func decodeOffsets(b []byte, size int64) ([]offsetEntry, error) {
	if len(b)%offsetEntrySize != 0 {
		return nil, fmt.Errorf("offset index of %d bytes", len(b))
	}
	entries := make([]offsetEntry, 0, len(b)/offsetEntrySize)
	last := offsetEntry{offset: -1, position: 0} // the first batch of a segment never has an entry
	for ; len(b) > 0; b = b[offsetEntrySize:] {
		e := decodeOffset(b)
		if e.offset <= last.offset || e.position <= last.position || int64(e.position) >= size {
			return nil, fmt.Errorf("offset index entry %d: (%d, %d) after (%d, %d) in a log of %d bytes",
				len(entries), e.offset, e.position, last.offset, last.position, size)
		}
		entries = append(entries, e)
		last = e
	}
	return entries, nil
}
