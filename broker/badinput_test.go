package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
	"cordwood/protocol/record"
)

// raw is a client without manners: it sends any bytes and reads whole frames.
type raw struct {
	t    *testing.T
	c    net.Conn
	next int32
}

func (n *node) raw(t *testing.T) *raw {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &raw{t: t, c: c}
}

// send writes one request with a correct header.
func (r *raw) send(q kmsg.Request) {
	r.t.Helper()
	r.next++
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(q.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(q.GetVersion()))
	b = binary.BigEndian.AppendUint32(b, uint32(r.next))
	b = kbin.AppendNullableString(b, kmsg.StringPtr("raw"))
	if q.IsFlexible() {
		b = append(b, 0)
	}
	b = q.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// receive reads the next answer into resp.
func (r *raw) receive(q kmsg.Request) kmsg.Response {
	r.t.Helper()
	_ = r.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var size [4]byte
	if _, err := io.ReadFull(r.c, size[:]); err != nil {
		r.t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(r.c, b); err != nil {
		r.t.Fatal(err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != r.next {
		r.t.Fatalf("answer to request %d, want %d", got, r.next)
	}
	b = b[4:]
	resp := q.ResponseKind()
	if resp.IsFlexible() && q.Key() != 18 {
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		r.t.Fatal(err)
	}
	return resp
}

func (r *raw) ask(q kmsg.Request) kmsg.Response {
	r.t.Helper()
	r.send(q)
	return r.receive(q)
}

// closed reports whether the broker closes the connection without an answer.
func (r *raw) closed() bool {
	_ = r.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := r.c.Read(make([]byte, 1))
	return n == 0 && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset"))
}

func produceRequest(topic string, acks int16, timeout int32, batch []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = 9, acks, timeout
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func batchOf(t *testing.T, values ...string) []byte {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{})
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), nil, []byte(v), nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// hostile is a node with a topic "t" of one partition that holds one record.
func hostile(t *testing.T) *node {
	n := startNode(t, t.TempDir())
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("good")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return n
}

// unharmed checks what every bad input must leave: the topic as it was, and a broker that serves.
func (n *node) unharmed(t *testing.T, records int64) {
	t.Helper()
	p := n.b.partitions.Lookup([]byte("t"), 0)
	if got := p.HighWatermark(); got != records {
		t.Errorf("the topic holds %d records, want %d", got, records)
	}
}

func TestBadProduceParameters(t *testing.T) {
	n := hostile(t)
	code := func(q *kmsg.ProduceRequest) int16 {
		return n.raw(t).ask(q).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
	}
	good := batchOf(t, "x")
	for _, acks := range []int16{2, -2} {
		if got := code(produceRequest("t", acks, 1000, good)); got != kerr.InvalidRequiredAcks.Code {
			t.Errorf("72 acks=%d: %v", acks, kerr.ErrorForCode(got))
		}
	}
	n.unharmed(t, 1)
	for i, timeout := range []int32{-5, math.MaxInt32} {
		if got := code(produceRequest("t", -1, timeout, batchOf(t, "y"))); got != 0 && !(timeout < 0 && got == kerr.RequestTimedOut.Code) {
			t.Errorf("73 timeout=%d: %v", timeout, kerr.ErrorForCode(got))
		}
		eventually(t, func() bool { return n.b.partitions.Lookup([]byte("t"), 0).HighWatermark() == int64(2+i) })
	}
	if got := code(produceRequest("nope", -1, 1000, good)); got != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("unknown topic: %v", kerr.ErrorForCode(got))
	}
	if got := code(produceRequest(offsetsTopic, 1, 1000, good)); got == 0 {
		t.Error("127 a client wrote to the offsets topic")
	}
	q := produceRequest("t", 1, 1000, good)
	q.Version, q.Topics[0].TopicID = 13, [16]byte{}
	if got := code(q); got != kerr.UnknownTopicID.Code {
		t.Errorf("45 zero topic id: %v", kerr.ErrorForCode(got))
	}
	q = produceRequest("t", 1, 1000, nil)
	if got := code(q); got != kerr.InvalidRecord.Code {
		t.Errorf("52 null records: %v", kerr.ErrorForCode(got))
	}
	bad := batchOf(t, "z")
	bad[len(bad)-1] ^= 1
	if got := code(produceRequest("t", 1, 1000, bad)); got != kerr.CorruptMessage.Code {
		t.Errorf("49 wrong CRC: %v", kerr.ErrorForCode(got))
	}
	n.unharmed(t, 3)
}

func TestProduceWithoutAcknowledgementHasNoAnswerAndClosesOnError(t *testing.T) {
	n := hostile(t)
	r := n.raw(t)
	r.send(produceRequest("t", 0, 1000, batchOf(t, "a")))
	q := kmsg.NewPtrApiVersionsRequest()
	r.ask(q) // the only answer on the connection is this one
	eventually(t, func() bool { return n.b.partitions.Lookup([]byte("t"), 0).HighWatermark() == 2 })
	r.send(produceRequest("nope", 0, 1000, batchOf(t, "a")))
	if !r.closed() {
		t.Error("trap 8: a failed produce with acks=0 leaves the connection open")
	}
}

func TestFetchIsBoundedWhateverItAsksFor(t *testing.T) {
	n := hostile(t)
	fetch := func(wait, least, most int32, offset int64) *kmsg.FetchRequest {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.ReplicaID, q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.SessionEpoch = 12, -1, wait, least, most, -1
		f := kmsg.NewFetchRequestTopic()
		f.Topic = "t"
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = offset, most, -1, -1
		f.Partitions = append(f.Partitions, p)
		q.Topics = append(q.Topics, f)
		return q
	}
	t.Run("133 min_bytes of 2^31-1 is capped by what may be sent", func(t *testing.T) {
		small := fetch(math.MaxInt32, math.MaxInt32, 1, 0)
		resp := n.raw(t).ask(small).(*kmsg.FetchResponse)
		if len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Error("no records")
		}
	})
	t.Run("134 max_bytes of 2^31-1 is no allocation", func(t *testing.T) {
		resp := n.raw(t).ask(fetch(0, 0, math.MaxInt32, 0)).(*kmsg.FetchResponse)
		if len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Error("no records")
		}
	})
	t.Run("negative sizes and waits mean none", func(t *testing.T) {
		resp := n.raw(t).ask(fetch(-1, -1, -1, 0)).(*kmsg.FetchResponse)
		if got := resp.Topics[0].Partitions[0].ErrorCode; got != 0 {
			t.Error(kerr.ErrorForCode(got))
		}
	})
	t.Run("115 a replica id on the client listener", func(t *testing.T) {
		q := fetch(0, 0, 1<<20, 0)
		q.ReplicaID = 3
		resp := n.raw(t).ask(q).(*kmsg.FetchResponse)
		if got := resp.Topics[0].Partitions[0].ErrorCode; got != kerr.TopicAuthorizationFailed.Code {
			t.Error(kerr.ErrorForCode(got))
		}
	})
	t.Run("offsets outside the log", func(t *testing.T) {
		for offset, want := range map[int64]*kerr.Error{-3: kerr.OffsetOutOfRange, 2: kerr.OffsetOutOfRange, math.MaxInt64: kerr.OffsetOutOfRange} {
			resp := n.raw(t).ask(fetch(0, 0, 1<<20, offset)).(*kmsg.FetchResponse)
			if got := resp.Topics[0].Partitions[0].ErrorCode; got != want.Code {
				t.Errorf("offset %d: %v", offset, kerr.ErrorForCode(got))
			}
		}
	})
}

func TestFetchSessionsAreCheckedBoundedAndIncremental(t *testing.T) {
	n := hostile(t)
	r := n.raw(t)
	ask := func(id, epoch int32, topics ...string) *kmsg.FetchResponse {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.ReplicaID, q.MaxBytes, q.SessionID, q.SessionEpoch = 12, -1, 1<<20, id, epoch
		for _, name := range topics {
			f := kmsg.NewFetchRequestTopic()
			f.Topic = name
			p := kmsg.NewFetchRequestTopicPartition()
			p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = 1, 1<<20, -1, -1
			f.Partitions = append(f.Partitions, p)
			q.Topics = append(q.Topics, f)
		}
		return r.ask(q).(*kmsg.FetchResponse)
	}
	first := ask(0, 0, "t")
	if first.SessionID == 0 || len(first.Topics) != 1 {
		t.Fatalf("no session: %+v", first)
	}
	if second := ask(first.SessionID, 1); second.ErrorCode != 0 || len(second.Topics) != 0 {
		t.Errorf("nothing is new, and the answer has %+v", second)
	}
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("more")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if third := ask(first.SessionID, 2); len(third.Topics) != 1 || len(third.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Errorf("the new record is not in %+v", third)
	}
	if stale := ask(first.SessionID, 2); stale.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
		t.Errorf("stale epoch: %v", kerr.ErrorForCode(stale.ErrorCode))
	}
	if unknown := ask(first.SessionID+1, 1); unknown.ErrorCode != kerr.FetchSessionIDNotFound.Code {
		t.Errorf("unknown id: %v", kerr.ErrorForCode(unknown.ErrorCode))
	}
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.ReplicaID, q.MaxBytes, q.SessionID, q.SessionEpoch = 13, -1, 1<<20, first.SessionID, 3
	if mixed := r.ask(q).(*kmsg.FetchResponse); mixed.ErrorCode != kerr.FetchSessionTopicIDError.Code {
		t.Errorf("topic ids in a session of names: %v", kerr.ErrorForCode(mixed.ErrorCode))
	}
	for range n.b.cfg.FetchSessions + 50 { // 135
		ask(0, 0, "t")
	}
	if got := n.b.sessions.count(); got > n.b.cfg.FetchSessions {
		t.Errorf("135: %d sessions", got)
	}
}

func TestMetadataOfAMillionTopicsCreatesNone(t *testing.T) {
	n := hostile(t)
	q := kmsg.NewPtrMetadataRequest()
	q.Version, q.AllowAutoTopicCreation = 9, true
	for i := range 60_000 { // as many as a request's allocation budget lets through
		m := kmsg.NewMetadataRequestTopic()
		m.Topic = kmsg.StringPtr(fmt.Sprintf("t%d", i))
		q.Topics = append(q.Topics, m)
	}
	before := n.b.image().TopicCount()
	r := n.raw(t)
	r.send(q)
	_ = r.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.ReadFull(r.c, make([]byte, 4)) // an answer or the end of the connection, soon
	if got := n.b.image().TopicCount(); got != before {
		t.Errorf("47: %d topics were created", got-before)
	}
}

func TestInvalidTopicNamesAreRefusedAndNeverOnDisk(t *testing.T) {
	n := hostile(t)
	for _, name := range []string{"..", ".", "", "../../etc/passwd", "a/b", "a\x00b", `C:\x`, strings.Repeat("x", 250), "a b", "\U0001f600", "a\nb", strings.Repeat("y", 32767)} {
		q := kmsg.NewPtrCreateTopicsRequest()
		q.Version = 7
		c := kmsg.NewCreateTopicsRequestTopic()
		c.Topic, c.NumPartitions, c.ReplicationFactor = name, 1, 1
		q.Topics = append(q.Topics, c)
		resp := n.raw(t).ask(q).(*kmsg.CreateTopicsResponse)
		if got := resp.Topics[0].ErrorCode; got != kerr.InvalidTopicException.Code {
			t.Errorf("124 %.20q: %v", name, kerr.ErrorForCode(got))
		}
	}
}

func TestDeleteRecordsAboveTheHighWatermarkIsRefused(t *testing.T) {
	n := hostile(t)
	q := kmsg.NewPtrDeleteRecordsRequest()
	q.Version = 2
	d := kmsg.NewDeleteRecordsRequestTopic()
	d.Topic = "t"
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = 5
	d.Partitions = append(d.Partitions, p)
	q.Topics = append(q.Topics, d)
	resp := n.raw(t).ask(q).(*kmsg.DeleteRecordsResponse)
	if got := resp.Topics[0].Partitions[0].ErrorCode; got != kerr.OffsetOutOfRange.Code {
		t.Errorf("144: %v", kerr.ErrorForCode(got))
	}
	n.unharmed(t, 1)
}

func TestRequestsAreAnsweredInTheirOrder(t *testing.T) {
	n := hostile(t)
	r := n.raw(t)
	var kinds []kmsg.Request
	for i := range 50 {
		var q kmsg.Request
		switch i % 4 {
		case 0:
			q = produceRequest("t", -1, 10000, batchOf(t, "x"))
		case 1:
			q = kmsg.NewPtrApiVersionsRequest()
		case 2:
			m := kmsg.NewPtrMetadataRequest()
			m.Version = 9
			q = m
		default:
			q = produceRequest("t", 1, 10000, batchOf(t, "y"))
		}
		kinds = append(kinds, q)
		r.send(q)
	}
	r.next = 0
	for _, q := range kinds {
		r.next++
		r.receive(q)
	}
}

// eventually waits for something that needs no more than a moment.
func eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !what(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
		time.Sleep(time.Millisecond)
	}
}

// The internal listener is not reached by clients, but it is not trusted either.
func TestTheInternalListenerSurvivesGarbage(t *testing.T) {
	n := hostile(t)
	dial := func() *raw {
		c, err := net.Dial("tcp", n.b.Addrs().Internal)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return &raw{t: t, c: c}
	}
	own := func(key protocol.Key, body ...byte) []byte { return protocol.AppendOwnRequest(nil, key, 1, body) }
	for name, frame := range map[string][]byte{
		"FetchMetadata that is no CBOR":          own(protocol.FetchMetadata, 0xff, 0xff),
		"FetchMetadata of 2^64-1 fields":         own(protocol.FetchMetadata, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a raft stream without a request":        own(protocol.RaftStream),
		"a raft stream from this node's own id":  own(protocol.RaftStream, 0xa1, 2, byte(n.b.cfg.NodeID)),
		"a hello that is no CBOR":                own(protocol.Hello, 0xff),
		"a hello from node -1":                   own(protocol.Hello, 0xa1, 1, 0x20),
		"a lost peer that is no CBOR":            own(protocol.PeerLost, 0xff),
		"log ends that are no CBOR":              own(protocol.LogEnds, 0xff),
		"log ends of 2^64-1 partitions":          own(protocol.LogEnds, 0xa1, 4, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"a question that is no CBOR":             own(protocol.StoodDown, 0xff),
		"a key of the future":                    own(20002),
		"a client's key that is not for brokers": {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 255, 255},
	} {
		r := dial()
		if _, err := r.c.Write(frame); err != nil {
			t.Fatal(err)
		}
		if !r.closed() {
			t.Errorf("%s: not closed", name)
		}
	}
	for i := range 20 { // raft's own protocol, with nonsense behind every kind of its requests
		r := dial()
		if _, err := r.c.Write(own(protocol.RaftStream, 0xa1, 2, 9)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(r.c, answer); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r.c, make([]byte, binary.BigEndian.Uint32(answer))); err != nil {
			t.Fatal(err)
		}
		nonsense := []byte(strings.Repeat(string([]byte{byte(i), 0xdf, 0xff, 0xff, 0xff, 0xff, 0xdb}), 100))
		if _, err := r.c.Write(nonsense); err != nil {
			t.Logf("stream %d: %v", i, err) // raft may have closed it already
		}
		r.c.Close()
	}
	if !n.b.controller.Active() {
		t.Error("the controller lost its leadership")
	}
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("more")).FirstErr(); err != nil {
		t.Error(err)
	}
	n.unharmed(t, 2)
}
