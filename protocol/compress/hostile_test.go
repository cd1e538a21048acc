package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/pierrec/lz4/v4"
)

// modest is what refusing a hostile source may allocate: decoders and their fixed buffers, far below what it claims.
const modest = 16 << 20

func refused(t *testing.T, p *Pool, codec int8, src []byte, limit int64, want error) {
	t.Helper()
	decompress(p, codec, mustCompress(t, p, codec, 0, []byte("warm")), 10) // the decoder itself
	var got []byte
	var err error
	bytes := allocated(func() { got, err = decompress(p, codec, src, limit) })
	if !errors.Is(err, want) {
		t.Errorf("%d bytes and %v, want %v", len(got), err, want)
	}
	if bytes > modest+5*uint64(limit) { // io.ReadAll grows a slice to the limit
		t.Errorf("%d bytes allocated for %d bytes of source", bytes, len(src))
	}
}

// Bad input 74.
func TestGzipBombStopsAtTheLimit(t *testing.T) {
	p := New()
	zeros := make([]byte, 16<<20)
	bomb := mustCompress(t, p, gzipCodec, 9, zeros)
	refused(t, p, gzipCodec, bomb, 1<<20, ErrTooLarge)
	refused(t, p, gzipCodec, bytes.Repeat(bomb, 64), 1<<20, ErrTooLarge) // 1 GiB in members

	// gzip in gzip is data to us: it is not unpacked twice.
	got, err := decompress(p, gzipCodec, mustCompress(t, p, gzipCodec, 9, bomb), 1<<20)
	if err != nil || !bytes.Equal(got, bomb) {
		t.Errorf("nested gzip: %d bytes, %v", len(got), err)
	}
	// Members that hold nothing end too.
	empty := mustCompress(t, p, gzipCodec, 0, nil)
	if got, err := decompress(p, gzipCodec, bytes.Repeat(empty, 50_000), 1<<20); err != nil || len(got) != 0 {
		t.Errorf("empty members: %d bytes, %v", len(got), err)
	}
}

func TestBombsOfTheOtherCodecsStopAtTheLimit(t *testing.T) {
	p := New()
	zeros := make([]byte, 64<<20)
	refused(t, p, snappyCodec, s2.EncodeSnappy(nil, zeros), 1<<20, ErrTooLarge)
	refused(t, p, snappyCodec, mustCompress(t, p, snappyCodec, 0, zeros), 1<<20, ErrTooLarge)
	refused(t, p, lz4Codec, mustCompress(t, p, lz4Codec, 0, zeros), 1<<20, ErrTooLarge)
	refused(t, p, zstdCodec, mustCompress(t, p, zstdCodec, 0, zeros), 1<<20, ErrTooLarge)

	// RLE blocks without a content size: 128 KiB from 4 bytes each.
	frame := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, 17 << 3}
	for range 1000 {
		frame = append(frame, rleBlock(128<<10, false)...)
	}
	refused(t, p, zstdCodec, append(frame, rleBlock(1, true)...), 1<<20, ErrTooLarge)
}

func rleBlock(n uint32, last bool) []byte {
	h := n<<3 | zstdRLE<<1
	if last {
		h |= 1
	}
	return []byte{byte(h), byte(h >> 8), byte(h >> 16), 'x'}
}

// zstdFrameOf makes a frame of one RLE block with the given header bytes behind the magic.
func zstdFrameOf(header ...byte) []byte {
	return append(append([]byte{0x28, 0xB5, 0x2F, 0xFD}, header...), rleBlock(100, true)...)
}

// Bad input 75.
func TestZstdWindowsAndDictionaries(t *testing.T) {
	p := New()
	hundred := bytes.Repeat([]byte{'x'}, 100)
	for _, c := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"window of 1 KiB", zstdFrameOf(0, 0), nil},
		{"window of 128 MiB", zstdFrameOf(0, 17<<3), nil},
		{"window of 144 MiB", zstdFrameOf(0, 17<<3|1), ErrCorrupt},
		{"window of 256 MiB", zstdFrameOf(0, 18<<3), ErrCorrupt},
		{"window of 3.75 TiB", zstdFrameOf(0, 0xff), ErrCorrupt},
		{"dictionary id 0", zstdFrameOf(1, 0, 0), nil},
		{"dictionary id 1", zstdFrameOf(1, 0, 1), ErrCorrupt},
		{"dictionary id of 2 bytes", zstdFrameOf(2, 0, 0, 1), ErrCorrupt},
		{"dictionary id of 4 bytes", zstdFrameOf(3, 0, 0, 0, 0, 1), ErrCorrupt},
		{"reserved bit", zstdFrameOf(zstdReserved, 0), ErrCorrupt},
		{"content of 100 bytes", zstdFrameOf(zstdSingle, 100), nil},
		{"content of 99 bytes", zstdFrameOf(zstdSingle, 99), ErrCorrupt},
		{"content of 101 bytes", zstdFrameOf(zstdSingle, 101), ErrCorrupt},
		{"content of 256 MiB", zstdFrameOf(zstdSingle|2<<6, 0, 0, 0, 0x10), ErrCorrupt},
		{"content of 2^64-1", zstdFrameOf(zstdSingle|3<<6, 255, 255, 255, 255, 255, 255, 255, 255), ErrCorrupt},
		{"checksum missing", zstdFrameOf(zstdSum, 0), ErrCorrupt},
		{"checksum wrong", append(zstdFrameOf(zstdSum, 0), 1, 2, 3, 4), ErrCorrupt},
		{"skippable frame in front", append([]byte{0x5A, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3}, zstdFrameOf(0, 0)...), nil},
		{"skippable frame behind", append(zstdFrameOf(0, 0), 0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0), nil},
		{"skippable frame of 4 GiB", append(zstdFrameOf(0, 0), 0x50, 0x2A, 0x4D, 0x18, 255, 255, 255, 255), ErrCorrupt},
		{"reserved block", []byte{0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0x07, 0, 0}, ErrCorrupt},
		{"block larger than 128 KiB", append([]byte{0x28, 0xB5, 0x2F, 0xFD, 0, 17 << 3}, rleBlock(128<<10+1, true)...), ErrCorrupt},
		{"block larger than the window", append([]byte{0x28, 0xB5, 0x2F, 0xFD, 0, 0}, rleBlock(1025, true)...), ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.want != nil {
				refused(t, p, zstdCodec, c.frame, 1<<20, c.want)
				return
			}
			var got []byte
			var err error
			bytesUsed := allocated(func() { got, err = decompress(p, zstdCodec, c.frame, 1<<20) })
			if err != nil || !bytes.Equal(got, hundred) {
				t.Fatalf("%q, %v", got, err)
			}
			if bytesUsed > modest {
				t.Fatalf("%d bytes allocated", bytesUsed)
			}
		})
	}
}

// Bad input 76 (CVE-2023-34455).
func TestSnappyLengthsAreCountedNotBelieved(t *testing.T) {
	p := New()
	xerialOf := func(length uint32, block ...byte) []byte {
		b := append([]byte{}, xerialHeader...)
		return append(binary.BigEndian.AppendUint32(b, length), block...)
	}
	// S2's repeat is a copy from offset 0; other readers of snappy fail on it.
	s2Only := s2.Encode(nil, []byte(strings.Repeat("abcdefghij0123456789klmnopq", 3000)))
	if _, err := s2.Decode(nil, s2Only); err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string][]byte{
		"4 GiB - 1 declared":        {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'},
		"more than 32 bits":         {0xff, 0xff, 0xff, 0xff, 0x7f, 0, 'x'},
		"length never ends":         bytes.Repeat([]byte{0xff}, 20),
		"one byte more":             {2, 0, 'x'},
		"one byte less":             {0, 0, 'x'},
		"copy before the start":     {4, 0x01, 1},
		"copy from offset 0":        {5, 0, 'x', 0x01, 0},
		"literal of 4 GiB":          {1, 63 << 2, 255, 255, 255, 255},
		"literal length cut short":  {1, 63 << 2, 255},
		"S2 elements":               s2Only,
		"xerial block of -1":        xerialOf(0xffffffff, 1, 0, 'x'),
		"xerial block of 2^31-1":    xerialOf(1<<31-1, 1, 0, 'x'),
		"xerial block of 0":         xerialOf(0),
		"xerial block one too long": xerialOf(4, 1, 0, 'x'),
		"xerial block declares 4 GiB": xerialOf(7,
			0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'),
		"xerial length cut short": append(append([]byte{}, xerialHeader...), 0, 0, 0),
		"xerial version 0":        {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 0, 0, 0, 0, 1},
		"xerial header cut short": xerialHeader[:12],
	} {
		t.Run(name, func(t *testing.T) { refused(t, p, snappyCodec, src, 1<<20, ErrCorrupt) })
	}
	if got, err := decompress(p, snappyCodec, xerialOf(3, 1, 0, 'x'), 1); err != nil || string(got) != "x" {
		t.Fatalf("a right one: %q, %v", got, err)
	}
}

// lz4Frame writes a frame with the given flags around the blocks; its header checksum is found by trying.
func lz4Frame(t *testing.T, flags, bd byte, blocks ...[]byte) []byte {
	t.Helper()
	b := []byte{0x04, 0x22, 0x4D, 0x18, flags, bd, 0}
	for sum := range 256 {
		b[6] = byte(sum)
		if ok, _ := lz4.ValidFrameHeader(b); ok {
			for _, block := range blocks {
				b = append(b, block...)
			}
			return b
		}
	}
	t.Fatal("no header checksum fits")
	return nil
}

func lz4BlockOf(stored bool, data ...byte) []byte {
	n := uint32(len(data))
	if stored {
		n |= lz4Stored
	}
	return append(binary.LittleEndian.AppendUint32(nil, n), data...)
}

var lz4End = []byte{0, 0, 0, 0}

const (
	lz4Plain = 0x60 // version 1, independent blocks, no sums
	lz4BD64K = 0x40
	lz4BD4M  = 0x70
)

// Bad input 77.
func TestLZ4FramesThatAreRefused(t *testing.T) {
	p := New()
	x := lz4BlockOf(true, 'x')
	for name, src := range map[string][]byte{
		"zero blocks":                lz4Frame(t, lz4Plain, lz4BD64K, lz4End),
		"a block of size 0":          lz4Frame(t, lz4Plain, lz4BD64K, x, []byte{0, 0, 0, 0x80}, x, lz4End),
		"no end mark":                lz4Frame(t, lz4Plain, lz4BD64K, x),
		"block longer than the rest": lz4Frame(t, lz4Plain, lz4BD64K, []byte{200, 0, 0, 0x80, 'x'}, lz4End),
		"block of 2 GiB":             lz4Frame(t, lz4Plain, lz4BD64K, []byte{255, 255, 255, 0x7f, 'x'}, lz4End),
		"stored block above 64 KiB":  lz4Frame(t, lz4Plain, lz4BD64K, lz4BlockOf(true, make([]byte, 64<<10+1)...), lz4End),
		"bad block checksum":         lz4Frame(t, lz4Plain|lz4BlockSum, lz4BD64K, x, []byte{1, 2, 3, 4}, lz4End),
		"bad content checksum":       lz4Frame(t, lz4Plain|lz4ContentSum, lz4BD64K, x, lz4End, []byte{1, 2, 3, 4}),
		"content checksum missing":   lz4Frame(t, lz4Plain|lz4ContentSum, lz4BD64K, x, lz4End),
		"bad header checksum":        append([]byte{0x04, 0x22, 0x4D, 0x18, lz4Plain, lz4BD64K, 0x83}, append(x, lz4End...)...),
		"version 0":                  append([]byte{0x04, 0x22, 0x4D, 0x18, 0x20, lz4BD64K, 0}, append(x, lz4End...)...),
		"dictionary":                 append([]byte{0x04, 0x22, 0x4D, 0x18, lz4Plain | 1, lz4BD64K, 1, 0, 0, 0, 0}, append(x, lz4End...)...),
		"legacy frame":               {0x02, 0x21, 0x4C, 0x18, 2, 0, 0, 0, 0x10, 'x'},
		"skippable frame":            append([]byte{0x50, 0x2A, 0x4D, 0x18, 0, 0, 0, 0}, lz4Frame(t, lz4Plain, lz4BD64K, x, lz4End)...),
		"two frames":                 bytes.Repeat(lz4Frame(t, lz4Plain, lz4BD64K, x, lz4End), 2),
		"block that does not decode": lz4Frame(t, lz4Plain, lz4BD64K, lz4BlockOf(false, 0xf0, 'x'), lz4End),
		"copy from before the start": lz4Frame(t, lz4Plain, lz4BD64K, lz4BlockOf(false, lz4Copy(2)...), lz4End),
	} {
		t.Run(name, func(t *testing.T) { refused(t, p, lz4Codec, src, 1<<20, ErrCorrupt) })
	}
}

// lz4Copy is a block of one literal "y", eleven bytes from offset bytes back, and five literals.
func lz4Copy(offset byte) []byte {
	return []byte{0x17, 'y', offset, 0, 0x50, '1', '2', '3', '4', '5'}
}

// Bad input 77.
func TestLZ4DependentAndLargeBlocksAreRead(t *testing.T) {
	p := New()
	first := lz4BlockOf(true, []byte("abcdefghijklmnopqrst")...)
	dependent := lz4Frame(t, lz4Plain&^lz4Independent, lz4BD64K, first, lz4BlockOf(false, lz4Copy(21)...), lz4End)
	want := "abcdefghijklmnopqrst" + "y" + "abcdefghijk" + "12345"
	if got, err := decompress(p, lz4Codec, dependent, 100); err != nil || string(got) != want {
		t.Errorf("dependent blocks: %q, %v", got, err)
	}
	large := make([]byte, 4<<20)
	src := lz4Frame(t, lz4Plain, lz4BD4M, lz4BlockOf(true, large...), lz4End)
	if got, err := decompress(p, lz4Codec, src, 4<<20); err != nil || len(got) != len(large) {
		t.Errorf("4 MiB block: %d bytes, %v", len(got), err)
	}
	refused(t, p, lz4Codec, src, 4<<20-1, ErrTooLarge)
}

// C4: a frame of dependent blocks leaves its output in the library's reader; the next frame must not copy from it.
func TestLZ4FrameCannotCopyFromThePreviousOne(t *testing.T) {
	p := New()
	secret := lz4Frame(t, lz4Plain&^lz4Independent, lz4BD64K, lz4BlockOf(true, bytes.Repeat([]byte("secret"), 100)...), lz4End)
	for _, flags := range []byte{lz4Plain, lz4Plain &^ lz4Independent} {
		spy := lz4Frame(t, flags, lz4BD64K, lz4BlockOf(false, lz4Copy(100)...), lz4End)
		for range 10 {
			if _, err := decompress(p, lz4Codec, secret, 1<<20); err != nil {
				t.Fatal(err)
			}
			if got, err := decompress(p, lz4Codec, spy, 1<<20); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("flags %#x: read %q, %v", flags, got, err)
			}
		}
	}
}
