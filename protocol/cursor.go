package protocol

import (
	"encoding/binary"
	"unicode/utf8"
)

const (
	maxText = 1<<15 - 1 // a string's length is an int16 in most versions, so it is everywhere
	maxTags = 10_000    // tags in one section (bad input 27)
)

// cursor reads primitives from a frame. The first fault sticks and moves the
// cursor to the end, so a caller may read on and look at bad once per element.
// It allocates nothing and never looks past len(b).
type cursor struct {
	b   []byte
	at  int
	bad bool
	why Reason
}

func (c *cursor) fail(why Reason) {
	if !c.bad {
		c.bad, c.why = true, why
	}
	c.at = len(c.b)
}

func (c *cursor) left() int { return len(c.b) - c.at }

// take returns the next n bytes, cut so that an append to them copies.
func (c *cursor) take(n int) []byte {
	if uint(n) > uint(len(c.b)-c.at) {
		c.fail(ReasonCut)
		return nil
	}
	s := c.b[c.at : c.at+n : c.at+n]
	c.at += n
	return s
}

func (c *cursor) int8() int8 {
	if c.left() < 1 {
		c.fail(ReasonCut)
		return 0
	}
	v := int8(c.b[c.at])
	c.at++
	return v
}

func (c *cursor) int16() int16 {
	if c.left() < 2 {
		c.fail(ReasonCut)
		return 0
	}
	v := int16(binary.BigEndian.Uint16(c.b[c.at:]))
	c.at += 2
	return v
}

func (c *cursor) int32() int32 {
	if c.left() < 4 {
		c.fail(ReasonCut)
		return 0
	}
	v := int32(binary.BigEndian.Uint32(c.b[c.at:]))
	c.at += 4
	return v
}

func (c *cursor) int64() int64 {
	if c.left() < 8 {
		c.fail(ReasonCut)
		return 0
	}
	v := int64(binary.BigEndian.Uint64(c.b[c.at:]))
	c.at += 8
	return v
}

func (c *cursor) uuid() (id [16]byte) {
	copy(id[:], c.take(16))
	return id
}

// uvarint reads an unsigned varint of at most 32 bits. A longer one is refused
// (bad input 39); an overlong one such as 0x80 0x00 is read as its value, as
// Kafka does (bad input 40).
func (c *cursor) uvarint() uint32 {
	if c.at < len(c.b) && c.b[c.at] < 0x80 {
		c.at++
		return uint32(c.b[c.at-1])
	}
	return c.longUvarint()
}

func (c *cursor) longUvarint() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		if c.at == len(c.b) {
			c.fail(ReasonCut)
			return 0
		}
		x := c.b[c.at]
		c.at++
		if shift == 28 && x > 0x0f {
			break
		}
		v |= uint32(x&0x7f) << shift
		if x < 0x80 {
			return v
		}
	}
	c.fail(ReasonVarint)
	return 0
}

// long and short read a length that stands before bytes or an array, and before
// a string. -1 is null; what is below -1 is refused (bad inputs 21 and 34).
func (c *cursor) long(flexible bool) int {
	if flexible {
		return int(c.uvarint()) - 1
	}
	n := c.int32()
	if n < -1 {
		c.fail(ReasonLength)
	}
	return int(n)
}

func (c *cursor) short(flexible bool) int {
	if flexible {
		return int(c.uvarint()) - 1
	}
	n := c.int16()
	if n < -1 {
		c.fail(ReasonLength)
	}
	return int(n)
}

// text reads a string; nil is null. What is not UTF-8 is refused (bad input 42).
func (c *cursor) text(flexible, nullable bool) []byte {
	n := c.short(flexible)
	if n < 0 {
		if !nullable {
			c.fail(ReasonNull)
		}
		return nil
	}
	if n > maxText {
		c.fail(ReasonLength)
		return nil
	}
	s := c.take(n)
	if !utf8.Valid(s) {
		c.fail(ReasonUTF8)
		return nil
	}
	return s
}

// bytes reads a byte field; nil is null.
func (c *cursor) bytes(flexible, nullable bool) []byte {
	n := c.long(flexible)
	if n < 0 {
		if !nullable {
			c.fail(ReasonNull)
		}
		return nil
	}
	return c.take(n)
}

// array reads the number of elements, each at least least bytes on the wire; -1
// is null, and after a fault it is 0. A number that cannot fit into the rest of
// the body is refused before anybody makes room for it (bad inputs 32 and 33).
func (c *cursor) array(flexible, nullable bool, least int) int {
	n := c.long(flexible)
	switch {
	case c.bad:
		return 0
	case n < 0:
		if !nullable {
			c.fail(ReasonNull)
		}
		return -1
	case int64(n)*int64(least) > int64(c.left()):
		c.fail(ReasonLength)
		return 0
	}
	return n
}

// tags reads the number of tags in a section. A tag is at least two bytes.
func (c *cursor) tags() int {
	n := int64(c.uvarint())
	if n > maxTags || 2*n > int64(c.left()) {
		c.fail(ReasonTag)
		return 0
	}
	return int(n)
}

// tag reads one tag's number and size. Numbers ascend (bad input 28), so the
// caller hands in the one before, -1 at first.
func (c *cursor) tag(before int64) (number int64, size int) {
	number, size = int64(c.uvarint()), int(c.uvarint())
	if number <= before {
		c.fail(ReasonTag)
	}
	if c.bad || size > c.left() {
		c.fail(ReasonCut)
		return 0, 0
	}
	return number, size
}

// skipTags passes over a section none of whose tags is known. Nothing is copied
// (bad input 30).
func (c *cursor) skipTags() {
	before := int64(-1)
	for n := c.tags(); n > 0 && !c.bad; n-- {
		number, size := c.tag(before)
		before, c.at = number, c.at+size
	}
}

// close turns the cursor's fault into the error the listener needs.
func (c *cursor) close(key, version int16) error {
	return refuse(c.why, key, version)
}
