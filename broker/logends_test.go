package broker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
	"cordwood/protocol"
)

// createWith makes a topic of one partition on all brokers with some configs, and waits until all of them have it.
func (s *split) createWith(t *testing.T, name string, configs ...[2]string) {
	t.Helper()
	q := createRequest(name, 1, int16(len(s.brokers)), 10_000)
	for _, c := range configs {
		set := kmsg.NewCreateTopicsRequestTopicConfig()
		set.Name, set.Value = c[0], kmsg.StringPtr(c[1])
		q.Topics[0].Configs = append(q.Topics[0].Configs, set)
	}
	answer, err := s.client(0).Broker(1).Request(testContext(t), q)
	if err != nil || answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
		t.Fatal(answer, err)
	}
	for _, n := range s.brokers {
		eventually(t, func() bool { return n.b.image().Topic(name) != nil })
	}
}

// crash makes a stop look like one that was not in good order.
func (n *node) crash(t *testing.T) {
	t.Helper()
	n.close()
	for _, name := range []string{".kafka_cleanshutdown", "cordwood-clean"} {
		if err := os.Remove(filepath.Join(n.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// Every replica stopped unclean in page-cache mode: nobody certainly has all that was acknowledged. Whoever has most leads,
// and only when all have told (R11).
func TestTheLongestLogLeadsWhenAllReplicasAreBack(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.createWith(t, "t", [2]string{"flush.before.ack", "false"}, [2]string{"min.insync.replicas", "2"})
	s.inSync(t, 0, "t", 0, 2)
	record := s.brokers[0].b.image().Topic("t").Partitions[0]
	short, long := int(record.Preferred())-1, 2-int(record.Preferred())
	s.brokers[short].crash(t)
	cl := s.client(long, kgo.DefaultProduceTopic("t"), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	for range 3 { // one of them only has these
		if err := cl.ProduceSync(ctx, kgo.StringRecord("more")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cl.Close()
	s.brokers[long].crash(t)
	s.again(t, short)
	p := func() *metadata.Partition { return s.controller.b.image().Topic("t").Partitions[0] }
	if p().Leader != metadata.NoNode || !slices.Contains(p().LastKnownELR, metadata.NodeID(short+1)) {
		t.Fatalf("with one of two back: %+v", p())
	}
	s.again(t, long)
	eventually(t, func() bool { return p().Leader == metadata.NodeID(long+1) })
	if !p().Recovering && len(p().ISR) == 1 {
		t.Errorf("records may be lost, yet it does not recover: %+v", p())
	}
	s.inSync(t, long, "t", 0, 2)
	reader := s.client(long, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if got := consume(t, reader, 3); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

func TestAReportOfLogEndsIsJudged(t *testing.T) {
	s := startSplit(t, 1)
	cluster, epoch := s.controller.b.clusterID(), s.brokers[0].b.epoch.Load()
	ends := slices.Repeat([]endOfLog{{Topic: metadata.TopicID{9}, Index: 3, End: 7}}, 3000) // more than a small frame
	for name, c := range map[string]struct {
		q    endsRequest
		want int16
	}{
		"a report":               {endsRequest{cluster, 1, epoch, ends}, 0},
		"from nobody":            {endsRequest{cluster, 7, epoch, nil}, kerr.BrokerIDNotRegistered.Code},
		"of an earlier life":     {endsRequest{cluster, 1, epoch - 1, nil}, kerr.StaleBrokerEpoch.Code},
		"of another cluster":     {endsRequest{"other", 1, epoch, nil}, kerr.InconsistentClusterID.Code},
		"of no cluster":          {endsRequest{"", 1, epoch, nil}, kerr.InconsistentClusterID.Code},
		"of a broker without id": {endsRequest{cluster, -1, epoch, nil}, kerr.BrokerIDNotRegistered.Code},
	} {
		var r feedResponse
		s.controller.internal(t, protocol.LogEnds, c.q, &r)
		if r.Code != c.want {
			t.Errorf("%s: %v", name, kerr.ErrorForCode(r.Code))
		}
	}
}

func TestAReportOfTooManyLogEndsIsNotRead(t *testing.T) {
	body, err := cbor.Marshal(endsRequest{Ends: make([]endOfLog, mostEnds+1)})
	if err != nil {
		t.Fatal(err)
	}
	var q endsRequest
	if err := endsDecoder.Unmarshal(body, &q); err == nil {
		t.Error("it is")
	}
	if got := (&Broker{}).logEndsTold(context.Background(), &endsRequest{}); got.Code != kerr.NotController.Code {
		t.Errorf("a node that is no controller answers %v", kerr.ErrorForCode(got.Code))
	}
}
