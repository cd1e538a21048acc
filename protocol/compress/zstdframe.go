package compress

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// Frame: magic u32le | descriptor | [window] | [dictionary id] | [content size] | blocks | [checksum 4].
// Block: 3 bytes little endian (bit 0 last, bits 1-2 type, the rest size), then its bytes.
const (
	zstdMagic       = 0xFD2FB528
	zstdSkipMagic   = 0x184D2A50 // to ..5F
	zstdSingle      = 1 << 5     // no window byte, the window is the content
	zstdReserved    = 1 << 3
	zstdSum         = 1 << 2
	zstdRaw         = 0
	zstdRLE         = 1
	zstdCompressed  = 2
	zstdMaxBlock    = 128 << 10
	minZstdWindow   = 1 << 10
	maxZstdWindow   = 128 << 20
	maxZstdHeader   = 4 + 1 + 1 + 4 + 8
	unknown         = -1
	zstdWindowShift = 10
)

// zstdSource feeds a source to the library frame by frame. A frame's window is only as large as its blocks can fill
// (C2): when the frame asks for more, the header that the library sees asks for less. The library allocates a window
// before it decodes, and a frame of 20 bytes may ask for 128 MiB.
type zstdSource struct {
	next   []byte // frames not begun
	header []byte // rest of the current frame's header, in room
	body   []byte // rest of the current frame behind its header
	room   [maxZstdHeader]byte
	limit  int64
	widest int64 // largest window fed since the decoder was made
	err    error
}

func (s *zstdSource) reset(src []byte, limit int64) {
	s.next, s.header, s.body, s.limit, s.err = src, nil, nil, limit, nil
}

func (s *zstdSource) Read(p []byte) (int, error) {
	for len(s.header) == 0 && len(s.body) == 0 && s.err == nil {
		s.err = s.begin()
	}
	if s.err != nil {
		return 0, s.err
	}
	if len(s.header) > 0 {
		n := copy(p, s.header)
		s.header = s.header[n:]
		return n, nil
	}
	n := copy(p, s.body)
	s.body = s.body[n:]
	return n, nil
}

// begin takes the next frame off the source.
func (s *zstdSource) begin() error {
	if len(s.next) == 0 {
		return io.EOF
	}
	if len(s.next) >= 8 && binary.LittleEndian.Uint32(s.next)&^0xF == zstdSkipMagic {
		n := uint64(binary.LittleEndian.Uint32(s.next[4:]))
		if n > uint64(len(s.next)-8) {
			return fmt.Errorf("%w: skippable zstd frame cut short", ErrCorrupt)
		}
		s.next = s.next[8+n:]
		return nil
	}
	f, err := parseZstdFrame(s.next)
	if err != nil {
		return err
	}
	if f.content > s.limit {
		return ErrTooLarge
	}
	if f.window > maxZstdWindow { // bad input 75
		return fmt.Errorf("%w: zstd window of %d bytes", ErrCorrupt, f.window)
	}
	s.header = append(s.room[:0], s.next[:f.header]...)
	s.body, s.next = s.next[f.header:f.end], s.next[f.end:]
	s.widest = max(s.widest, f.shrinkWindow(s.header, s.limit))
	return nil
}

// zstdFrame is what the headers of a frame and of its blocks say.
type zstdFrame struct {
	header  int   // length of the frame header
	end     int   // length of the frame
	window  int64 // as asked for
	content int64 // as declared, or unknown
	bound   int64 // what the blocks can decompress to at most
	single  bool
}

func parseZstdFrame(b []byte) (zstdFrame, error) {
	f, sum, err := parseZstdHeader(b)
	if err != nil {
		return f, err
	}
	largest := min(f.window, zstdMaxBlock)
	f.end = f.header
	for last := false; !last; {
		if len(b)-f.end < 3 {
			return f, fmt.Errorf("%w: zstd frame cut short", ErrCorrupt)
		}
		h := uint32(b[f.end]) | uint32(b[f.end+1])<<8 | uint32(b[f.end+2])<<16
		last = h&1 != 0
		size, made := int64(h>>3), int64(h>>3)
		if size > largest {
			return f, fmt.Errorf("%w: zstd block of %d bytes", ErrCorrupt, size)
		}
		switch h >> 1 & 3 {
		case zstdRaw:
		case zstdRLE:
			size = 1
		case zstdCompressed:
			made = largest
		default:
			return f, fmt.Errorf("%w: reserved zstd block type", ErrCorrupt)
		}
		f.end += 3
		if size > int64(len(b)-f.end) {
			return f, fmt.Errorf("%w: zstd block cut short", ErrCorrupt)
		}
		f.end += int(size)
		f.bound += made
	}
	if sum {
		f.end += 4
	}
	if f.end > len(b) {
		return f, fmt.Errorf("%w: zstd checksum cut short", ErrCorrupt)
	}
	if f.content > f.bound {
		return f, fmt.Errorf("%w: zstd frame declares %d bytes, its blocks make at most %d", ErrCorrupt, f.content, f.bound)
	}
	return f, nil
}

func parseZstdHeader(b []byte) (f zstdFrame, sum bool, err error) {
	if len(b) < 5 || binary.LittleEndian.Uint32(b) != zstdMagic {
		return f, false, fmt.Errorf("%w: no zstd frame", ErrCorrupt)
	}
	d := b[4]
	f.single = d&zstdSingle != 0
	idSize := [4]int{0, 1, 2, 4}[d&3]
	contentSize := [4]int{0, 2, 4, 8}[d>>6]
	if f.single && contentSize == 0 {
		contentSize = 1
	}
	f.header = 5 + idSize + contentSize
	if !f.single {
		f.header++
	}
	if len(b) < f.header || d&zstdReserved != 0 {
		return f, false, fmt.Errorf("%w: zstd frame header", ErrCorrupt)
	}
	rest := b[5:f.header]
	if !f.single {
		base := int64(1) << (zstdWindowShift + rest[0]>>3)
		f.window = base + base/8*int64(rest[0]&7)
		rest = rest[1:]
	}
	for _, x := range rest[:idSize] {
		if x != 0 {
			return f, false, fmt.Errorf("%w: zstd frame needs a dictionary", ErrCorrupt)
		}
	}
	if f.content, err = zstdContent(rest[idSize:]); err != nil {
		return f, false, err
	}
	if f.single {
		f.window = max(f.content, minZstdWindow)
	}
	return f, d&zstdSum != 0, nil
}

// zstdContent reads the content size; two bytes of it count from 256.
func zstdContent(b []byte) (int64, error) {
	var v uint64
	switch len(b) {
	case 0:
		return unknown, nil
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.LittleEndian.Uint16(b)) + 256
	case 4:
		v = uint64(binary.LittleEndian.Uint32(b))
	default:
		v = binary.LittleEndian.Uint64(b)
	}
	if v > 1<<62 {
		return 0, fmt.Errorf("%w: zstd content size", ErrCorrupt)
	}
	return int64(v), nil
}

// shrinkWindow writes a window into the header that is as small as the frame's output allows and answers its size.
// A frame cannot refer back further than it is long, so it decompresses to the same; what is longer than the limit
// is not read to its end.
func (f *zstdFrame) shrinkWindow(header []byte, limit int64) int64 {
	need := f.bound
	if f.content != unknown {
		need = f.content
	}
	need = min(need, limit)
	if f.single || f.window <= need {
		return f.window
	}
	// Blocks are checked against the window too, so it must hold the largest one.
	need = max(need, min(f.window, zstdMaxBlock))
	log := max(bits.Len64(uint64(need-1)), zstdWindowShift)
	if small := int64(1) << log; small < f.window {
		header[5] = byte(log-zstdWindowShift) << 3
		return small
	}
	return f.window
}
