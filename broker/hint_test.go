package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that was restarted leads in a newer epoch. Who comes with the old one is refused, without a hint: it names nobody
// else, and clients that are sent to where they are go round in circles. Who has records that no epoch of the log holds is
// told where its history ends. Both are answered at once.
func TestFetchIsFencedWithoutAHintToItselfAndToldWhereHistoryEnds(t *testing.T) {
	n := startNode(t, t.TempDir())
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	n.close()
	n = startNode(t, n.dir)
	topic := n.b.image().Topic("t")
	if epoch := topic.Partition(0).LeaderEpoch; epoch < 1 {
		t.Fatalf("leader epoch %d", epoch)
	}
	r := n.raw(t)
	fetch := func(current, last int32) (*kmsg.FetchResponse, kmsg.FetchResponseTopicPartition) {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.ReplicaID, q.MaxBytes, q.MinBytes, q.MaxWaitMillis, q.SessionEpoch = 16, -1, 1<<20, 1, 60_000, -1
		f := kmsg.NewFetchRequestTopic()
		f.TopicID = topic.ID
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = 5, 1<<20, current, last
		f.Partitions = append(f.Partitions, p)
		q.Topics = append(q.Topics, f)
		began := time.Now()
		resp := r.ask(q).(*kmsg.FetchResponse)
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("answered after %s", d)
		}
		return resp, resp.Topics[0].Partitions[0]
	}
	resp, p := fetch(0, -1)
	if p.ErrorCode != kerr.FencedLeaderEpoch.Code || p.CurrentLeader.LeaderID != -1 || len(resp.Brokers) != 0 {
		t.Errorf("code %d, leader %+v, endpoints %+v", p.ErrorCode, p.CurrentLeader, resp.Brokers)
	}
	if _, p = fetch(-1, 0); p.ErrorCode != 0 || p.DivergingEpoch.Epoch != 0 || p.DivergingEpoch.EndOffset != 1 {
		t.Errorf("code %d, diverging %+v", p.ErrorCode, p.DivergingEpoch)
	}
}
