package abuse

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// compressed is a batch of one record.
func compressed(codec record.Codec, plain []byte) []byte {
	return wrap(int16(codec), 1, packed(codec, 0, plain))
}

// packed is what a codec makes of bytes.
func packed(codec record.Codec, level int, plain []byte) []byte {
	out, err := codecs.Compress(int8(codec), level, nil, plain)
	if err != nil {
		panic(fmt.Sprintf("%v cannot compress: %v", codec, err)) // of bytes that this package chose
	}
	return out
}

var packers = []record.Codec{record.Gzip, record.Snappy, record.LZ4, record.Zstd}

// compression is section E: each batch is refused where it would be stored as sent and where it would be recompressed.
func compression(*Ground) []Case {
	plain := recordOf(0, []byte("key"), []byte("value value value value"))
	var list []bad
	list = append(list, bombs()...)
	list = append(list, badZstd(plain)...)
	list = append(list, badSnappyAndLZ4(plain)...)
	for _, codec := range packers {
		p := packed(codec, 0, plain)
		for _, n := range []int{1, len(p) / 2, len(p) - 1} {
			list = append(list, bad{number: 78, name: fmt.Sprintf("%v cut to %d bytes", codec, n), batch: wrap(int16(codec), 1, p[:n]), want: kerr.CorruptMessage})
		}
		list = append(list,
			bad{number: 78, name: fmt.Sprintf("%v and garbage", codec), batch: wrap(int16(codec), 1, append(bytes.Clone(p), bytes.Repeat([]byte{0xaa}, 9)...)), want: kerr.CorruptMessage},
			bad{number: 79, name: fmt.Sprintf("%v of nothing", codec), batch: wrap(int16(codec), 1, nil), want: kerr.InvalidRecord})
		if codec != record.LZ4 { // its frame of nothing has zero blocks, 77
			list = append(list, bad{number: 79, name: fmt.Sprintf("%v that holds nothing", codec), batch: wrap(int16(codec), 1, packed(codec, 0, nil)), want: kerr.InvalidRecord})
		}
		list = append(list, bad{number: 54, name: fmt.Sprintf("%v of one record that declares two", codec), batch: wrap(int16(codec), 2, p), want: kerr.InvalidRecord})
	}
	var cases []Case
	for _, b := range list {
		topics := []string{"victim", "plain"}
		if b.want == nil {
			topics = []string{"sink"}
		}
		for _, topic := range topics {
			b := b
			b.topic, b.name = topic, b.name+" to "+topic
			cases = append(cases, b.toCase())
		}
	}
	return cases
}

// bombs grow beyond the cap of 256 MiB. A record whose length says so is believed until the cap is there.
func bombs() []bad {
	zeroes := make([]byte, 16<<20)
	whole := append(varint(1<<30), recordOf(0, nil, zeroes)[4:]...)
	member := packed(record.Gzip, 9, zeroes)
	first := packed(record.Gzip, 9, whole)
	return []bad{
		{number: 74, name: "gzip, members of 1 GiB", batch: wrap(1, 1, append(first, bytes.Repeat(member, 60)...)), want: kerr.MessageTooLarge, cost: Heavy},
		{number: 74, name: "gzip in gzip", batch: wrap(1, 1, packed(record.Gzip, 9, member)), want: kerr.InvalidRecord},
		{number: 74, name: "zstd, frames of 1 GiB", cost: Heavy, want: kerr.MessageTooLarge,
			batch: wrap(4, 1, append(packed(record.Zstd, 0, whole), bytes.Repeat(packed(record.Zstd, 0, zeroes), 60)...))},
	}
}

func badZstd(plain []byte) []bad {
	frame := func(descriptor byte, rest ...byte) []byte { // around one raw block
		b := append([]byte{0x28, 0xB5, 0x2F, 0xFD, descriptor}, rest...)
		h := len(plain)<<3 | 1
		return append(append(b, byte(h), byte(h>>8), byte(h>>16)), plain...)
	}
	skippable := []byte{0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4}
	return []bad{
		{number: 75, name: "zstd window of 128 MiB", batch: wrap(4, 1, frame(0, 17<<3))},
		{number: 75, name: "zstd window of 144 MiB", batch: wrap(4, 1, frame(0, 17<<3|1)), want: kerr.CorruptMessage},
		{number: 75, name: "zstd window of 3.75 TiB", batch: wrap(4, 1, frame(0, 0xff)), want: kerr.CorruptMessage},
		{number: 75, name: "zstd dictionary 9", batch: wrap(4, 1, frame(1, 0, 9)), want: kerr.CorruptMessage},
		{number: 75, name: "zstd skippable frame in front", batch: wrap(4, 1, append(bytes.Clone(skippable), frame(0, 0)...))},
		{number: 75, name: "zstd skippable frame behind", batch: wrap(4, 1, append(frame(0, 0), skippable...))},
		{number: 75, name: "zstd skippable frame of 4 GiB", batch: wrap(4, 1, append(frame(0, 0), 0x50, 0x2A, 0x4D, 0x18, 255, 255, 255, 255)), want: kerr.CorruptMessage},
	}
}

func badSnappyAndLZ4(plain []byte) []bad {
	xerial := func(block ...byte) []byte {
		return append([]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}, block...)
	}
	lz4 := func(flags, bd, check byte, rest ...byte) []byte {
		return append([]byte{0x04, 0x22, 0x4D, 0x18, flags, bd, check}, rest...)
	}
	block := append([]byte{byte(len(plain)), 0, 0, 0x80}, plain...) // stored as it is
	ended := append(bytes.Clone(block), 0, 0, 0, 0)
	return []bad{
		{number: 76, name: "snappy", batch: wrap(2, 1, s2.EncodeSnappy(nil, plain))},
		{number: 76, name: "snappy that declares 4 GiB", batch: wrap(2, 1, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x'}), want: kerr.CorruptMessage},
		{number: 76, name: "xerial block of -1", batch: wrap(2, 1, xerial(0xff, 0xff, 0xff, 0xff, 1, 0, 'x')), want: kerr.CorruptMessage},
		{number: 76, name: "xerial block of 2^31-1", batch: wrap(2, 1, xerial(0x7f, 0xff, 0xff, 0xff, 1, 0, 'x')), want: kerr.CorruptMessage},
		{number: 77, name: "lz4 with a wrong checksum", batch: wrap(3, 1, lz4(0x64, 0x40, 0xA7, append(bytes.Clone(ended), 1, 2, 3, 4)...)), want: kerr.CorruptMessage},
		{number: 77, name: "lz4 of zero blocks", batch: wrap(3, 1, lz4(0x60, 0x40, 0x82, 0, 0, 0, 0)), want: kerr.CorruptMessage},
		{number: 77, name: "lz4 without its end", batch: wrap(3, 1, lz4(0x60, 0x40, 0x82, block...)), want: kerr.CorruptMessage},
		{number: 77, name: "lz4 of dependent blocks", batch: wrap(3, 1, lz4(0x40, 0x40, 0xC0, ended...))},
		{number: 77, name: "lz4 of blocks of 4 MiB", batch: wrap(3, 1, lz4(0x60, 0x70, 0x73, ended...))},
	}
}
