package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/metadata"
	"cordwood/protocol"
)

func TestANewReplicaTakesSealedSegmentsFromItsLeader(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	cl := s.client(0, kgo.DefaultProduceTopic("t"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(cl)
	small := "1048576"
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"segment.bytes": &small}, "t"); err != nil {
		t.Fatal(err)
	}
	payload := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	for i := range 160 { // 10 MiB
		cl.Produce(ctx, &kgo.Record{Key: fmt.Append(nil, i), Value: payload}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	from := s.brokers[0].b.image().Topic("t").Partitions[0].Leader
	to := 3 - from
	var move kadm.AlterPartitionAssignmentsReq
	move.Assign("t", 0, []int32{int32(to)})
	if r, err := admin.AlterPartitionAssignments(ctx, move); err != nil || r.Error() != nil {
		t.Fatal(err, r.Error())
	}
	target := s.brokers[to-1].b
	eventually(t, func() bool {
		p := target.image().Topic("t").Partitions[0]
		return p.Leader == to && len(p.Replicas) == 1
	})
	if got := target.partitions.Stats().Replication.StreamBytes; got < 8<<20 {
		t.Errorf("%d bytes came from sealed segments", got)
	}
	reader := s.client(int(to)-1, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if got := consume(t, reader, 160); len(got) != 160 {
		t.Errorf("%d records", len(got))
	}
	files, err := filepath.Glob(filepath.Join(s.brokers[to-1].dir, "t-0", "*.log"))
	if err != nil || len(files) < 8 {
		t.Errorf("%d segments, %v", len(files), err)
	}
	for _, f := range files[:len(files)-1] {
		if _, err := os.Stat(f[:len(f)-len(".log")] + ".index"); err != nil {
			t.Error(err)
		}
	}
}

func TestWhoMayAskForSegments(t *testing.T) {
	n := startNode(t, t.TempDir())
	if _, err := kadm.NewClient(n.client()).CreateTopic(testContext(t), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	topic := n.b.image().Topic("t").ID
	cluster := n.b.clusterID()
	for name, c := range map[string]struct {
		q    streamRequest
		want *kerr.Error
	}{
		"another cluster's node":    {streamRequest{ClusterID: "other", Topic: topic}, kerr.InconsistentClusterID},
		"nobody":                    {streamRequest{Topic: topic}, kerr.InconsistentClusterID},
		"a broker without replicas": {streamRequest{ClusterID: cluster, Topic: topic, NodeID: 7, BrokerEpoch: 1, Until: -1}, kerr.UnknownLeaderEpoch},
		"an unknown broker":         {streamRequest{ClusterID: cluster, Topic: topic, NodeID: 7, BrokerEpoch: 1}, kerr.StaleBrokerEpoch},
		"about an unknown topic":    {streamRequest{ClusterID: cluster, Topic: metadata.TopicID{1}}, kerr.UnknownTopicID},
		"about no partition":        {streamRequest{ClusterID: cluster, Topic: topic, Index: -3}, kerr.UnknownTopicOrPartition},
	} {
		var got streamResponse
		n.internal(t, protocol.SegmentStream, c.q, &got)
		if got.Code != c.want.Code || got.Bytes != 0 {
			t.Errorf("%s: %v, want %v", name, kerr.ErrorForCode(got.Code), c.want)
		}
	}
}

func TestAStreamsAnswerIsTakenWholeOrNotAtAll(t *testing.T) {
	head, err := cbor.Marshal(streamResponse{HighWatermark: 9, Bytes: 3})
	if err != nil {
		t.Fatal(err)
	}
	for body, ok := range map[string]bool{"abc": true, "ab": false, "abcd": false, "": false} {
		a, err := decodeStream(append(bytes.Clone(head), body...))
		if (err == nil) != ok || ok && string(a.Records) != body {
			t.Errorf("%q: %v", body, err)
		}
	}
}
