package protocol

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tidyFetch sets to default what kmsg writes in any flexible version and Kafka
// has only from a later one on.
func tidyFetch(r *kmsg.FetchRequest) {
	if r.Version < 15 {
		r.ReplicaState.Default()
	}
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			if r.Version < 17 {
				p.ReplicaDirectoryID = [16]byte{}
			}
			if r.Version < 18 {
				p.HighWatermark = math.MaxInt64
			}
		}
	}
}

// compareFetch checks that r read what kmsg read (P4).
func compareFetch(r *FetchRequest, want *kmsg.FetchRequest) error {
	replica, epoch := want.ReplicaID, int64(-1)
	if want.Version >= 15 {
		replica, epoch = want.ReplicaState.ID, want.ReplicaState.Epoch
	}
	if (r.ClusterID == nil) != (want.ClusterID == nil) || want.ClusterID != nil && string(r.ClusterID) != *want.ClusterID ||
		r.ReplicaID != replica || r.ReplicaEpoch != epoch || r.MaxWaitMillis != want.MaxWaitMillis ||
		r.MinBytes != want.MinBytes || r.MaxBytes != want.MaxBytes || r.Isolation != want.IsolationLevel ||
		r.SessionID != want.SessionID || r.SessionEpoch != want.SessionEpoch || string(r.Rack) != want.Rack {
		return fmt.Errorf("head %+v, want %+v", r, want)
	}
	var parts []string
	for _, t := range want.Topics {
		for _, p := range t.Partitions {
			parts = append(parts, fmt.Sprint([]byte(t.Topic), t.TopicID, p.Partition, p.CurrentLeaderEpoch, p.FetchOffset, p.LogStartOffset,
				p.LastFetchedEpoch, p.PartitionMaxBytes, p.ReplicaDirectoryID, p.HighWatermark))
		}
	}
	for i, p := range r.Partitions {
		got := fmt.Sprint(p.Topic, p.TopicID, p.Index, p.CurrentLeaderEpoch, p.FetchOffset, p.LogStart,
			p.LastFetchedEpoch, p.MaxBytes, p.ReplicaDirectory, p.HighWatermark)
		if i >= len(parts) || got != parts[i] {
			return fmt.Errorf("partition %d: %s, want one of %v", i, got, parts)
		}
	}
	var forgotten []string
	for _, t := range want.ForgottenTopics {
		for _, p := range t.Partitions {
			forgotten = append(forgotten, fmt.Sprint([]byte(t.Topic), t.TopicID, p))
		}
	}
	for i, p := range r.Forgotten {
		if got := fmt.Sprint(p.Topic, p.TopicID, p.Index); i >= len(forgotten) || got != forgotten[i] {
			return fmt.Errorf("forgotten %d: %s, want one of %v", i, got, forgotten)
		}
	}
	if len(r.Partitions) != len(parts) || len(r.Forgotten) != len(forgotten) {
		return fmt.Errorf("%d and %d, want %d and %d", len(r.Partitions), len(r.Forgotten), len(parts), len(forgotten))
	}
	return nil
}

func TestFetchRequestReadsWhatKmsgWrites(t *testing.T) {
	var r FetchRequest
	for version := int16(4); version <= 18; version++ {
		f := newFiller(t, uint64(version))
		for range 200 {
			want := kmsg.NewPtrFetchRequest()
			want.Version = version
			f.message(want, want.IsFlexible())
			tidyFetch(want)
			body := want.AppendTo(nil)
			want = kmsg.NewPtrFetchRequest() // without what the version does not carry
			want.Version = version
			if err := want.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			if err := r.Decode(version, body); err != nil {
				t.Fatalf("v%d: %v for %x", version, err, body)
			}
			if err := compareFetch(&r, want); err != nil {
				t.Fatalf("v%d: %v", version, err)
			}
			for n := range body {
				if r.Decode(version, body[:n]) == nil {
					t.Fatalf("v%d: accepted %d of %d bytes", version, n, len(body))
				}
			}
		}
	}
}

// Trap 34, bad input 115: before v15 the replica's tag means nothing.
func TestFetchReplicaStateCountsFromVersion15(t *testing.T) {
	for version := int16(12); version <= 18; version++ {
		want := kmsg.NewPtrFetchRequest()
		want.Version, want.ReplicaState.ID, want.ReplicaState.Epoch = version, 5, 9
		var r FetchRequest
		if err := r.Decode(version, want.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
		if isReplica := r.ReplicaID == 5 && r.ReplicaEpoch == 9; isReplica != (version >= 15) {
			t.Errorf("v%d: replica %d, epoch %d", version, r.ReplicaID, r.ReplicaEpoch)
		}
	}
}

func TestFetchRefuses(t *testing.T) {
	v4 := be32(-1) + be32(500) + be32(1) + be32(1<<20) + "\x00"
	v7 := v4 + be32(0) + be32(-1)
	v12 := v7
	v15 := v7[4:]
	tail := "\x01\x01\x01" // no topics, none forgotten, no rack
	part := be32(0) + be32(-1) + strings.Repeat("\x00", 8) + be32(-1) + strings.Repeat("\xff", 8) + be32(1)
	for _, test := range []struct {
		name    string
		version int16
		body    string
		want    Reason
	}{
		{"31 trailing byte", 4, v4 + be32(0) + "\x00", ReasonTrailing},
		{"32 topics 2^31-1", 4, v4 + be32(1<<31-1), ReasonLength},
		{"32 compact topics 2^32-2", 12, v12 + "\xff\xff\xff\xff\x0f", ReasonLength},
		{"32 partitions 2^31-1", 4, v4 + be32(1) + be16(1) + "t" + be32(1<<31-1), ReasonLength},
		{"33 partitions of 16 bytes", 4, v4 + be32(1) + be16(1) + "t" + be32(400_000) + strings.Repeat(string(make([]byte, 16)), 400_000), ReasonBudget},
		{"33 forgotten partitions", 7, v7 + be32(0) + be32(1) + be16(1) + "t" + be32(400_000) + strings.Repeat(be32(0), 400_000), ReasonBudget},
		{"34 topics -2", 4, v4 + be32(-2), ReasonLength},
		{"35 topics null", 4, v4 + be32(-1), ReasonNull},
		{"35 forgotten null", 7, v7 + be32(0) + be32(-1), ReasonNull},
		{"38 rack null", 11, v7 + be32(0) + be32(0) + be16(-1), ReasonNull},
		{"38 topic null", 12, v12 + "\x02\x00\x01\x00\x01\x01\x00", ReasonNull},
		{"39 varint of six bytes", 12, v12 + "\x80\x80\x80\x80\x80\x00", ReasonVarint},
		{"42 topic not UTF-8", 4, v4 + be32(1) + be16(1) + "\xff" + be32(0), ReasonUTF8},
		{"42 rack not UTF-8", 11, v7 + be32(0) + be32(0) + be16(1) + "\xff", ReasonUTF8},
		{"42 cluster id not UTF-8", 15, v15 + tail + "\x01\x00\x02\x02\xff", ReasonUTF8},
		{"replica state too short", 15, v15 + tail + "\x01\x01\x0c" + string(make([]byte, 12)), ReasonCut},
		{"replica state too long", 15, v15 + tail + "\x01\x01\x0e" + string(make([]byte, 14)), ReasonLength},
		{"directory of 15 bytes", 17, v15 + "\x02" + string(make([]byte, 16)) + "\x02" + part + "\x01\x00\x0f" + string(make([]byte, 15)) + "\x00\x01\x01\x00", ReasonLength},
		{"high watermark of 9 bytes", 18, v15 + "\x02" + string(make([]byte, 16)) + "\x02" + part + "\x01\x01\x09" + string(make([]byte, 9)) + "\x00\x01\x01\x00", ReasonLength},
		{"tag twice", 15, v15 + tail + "\x02\x05\x00\x05\x00", ReasonTag},
		{"empty", 4, "", ReasonCut},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r FetchRequest
			err := r.Decode(test.version, []byte(test.body))
			if err == nil || reasonOf(t, err) != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if len(r.Partitions) != 0 || len(r.Forgotten) != 0 {
				t.Fatal("partitions after an error")
			}
		})
	}
}

func TestFetchRequestLetsGoOfAHugeRequest(t *testing.T) {
	var r FetchRequest
	for _, n := range []int{10_000, 10, 10} {
		if err := r.Decode(12, fetchBody(12, n)); err != nil || len(r.Partitions) != n {
			t.Fatal(len(r.Partitions), err)
		}
	}
	if cap(r.Partitions) > keepPartitions {
		t.Errorf("holds room for %d partitions", cap(r.Partitions))
	}
}

func fetchBody(version int16, partitions int) []byte {
	r := kmsg.NewPtrFetchRequest()
	r.Version, r.MaxWaitMillis, r.MinBytes = version, 500, 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = "topic", [16]byte{7}
	for i := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = int32(i), int64(i)*1000, 1<<20
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Topics = append(r.Topics, topic)
	return r.AppendTo(nil)
}

// tidyFetchResponse removes from kmsg's random response what we never write:
// topics without partitions or named as the one before, snapshots, leaders
// without cause, empty racks, codes no old client gets.
func tidyFetchResponse(r *kmsg.FetchResponse) {
	r.Topics = slices.DeleteFunc(r.Topics, func(t kmsg.FetchResponseTopic) bool { return len(t.Partitions) == 0 })
	for i := range r.Topics {
		r.Topics[i].Topic = fmt.Sprint(i, r.Topics[i].Topic)
		r.Topics[i].TopicID[0] = byte(i)
		for j := range r.Topics[i].Partitions {
			p := &r.Topics[i].Partitions[j]
			p.SnapshotID.Default()
			if p.ErrorCode = []int16{0, 6, 74, 1}[j%4]; r.Version < 16 || p.ErrorCode != 6 && p.ErrorCode != 74 {
				p.CurrentLeader.Default()
			}
			if j%3 == 0 {
				p.DivergingEpoch.Default()
			}
		}
	}
	for i := range r.Brokers {
		if rack := r.Brokers[i].Rack; rack != nil && *rack == "" {
			r.Brokers[i].Rack = nil
		}
	}
	if r.Version < 16 {
		r.Brokers = nil
	}
}

// fetchedPartitions turns kmsg's response into ours.
func fetchedPartitions(r *kmsg.FetchResponse) (parts []FetchedPartition, records [][]byte, nodes []NodeEndpoint) {
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			f := FetchedPartition{
				Topic: []byte(t.Topic), TopicID: t.TopicID, Index: p.Partition, Code: p.ErrorCode,
				HighWatermark: p.HighWatermark, LastStable: p.LastStableOffset, LogStart: p.LogStartOffset,
				PreferredReplica: p.PreferredReadReplica, Diverging: EpochEnd{p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset},
				CurrentLeader: CurrentLeader{p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch}, RecordsLen: len(p.RecordBatches),
			}
			if p.AbortedTransactions != nil {
				f.Aborted = []AbortedTxn{}
			}
			for _, a := range p.AbortedTransactions {
				f.Aborted = append(f.Aborted, AbortedTxn{a.ProducerID, a.FirstOffset})
			}
			if p.RecordBatches == nil {
				f.RecordsLen = -1
			}
			parts, records = append(parts, f), append(records, p.RecordBatches)
		}
	}
	for _, n := range r.Brokers {
		node := NodeEndpoint{NodeID: n.NodeID, Host: n.Host, Port: n.Port}
		if n.Rack != nil {
			node.Rack = *n.Rack
		}
		nodes = append(nodes, node)
	}
	return parts, records, nodes
}

// whole puts the records where the marks say.
func whole(e *FetchEncoder, records [][]byte) (frame []byte) {
	at := 0
	for i, mark := range e.Marks {
		frame = append(append(frame, e.Bytes[at:mark]...), records[i]...)
		at = mark
	}
	return append(frame, e.Bytes[at:]...)
}

func TestFetchResponseWritesWhatKmsgWrites(t *testing.T) {
	var e FetchEncoder
	for version := int16(4); version <= 18; version++ {
		f := newFiller(t, uint64(version))
		for range 200 {
			want := kmsg.NewPtrFetchResponse()
			want.Version = version
			f.message(want, false)
			tidyFetchResponse(want)
			parts, records, nodes := fetchedPartitions(want)
			e.Encode(version, 77, want.ThrottleMillis, want.ErrorCode, want.SessionID, parts, nodes)
			h := &Header{Key: int16(Fetch), Version: version, CorrelationID: 77}
			if got, frame := whole(&e, records), AppendResponse(nil, h, want); !bytes.Equal(got, frame) {
				t.Fatalf("v%d:\n%x, want\n%x", version, got, frame)
			}
		}
	}
}

func TestFetchResponseCountsRecordsItDoesNotHold(t *testing.T) {
	var e FetchEncoder
	part := func(index int32, n int) (p FetchedPartition) {
		p.Clear()
		p.Topic, p.Index, p.RecordsLen = []byte("t"), index, n
		return p
	}
	e.Encode(12, 1, 0, 0, 0, []FetchedPartition{part(0, 100<<20), part(1, 0), part(2, -1), part(3, 7)}, nil)
	if len(e.Marks) != 4 || e.Marks[3] > len(e.Bytes) {
		t.Fatalf("marks %v in %d bytes", e.Marks, len(e.Bytes))
	}
	if got, want := string(e.Bytes[:4]), be32(len(e.Bytes)-4+100<<20+7); got != want {
		t.Errorf("length %x, want %x", got, want)
	}
	if tail := kbin.AppendUvarint(nil, 100<<20+1); !bytes.HasSuffix(e.Bytes[:e.Marks[0]], tail) {
		t.Errorf("records' length before mark 0: %x", e.Bytes[:e.Marks[0]])
	}
}

// Trap 17 and trap 32.
func TestFetchResponseSaysOnlyWhatTheVersionKnows(t *testing.T) {
	for _, test := range []struct {
		version, code, want int16
		leader              bool
	}{
		{15, 6, 6, false}, {16, 6, 6, true}, {18, 74, 74, true}, {18, 0, 0, false}, {18, 1, 1, false}, {12, 74, 74, false},
		{5, 56, 6, false}, {4, 56, 6, false}, {6, 56, 56, false},
	} {
		var p FetchedPartition
		p.Clear()
		p.Topic, p.Code, p.CurrentLeader = []byte("t"), test.code, CurrentLeader{ID: 3, Epoch: 8}
		var e FetchEncoder
		e.Encode(test.version, 1, 0, 0, 0, []FetchedPartition{p}, []NodeEndpoint{{NodeID: 3, Host: "host", Port: 9092}})
		r := kmsg.NewPtrFetchResponse()
		r.Version = test.version
		skip := 8
		if test.version >= 12 {
			skip = 9
		}
		if err := r.ReadFrom(e.Bytes[skip:]); err != nil {
			t.Fatal(err)
		}
		got := r.Topics[0].Partitions[0]
		if got.ErrorCode != test.want || (got.CurrentLeader.LeaderID == 3) != test.leader {
			t.Errorf("v%d code %d: %d, leader %+v", test.version, test.code, got.ErrorCode, got.CurrentLeader)
		}
		if (len(r.Brokers) == 1) != (test.version >= 16) {
			t.Errorf("v%d: endpoints %v", test.version, r.Brokers)
		}
	}
	if kerr.KafkaStorageError.Code != 56 || kerr.FencedLeaderEpoch.Code != 74 {
		t.Error("codes have moved")
	}
}

func TestFetchAllocatesNothing(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		body := fetchBody(version, 50)
		var r FetchRequest
		var e FetchEncoder
		parts := make([]FetchedPartition, 0, 50)
		n := testing.AllocsPerRun(50, func() {
			if err := r.Decode(version, body); err != nil {
				t.Fatal(err)
			}
			parts = parts[:0]
			for i := range r.Partitions {
				var p FetchedPartition
				p.Clear()
				p.Topic, p.TopicID, p.Index, p.RecordsLen = r.Partitions[i].Topic, r.Partitions[i].TopicID, r.Partitions[i].Index, 1000
				parts = append(parts, p)
			}
			e.Encode(version, 1, 0, 0, 0, parts, nil)
		})
		if n > 0 || len(e.Marks) != 50 {
			t.Errorf("v%d: %v allocations, %d marks", version, n, len(e.Marks))
		}
	}
}
