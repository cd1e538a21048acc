package protocol

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// compareProduce checks that r reads what kmsg read (P4).
func compareProduce(r *ProduceRequest, want *kmsg.ProduceRequest) error {
	if (r.TransactionalID == nil) != (want.TransactionID == nil) ||
		want.TransactionID != nil && string(r.TransactionalID) != *want.TransactionID ||
		r.Acks != want.Acks || r.TimeoutMillis != want.TimeoutMillis || r.Topics != len(want.Topics) {
		return fmt.Errorf("head %+v, want %+v", r, want)
	}
	partitions := 0
	var p ProducePartition
	for _, topic := range want.Topics {
		for i, w := range topic.Partitions {
			partitions++
			if !r.Next(&p) {
				return fmt.Errorf("ends before partition %d", partitions)
			}
			if string(p.Topic) != topic.Topic || p.TopicID != topic.TopicID || p.NewTopic != (i == 0) ||
				p.Index != w.Partition || (p.Records == nil) != (w.Records == nil) || !bytes.Equal(p.Records, w.Records) {
				return fmt.Errorf("partition %+v, want %+v", p, w)
			}
		}
	}
	if r.Next(&p) || r.Partitions != partitions {
		return fmt.Errorf("%d partitions and one more, want %d", r.Partitions, partitions)
	}
	return nil
}

func TestProduceRequestReadsWhatKmsgWrites(t *testing.T) {
	var r ProduceRequest
	for version := int16(3); version <= 13; version++ {
		f := newFiller(t, uint64(version))
		for range 300 {
			want := kmsg.NewPtrProduceRequest()
			want.Version = version
			f.message(want, want.IsFlexible())
			body := want.AppendTo(nil)
			want = kmsg.NewPtrProduceRequest() // without what the version does not carry
			want.Version = version
			if err := want.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			if err := r.Decode(version, body); err != nil {
				t.Fatalf("v%d: %v for %x", version, err, body)
			}
			for range 2 {
				if err := compareProduce(&r, want); err != nil {
					t.Fatalf("v%d: %v", version, err)
				}
				r.Rewind()
			}
			for n := range body {
				if r.Decode(version, body[:n]) == nil {
					t.Fatalf("v%d: accepted %d of %d bytes", version, n, len(body))
				}
			}
		}
	}
}

func TestProduceRecordsAliasTheFrame(t *testing.T) {
	body := produceBody(9, 1, 1, 100)
	var r ProduceRequest
	var p ProducePartition
	if err := r.Decode(9, body); err != nil || !r.Next(&p) {
		t.Fatal(err)
	}
	p.Records[0] ^= 0xff
	if i := bytes.Index(body, p.Records); i < 0 || cap(p.Records) != len(p.Records) {
		t.Fatal("records are a copy, or reach beyond themselves")
	}
}

func TestProduceRefuses(t *testing.T) {
	v3 := be16(-1) + be16(-1) + be32(1000)
	v9 := "\x00" + be16(-1) + be32(1000)
	for _, test := range []struct {
		name    string
		version int16
		body    string
		want    Reason
	}{
		{"31 trailing byte", 3, v3 + be32(0) + "\x00", ReasonTrailing},
		{"31 trailing byte behind tags", 9, v9 + "\x01\x00\x00", ReasonTrailing},
		{"32 topics 2^31-1", 3, v3 + be32(1<<31-1), ReasonLength},
		{"32 compact topics 2^32-2", 9, v9 + "\xff\xff\xff\xff\x0f", ReasonLength},
		{"32 partitions 2^31-1", 3, v3 + be32(1) + be16(1) + "t" + be32(1<<31-1), ReasonLength},
		{"32 records 2^31-1", 3, v3 + be32(1) + be16(1) + "t" + be32(1) + be32(0) + be32(1<<31-1), ReasonCut},
		{"33 partitions without records", 9, v9 + "\x02\x02t\x81\x89\x7a" + strings.Repeat("\x00\x00\x00\x00\x00\x00", 2_000_000) + "\x00\x00", ReasonBudget},
		{"34 topics -2", 3, v3 + be32(-2), ReasonLength},
		{"34 records -2", 3, v3 + be32(1) + be16(1) + "t" + be32(1) + be32(0) + be32(-2), ReasonLength},
		{"35 topics null", 3, v3 + be32(-1), ReasonNull},
		{"35 partitions null", 9, v9 + "\x02\x02t\x00\x00\x00", ReasonNull},
		{"38 topic null", 9, v9 + "\x02\x00\x01\x00\x00", ReasonNull},
		{"39 varint of six bytes", 9, v9 + "\x80\x80\x80\x80\x80\x00", ReasonVarint},
		{"42 topic not UTF-8", 3, v3 + be32(1) + be16(1) + "\xff" + be32(0), ReasonUTF8},
		{"42 transactional id not UTF-8", 3, be16(1) + "\xff" + be16(-1) + be32(1000) + be32(0), ReasonUTF8},
		{"tag count 2^32-1", 9, v9 + "\x01\xff\xff\xff\xff\x0f", ReasonTag},
		{"topic's tag twice", 9, v9 + "\x02\x02t\x01\x02\x05\x00\x05\x00\x00", ReasonTag},
		{"empty", 3, "", ReasonCut},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r ProduceRequest
			err := r.Decode(test.version, []byte(test.body))
			if err == nil || reasonOf(t, err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if r.Next(&ProducePartition{}) || r.Topics != 0 || r.Partitions != 0 {
				t.Fatal("something to iterate over after an error")
			}
		})
	}
}

// 36 and 43-46: requests a handler answers.
func TestProduceAccepts(t *testing.T) {
	v3 := be16(-1) + be16(-1) + be32(1000)
	part := be32(0) + be32(-1)
	for _, test := range []struct {
		name       string
		version    int16
		body       string
		partitions int
	}{
		{"36 no topics", 3, v3 + be32(0), 0},
		{"36 topic without partitions", 3, v3 + be32(1) + be16(1) + "t" + be32(0), 0},
		{"36 empty topics around a full one", 3, v3 + be32(3) + be16(1) + "a" + be32(0) + be16(1) + "b" + be32(1) + part + be16(1) + "c" + be32(0), 1},
		{"43 topic of 32767 characters", 3, v3 + be32(1) + be16(32767) + strings.Repeat("x", 32767) + be32(1) + part, 1},
		{"45 topic id zero", 13, "\x00" + be16(-1) + be32(1000) + "\x02" + strings.Repeat("\x00", 16) + "\x01\x00\x00", 0},
		{"46 one partition 4,000 times", 3, v3 + be32(1) + be16(1) + "t" + be32(4000) + strings.Repeat(part, 4000), 4000},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r ProduceRequest
			if err := r.Decode(test.version, []byte(test.body)); err != nil || r.Partitions != test.partitions {
				t.Fatal(r.Partitions, err)
			}
		})
	}
}

// produceBody is a request with topics x partitions batches of size bytes.
func produceBody(version int16, topics, partitions, size int) []byte {
	r := kmsg.NewPtrProduceRequest()
	r.Version, r.Acks = version, -1
	for i := range topics {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic, topic.TopicID = fmt.Sprintf("topic-%04d", i), [16]byte{byte(i), byte(i >> 8)}
		for j := range partitions {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition, p.Records = int32(j), bytes.Repeat([]byte{byte(j)}, size)
			topic.Partitions = append(topic.Partitions, p)
		}
		r.Topics = append(r.Topics, topic)
	}
	return r.AppendTo(nil)
}

// produceResults turns kmsg's response into ours.
func produceResults(r *kmsg.ProduceResponse) (results []ProduceResult, nodes []NodeEndpoint) {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, topic := range r.Topics {
		for i, p := range topic.Partitions {
			result := ProduceResult{
				Topic: []byte(topic.Topic), TopicID: topic.TopicID, NewTopic: i == 0, Index: p.Partition, Code: p.ErrorCode,
				BaseOffset: p.BaseOffset, LogAppendTime: p.LogAppendTime, LogStart: p.LogStartOffset,
				Message: text(p.ErrorMessage), LeaderID: p.CurrentLeader.LeaderID, LeaderEpoch: p.CurrentLeader.LeaderEpoch,
			}
			for _, e := range p.ErrorRecords {
				result.Records = append(result.Records, RecordError{e.RelativeOffset, text(e.ErrorMessage)})
			}
			results = append(results, result)
		}
	}
	for _, n := range r.Brokers {
		nodes = append(nodes, NodeEndpoint{n.NodeID, n.Host, n.Port, text(n.Rack)})
	}
	return results, nodes
}

// tidyProduce removes from kmsg's random response what we never write: topics
// without partitions, empty texts that are not null, leaders without cause.
func tidyProduce(r *kmsg.ProduceResponse) {
	null := func(s **string) {
		if *s != nil && **s == "" {
			*s = nil
		}
	}
	r.Topics = slices.DeleteFunc(r.Topics, func(t kmsg.ProduceResponseTopic) bool { return len(t.Partitions) == 0 })
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			null(&p.ErrorMessage)
			for k := range p.ErrorRecords {
				null(&p.ErrorRecords[k].ErrorMessage)
			}
			if j%2 == 0 {
				p.ErrorCode = kerr.NotLeaderForPartition.Code
			}
			if r.Version < 10 || p.ErrorCode != kerr.NotLeaderForPartition.Code {
				p.CurrentLeader.Default()
			}
		}
	}
	for i := range r.Brokers {
		null(&r.Brokers[i].Rack)
	}
	if r.Version < 10 {
		r.Brokers = nil
	}
}

func TestProduceResponseWritesWhatKmsgWrites(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		f := newFiller(t, uint64(version))
		for range 300 {
			want := kmsg.NewPtrProduceResponse()
			want.Version = version
			f.message(want, false)
			tidyProduce(want)
			results, nodes := produceResults(want)
			got := AppendProduceResponse([]byte("x"), version, 77, want.ThrottleMillis, results, nodes)
			h := &Header{Key: int16(Produce), Version: version, CorrelationID: 77}
			if whole := AppendResponse([]byte("x"), h, want); !bytes.Equal(got, whole) {
				t.Fatalf("v%d:\n%x, want\n%x", version, got, whole)
			}
		}
	}
}

// Trap 17: leaders and endpoints only from v10 on, only with error 6.
func TestProduceResponseNamesLeadersOnlyWhereTheyBelong(t *testing.T) {
	nodes := []NodeEndpoint{{NodeID: 3, Host: "host", Port: 9092, Rack: "r"}}
	for _, test := range []struct {
		version, code int16
		want          bool
	}{{9, 6, false}, {10, 6, true}, {13, 6, true}, {13, 0, false}, {13, 74, false}} {
		p := ProduceResult{NewTopic: true}
		p.Clear()
		p.NewTopic, p.Topic, p.Code, p.LeaderID, p.LeaderEpoch = true, []byte("t"), test.code, 3, 8
		r := kmsg.NewPtrProduceResponse()
		r.Version = test.version
		if err := r.ReadFrom(AppendProduceResponse(nil, test.version, 1, 0, []ProduceResult{p}, nodes)[9:]); err != nil {
			t.Fatal(err)
		}
		leader := r.Topics[0].Partitions[0].CurrentLeader
		if got := leader.LeaderID == 3 && leader.LeaderEpoch == 8; got != test.want || !test.want && leader.LeaderID != -1 {
			t.Errorf("v%d code %d: leader %+v", test.version, test.code, leader)
		}
		if got := len(r.Brokers) == 1; got != (test.version >= 10) {
			t.Errorf("v%d: endpoints %v", test.version, r.Brokers)
		}
	}
}

func TestProduceAllocatesNothing(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		body := produceBody(version, 3, 4, 200)
		var r ProduceRequest
		var p ProducePartition
		results, dst := make([]ProduceResult, 0, 12), make([]byte, 0, 4096)
		n := testing.AllocsPerRun(50, func() {
			if err := r.Decode(version, body); err != nil {
				t.Fatal(err)
			}
			results = results[:0]
			for r.Next(&p) {
				var result ProduceResult
				result.Clear()
				result.Topic, result.TopicID, result.NewTopic, result.Index = p.Topic, p.TopicID, p.NewTopic, p.Index
				results = append(results, result)
			}
			dst = AppendProduceResponse(dst[:0], version, 1, 0, results, nil)
		})
		if n > 0 || len(results) != 12 {
			t.Errorf("v%d: %v allocations for %d partitions", version, n, len(results))
		}
	}
}
