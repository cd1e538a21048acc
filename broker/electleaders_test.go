package broker

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// elections asks a broker and returns the error of every partition that is answered.
func (s *split) elections(ctx context.Context, t *testing.T, i int, how kadm.ElectLeadersHow, asked kadm.TopicsSet) map[string]map[int32]error {
	t.Helper()
	q := kmsg.NewPtrElectLeadersRequest()
	q.ElectionType = int8(how)
	for _, in := range asked.IntoList() {
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic, topic.Partitions = in.Topic, in.Partitions
		q.Topics = append(q.Topics, topic)
	}
	answer, err := s.client(i).Broker(i+1).Request(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(*kmsg.ElectLeadersResponse)
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[int32]error{}
	for _, topic := range got.Topics {
		if out[topic.Topic] == nil {
			out[topic.Topic] = map[int32]error{}
		}
		for _, p := range topic.Partitions {
			if (p.ErrorCode != 0) != (p.ErrorMessage != nil) {
				t.Errorf("%s-%d: code %d and sentence %v", topic.Topic, p.Partition, p.ErrorCode, p.ErrorMessage)
			}
			out[topic.Topic][p.Partition] = kerr.ErrorForCode(p.ErrorCode)
		}
	}
	return out
}

// inSync waits until broker i shows a partition with so many members of its ISR.
func (s *split) inSync(t *testing.T, i int, topic string, partition int32, members int) {
	t.Helper()
	eventually(t, func() bool { return len(s.brokers[i].b.image().Topic(topic).Partitions[partition].ISR) == members })
}

func TestPreferredLeadersAreElectedOnRequest(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.create(t, "t", 4)
	gone, stays := 0, 1
	var moved []int32 // partitions that prefer the broker that stops
	for n, p := range s.brokers[0].b.image().Topic("t").Partitions {
		if p.Preferred() == metadata.NodeID(gone+1) {
			moved = append(moved, int32(n))
		}
	}
	if len(moved) == 0 || len(moved) == 4 {
		t.Fatalf("broker 1 is preferred by partitions %v", moved)
	}
	first := moved[0]
	one := kadm.TopicsSet{"t": {first: {}}, "no": {0: {}}}
	one.Add("t", 9)
	want := map[int32]error{first: kerr.ElectionNotNeeded, 9: kerr.UnknownTopicOrPartition}
	check := func(when string, how kadm.ElectLeadersHow, leader error) {
		t.Helper()
		want[first] = leader
		got := s.elections(ctx, t, stays, how, one)
		for p, e := range want {
			if has, answered := got["t"][p]; !answered || has != e {
				t.Errorf("%s: partition %d is answered %v, want %v", when, p, has, e)
			}
		}
		if got["no"][0] != kerr.UnknownTopicOrPartition {
			t.Errorf("%s: a missing topic is answered %v", when, got["no"][0])
		}
	}
	check("the preferred one leads", kadm.ElectPreferredReplica, kerr.ElectionNotNeeded)
	s.brokers[gone].close()
	check("it has stopped", kadm.ElectPreferredReplica, kerr.PreferredLeaderNotAvailable)
	check("somebody leads", kadm.ElectLiveReplica, kerr.ElectionNotNeeded)
	s.again(t, gone)
	for _, p := range moved {
		s.inSync(t, stays, "t", p, 2)
	}
	got := s.elections(ctx, t, stays, kadm.ElectPreferredReplica, nil)
	if len(got) != 1 || len(got["t"]) != len(moved) {
		t.Errorf("partitions %v needed an election, answered: %v", moved, got)
	}
	for _, p := range moved {
		if err, answered := got["t"][p]; !answered || err != nil {
			t.Errorf("partition %d: answered %v, %v", p, answered, err)
		}
		if leader := s.brokers[stays].b.image().Topic("t").Partitions[p].Leader; leader != metadata.NodeID(gone+1) {
			t.Errorf("the broker that was asked shows %d as the leader of %d", leader, p)
		}
	}
	if got, err := kadm.NewClient(s.client(gone)).ElectLeaders(ctx, kadm.ElectPreferredReplica, nil); err != nil || len(got) != 0 {
		t.Errorf("nothing needed an election, answered: %v, %v", got, err)
	}
}

// preferred counts the partitions of a topic that their preferred broker leads, as broker i shows them.
func (s *split) preferred(i int, topic string) (n int) {
	for _, p := range s.brokers[i].b.image().Topic(topic).Partitions {
		if p.Leader == p.Preferred() {
			n++
		}
	}
	return n
}

func TestLeadershipsComeHomeAfterARestart(t *testing.T) {
	s := startSplit(t, 3, func(c *Config) { c.ImbalanceCheck = 50 * time.Millisecond })
	s.create(t, "t", 6)
	s.brokers[0].close()
	eventually(t, func() bool { return s.preferred(1, "t") == 4 }) // its two went to others
	s.again(t, 0)
	eventually(t, func() bool { return s.preferred(1, "t") == 6 })
	for n, p := range s.brokers[1].b.image().Topic("t").Partitions {
		if !slices.Contains(p.ISR, p.Leader) {
			t.Errorf("partition %d: %+v", n, p)
		}
	}
}

func TestLeadershipsStayWhereTheyAreUnlessTheyAreToComeHome(t *testing.T) {
	c := Defaults()
	c.LeaderRebalance = false
	if c.balanceInterval() != 0 {
		t.Error("auto.leader.rebalance.enable=false, and the controller looks all the same")
	}
}

func TestAnUncleanLeaderIsElectedOnRequestOnly(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.create(t, "t", 1)
	all := kadm.TopicsSet{"t": {0: {}}}
	s.brokers[1].close()
	s.inSync(t, 0, "t", 0, 1)
	s.brokers[0].close() // alone in the ISR
	s.again(t, 1)
	if got := s.elections(ctx, t, 1, kadm.ElectPreferredReplica, all); got["t"][0] != kerr.PreferredLeaderNotAvailable {
		t.Errorf("a preferred leader that lacks records: %v", got)
	}
	if p := s.brokers[1].b.image().Topic("t").Partitions[0]; p.Leader != metadata.NoNode {
		t.Fatalf("elected without being asked for: %+v", p)
	}
	if got := s.elections(ctx, t, 1, kadm.ElectLiveReplica, all); got["t"][0] != nil {
		t.Fatal(got)
	}
	if p := s.brokers[1].b.image().Topic("t").Partitions[0]; p.Leader != 2 || !slices.Equal(p.ISR, []metadata.NodeID{2}) {
		t.Errorf("%+v", p)
	}
	s.again(t, 0) // follows, whatever it had
	s.inSync(t, 1, "t", 0, 2)
}

func TestWithoutALiveReplicaNobodyIsElected(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	answer, err := s.client(0).Broker(1).Request(ctx, createRequest("lone", 2, 1, 10_000))
	if err != nil || answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != 0 {
		t.Fatal(answer, err)
	}
	s.brokers[1].close()
	got := s.elections(ctx, t, 0, kadm.ElectLiveReplica, nil)
	if len(got["lone"]) != 1 { // the other one has its leader
		t.Fatal(got)
	}
	for p, err := range got["lone"] {
		if err != kerr.EligibleLeadersNotAvailable {
			t.Errorf("partition %d: %v", p, err)
		}
	}
}

func TestElectionsOfEveryVersion(t *testing.T) {
	s := startSplit(t, 1)
	s.create(t, "t", 1)
	ask := func(version int16, kind int8) *kmsg.ElectLeadersResponse {
		q := kmsg.NewPtrElectLeadersRequest()
		q.Version, q.ElectionType = version, kind
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic, topic.Partitions = "t", []int32{0}
		q.Topics = append(q.Topics, topic)
		return s.brokers[0].raw(t).ask(q).(*kmsg.ElectLeadersResponse)
	}
	for version := range int16(3) {
		for kind := range int8(3) {
			part, whole := kerr.ElectionNotNeeded.Code, int16(0)
			if kind == 2 && version > 0 { // version 0 knows preferred leaders only
				part, whole = kerr.InvalidRequest.Code, kerr.InvalidRequest.Code
			}
			got := ask(version, kind)
			if got.ErrorCode != whole || len(got.Topics) != 1 || got.Topics[0].Partitions[0].ErrorCode != part {
				t.Errorf("version %d, election type %d: %+v", version, kind, got)
			}
		}
	}
	q := kmsg.NewPtrElectLeadersRequest()
	q.Version, q.Topics = 2, []kmsg.ElectLeadersRequestTopic{}
	if got := s.brokers[0].raw(t).ask(q).(*kmsg.ElectLeadersResponse); got.ErrorCode != 0 || len(got.Topics) != 0 {
		t.Errorf("of nothing: %+v", got)
	}
	s.controller.close()
	q.Topics, q.TimeoutMillis = nil, 300 // of everything
	if got := s.brokers[0].raw(t).ask(q).(*kmsg.ElectLeadersResponse); got.ErrorCode != kerr.RequestTimedOut.Code || len(got.Topics) != 0 {
		t.Errorf("without a controller: %+v", got)
	}
}
