package compress

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// Frame: magic u32le | FLG | BD | [content size 8] | header checksum | { size u32le, block, [checksum 4] }... |
// end mark 0 | [content checksum 4]. The high bit of a block's size says that the block is stored uncompressed.
const (
	lz4Magic        = 0x184D2204
	lz4Independent  = 1 << 5
	lz4BlockSum     = 1 << 4
	lz4ContentSize  = 1 << 3
	lz4ContentSum   = 1 << 2
	lz4Stored       = 1 << 31
	lz4WriteBlock   = 64 << 10
	lz4DefaultLevel = 9 // Kafka's; it means the fast compressor there too
)

// lz4Header starts every frame we write: independent 64 KiB blocks without checksums, as the Java client's. The
// batch has its own CRC.
var lz4Header = []byte{0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82}

// lz4Decoder checks the frame's structure itself and lets the library check the sums and decode the blocks.
type lz4Decoder struct {
	src       bytes.Reader
	lz        *lz4.Reader
	dependent bool
}

func (d *lz4Decoder) reset(src []byte, _ int64) error {
	var err error
	if d.dependent, err = checkLZ4(src); err != nil {
		return err
	}
	d.src.Reset(src)
	if d.lz == nil {
		d.lz = lz4.NewReader(&d.src)
		return nil
	}
	d.lz.Reset(&d.src)
	return nil
}

func (d *lz4Decoder) Read(p []byte) (int, error) { return d.lz.Read(p) }

// idle forgets a library reader that has read dependent blocks: it keeps the end of its output and lets the next
// frame copy from it (C4).
func (d *lz4Decoder) idle() bool {
	d.src.Reset(nil)
	if d.lz != nil {
		d.lz.Reset(nil)
	}
	if d.dependent {
		d.lz = nil
	}
	return true
}

// checkLZ4 accepts exactly one frame of at least one block (bad input 77, C3). A block of size 0 that is not the end
// mark is refused because readers disagree about it.
func checkLZ4(src []byte) (dependent bool, err error) {
	if len(src) < len(lz4Header) || binary.LittleEndian.Uint32(src) != lz4Magic {
		return false, fmt.Errorf("%w: no lz4 frame", ErrCorrupt)
	}
	flags, i := src[4], len(lz4Header)
	if flags&lz4ContentSize != 0 {
		i += 8
	}
	sum := 0
	if flags&lz4BlockSum != 0 {
		sum = 4
	}
	for blocks := 0; ; blocks++ {
		if len(src)-i < 4 {
			return false, fmt.Errorf("%w: lz4 frame cut short", ErrCorrupt)
		}
		size := binary.LittleEndian.Uint32(src[i:])
		i += 4
		if size == 0 {
			if blocks == 0 {
				return false, fmt.Errorf("%w: lz4 frame without blocks", ErrCorrupt)
			}
			break
		}
		n := int(size&^lz4Stored) + sum
		if n == sum || n > len(src)-i {
			return false, fmt.Errorf("%w: lz4 block of %d bytes", ErrCorrupt, n-sum)
		}
		i += n
	}
	if flags&lz4ContentSum != 0 {
		i += 4
	}
	if i != len(src) {
		return false, fmt.Errorf("%w: lz4 frame ends at %d of %d", ErrCorrupt, i, len(src))
	}
	return flags&lz4Independent == 0, nil
}

// lz4Block is one of the library's two block compressors.
type lz4Block interface {
	CompressBlock(src, dst []byte) (int, error)
}

// lz4Block takes an idle compressor; back gives it back.
func (p *Pool) lz4Block(level int) (c lz4Block, back func()) {
	slot := min(max(level, 0), 10)
	switch {
	case slot == lz4DefaultLevel:
		slot = 0
	case slot > lz4DefaultLevel:
		slot = 9 // Kafka goes to 17, the library to 9
	}
	c, _ = p.lz4s[slot].Get().(lz4Block)
	if c == nil {
		if slot == 0 {
			c = &lz4.Compressor{}
		} else {
			c = &lz4.CompressorHC{Level: lz4.Level1 << (slot - 1)}
		}
	}
	return c, func() { p.lz4s[slot].Put(c) }
}

func (p *Pool) lz4(level int, dst, src []byte) ([]byte, error) {
	c, back := p.lz4Block(level)
	defer back()
	dst, err := appendBlocks(append(dst, lz4Header...), src, lz4WriteBlock, func(dst, src []byte) ([]byte, error) {
		return appendLZ4Block(c, dst, src)
	})
	return append(dst, lz4EndMark...), err
}

var lz4EndMark = []byte{0, 0, 0, 0}

func appendLZ4Block(c lz4Block, dst, src []byte) ([]byte, error) {
	n := len(src)
	dst = slices.Grow(dst, 4+n)
	at := len(dst) + 4
	size, err := c.CompressBlock(src, dst[at:at+n])
	if err != nil && err != lz4.ErrInvalidSourceShortBuffer {
		return nil, err
	}
	mark := uint32(size)
	if err != nil || size == 0 || size >= n { // does not get smaller
		size = copy(dst[at:at+n], src)
		mark = uint32(size) | lz4Stored
	}
	binary.LittleEndian.PutUint32(dst[at-4:at], mark)
	return dst[:at+size], nil
}
