package record

import (
	"encoding/binary"
	"fmt"
)

// minRecord is the smallest record behind its length: attributes, two deltas, two null or empty fields, no headers.
const minRecord = 6

// head is what the walk knows of one record.
type head struct {
	index                       int32
	timestampDelta, offsetDelta int64
	keyless                     bool
}

// walk steps over the headers of all records of a payload, not over their keys and values. It is the hot loop of a
// Produce (design budget: 15 ns a record).
type walk struct {
	count int32 // records that the batch declares
	next  int32 // records seen
	gaps  bool  // offset deltas only ascend: a stored batch may have been compacted
	last  int64 // offset delta of the record before, with gaps

	minDelta, maxDelta int64 // of the timestamps; valid once next > 0
	keyless            bool  // a record has a null key

	each    func(h head) bool // when set, sees every record; false ends the walk
	stopped bool
	wrong   *Invalid
}

func newWalk(count int32) walk {
	return walk{count: count, last: -1, minDelta: 1<<63 - 1, maxDelta: -1 << 63}
}

// run takes whole records from the front of p and answers how many bytes they are. It ends when count records are
// seen, when the next record is not whole in p, when each says so, or when a record is wrong.
func (w *walk) run(p []byte) int {
	i := 0
	for w.next < w.count && w.wrong == nil && !w.stopped {
		if w.each == nil && !w.gaps {
			if i = w.ordinary(p, i); w.next == w.count {
				break
			}
		}
		end := w.one(p, i)
		if end == i {
			break
		}
		i = end
	}
	return i
}

// ordinary steps over records whose lengths and deltas take at most two bytes each, as nearly all do. It decodes them
// from words, and leaves everything else, what is wrong included, to one.
func (w *walk) ordinary(p []byte, i int) int {
	n, lo, hi, keyless := w.next, w.minDelta, w.maxDelta, w.keyless
	for n < w.count && i <= len(p)-4*wordSize {
		length, a := short(binary.LittleEndian.Uint64(p[i:]))
		j := i + a
		end := j + int(length)
		x := binary.LittleEndian.Uint64(p[j+1:])
		td, a1 := short(x)
		od, a2 := short(x >> (8 * a1 & 63))
		key, a3 := short(x >> (8 * (a1 + a2) & 63))
		k := j + 1 + a1 + a2 + a3 + int(max(key, 0))
		if uint(k) > uint(len(p)-wordSize) {
			break
		}
		value, a4 := short(binary.LittleEndian.Uint64(p[k:]))
		k += a4 + int(max(value, 0))
		if a|a1|a2|a3|a4 >= notShort || uint(k) >= uint(len(p)) {
			break
		}
		headers := p[k]
		k++
		if headers != 0 && headers < 0x80 && uint(end) <= uint(len(p)) {
			k = skipHeaders(p[:end], k, int64(headers>>1)^-int64(headers&1))
		} else if headers != 0 {
			break
		}
		if k != end || od != int64(n) || key < -1 || value < -1 {
			break
		}
		lo, hi = min(lo, td), max(hi, td)
		keyless = keyless || key < 0
		i = end
		n++
	}
	w.next, w.minDelta, w.maxDelta, w.keyless = n, lo, hi, keyless
	return i
}

// one steps over the record at i and answers where it ends, i when it is wrong or not whole.
func (w *walk) one(p []byte, i int) int {
	n := w.next
	length, j := varint(p, i)
	end := j + int(length)
	if end > len(p) || length < minRecord {
		if !cutShort(p[i:], length, j) {
			w.fail(n, p[i:])
		}
		return i
	}
	td, k := varlong(p, j+1, maxVarlong)
	od, k := varint(p, k)
	key, k := varint(p, k)
	k += int(max(key, 0))
	value, k := varint(p, k)
	k += int(max(value, 0))
	headers, k := varint(p, k)
	if headers != 0 {
		k = skipHeaders(p[:end], k, headers)
	}
	if k != end || key < -1 || value < -1 || !w.follows(od) {
		w.fail(n, p[i:end])
		return i
	}
	w.saw(head{index: n, timestampDelta: td, offsetDelta: od, keyless: key < 0})
	return end
}

// saw takes a right record into account.
func (w *walk) saw(h head) {
	w.minDelta, w.maxDelta = min(w.minDelta, h.timestampDelta), max(w.maxDelta, h.timestampDelta)
	w.keyless = w.keyless || h.keyless
	w.last = h.offsetDelta
	w.next++
	w.stopped = w.each != nil && !w.each(h)
}

// follows says whether the next record may have this offset delta.
func (w *walk) follows(delta int64) bool {
	if w.gaps {
		return delta > w.last
	}
	return delta == int64(w.next)
}

// cutShort says that p ends inside the record that begins it; otherwise the record is wrong.
func cutShort(p []byte, length int64, j int) bool {
	if j == bad {
		return len(p) < maxVarint && !ends(p)
	}
	return length >= minRecord
}

// ends says whether p holds a whole varint, be it right or wrong.
func ends(p []byte) bool {
	for _, c := range p {
		if c < 0x80 {
			return true
		}
	}
	return false
}

// skipHeaders steps over count headers at k. A header takes two bytes at least, so a count that cannot fit is refused
// before anything is done for it (bad input 59).
func skipHeaders(p []byte, k int, count int64) int {
	if count < 0 || count > int64(len(p)-k)/2 {
		return bad
	}
	for ; count > 0 && k <= len(p); count-- {
		var key, value int64
		if key, k = varint(p, k); key < 0 { // null is not allowed here (bad input 60)
			return bad
		}
		value, k = varint(p, k+int(key))
		if value < -1 {
			return bad
		}
		k += int(max(value, 0))
	}
	return k
}

// whole walks a payload that is in memory.
func (w *walk) whole(p []byte) {
	n := w.run(p)
	switch {
	case w.wrong != nil || w.stopped:
	case w.next < w.count:
		w.tooFew(n < len(p))
	case n < len(p):
		w.tooMany()
	}
}

// tooFew and tooMany: the count is wrong (bad input 54).
func (w *walk) tooFew(cut bool) {
	message := "the payload ends before it"
	if cut {
		message = "the payload ends inside it"
	}
	w.refuse(w.next, fmt.Sprintf("%s, the batch declares %d records", message, w.count))
}

func (w *walk) tooMany() {
	w.wrong = invalidRecord(fmt.Sprintf("The payload goes on behind the %d records that the batch declares", w.count))
}

// fail says what is wrong with record n, which p begins with.
func (w *walk) fail(n int32, p []byte) { w.refuse(n, explain(p, n)) }

func (w *walk) refuse(n int32, message string) {
	w.wrong = invalidRecord(fmt.Sprintf("Record %d: %s", n, message))
	w.wrong.Records = []RecordError{{Index: n, Message: message}}
}

// explain repeats what run does field by field, for the message.
func explain(p []byte, n int32) string {
	length, j := varint(p, 0)
	switch {
	case j == bad:
		return "the length is no varint"
	case length < minRecord:
		return fmt.Sprintf("a length of %d bytes is no record", length)
	case length > int64(len(p)-j):
		return fmt.Sprintf("the length is %d bytes, %d are left", length, len(p)-j)
	}
	p = p[:j+int(length)]
	_, k := varlong(p, j+1, maxVarlong)
	od, k := varint(p, k)
	if k < bad && od != int64(n) {
		return fmt.Sprintf("the offset delta is %d", od)
	}
	for _, name := range []string{"key", "value"} {
		var size int64
		size, k = varint(p, k)
		if size < -1 || k >= bad || size > int64(len(p)-k) {
			return fmt.Sprintf("the %s has a length of %d", name, size)
		}
		k += int(max(size, 0))
	}
	headers, k := varint(p, k)
	if k >= bad {
		return "the number of headers is no varint"
	}
	if skipHeaders(p, k, headers) != len(p) {
		return fmt.Sprintf("%d headers do not end where the record does", headers)
	}
	return "the fields do not end where the record does"
}
