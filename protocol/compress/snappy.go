package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
)

// The xerial header: magic, version 1, readable by version 1. No raw block starts like this: its first element
// would be a copy of bytes that are not there yet.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

const (
	xerialMagic = 8
	xerialBlock = 32 << 10 // what the Java client writes per block
)

// snappyDecoder decodes block by block; a raw source is one block.
type snappyDecoder struct {
	src    []byte // what follows the current block
	xerial bool
	left   int64 // how much may still be decoded
	buf    []byte
	out    []byte // rest of the current block, in buf
}

func (d *snappyDecoder) reset(src []byte, limit int64) error {
	d.src, d.left, d.out = src, limit, nil
	d.xerial = bytes.HasPrefix(src, xerialHeader[:xerialMagic])
	if !d.xerial {
		return nil
	}
	if len(src) < len(xerialHeader) {
		return fmt.Errorf("%w: xerial header cut short", ErrCorrupt)
	}
	if binary.BigEndian.Uint32(src[8:]) == 0 || binary.BigEndian.Uint32(src[12:]) != 1 {
		return fmt.Errorf("%w: xerial version", ErrCorrupt)
	}
	d.src = src[len(xerialHeader):]
	return nil
}

func (d *snappyDecoder) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if len(d.src) == 0 {
			return 0, io.EOF
		}
		block, err := d.cut()
		if err != nil {
			return 0, err
		}
		if err := d.decode(block); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// cut takes the next block off the source (bad input 76: lengths are compared as unsigned with what is there).
func (d *snappyDecoder) cut() ([]byte, error) {
	block := d.src
	d.src = nil
	if !d.xerial {
		return block, nil
	}
	if len(block) < 4 {
		return nil, fmt.Errorf("%w: xerial block length cut short", ErrCorrupt)
	}
	n := uint64(binary.BigEndian.Uint32(block))
	if n > uint64(len(block)-4) {
		return nil, fmt.Errorf("%w: xerial block of %d bytes, %d are left", ErrCorrupt, n, len(block)-4)
	}
	d.src = block[4+n:]
	return block[4 : 4+n], nil
}

func (d *snappyDecoder) decode(block []byte) error {
	n, err := snappyLen(block)
	if err != nil {
		return err
	}
	if int64(n) > d.left {
		return ErrTooLarge
	}
	d.left -= int64(n)
	if cap(d.buf) < n {
		d.buf = make([]byte, max(n, xerialBlock))
	}
	d.out, err = s2.Decode(d.buf, block)
	return err
}

func (d *snappyDecoder) idle() bool {
	d.src, d.out = nil, nil
	return cap(d.buf) <= keepBytes
}

// snappyLen counts what a block decodes to by walking its elements. The length in front is believed only when it is
// the same (C2), and what plain snappy does not know, such as S2's repeats (offset 0), is refused: the batch is
// stored as sent, and clients must be able to read it.
func snappyLen(block []byte) (int, error) {
	want, i := binary.Uvarint(block)
	if i <= 0 || i > 5 || want > 1<<32-1 {
		return 0, fmt.Errorf("%w: snappy length", ErrCorrupt)
	}
	var have uint64
	for i < len(block) {
		n, offset, size := snappyElement(block[i:])
		if size == 0 {
			return 0, fmt.Errorf("%w: snappy element cut short", ErrCorrupt)
		}
		if offset > have {
			return 0, fmt.Errorf("%w: snappy copy from before the start", ErrCorrupt)
		}
		i += size
		have += n
	}
	if have != want {
		return 0, fmt.Errorf("%w: snappy block says %d bytes and holds %d", ErrCorrupt, want, have)
	}
	return int(have), nil
}

// snappyElement measures the element at the start of b: bytes it makes, offset it copies from (0: a literal), bytes
// it takes, 0 when it does not fit.
func snappyElement(b []byte) (n, offset uint64, size int) {
	tag := b[0]
	switch tag & 3 {
	case 0:
		size, n = 1, uint64(tag>>2)
		if n >= 60 {
			extra := int(n) - 59
			if len(b) < 1+extra {
				return 0, 0, 0
			}
			n = 0
			for k := extra; k > 0; k-- {
				n = n<<8 | uint64(b[k])
			}
			size += extra
		}
		n++
		if n > uint64(len(b)-size) {
			return 0, 0, 0
		}
		return n, 0, size + int(n)
	case 1:
		size, n = 2, 4+uint64(tag>>2&7)
		if len(b) >= 2 {
			offset = uint64(tag&0xe0)<<3 | uint64(b[1])
		}
	case 2:
		size, n = 3, 1+uint64(tag>>2)
		if len(b) >= 3 {
			offset = uint64(binary.LittleEndian.Uint16(b[1:]))
		}
	default:
		size, n = 5, 1+uint64(tag>>2)
		if len(b) >= 5 {
			offset = uint64(binary.LittleEndian.Uint32(b[1:]))
		}
	}
	if offset == 0 {
		return 0, 0, 0 // cut short, or a copy from nowhere
	}
	return n, offset, size
}

// appendXerial writes the framing of the Java client, which all clients read, so that they and we decode in small steps.
func appendXerial(dst, src []byte) ([]byte, error) {
	return appendBlocks(append(dst, xerialHeader...), src, xerialBlock, appendXerialBlock)
}

func appendXerialBlock(dst, src []byte) ([]byte, error) {
	dst = slices.Grow(dst, 4+s2.MaxEncodedLen(len(src)))
	at := len(dst) + 4
	block := s2.EncodeSnappy(dst[at:cap(dst)], src) // in place: there is room
	binary.BigEndian.PutUint32(dst[at-4:at], uint32(len(block)))
	return dst[:at+len(block)], nil
}
