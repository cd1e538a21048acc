package abuse

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol/compress"
	"cordwood/protocol/record"
)

// Where the fields of a batch v2 begin.
const (
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57
)

var codecs = compress.New()

// wrap makes a batch around a payload, right in everything else.
func wrap(codec int16, count int, payload []byte) []byte {
	b := append(make([]byte, record.Overhead), payload...)
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-record.LogOverhead))
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(codec))
	binary.BigEndian.PutUint32(b[atLastOffsetDelta:], uint32(count-1))
	now := time.Now().UnixMilli()
	binary.BigEndian.PutUint64(b[atBaseTimestamp:], uint64(now))
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(now))
	for i := atProducerID; i < atCount; i++ {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint32(b[atCount:], uint32(count))
	return sum(b)
}

// sum makes the CRC right.
func sum(b []byte) []byte {
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// recordOf is a record; nil is null.
func recordOf(delta int64, key, value []byte) []byte {
	return lengthed(field(field(binary.AppendVarint([]byte{0, 0}, delta), key), value), varint(0))
}

// recordWith is a record whose part behind the deltas is given.
func recordWith(delta int64, rest ...[]byte) []byte {
	return lengthed(append([][]byte{binary.AppendVarint([]byte{0, 0}, delta)}, rest...)...)
}

func lengthed(parts ...[]byte) []byte {
	b := bytes.Join(parts, nil)
	return append(varint(int64(len(b))), b...)
}

func field(b, f []byte) []byte {
	if f == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(f))), f...)
}

func varint(n int64) []byte { return binary.AppendVarint(nil, n) }
func be64(n int64) []byte   { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

var key, value = []byte("key"), []byte("value")

// good is an acceptable batch of one record.
func good(size int) []byte { return wrap(0, 1, recordOf(0, key, make([]byte, size))) }

// padded is a batch of exactly size bytes.
func padded(size int) []byte {
	for n := size - record.Overhead - 32; ; n++ {
		if b := good(n); len(b) >= size {
			return b[:size]
		}
	}
}

// three is a batch of three records.
func three() []byte {
	return wrap(0, 3, join3(recordOf(0, key, value), recordOf(1, key, value), recordOf(2, key, value)))
}

// changed is a batch with other bytes at a place, under a right CRC.
func changed(b []byte, at int, to []byte) []byte {
	copy(b[at:], to)
	return sum(b)
}

// one is a batch of one record given as bytes.
func one(r []byte) []byte { return wrap(0, 1, r) }

// second is a batch whose second record is given.
func second(r []byte) []byte { return wrap(0, 2, append(recordOf(0, key, value), r...)) }

// identified is a batch of three records with a producer id, epoch and sequence.
func identified(id int64, epoch int16, sequence int32) []byte {
	b := three()
	copy(b[atProducerID:], be64(id))
	copy(b[atProducerEpoch:], be16(int(epoch)))
	return changed(b, atBaseSequence, be32(int(sequence)))
}

// bad is a batch that must be refused, and how.
type bad struct {
	number int
	name   string
	topic  string
	batch  []byte
	want   *kerr.Error
	cost   Cost
}

// batches is section D.
func batches(g *Ground) []Case {
	var cases []Case
	for _, b := range append(append(badFrames(), badRecords()...), badFields()...) {
		if b.topic == "" {
			b.topic = "victim"
		}
		cases = append(cases, b.toCase())
	}
	return append(cases, parameters()...)
}

func (b bad) toCase() Case {
	return Case{Number: b.number, Name: b.name, Cost: b.cost, Play: refuses(b.want, ask(produce(b.topic, b.batch)), produced)}
}

// badFrames are wrong around their records.
func badFrames() []bad {
	damaged := three()
	damaged[len(damaged)-1] ^= 1
	n := len(three()) - record.LogOverhead
	list := []bad{
		{number: 49, name: "wrong CRC", batch: damaged, want: kerr.CorruptMessage},
		{number: 51, name: "two batches", batch: append(three(), three()...), want: kerr.InvalidRecord},
		{number: 51, name: "a damaged batch and a good one", batch: append(bytes.Clone(damaged), three()...), want: kerr.InvalidRecord},
		{number: 51, name: "a byte behind the batch", batch: append(three(), 0), want: kerr.CorruptMessage},
		{number: 52, name: "null records", want: kerr.InvalidRecord},
		{number: 52, name: "no records", batch: []byte{}, want: kerr.InvalidRecord},
		{number: 61, name: "base offset 1", batch: changed(three(), 0, be64(1)), want: kerr.InvalidRecord},
		{number: 61, name: "base offset -1", batch: changed(three(), 0, be64(-1)), want: kerr.InvalidRecord},
		{number: 61, name: "a leader epoch", topic: "sink", batch: changed(three(), atLeaderEpoch, be32(77))},
	}
	for _, length := range []int{0, 48, -1, math.MinInt32, math.MaxInt32, n + 1, n - 1} {
		list = append(list, bad{number: 48, name: fmt.Sprintf("batch length %d", length), batch: changed(three(), atLength, be32(length)), want: kerr.CorruptMessage})
	}
	for _, n := range []int{1, 12, 17, 60, 61, n} {
		list = append(list, bad{number: 48, name: fmt.Sprintf("cut to %d bytes", n), batch: three()[:n], want: kerr.CorruptMessage})
	}
	for magic, want := range map[byte]*kerr.Error{
		0: kerr.UnsupportedForMessageFormat, 1: kerr.UnsupportedForMessageFormat, 3: kerr.UnsupportedForMessageFormat, 0xff: kerr.CorruptMessage,
	} {
		list = append(list, bad{number: 50, name: fmt.Sprintf("magic %d", int8(magic)), batch: changed(three(), atMagic, []byte{magic}), want: want})
	}
	return list
}

// badRecords are wrong in a record. The wrong one is the second.
func badRecords() []bad {
	null, none, header := varint(-1), varint(0), append(varint(1), 'k', 1)
	var list []bad
	add := func(number int, name string, r []byte) {
		list = append(list, bad{number: number, name: name, batch: second(r), want: kerr.InvalidRecord})
	}
	for _, delta := range []int64{0, 2, -5, math.MaxInt32, math.MaxInt32 + 1} {
		add(56, fmt.Sprintf("offset delta %d", delta), recordOf(delta, key, value))
	}
	add(57, "record length 0", varint(0))
	add(57, "record length -1", varint(-1))
	add(57, "record length 100", varint(100))
	add(57, "record length 2^31-1", varint(math.MaxInt32))
	add(57, "record length without end", bytes.Repeat([]byte{0xff}, 12))
	add(41, "timestamp delta of 11 bytes", lengthed([]byte{0}, bytes.Repeat([]byte{0x80}, 10), []byte{1}, varint(1), null, null, none))
	add(39, "offset delta of 6 bytes", lengthed([]byte{0, 0}, bytes.Repeat([]byte{0x80}, 5), []byte{1}, null, null, none))
	for _, n := range []int64{-2, math.MinInt32, 100, math.MaxInt32} {
		add(58, fmt.Sprintf("key length %d", n), recordWith(1, varint(n), null, none))
		add(58, fmt.Sprintf("value length %d", n), recordWith(1, null, varint(n), none))
	}
	for _, n := range []int64{-1, 2, math.MaxInt32} {
		add(59, fmt.Sprintf("header count %d", n), recordWith(1, null, null, varint(n), header))
	}
	add(60, "null header key", recordWith(1, null, null, varint(1), null, null))
	for _, n := range []int{0, -1, math.MinInt32, math.MaxInt32} {
		b := changed(three(), atCount, be32(n))
		list = append(list, bad{number: 53, name: fmt.Sprintf("record count %d", n), batch: changed(b, atLastOffsetDelta, be32(n-1)), want: kerr.InvalidRecord})
	}
	for _, n := range []int{1, 2, 4, 100} {
		b := changed(three(), atCount, be32(n))
		list = append(list, bad{number: 54, name: fmt.Sprintf("%d records declared, 3 there", n), batch: changed(b, atLastOffsetDelta, be32(n-1)), want: kerr.InvalidRecord})
	}
	for _, n := range []int{-1, 0, 3, math.MaxInt32} {
		list = append(list, bad{number: 55, name: fmt.Sprintf("last offset delta %d", n), batch: changed(three(), atLastOffsetDelta, be32(n)), want: kerr.InvalidRecord})
	}
	return list
}

// badFields are wrong in what they claim to be.
func badFields() []bad {
	now := time.Now().UnixMilli()
	const day = 86_400_000
	list := []bad{
		{number: 62, name: "control batch", batch: changed(three(), atAttributes, be16(0x20)), want: kerr.InvalidRecord},
		{number: 62, name: "forged commit marker", batch: record.BuildControl(record.Control{Type: record.Commit}, 1, 0, now), want: kerr.InvalidRecord},
		{number: 63, name: "transactional without a transactional id", batch: changed(identified(1, 0, 0), atAttributes, be16(0x10)), want: kerr.InvalidRecord},
		{number: 64, name: "producer epoch -1", batch: identified(1, -1, 0), want: kerr.InvalidRecord},
		{number: 64, name: "sequence -1", batch: identified(1, 0, -1), want: kerr.InvalidRecord},
		{number: 64, name: "producer id -2", batch: identified(-2, 0, 0), want: kerr.InvalidRecord},
		{number: 67, name: "far future", batch: changed(changed(three(), atBaseTimestamp, be64(now+day)), atMaxTimestamp, be64(now+day)), want: kerr.InvalidTimestamp},
		{number: 67, name: "end of time", batch: changed(changed(three(), atBaseTimestamp, be64(math.MaxInt64)), atMaxTimestamp, be64(math.MaxInt64)), want: kerr.InvalidTimestamp},
		{number: 67, name: "largest timestamp of the header in the future", batch: changed(three(), atMaxTimestamp, be64(now+day)), want: kerr.InvalidTimestamp},
		{number: 67, name: "far past", topic: "window", batch: changed(changed(three(), atBaseTimestamp, be64(now-day)), atMaxTimestamp, be64(now-day)), want: kerr.InvalidTimestamp},
		{number: 67, name: "LogAppendTime set by the client", batch: changed(three(), atAttributes, be16(8)), want: kerr.InvalidTimestamp},
		{number: 70, name: "larger than max.message.bytes", topic: "small", batch: good(1000), want: kerr.MessageTooLarge},
		{number: 71, name: "no key on a compacted topic", topic: "compacted", batch: one(recordOf(0, nil, value)), want: kerr.InvalidRecord},
	}
	for codec := 5; codec < 8; codec++ {
		list = append(list, bad{number: 68, name: fmt.Sprintf("codec %d", codec), batch: changed(three(), atAttributes, be16(codec)), want: kerr.UnsupportedCompressionType})
	}
	for bit := 6; bit < 16; bit++ {
		list = append(list, bad{number: 69, name: fmt.Sprintf("attribute bit %d", bit), batch: changed(three(), atAttributes, be16(1<<bit)), want: kerr.InvalidRecord})
	}
	return list
}

// parameters are wrong, or at the border, outside of the batch.
func parameters() []Case {
	with := func(change func(*kmsg.ProduceRequest), topic string) func() kmsg.Request {
		q := produce(topic, good(10))
		change(q)
		return ask(q)
	}
	cases := []Case{
		{Number: 65, Name: "a sequence that wraps", Play: wraps},
		{Number: 68, Name: "zstd before version 7", Play: refuses(kerr.UnsupportedCompressionType, func() kmsg.Request {
			q := produce("victim", compressed(record.Zstd, recordOf(0, key, value)))
			q.Version = 6
			return q
		}, produced)},
	}
	for _, acks := range []int16{2, -2} {
		cases = append(cases, Case{Number: 72, Name: fmt.Sprintf("acks %d", acks),
			Play: refuses(kerr.InvalidRequiredAcks, with(func(q *kmsg.ProduceRequest) { q.Acks = acks }, "victim"), produced)})
	}
	for _, timeout := range []int32{-1, math.MinInt32, math.MaxInt32} {
		cases = append(cases, Case{Number: 73, Name: fmt.Sprintf("timeout %d", timeout), Play: clamped(timeout)})
	}
	for _, index := range []int32{1, -1, math.MaxInt32, math.MinInt32} {
		cases = append(cases, Case{Number: 36, Name: fmt.Sprintf("Produce to partition %d", index),
			Play: refuses(kerr.UnknownTopicOrPartition, with(func(q *kmsg.ProduceRequest) { q.Topics[0].Partitions[0].Partition = index }, "victim"), produced)})
	}
	return cases
}

// clamped: a negative timeout is no time at all, so the answer may be that it is over; the record is there anyway.
func clamped(timeout int32) func(*Conn) error {
	q := produce("sink", good(10))
	q.TimeoutMillis = timeout
	return func(c *Conn) error {
		resp, err := c.Ask(q)
		if err != nil {
			return err
		}
		if code := produced(resp); code != 0 && !(timeout < 0 && code == kerr.RequestTimedOut.Code) {
			return is(code, nil)
		}
		return c.Alive()
	}
}

// wraps produces three records whose sequences are 2^31-2, 2^31-1 and 0, and then the next ones.
func wraps(c *Conn) error {
	init := kmsg.NewPtrInitProducerIDRequest()
	init.Version, init.ProducerID, init.ProducerEpoch = 4, -1, -1
	resp, err := c.Ask(init)
	if err != nil {
		return err
	}
	id := resp.(*kmsg.InitProducerIDResponse)
	for _, sequence := range []int32{math.MaxInt32 - 1, 1} {
		resp, err := c.Ask(produce("sink", identified(id.ProducerID, id.ProducerEpoch, sequence)))
		if err != nil {
			return err
		}
		if err := is(produced(resp), nil); err != nil {
			return fmt.Errorf("sequence %d: %w", sequence, err)
		}
	}
	return c.Alive()
}
