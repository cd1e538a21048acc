package abuse

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bodies is section C: arrays, strings and varints, in the decoders of ordinary requests and of Produce and Fetch.
func bodies(g *Ground) []Case {
	// Flexible: FindCoordinator v3 = key, type, tags. DescribeGroups v5 = groups, flag, tags. Before: Metadata v0-8.
	flexible := func(key, version int, body string) func(*Conn) error {
		return closes(frame(key, version, true, []byte(body)))
	}
	plain := func(key, version int, body string) func(*Conn) error {
		return closes(frame(key, version, false, []byte(body)))
	}
	produceV3, fetchV4 := string(be16(-1))+string(be16(1))+string(be32(1000)), string(be32(-1))+string(be32(0))+string(be32(0))+string(be32(1<<20))+"\x00"
	cases := []Case{
		{Number: 32, Name: "array of 2^31-1", Play: plain(3, 1, s32(math.MaxInt32))},
		{Number: 32, Name: "compact array of 2^32-2", Play: flexible(3, 9, "\xff\xff\xff\xff\x0f")},
		{Number: 32, Name: "Produce, 2^31-1 topics", Play: plain(0, 3, produceV3+s32(math.MaxInt32))},
		{Number: 32, Name: "Fetch, 2^31-1 topics", Play: plain(1, 4, fetchV4+s32(math.MaxInt32))},
		{Number: 33, Name: "2,000,000 one-byte elements that are large in memory", Cost: Heavy,
			Play: flexible(15, 5, "\x81\x89\x7a"+strings.Repeat("\x01", 2_000_000)+"\x00\x00")},
		{Number: 33, Name: "Produce, topics of one byte", Cost: Heavy, Play: closes(frame(0, 9, true,
			[]byte("\x00"), be16(1), be32(1000), kbin.AppendUvarint(nil, 500_001), []byte(strings.Repeat("\x01\x01\x00", 500_000)), []byte{0, 1}))},
		{Number: 34, Name: "array of -2", Play: plain(3, 1, s32(-2))},
		{Number: 34, Name: "Produce, -2 topics", Play: plain(0, 3, produceV3+s32(-2))},
		{Number: 34, Name: "Fetch, -2 topics", Play: plain(1, 4, fetchV4+s32(-2))},
		{Number: 35, Name: "null array", Play: plain(3, 0, s32(-1))},
		{Number: 35, Name: "null compact array", Play: flexible(15, 5, "\x00\x00\x00")},
		{Number: 35, Name: "Produce, null topics", Play: plain(0, 3, produceV3+s32(-1))},
		{Number: 37, Name: "nested arrays", Cost: Heavy, Play: plain(19, 2, nested(400, 400))},
		{Number: 38, Name: "compact string of length 0", Play: flexible(10, 3, "\x00\x00\x00")},
		{Number: 38, Name: "string of length -1", Play: plain(10, 0, s16(-1))},
		{Number: 39, Name: "varint of six bytes", Play: flexible(15, 5, "\x80\x80\x80\x80\x80\x00")},
		{Number: 39, Name: "varint with high bits", Play: flexible(15, 5, "\x81\x80\x80\x80\x10\x00")},
		{Number: 39, Name: "varint without end", Play: flexible(15, 5, "\x80\x80\x80\x80\x80\x80\x80\x80\x80")},
		{Number: 40, Name: "overlong varint", Play: overlong},
		{Number: 42, Name: "overlong UTF-8", Play: plain(10, 0, s16(2)+"\xc0\xaf")},
		{Number: 42, Name: "surrogate", Play: plain(10, 0, s16(3)+"\xed\xa0\x80")},
		{Number: 42, Name: "truncated rune", Play: plain(10, 0, s16(2)+"\xe2\x82")},
		{Number: 42, Name: "topic of a Metadata that creates", Play: plain(3, 4, s32(1)+s16(2)+"\xff\xfe\x01")},
		{Number: 42, Name: "topic of a CreateTopics", Play: plain(19, 2, s32(1)+s16(1)+"\xff"+s32(1)+s16(1)+s32(0)+s32(0)+s32(100)+"\x00")},
		{Number: 43, Name: "Metadata of a topic of 32,767 characters",
			Play: refuses(kerr.InvalidTopicException, ask(metadata(true, strings.Repeat("x", 32767))), metadataCode)},
		{Number: 43, Name: "CreateTopics of 32,767 characters",
			Play: refuses(kerr.InvalidTopicException, ask(create(strings.Repeat("x", 32767))), createCode)},
		{Number: 43, Name: "compact string of 32,768", Play: flexible(10, 3, "\x81\x80\x02"+strings.Repeat("x", 32768)+"\x00\x00")},
		{Number: 44, Name: "boolean 2", Play: booleanTwo},
		{Number: 45, Name: "Produce to topic id 0", Play: refuses(kerr.UnknownTopicID, ask(producedByID([16]byte{})), produced)},
		{Number: 45, Name: "Fetch of topic id 0", Play: refuses(kerr.UnknownTopicID, ask(fetch(13, 0, 0, 1<<20, part{most: 1})), fetchCode)},
		{Number: 45, Name: "Metadata of topic id 0", Play: refuses(kerr.UnknownTopicID, ask(metadataByID()), metadataCode)},
		{Number: 45, Name: "DeleteTopics of topic id 0", Play: noIDDeleted},
		{Number: 47, Name: "30,000 unknown topics", Cost: Heavy, Play: g.unknownTopics}, // about what the allocation budget lets through
		{Number: 47, Name: "600,000 unknown topics", Cost: Heavy, Play: closes(request(manyTopics(600_000), 1))},
	}
	return append(cases, repeated(g)...)
}

func s16(n int) string { return string(be16(n)) }
func s32(n int) string { return string(be32(n)) }

// ask makes a request for each play, which may be many at once.
func ask[Q kmsg.Request](q Q) func() kmsg.Request { return func() kmsg.Request { return q } }

// nested is a CreateTopics v2 body whose replica lists are small each and huge together.
func nested(topics, assignments int) string {
	topic := s16(1) + "t" + s32(-1) + s16(-1) + s32(assignments) + strings.Repeat(s32(0)+s32(0), assignments) + s32(0)
	return s32(topics) + strings.Repeat(topic, topics) + s32(1000) + "\x00"
}

// overlong: 0x81 0x00 is 1, an empty array, as in Java.
func overlong(c *Conn) error {
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Version = 5
	if _, err := c.Write(frame(15, 5, true, []byte("\x81\x00\x00\x00"))); err != nil {
		return err
	}
	resp, err := c.Receive(q, 7)
	if err == nil && len(resp.(*kmsg.DescribeGroupsResponse).Groups) != 0 {
		err = fmt.Errorf("answered %+v", resp)
	}
	return err
}

// booleanTwo is true: the answer holds the operations that the flag asks for.
func booleanTwo(c *Conn) error {
	q := kmsg.NewPtrMetadataRequest()
	q.Version = 8
	if _, err := c.Write(frame(3, 8, false, be32(0), []byte{0, 2, 0})); err != nil {
		return err
	}
	resp, err := c.Receive(q, 7)
	if err == nil && resp.(*kmsg.MetadataResponse).AuthorizedOperations == math.MinInt32 {
		err = fmt.Errorf("2 counts as false")
	}
	return err
}

func producedByID(id [16]byte) *kmsg.ProduceRequest {
	q := produce("", good(10))
	q.Version, q.Topics[0].TopicID = 13, id
	return q
}

func metadataByID() *kmsg.MetadataRequest {
	q := metadata(false)
	q.Version = 12
	q.Topics = append(q.Topics, kmsg.NewMetadataRequestTopic())
	return q
}

// noIDDeleted: neither name nor id.
func noIDDeleted(c *Conn) error {
	q := remove()
	q.Topics = append(q.Topics, kmsg.NewDeleteTopicsRequestTopic())
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	if code := removeCode(resp); code != kerr.UnknownTopicID.Code && code != kerr.InvalidRequest.Code {
		return is(code, kerr.UnknownTopicID)
	}
	return c.Alive()
}

func manyTopics(n int) *kmsg.MetadataRequest {
	q := metadata(true)
	for i := range n {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(fmt.Sprintf("t%d", i))
		q.Topics = append(q.Topics, t)
	}
	return q
}

// unknownTopics are answered one by one, and none is created although the request asks for it.
func (g *Ground) unknownTopics(c *Conn) error {
	const n = 30_000
	resp, err := c.Ask(manyTopics(n))
	if err != nil {
		return err
	}
	all := resp.(*kmsg.MetadataResponse).Topics
	if len(all) != n {
		return fmt.Errorf("%d topics in the answer", len(all))
	}
	for _, t := range all {
		if t.ErrorCode == 0 {
			return fmt.Errorf("topic %s was created", *t.Topic)
		}
	}
	return c.Alive()
}
