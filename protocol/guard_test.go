package protocol

import (
	"encoding/binary"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// P3 from kmsg's side: whatever kmsg writes passes, whatever is cut or longer
// does not, and Decode gives back what was written.
func TestGuardAcceptsExactlyWhatKmsgWrites(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		f := newFiller(t, uint64(a.Key)<<8|uint64(version))
		for range 60 {
			r := request(t, a, version)
			f.message(r, r.IsFlexible())
			body := r.AppendTo(nil)
			got, err := Decode(&Header{Key: int16(a.Key), Version: version}, body)
			if err != nil {
				t.Fatalf("%s v%d: %v for %x", a.Name, version, err, body)
			}
			if again := got.AppendTo(nil); string(again) != string(body) {
				t.Fatalf("%s v%d: decoded to\n%x, was\n%x", a.Name, version, again, body)
			}
			for _, n := range []int{0, len(body) / 3, len(body) - 1} {
				if n >= 0 && n < len(body) && Guard(int16(a.Key), version, body[:n]) == nil {
					t.Fatalf("%s v%d: accepted %d of %d bytes", a.Name, version, n, len(body))
				}
			}
			longer := append(body[:len(body):len(body)], 1)
			if err := Guard(int16(a.Key), version, longer); err == nil || reasonOf(t, err) != ReasonTrailing {
				t.Fatalf("%s v%d: 31 trailing byte: %v", a.Name, version, err)
			}
		}
	})
}

// The estimate must be what kmsg really takes, or the budget is no budget.
func TestEstimateIsWhatKmsgAllocates(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		f := newFiller(t, uint64(a.Key)*100+uint64(version))
		f.most = 12
		for range 8 {
			r := request(t, a, version)
			f.message(r, r.IsFlexible())
			checkEstimate(t, a, version, r.AppendTo(nil))
		}
	})
}

func checkEstimate(t *testing.T, a *API, version int16, body []byte) {
	t.Helper()
	const plenty = 1 << 40
	w := walk{cursor: cursor{b: body}, version: version, flexible: a.IsFlexible(version)}
	w.message(schemas[a.Key], plenty)
	if w.bad {
		t.Fatalf("%s v%d: %v", a.Name, version, w.why)
	}
	estimate := plenty - w.budget
	took := int64(math.MaxInt64)
	for range 3 { // the least: the runtime allocates now and then, too
		r := request(t, a, version)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := r.ReadFrom(body)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s v%d: %v", a.Name, version, err)
		}
		took = min(took, int64(after.TotalAlloc-before.TotalAlloc)+int64(reflect.TypeOf(r).Elem().Size()))
	}
	if took > buildFactor*(estimate+estimate/4)+512 {
		t.Errorf("%s v%d: estimated %d, took %d for %d bytes", a.Name, version, estimate, took, len(body))
	}
}

// The same at the border: many elements of the worst kind, just accepted.
func TestEstimateIsWhatKmsgAllocatesForHostileBodies(t *testing.T) {
	texts := func(n int) []byte { // n empty compact strings
		return append(kbin.AppendUvarint(nil, uint32(n+1)), []byte(strings.Repeat("\x01", n))...)
	}
	tagged := kbin.AppendUvarint(nil, 2001) // 2000 topics, each with one unknown tag
	for range 2000 {
		tagged = append(tagged, 1, 1, 1, 64, 0)
	}
	many := kbin.AppendUvarint([]byte{1}, 5000) // 5000 unknown tags in one section
	for i := range uint32(5000) {
		many = append(kbin.AppendUvarint(many, 64+i), 0)
	}
	for _, test := range []struct {
		name    string
		key     Key
		version int16
		body    []byte
	}{
		{"strings", DescribeGroups, 6, append(texts(60_000), 0, 0)},
		{"int8 array", ListConfigResources, 1, append(texts(300_000), 0)},
		{"a tag per struct", DescribeLogDirs, 5, append(tagged, 0)},
		{"tags in one section", DeleteGroups, 3, many},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := Guard(int16(test.key), test.version, test.body); err != nil {
				t.Fatal(err)
			}
			checkEstimate(t, Lookup(int16(test.key)), test.version, test.body)
		})
	}
}

func TestGuardAllocatesNothing(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		r := request(t, a, version)
		newFiller(t, 5).message(r, r.IsFlexible())
		body := r.AppendTo(nil)
		if n := testing.AllocsPerRun(20, func() { _ = Guard(int16(a.Key), version, body) }); n > 0 {
			t.Errorf("%s v%d: %v allocations", a.Name, version, n)
		}
	})
}

func TestGuardRefusesLargeBodiesWithoutASchema(t *testing.T) {
	if err := Guard(int16(FetchMetadata), 0, make([]byte, FrameSmall)); err != nil {
		t.Error(err)
	}
	if err := Guard(int16(FetchMetadata), 0, make([]byte, FrameSmall+1)); err == nil || reasonOf(t, err) != ReasonSize {
		t.Error(err)
	}
}

func be16(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func be32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// nested is a CreateTopics v2 body whose replica lists are small each and huge
// together.
func nested(topics, assignments int) string {
	topic := be16(1) + "t" + be32(-1) + be16(-1) + be32(assignments) +
		strings.Repeat(be32(0)+be32(0), assignments) + be32(0)
	return be32(topics) + strings.Repeat(topic, topics) + be32(1000) + "\x00"
}

// Section C of the bad inputs, and 31. Each is refused before anything is
// decoded, so the process cannot run out of memory over it.
func TestBadInputs31to47(t *testing.T) {
	name := strings.Repeat("x", 32767)
	for _, test := range []struct {
		name    string
		key     Key
		version int16
		body    string
		want    Reason // 255: accepted
	}{
		{"31 trailing byte", Heartbeat, 0, be16(1) + "g" + be32(1) + be16(1) + "m" + "\x00", ReasonTrailing},
		{"31 trailing byte behind tags", ListGroups, 3, "\x00\x01", ReasonTrailing},
		{"31 third tag section", ListGroups, 3, "\x00\x00\x00", ReasonTrailing},
		{"31 tail of another key", DescribeGroups, 5, "\x01\x00\x00\x00", ReasonTrailing},
		{"31 tail of null topics, too long", OffsetFetch, 7, "\x02g\x00\x00\x00" + "\x00\x00\x00\x00", ReasonTrailing},
		{"31 tail of null topics, not zero", OffsetFetch, 7, "\x02g\x00\x00\x00" + "\x00\x02\x00", ReasonTrailing},
		{"31 tail of null topics in a version without tags", OffsetFetch, 5, be16(1) + "g" + be32(-1) + "\x00\x00\x00", ReasonTrailing},
		{"32 array length 2^31-1", Metadata, 1, be32(math.MaxInt32), ReasonLength},
		{"32 compact array length 2^32-2", Metadata, 9, "\xff\xff\xff\xff\x0f", ReasonLength},
		{"33 one-byte elements, large in memory", DescribeGroups, 5, "\x81\x89\x7a" + strings.Repeat("\x01", 2_000_000) + "\x00\x00", ReasonBudget},
		{"33 one byte more than there is", DescribeGroups, 5, "\x05\x01\x01\x01", ReasonLength},
		{"33 count larger than elements hold", Metadata, 1, be32(200_000) + strings.Repeat("\x00", 200_000), ReasonBudget},
		{"34 array length -2", Metadata, 1, be32(-2), ReasonLength},
		{"34 string length -2", FindCoordinator, 0, be16(-2), ReasonLength},
		{"34 nullable string length -2", InitProducerID, 0, be16(-2) + be32(0), ReasonLength},
		{"35 null array", Metadata, 0, be32(-1), ReasonNull},
		{"35 null compact array", DescribeGroups, 5, "\x00\x00\x00", ReasonNull},
		{"35 null bytes", SyncGroup, 0, be16(1) + "g" + be32(1) + be16(1) + "m" + be32(1) + be16(1) + "m" + be32(-1), ReasonNull},
		{"37 nested arrays", CreateTopics, 2, nested(400, 400), ReasonBudget},
		{"38 compact string of length 0", FindCoordinator, 3, "\x00\x00\x00", ReasonNull},
		{"38 string of length -1", FindCoordinator, 0, be16(-1), ReasonNull},
		{"39 varint of six bytes", DescribeGroups, 5, "\x80\x80\x80\x80\x80\x00", ReasonVarint},
		{"39 varint with high bits", DescribeGroups, 5, "\x81\x80\x80\x80\x10\x00", ReasonVarint},
		{"39 varint without end", DescribeGroups, 5, "\x80\x80\x80", ReasonCut},
		{"40 overlong varint", DescribeGroups, 5, "\x81\x00\x00\x00", 255},
		{"42 overlong UTF-8", FindCoordinator, 0, be16(2) + "\xc0\xaf", ReasonUTF8},
		{"42 surrogate", FindCoordinator, 0, be16(3) + "\xed\xa0\x80", ReasonUTF8},
		{"42 truncated rune", FindCoordinator, 0, be16(2) + "\xe2\x82", ReasonUTF8},
		{"42 in an array of strings", DeleteGroups, 0, be32(1) + be16(1) + "\xff", ReasonUTF8},
		{"43 topic of 32767 characters", Metadata, 0, be32(1) + be16(32767) + name, 255},
		{"43 compact string of 32768", FindCoordinator, 3, "\x81\x80\x02" + name + "x\x00\x00", ReasonLength},
		{"44 boolean byte 2", DescribeGroups, 3, be32(0) + "\x02", 255},
		{"46 one topic 10,000 times", Metadata, 0, be32(10_000) + strings.Repeat(be16(5)+"topic", 10_000), 255},
		{"47 a million unknown topics", Metadata, 0, be32(1_000_000) + strings.Repeat(be16(5)+"topic", 1_000_000), ReasonBudget},
		{"tag count 2^32-1", ListGroups, 3, "\xff\xff\xff\xff\x0f", ReasonTag},
		{"tag twice", ListGroups, 3, "\x02\x07\x00\x07\x00", ReasonTag},
		{"tags descending", ListGroups, 3, "\x02\x08\x00\x07\x00", ReasonTag},
		{"tag beyond the body", ListGroups, 3, "\x01\x07\x02\x00", ReasonCut},
		{"known tag too long for its type", Fetch, 15, "\x00\x00\x00\x00" + be32(0) + be32(0) + "\x00" + be32(0) + be32(0) + "\x01\x01\x01" + "\x01\x01\x0e" + strings.Repeat("\x00", 14), ReasonTrailing},
		{"known tag too short for its type", Fetch, 15, "\x00\x00\x00\x00" + be32(0) + be32(0) + "\x00" + be32(0) + be32(0) + "\x01\x01\x01" + "\x01\x01\x0c" + strings.Repeat("\x00", 12), ReasonCut},
		{"struct neither null nor there", DescribeTopicPartitions, 0, "\x01" + be32(1) + "\xfe\x00", ReasonLength},
		{"nothing at all", Metadata, 1, "", ReasonCut},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Guard(int16(test.key), test.version, []byte(test.body))
			if test.want == 255 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || reasonOf(t, err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}

// 36: an empty array is a request like any other; what it means is its handler's
// question.
func TestBadInput36EmptyArraysDecodeInEveryAPI(t *testing.T) {
	eachVersion(t, func(t *testing.T, a *API, version int16) {
		f := newFiller(t, 9)
		f.most, f.full = 0, true
		r := request(t, a, version)
		f.message(r, r.IsFlexible())
		if _, err := Decode(&Header{Key: int16(a.Key), Version: version}, r.AppendTo(nil)); err != nil {
			t.Errorf("%s v%d: %v", a.Name, version, err)
		}
	})
}

func TestBadInput44BooleanTwoIsTrue(t *testing.T) {
	r, err := Decode(&Header{Key: int16(DescribeGroups), Version: 3}, []byte(be32(0)+"\x02"))
	if err != nil || !r.(*kmsg.DescribeGroupsRequest).IncludeAuthorizedOperations {
		t.Fatal(r, err)
	}
}

// librdkafka 2.0 sends these two, as its admin client does for ListConsumerGroups and ListConsumerGroupOffsets.
func TestTailsOfOldLibrdkafkaAreLetThrough(t *testing.T) {
	for _, test := range []struct {
		name    string
		key     Key
		version int16
		body    string
	}{
		{"second tag section", ListGroups, 3, "\x00" + "\x00"},
		{"second tag section behind a filter", ListGroups, 4, "\x02\x06Empty\x00" + "\x00"},
		{"null topics of four bytes", OffsetFetch, 6, "\x02g\x00\x00" + "\x00\x00\x00"},
		{"null topics of four bytes, stable", OffsetFetch, 7, "\x02g\x00\x00\x00" + "\x00\x01\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Decode(&Header{Key: int16(test.key), Version: test.version}, []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if f, ok := r.(*kmsg.OffsetFetchRequest); ok && (f.Group != "g" || f.Topics != nil) {
				t.Fatalf("decoded to %+v", f)
			}
		})
	}
}

func TestDecodeKeepsToTheTable(t *testing.T) {
	for _, test := range []struct {
		name         string
		key, version int16
		want         Reason
	}{
		{"unknown key", 9999, 0, ReasonKey},
		{"key kmsg knows and we do not serve", 24, 0, ReasonKey},
		{"own key", int16(RaftStream), 0, ReasonKey},
		{"version kmsg takes silently", int16(Metadata), 99, ReasonVersion},
		{"version below ours", int16(CreateTopics), 1, ReasonVersion},
		{"two-phase commit", int16(InitProducerID), 6, ReasonVersion},
		{"ApiVersions above ours", int16(ApiVersions), 6, ReasonVersion},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Decode(&Header{Key: test.key, Version: test.version}, nil)
			if err == nil || reasonOf(t, err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
		})
	}
}
