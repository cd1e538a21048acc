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
	change     func(*Config)
}

func startSplit(t *testing.T, brokers int, change ...func(*Config)) *split {
	t.Helper()
	s := &split{change: func(c *Config) {
		quick(c)
		for _, f := range change {
			f(c)
		}
	}}
	s.controller = startNode(t, t.TempDir(), s.change, func(c *Config) {
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
	s.brokers[i] = startNode(t, dir, s.change, func(c *Config) {
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

// Bad input 115: while the only follower is gone and the controller too, nothing that says it is the follower makes a record
// count as replicated.
func TestNoClientMovesTheHighWatermark(t *testing.T) {
	s := startSplit(t, 2, func(c *Config) { c.LeaderLease = LeaseOff })
	s.create(t, "t", 1)
	record := s.brokers[0].b.image().Topic("t").Partitions[0]
	leader, follower := s.brokers[record.Leader-1], s.brokers[2-record.Leader]
	ctx := testContext(t)
	cl := leader.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(ctx, kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	was := leader.b.image().Broker(3 - record.Leader)
	id, epoch := was.ID, was.Epoch
	s.controller.kill() // or it would take the follower out of the ISR
	follower.kill()
	before := *leader.b.image().Topic("t").Partitions[0]
	acknowledged := make(chan error, 1)
	cl.Produce(ctx, kgo.StringRecord("b"), func(_ *kgo.Record, err error) { acknowledged <- err })
	claim := func(id metadata.NodeID, epoch int64, offset int64) int16 {
		q := kmsg.NewPtrFetchRequest()
		q.Version, q.MaxBytes = 18, 1<<20
		q.ReplicaState.ID, q.ReplicaState.Epoch = int32(id), epoch
		ft, fp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		ft.TopicID, fp.CurrentLeaderEpoch, fp.FetchOffset, fp.LastFetchedEpoch, fp.PartitionMaxBytes = leader.b.image().Topic("t").ID, record.LeaderEpoch, offset, record.LeaderEpoch, 1<<20
		fp.UnknownTags.Set(protocol.TagDurable, []byte{1})
		ft.Partitions = append(ft.Partitions, fp)
		q.Topics = append(q.Topics, ft)
		return leader.raw(t).ask(q).(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode
	}
	for _, e := range []int64{-1, 0, epoch - 1} { // a later one may be true: the leader's image may be behind (R3)
		if code := claim(id, e, 2); code == 0 {
			t.Errorf("a follower of epoch %d is believed", e)
		}
	}
	if code := claim(7, epoch, 2); code == 0 {
		t.Error("a broker without a replica is believed")
	}
	select {
	case err := <-acknowledged:
		t.Errorf("acknowledged without a replica: %v", err)
	case <-time.After(300 * time.Millisecond): // nothing happens
	}
	now := leader.b.image().Topic("t").Partitions[0]
	if fmt.Sprint(now.ISR) != fmt.Sprint(before.ISR) || now.PartitionEpoch != before.PartitionEpoch {
		t.Errorf("the ISR was %v, it is %v", before.ISR, now.ISR)
	}
	if code := claim(id, epoch, 2); code != 0 { // what all of them lacked
		t.Errorf("the follower's own fetch is refused: %v", kerr.ErrorForCode(code))
	}
	select {
	case err := <-acknowledged:
		if err != nil {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("not even the follower's own fetch counts: the test shows nothing")
	}
}

// Bad input 120 over the wire, from a leader with its own broker epoch: R6 refuses, and nothing changes.
func TestAnISRThatCannotBeIsRefused(t *testing.T) {
	s := startSplit(t, 3)
	s.create(t, "t", 1)
	active := s.controller.b
	eventually(t, func() bool { return len(active.controller.Image().Topic("t").Partitions[0].ISR) == 3 })
	p := active.controller.Image().Topic("t").Partitions[0]
	leader := p.Leader
	other, gone := leader%3+1, (leader+1)%3+1
	s.brokers[gone-1].kill()
	eventually(t, func() bool { return active.controller.Image().Broker(gone).Fenced })
	eventually(t, func() bool { return len(active.controller.Image().Topic("t").Partitions[0].ISR) == 2 })
	img := active.controller.Image()
	p = img.Topic("t").Partitions[0]
	member := func(id metadata.NodeID) kmsg.AlterPartitionRequestTopicPartitionNewEpochISR {
		m := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		m.BrokerID = int32(id)
		if b := img.Broker(id); b != nil {
			m.BrokerEpoch = b.Epoch
		}
		return m
	}
	for name, c := range map[string]struct {
		want        *kerr.Error
		leaderEpoch int32
		isr         []metadata.NodeID
	}{
		"no replica":              {kerr.InvalidRequest, p.LeaderEpoch, []metadata.NodeID{leader, 77}},
		"without its leader":      {kerr.InvalidRequest, p.LeaderEpoch, []metadata.NodeID{other}},
		"a member twice":          {kerr.InvalidRequest, p.LeaderEpoch, []metadata.NodeID{leader, other, other}},
		"nobody":                  {kerr.InvalidRequest, p.LeaderEpoch, nil},
		"a fenced member":         {kerr.IneligibleReplica, p.LeaderEpoch, []metadata.NodeID{leader, other, gone}},
		"of an earlier leader":    {kerr.FencedLeaderEpoch, p.LeaderEpoch - 1, []metadata.NodeID{leader}},
		"of a leader yet to come": {kerr.NotController, p.LeaderEpoch + 1, []metadata.NodeID{leader}},
	} {
		q := kmsg.NewPtrAlterPartitionRequest()
		q.Version, q.BrokerID, q.BrokerEpoch = 3, int32(leader), img.Broker(leader).Epoch
		rt, rp := kmsg.NewAlterPartitionRequestTopic(), kmsg.NewAlterPartitionRequestTopicPartition()
		rt.TopicID, rp.LeaderEpoch, rp.PartitionEpoch = img.Topic("t").ID, c.leaderEpoch, p.PartitionEpoch
		for _, id := range c.isr {
			rp.NewEpochISR = append(rp.NewEpochISR, member(id))
		}
		rt.Partitions = append(rt.Partitions, rp)
		q.Topics = append(q.Topics, rt)
		answer := s.controller.ask(t, q).(*kmsg.AlterPartitionResponse)
		if answer.ErrorCode != 0 || answer.Topics[0].Partitions[0].ErrorCode != c.want.Code {
			t.Errorf("%s: %v, %v, want %v", name, kerr.ErrorForCode(answer.ErrorCode), kerr.ErrorForCode(answer.Topics[0].Partitions[0].ErrorCode), c.want)
		}
	}
	if now := active.controller.Image().Topic("t").Partitions[0]; fmt.Sprint(now.ISR) != fmt.Sprint(p.ISR) || now.PartitionEpoch != p.PartitionEpoch {
		t.Errorf("the ISR was %v, it is %v", p.ISR, now.ISR)
	}
}
