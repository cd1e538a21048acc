package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
	"cordwood/protocol"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

// split is one node that is a controller only and some that are brokers only, in one process.
type split struct {
	controller *node
	brokers    []*node // with ids from 1 on
}

func startSplit(t *testing.T, brokers int, change ...func(*Config)) *split {
	t.Helper()
	s := new(split)
	quick := func(c *Config) {
		quick(c)
		for _, f := range change {
			f(c)
		}
	}
	s.controller = startNode(t, t.TempDir(), quick, func(c *Config) {
		c.NodeID, c.Roles = 100, []string{"controller"}
		c.Listeners = []ListenerConfig{{Name: "CONTROLLER", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal}}
	})
	for i := range brokers {
		s.brokers = append(s.brokers, nil)
		s.start(t, i, t.TempDir())
	}
	return s
}

func quick(c *Config) {
	c.HTTPAddr, c.HeartbeatInterval, c.SessionTimeout = "", 100*time.Millisecond, time.Second
}

// start runs the broker of an index on a directory.
func (s *split) start(t *testing.T, i int, dir string, change ...func(*Config)) {
	t.Helper()
	s.brokers[i] = startNode(t, dir, quick, func(c *Config) {
		for _, f := range change {
			f(c)
		}
		c.NodeID, c.Roles, c.BootstrapServers = metadata.NodeID(i+1), []string{"broker"}, []string{s.controller.b.Addrs().Internal}
		c.Listeners = []ListenerConfig{{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Client}}
	})
}

// again starts a broker that was stopped.
func (s *split) again(t *testing.T, i int) {
	t.Helper()
	s.start(t, i, s.brokers[i].dir)
}

func createRequest(name string, partitions int32, factor int16, millis int32) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, factor
	q.Topics, q.TimeoutMillis = append(q.Topics, t), millis
	return q
}

// create makes a topic with a replica on every broker and waits until all of them have it.
func (s *split) create(t *testing.T, name string, partitions int32) {
	t.Helper()
	answer, err := s.client(0).Broker(1).Request(testContext(t), createRequest(name, partitions, int16(len(s.brokers)), 10_000))
	if err != nil || answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
		t.Fatal(answer, err)
	}
	for _, n := range s.brokers {
		eventually(t, func() bool { return n.b.image().Topic(name) != nil })
	}
}

// client knows one broker; it learns of the others from it.
func (s *split) client(i int, opts ...kgo.Opt) *kgo.Client { return s.brokers[i].client(opts...) }

func TestAnyBrokerTakesWhatTheControllerDecides(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	for i, n := range s.brokers {
		name := fmt.Sprintf("by-%d", i)
		answer, err := s.client(i).Broker(i+1).Request(ctx, createRequest(name, 2, 2, 10_000))
		if err != nil || answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
			t.Fatal(answer, err)
		}
		if n.b.image().Topic(name) == nil {
			t.Errorf("%s was answered before broker %d had it", name, i+1)
		}
	}
	got, err := kadm.NewClient(s.client(0)).BrokerMetadata(ctx)
	if err != nil || len(got.Brokers) != 2 {
		t.Fatalf("%+v, %v", got.Brokers, err)
	}
	for _, b := range got.Brokers {
		if at := fmt.Sprintf("%s:%d", b.Host, b.Port); at != s.brokers[b.NodeID-1].addr {
			t.Errorf("broker %d is said to be at %s, it is at %s", b.NodeID, at, s.brokers[b.NodeID-1].addr)
		}
	}
	q := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = metadataTopic, []kmsg.DescribeQuorumRequestTopicPartition{{}}
	q.Topics = append(q.Topics, topic)
	quorum, err := q.RequestWith(ctx, s.client(1))
	if err != nil || quorum.ErrorCode != 0 || quorum.Topics[0].Partitions[0].LeaderID != 100 || len(quorum.Topics[0].Partitions[0].CurrentVoters) != 1 {
		t.Errorf("quorum %+v, %v", quorum, err)
	}
	meta, _, err := segment.ReadMeta(vfs.OS(), s.brokers[0].dir)
	if err != nil || meta.ClusterID != s.controller.b.clusterID() || meta.ClusterID == "" {
		t.Errorf("meta.properties of a broker: %+v, %v", meta, err)
	}
}

func TestAGroupAndItsOffsetsMoveWithTheirPartition(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	const count = 300
	cl := s.client(0, kgo.DefaultProduceTopic("t"))
	s.create(t, "t", 3)
	for i := range count {
		cl.Produce(ctx, kgo.StringRecord(fmt.Sprint(i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	reader := s.client(1, kgo.ConsumeTopics("t"), kgo.ConsumerGroup("g"), kgo.DisableAutoCommit())
	consume(t, reader, count)
	if err := reader.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	coordinators := kadm.NewClient(cl).FindGroupCoordinators(ctx, "g")
	was := coordinators["g"].NodeID
	s.brokers[was-1].close()
	other := 2 - was // index of the one that stays
	stays := s.client(int(other))
	eventually(t, func() bool {
		offsets, err := kadm.NewClient(stays).FetchOffsets(ctx, "g")
		sum := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
		return err == nil && sum == count
	})
	again := s.client(int(other), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if got := consume(t, again, count); len(got) != count {
		t.Errorf("%d records are left of %d", len(got), count)
	}
}

func TestWithoutAControllerClientsAreToldOfTheirTimeoutAndLeadersStop(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	cl := s.client(0)
	s.create(t, "t", 1)
	s.controller.close()
	answer, err := cl.Broker(1).Request(ctx, createRequest("late", 1, 1, 300))
	if err != nil {
		t.Fatal(err)
	}
	if code := answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != kerr.RequestTimedOut.Code {
		t.Errorf("without a controller the answer is %v", kerr.ErrorForCode(code))
	}
	eventually(t, func() bool { // 0.8 of a session after the last heartbeat nobody serves as a leader (R18)
		for id := range s.brokers {
			if code := latestOffset(ctx, t, cl.Broker(id+1), "t"); code != kerr.NotLeaderForPartition.Code {
				return false
			}
		}
		return true
	})
}

// latestOffset asks one broker and returns the error code.
func latestOffset(ctx context.Context, t *testing.T, b *kgo.Broker, topic string) int16 {
	t.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	q.ReplicaID = -1
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rt.Topic, rp.Timestamp = topic, -1
	rt.Partitions = append(rt.Partitions, rp)
	q.Topics = append(q.Topics, rt)
	answer, err := b.Request(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return answer.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode
}

func TestARefusalNamesTheLeader(t *testing.T) {
	s := startSplit(t, 2)
	s.create(t, "t", 1)
	record := s.brokers[0].b.image().Topic("t").Partitions[0]
	follower := s.brokers[2-record.Leader] // ids are 1 and 2
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.ReplicaID, q.MaxBytes = 18, -1, 1<<20
	ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	ft.TopicID, fp.CurrentLeaderEpoch, fp.PartitionMaxBytes = follower.b.image().Topic("t").ID, -1, 1<<20
	ft.Partitions = append(ft.Partitions, fp)
	q.Topics = append(q.Topics, ft)
	r := follower.raw(t)
	r.send(q)
	answer := r.receive(q).(*kmsg.FetchResponse)
	p := answer.Topics[0].Partitions[0]
	if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != int32(record.Leader) || p.CurrentLeader.LeaderEpoch != record.LeaderEpoch ||
		len(answer.Brokers) != 1 || answer.Brokers[0].NodeID != int32(record.Leader) {
		t.Errorf("%+v, nodes %+v", p, answer.Brokers)
	}
}

// Bad input 115 where clients and brokers share a listener: what only says it is a follower's fetch moves nothing.
func TestAFetchThatOnlySaysItIsAFollowersIsRefused(t *testing.T) {
	s := startSplit(t, 2)
	s.create(t, "t", 1)
	record := s.brokers[0].b.image().Topic("t").Partitions[0]
	leader := s.brokers[record.Leader-1]
	follower := leader.b.image().Broker(3 - record.Leader)
	for name, c := range map[string]struct {
		replica metadata.NodeID
		epoch   int64
		want    *kerr.Error
	}{
		"no broker epoch":           {follower.ID, -1, kerr.StaleBrokerEpoch},
		"the epoch of an old life":  {follower.ID, follower.Epoch - 1, kerr.StaleBrokerEpoch},
		"a broker without replicas": {7, 1, kerr.UnknownLeaderEpoch},
	} {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.MaxBytes = 18, 1<<20
		q.ReplicaState.ID, q.ReplicaState.Epoch = int32(c.replica), c.epoch
		ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		ft.TopicID, fp.CurrentLeaderEpoch, fp.FetchOffset, fp.LastFetchedEpoch, fp.PartitionMaxBytes = leader.b.image().Topic("t").ID, record.LeaderEpoch, 0, -1, 1<<20
		ft.Partitions = append(ft.Partitions, fp)
		q.Topics = append(q.Topics, ft)
		got := leader.raw(t).ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0]
		if got.ErrorCode != c.want.Code || len(got.RecordBatches) > 0 {
			t.Errorf("%s: %v, want %v", name, kerr.ErrorForCode(got.ErrorCode), c.want)
		}
	}
}
