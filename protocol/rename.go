package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"github.com/twmb/franz-go/pkg/kbin"
)

// Naming says under which host and port clients reach a broker that an answer places at host and port.
type Naming func(node int32, host []byte, port int32) (string, int32)

// Feed hands over an answer's body.
type Feed interface {
	// Left is the number of bytes that are not taken yet.
	Left() int
	// Next takes n bytes, valid until the next call.
	Next(n int) ([]byte, error)
	// Pass takes n bytes that follow dst unseen, and returns what stands in dst's place afterwards: dst with these bytes,
	// or nothing, because all of it is on its way.
	Pass(dst []byte, n int) ([]byte, error)
}

// Renames reports whether answers of a key and version may name a broker.
func Renames(key, version int16) bool {
	if key < 0 || key > lastRelayed || renamed[key] == nil {
		return false
	}
	return version >= renamed[key].from
}

// Rename appends an answer's body behind dst with the brokers' addresses replaced. dst[start:] is the answer's frame so
// far: four bytes for its length, and its header. An error says that the body is not of its key's form; then part of it
// may be gone already.
//
// The length stands first, but a Fetch answer names brokers at its end. With room 0 the length is set at the end, so
// feed must keep what it passes; else the frame is announced with room bytes to spare, and what is not needed is filled
// with a tag that no reader knows. Room 0, or at least RoomFor what Naming may return.
func Rename(dst []byte, start int, key, version int16, feed Feed, name Naming, room int) ([]byte, error) {
	m := renamed[key]
	w := renaming{
		dst: dst, start: start, feed: feed, name: name, room: room, version: version,
		flexible: LookupRelayed(key).IsFlexible(version),
	}
	if room > 0 {
		if !w.flexible {
			return dst, errors.New("protocol: no room for a name in a version without tags")
		}
		w.announce(feed.Left() + room)
	}
	w.fields(m.fields, true)
	if w.err == nil && feed.Left() > 0 {
		w.fail("bytes after the end")
	}
	if w.err != nil {
		return w.dst, fmt.Errorf("protocol: answer of %s v%d: %w", LookupRelayed(key).Name, version, w.err)
	}
	if !w.announced {
		w.announce(0)
	}
	return w.dst, nil
}

// RoomFor is the room an answer needs for the names of so many brokers, whose hosts have together so many bytes.
func RoomFor(brokers, hostBytes int) int { return hostBytes + 16*brokers + 64 }

// renaming is one pass over an answer.
type renaming struct {
	dst       []byte
	start     int
	feed      Feed
	name      Naming
	room      int
	version   int16
	flexible  bool
	announced bool // the frame's length is written
	growth    int  // bytes written beyond those read
	err       error

	node int32
	host []byte // what the answer said, raw
	drop bool   // nothing is renamed in what is dropped

	controllers bool // what is named are controllers
}

func (w *renaming) fail(text string) {
	if w.err == nil {
		w.err = errors.New(text)
	}
}

// announce writes the length of the frame, of which left bytes are still to come.
func (w *renaming) announce(left int) {
	binary.BigEndian.PutUint32(w.dst[w.start:], uint32(len(w.dst)-w.start-4+left))
	w.announced = true
}

// next takes n bytes; nil after a fault.
func (w *renaming) next(n int) []byte {
	if w.err != nil {
		return nil
	}
	if n < 0 || n > w.feed.Left() {
		w.fail("it ends too early")
		return nil
	}
	b, err := w.feed.Next(n)
	if err != nil {
		w.err = err
		return nil
	}
	return b
}

// copy takes n bytes over, a piece at a time: a length on the wire makes no room before its bytes are there.
func (w *renaming) copy(n int) {
	for piece := 0; n > 0 && w.err == nil; n -= piece {
		piece = min(n, 4<<10)
		w.dst = append(w.dst, w.next(piece)...)
	}
}

// pass lets n bytes through unseen.
func (w *renaming) pass(n int) {
	switch {
	case w.err != nil || n <= 0: // null is -1
	case n > w.feed.Left():
		w.fail("it ends too early")
	default:
		w.dst, w.err = w.feed.Pass(w.dst, n)
	}
}

// uvarint takes an unsigned varint over as it is written.
func (w *renaming) uvarint() int {
	v := uint64(0)
	for shift := 0; shift < 35; shift += 7 {
		b := w.next(1)
		if b == nil {
			return 0
		}
		w.dst = append(w.dst, b[0])
		if v |= uint64(b[0]&0x7f) << shift; b[0] < 0x80 {
			if v > 1<<31-1 {
				break
			}
			return int(v)
		}
	}
	w.fail("a length that cannot be")
	return 0
}

// length takes the length of a string (wire 2) or of bytes or an array (wire 4) over; -1 is null.
func (w *renaming) length(wire int) int {
	if w.flexible {
		return w.uvarint() - 1
	}
	b := w.next(wire)
	if b == nil {
		return -1
	}
	w.dst = append(w.dst, b...)
	n := 0
	if wire == 2 {
		n = int(int16(binary.BigEndian.Uint16(b)))
	} else {
		n = int(int32(binary.BigEndian.Uint32(b)))
	}
	if n < -1 {
		w.fail("a negative length")
	}
	return n
}

// fields takes one struct over with its tag section; top is the answer itself.
func (w *renaming) fields(fields []field, top bool) {
	for i := range fields {
		f := &fields[i]
		if f.tag < 0 && w.version >= f.min && w.version <= f.max {
			w.value(f)
		}
		if w.err != nil {
			return
		}
	}
	switch {
	case !w.flexible || top && fields[len(fields)-1].kind == kindRest:
	case top:
		w.section(fields)
	default:
		w.tags()
	}
}

func (w *renaming) value(f *field) {
	switch {
	case w.drop:
		w.plain(f)
	case f.role == roleDrop, f.role == roleBrokers && w.controllers:
		w.dropped(f)
	case f.role == roleEndpoints:
		if b := w.next(1); b != nil {
			w.controllers = b[0] == controllerEndpoints
			w.dst = append(w.dst, b...)
		}
	case f.role == roleNode:
		if b := w.next(4); b != nil {
			w.node = int32(binary.BigEndian.Uint32(b))
			w.dst = append(w.dst, b...)
		}
	case f.role == roleHost:
		at := len(w.dst)
		w.copy(w.length(2))
		w.host = append(w.host[:0], w.dst[at:]...)
		w.dst = w.dst[:at]
	case f.role == rolePort:
		if b := w.next(4); b != nil {
			w.rename(int32(binary.BigEndian.Uint32(b)))
		}
	default:
		w.plain(f)
	}
}

func (w *renaming) plain(f *field) {
	switch f.kind {
	case kindPlain:
		w.copy(f.wire)
	case kindString:
		w.copy(w.length(2))
	case kindBytes:
		w.pass(w.length(4))
	case kindStruct:
		w.fields(f.elem, false)
	case kindArray:
		w.elements(f)
	case kindRest:
		w.announce(w.feed.Left())
		w.pass(w.feed.Left())
	}
}

func (w *renaming) elements(f *field) {
	n := w.length(4)
	if n > w.feed.Left() { // an element has at least a byte
		w.fail("a length that cannot be")
	}
	for ; n > 0 && w.err == nil; n-- {
		switch {
		case f.elem != nil:
			w.fields(f.elem, false)
		case f.wire > 0:
			w.copy(f.wire)
		default:
			w.copy(w.length(2))
		}
	}
}

// rename writes host and port of the broker. One without an address (node -1 of an answer that found none) stays so.
func (w *renaming) rename(port int32) {
	before := len(w.host) + 4
	at := len(w.dst)
	if text := w.hostText(); w.node < 0 || len(text) == 0 {
		w.dst = kbin.AppendInt32(append(w.dst, w.host...), port)
	} else {
		host, port := w.name(w.node, text, port)
		if w.flexible {
			w.dst = kbin.AppendCompactString(w.dst, host)
		} else {
			w.dst = kbin.AppendString(w.dst, host)
		}
		w.dst = kbin.AppendInt32(w.dst, port)
	}
	w.growth += len(w.dst) - at - before
}

// hostText is the host without its length.
func (w *renaming) hostText() []byte {
	skip := 2
	if w.flexible {
		for skip = 1; skip < len(w.host) && w.host[skip-1] >= 0x80; {
			skip++
		}
	}
	return w.host[min(skip, len(w.host)):]
}

// dropped reads an array and leaves an empty one: addresses that nobody can reach through a relay.
func (w *renaming) dropped(f *field) {
	at, left := len(w.dst), w.feed.Left()
	w.drop = true
	w.plain(f)
	w.drop = false
	if w.err != nil {
		return
	}
	if w.dst = w.dst[:at]; w.flexible {
		w.dst = append(w.dst, 1)
	} else {
		w.dst = kbin.AppendInt32(w.dst, 0)
	}
	w.growth += len(w.dst) - at - (left - w.feed.Left())
}

// tags takes the tags behind a struct inside an answer over as they are.
func (w *renaming) tags() {
	for n := w.uvarint(); n > 0 && w.err == nil; n-- {
		w.uvarint()
		w.copy(w.uvarint())
	}
}

// section takes the answer's own tags over, and makes the frame as long as it was announced.
func (w *renaming) section(fields []field) {
	at, left := len(w.dst), w.feed.Left()
	count, last := w.uvarint(), -1
	w.dst = w.dst[:at] // the number of tags may change
	brokers := [2]int{}
	for n := count; n > 0 && w.err == nil; n-- {
		from, number := len(w.dst)-at, w.uvarint()
		if number <= last {
			w.fail("tags that do not ascend")
		}
		last = number
		if f := tagged(fields, int64(number)); f != nil {
			w.tag(f)
			brokers = [2]int{from, len(w.dst) - at}
		} else {
			w.copy(w.uvarint())
		}
	}
	if w.err != nil {
		return
	}
	body := w.dst[at:]
	if w.room > 0 {
		body, count = w.stretch(body, count, left-w.feed.Left(), brokers, last)
	}
	w.dst = insert(w.dst[:at], body, count)
}

// stretch makes the tag section, of count tags that were read bytes, as long as it has to be for the announced frame. If the
// names of brokers do not fit they are left out: a client without them asks for metadata.
func (w *renaming) stretch(body []byte, count, read int, brokers [2]int, last int) ([]byte, int) {
	spare := func() int { return w.room - w.growth + read - len(body) - uvarintLen(count) }
	if n := spare(); n < leastFill && n != 0 && brokers[1] > 0 {
		body = slices.Delete(body, brokers[0], brokers[1])
		count--
	}
	if n := spare(); n < leastFill && n != 0 || count > 1<<7-3 { // the number of tags must stay one byte
		w.fail("no room for the names of brokers")
		return body, count
	}
	body, fillers := fill(body, max(last+1, fillTag), spare())
	return body, count + fillers
}

// tag takes over the content of a tag that names brokers; its size may change.
func (w *renaming) tag(f *field) {
	at := len(w.dst)
	size, growth := w.uvarint(), w.growth
	if size > w.feed.Left() {
		w.fail("it ends too early")
		return
	}
	w.dst = w.dst[:at]
	end := w.feed.Left() - size
	w.value(f)
	if w.err == nil && w.feed.Left() != end {
		w.fail("a tag of another size")
	}
	w.growth = growth // the section counts it as a whole
	if w.err == nil {
		w.dst = insert(w.dst[:at], w.dst[at:], len(w.dst)-at)
	}
}

// insert puts a varint before tail, which stands at the end of dst[:cap].
func insert(dst, tail []byte, value int) []byte {
	var head [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(head[:], uint64(value))
	at := len(dst)
	dst = append(dst, tail...)
	dst = append(dst, head[:n]...) // room for it
	copy(dst[at+n:], dst[at:len(dst)-n])
	copy(dst[at:], head[:n])
	return dst
}

// uvarintLen is the length of an unsigned varint.
func uvarintLen(v int) int { return max(1, (bits.Len32(uint32(v))+6)/7) }

const (
	// fillTag is the number of the tag that fills a frame; nobody knows it.
	fillTag   = 1 << 20
	leastFill = 4 // a number of three bytes, a size of one
)

// fill appends tags of n bytes in all, none for 0, and says how many. The size of a tag is itself of one byte or more, so
// some lengths need two tags.
func fill(dst []byte, number, n int) ([]byte, int) {
	if n == 0 {
		return dst, 0
	}
	head := uvarintLen(number)
	for size := 1; size <= binary.MaxVarintLen32; size++ {
		content := n - head - size
		if content >= 0 && uvarintLen(content) == size {
			dst = kbin.AppendUvarint(kbin.AppendUvarint(dst, uint32(number)), uint32(content))
			return append(dst, make([]byte, content)...), 1
		}
	}
	dst, first := fill(dst, number, n/2)
	dst, second := fill(dst, number+first, n-n/2)
	return dst, first + second
}
