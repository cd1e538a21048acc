package record

import "encoding/binary"

// bad is an index behind every payload. A varint that cannot be read answers it, what is read from there is bad too,
// and adding lengths to it never leads back, so a record is parsed without a check per field and judged at its end.
const bad = 1 << 60

const (
	maxVarint  = 5  // bytes of an int32
	maxVarlong = 10 // bytes of an int64
)

// varint reads an int32 at i and answers it with the index behind it. Encodings longer than needed are accepted, as
// in Java (bad input 40).
func varint(p []byte, i int) (int64, int) {
	if uint(i) < uint(len(p)) && p[i] < 0x80 {
		return int64(p[i]>>1) ^ -int64(p[i]&1), i + 1
	}
	return longVarint(p, i)
}

func longVarint(p []byte, i int) (int64, int) {
	v, i := varlong(p, i, maxVarint)
	if v != int64(int32(v)) {
		return 0, bad
	}
	return v, i
}

// varlong reads an int64 of at most most bytes (bad input 41).
func varlong(p []byte, i, most int) (int64, int) {
	var x uint64
	for k := range most {
		if i >= len(p) {
			return 0, bad
		}
		c := p[i]
		i++
		if c < 0x80 {
			if k == maxVarlong-1 && c > 1 {
				return 0, bad
			}
			x |= uint64(c) << (7 * k)
			return int64(x>>1) ^ -int64(x&1), i
		}
		x |= uint64(c&0x7f) << (7 * k)
	}
	return 0, bad
}

const (
	wordSize = 8
	notShort = 16 // a bit that no length of a short varint has
)

// short decodes a varint of one or two bytes at the low end of a word, and answers its length or notShort.
func short(x uint64) (int64, int) {
	if x&0x80 == 0 {
		return int64(x>>1&0x3f) ^ -int64(x&1), 1
	}
	if x&0x8000 == 0 {
		return int64(x&0x7f|x>>1&0x3f80)>>1 ^ -int64(x&1), 2
	}
	return 0, notShort
}

func appendVarint(dst []byte, v int64) []byte { return binary.AppendVarint(dst, v) }

// varintSize is the number of bytes that appendVarint takes.
func varintSize(v int64) int {
	n := 1
	for x := uint64(v<<1) ^ uint64(v>>63); x >= 0x80; x >>= 7 {
		n++
	}
	return n
}
