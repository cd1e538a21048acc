package bubble

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/integration/memnet"
)

// silenced is a cluster of three nodes of which one is cut off from everybody, the clients too.
type silenced struct {
	c      *cluster
	f      *faults
	cl     *kgo.Client // has spoken to all three
	active int32       // the controller, before anything is cut
	victim int32       // leads the topic and coordinates the group
	began  time.Time
}

// controller asks who decides.
func (s *silenced) controller() int32 {
	q := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic, t.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
	q.Topics = append(q.Topics, t)
	r, err := q.RequestWith(context.Background(), s.cl)
	if err != nil || r.ErrorCode != 0 {
		s.c.t.Fatal(r, err)
	}
	return r.Topics[0].Partitions[0].LeaderID
}

// leading makes a cluster with a node that leads everything: the active controller, or another one.
func leading(t *testing.T, seed uint64, controller bool) *silenced {
	c := newCluster(t, three, seed, nil)
	c.net.SetLinks(memnet.Link{Latency: time.Millisecond}) // what is sent with the cut must not arrive at once
	c.start()
	s := &silenced{c: c, f: &faults{c: c}, cl: c.connect()}
	s.active = s.controller()
	s.victim = s.active
	if !controller {
		s.victim = s.active%3 + 1
	}
	adm := kadm.NewClient(s.cl)
	ctx := context.Background()
	if _, err := adm.CreateTopic(ctx, 1, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	_ = adm.FindGroupCoordinators(ctx, group) // makes the offsets topic
	for _, name := range []string{topic, "__consumer_offsets"} {
		var assign kadm.AlterPartitionAssignmentsReq
		assign.Assign(name, 0, []int32{s.victim, s.victim%3 + 1, (s.victim+1)%3 + 1})
		if _, err := adm.AlterPartitionAssignments(ctx, assign); err != nil {
			t.Fatal(err)
		}
		for s.leader(s.active, name) != s.victim {
			_, _ = adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{name: {0: {}}})
			time.Sleep(50 * time.Millisecond)
		}
	}
	time.Sleep(time.Second)
	return s
}

// cut cuts that node off.
func (s *silenced) cut() {
	s.began = time.Now()
	s.f.isolate(s.c.nodes[s.victim-1], true, true)
}

// silence makes such a cluster and cuts the node off.
func silence(t *testing.T, seed uint64, controller bool) *silenced {
	s := leading(t, seed, controller)
	s.cut()
	return s
}

func (s *silenced) end() {
	s.f.heal()
	s.cl.Close()
	s.c.end()
}

// told is what a node says of the topic and the brokers.
func (s *silenced) told(node int32, name string) (*kmsg.MetadataResponse, kmsg.MetadataResponseTopicPartition) {
	s.c.t.Helper()
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(name)}}
	raw, err := s.cl.Broker(int(node)).Request(context.Background(), q)
	if err != nil {
		s.c.t.Fatal(err)
	}
	r := raw.(*kmsg.MetadataResponse)
	return r, r.Topics[0].Partitions[0]
}

func (s *silenced) leader(node int32, name string) int32 {
	_, p := s.told(node, name)
	return p.Leader
}

// awaitLate waits until a node shows the victim to nobody, and says how long after it fell silent that was.
func (s *silenced) awaitLate(node int32) time.Duration {
	s.c.t.Helper()
	for {
		r, p := s.told(node, topic)
		silent := time.Since(s.began)
		switch {
		case p.Leader == s.victim && len(r.Brokers) == 3 && silent < 4*time.Second:
			time.Sleep(10 * time.Millisecond)
			continue
		case p.ErrorCode != kerr.LeaderNotAvailable.Code || p.Leader != -1 || len(r.Brokers) != 2:
			s.c.t.Fatalf("after %s node %d says: leader %d, %v, %d brokers", silent, node, p.Leader, kerr.ErrorForCode(p.ErrorCode), len(r.Brokers))
		}
		return silent
	}
}

// others are the nodes that can be reached.
func (s *silenced) others() []int32 { return []int32{s.victim%3 + 1, (s.victim+1)%3 + 1} }

// Half a session after its last heartbeat nobody is sent to a silent broker any more, and it is fenced no sooner than before.
func TestASilentBrokerIsNotShownToClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence(t, 1, false)
		defer s.end()
		for _, n := range s.others() {
			if took := s.awaitLate(n); took < 990*time.Millisecond || took > 1600*time.Millisecond {
				t.Errorf("node %d leaves it out after %s", n, took)
			}
		}
		s.checkOtherAnswers(s.others()[0])
		for s.leader(s.others()[0], topic) < 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(s.began); took < 2490*time.Millisecond || took > 3200*time.Millisecond {
			t.Errorf("it has a successor after %s", took)
		}
	})
}

// checkOtherAnswers asks a node whatever else tells where to go.
func (s *silenced) checkOtherAnswers(node int32) {
	ctx, at, t := context.Background(), s.cl.Broker(int(node)), s.c.t
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{group}
	find.Version = 4
	if raw, err := at.Request(ctx, find); err != nil || raw.(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode != kerr.CoordinatorNotAvailable.Code {
		t.Errorf("its group: %+v, %v", raw, err)
	}
	describe := kmsg.NewPtrDescribeClusterRequest()
	describe.EndpointType = 1
	if raw, err := at.Request(ctx, describe); err != nil || len(raw.(*kmsg.DescribeClusterResponse).Brokers) != 2 {
		t.Errorf("DescribeCluster: %+v, %v", raw, err)
	}
	describe.IncludeFencedBrokers = true
	if raw, err := at.Request(ctx, describe); err != nil || len(raw.(*kmsg.DescribeClusterResponse).Brokers) != 3 {
		t.Errorf("DescribeCluster of all: %+v, %v", raw, err)
	}
	pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
	pages.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: topic}}
	raw, err := at.Request(ctx, pages)
	if err != nil {
		t.Fatal(err)
	}
	p := raw.(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions[0]
	if p.ErrorCode != kerr.LeaderNotAvailable.Code || p.LeaderID != -1 || fmt.Sprint(p.OfflineReplicas) != fmt.Sprint([]int32{s.victim}) || len(p.ISR) != 3 {
		t.Errorf("DescribeTopicPartitions: %+v", p)
	}
}

// The successor of a controller that fell silent together with what it led has heard neither of them. It tells so in time for
// clients that have waited two seconds, and not before its own office is a sixth of a session old.
func TestASilentBrokerIsNotShownThoughItWasTheController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence(t, 2, true)
		defer s.end()
		for _, n := range s.others() {
			if took := s.awaitLate(n); took < 500*time.Millisecond || took > 1500*time.Millisecond {
				t.Errorf("node %d leaves it out after %s", n, took)
			}
		}
	})
}

// A broker that is late and speaks again is shown again, at once, and is still the leader.
func TestALateBrokerThatSpeaksIsShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence(t, 3, false)
		defer s.end()
		_, before := s.told(s.others()[0], topic)
		s.awaitLate(s.others()[0])
		s.f.heal()
		healed := time.Now()
		for _, n := range s.others() {
			for s.leader(n, topic) != s.victim {
				time.Sleep(10 * time.Millisecond)
			}
			if r, p := s.told(n, topic); len(r.Brokers) != 3 || p.LeaderEpoch != before.LeaderEpoch {
				t.Errorf("%d brokers, leader epoch %d, it was %d", len(r.Brokers), p.LeaderEpoch, before.LeaderEpoch)
			}
		}
		if took := time.Since(healed); took > time.Second {
			t.Errorf("it is shown again after %s", took)
		}
	})
}

// A node that is cut off from the controllers knows no more than its image: what it was told of others is forgotten.
func TestANodeThatIsCutOffForgetsWhoWasLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silence(t, 4, false)
		defer s.end()
		other := 6 - s.active - s.victim
		s.awaitLate(other)
		for _, n := range []int32{s.active, s.victim} {
			s.c.net.Cut(s.c.nodes[other-1].host, s.c.nodes[n-1].host)
		}
		time.Sleep(3100 * time.Millisecond)
		if r, p := s.told(other, topic); p.Leader != s.victim || len(r.Brokers) != 3 {
			t.Errorf("a node that nobody speaks to says: leader %d, %d brokers", p.Leader, len(r.Brokers))
		}
	})
}

// What was forwarded to a controller that fell silent is asked of its successor, and not only when its own time is over.
func TestAForwardedRequestDoesNotWaitForASilentController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := leading(t, 5, true)
		defer s.end()
		for n := range 8 { // over every connection that there may be
			s.create(fmt.Sprint("before", n))
		}
		s.cut()
		s.create("after")
		if took := time.Since(s.began); took > 1500*time.Millisecond {
			t.Errorf("answered after %s", took)
		}
	})
}

// create makes a topic by way of a node that is not the one that is silent.
func (s *silenced) create(name string) {
	s.c.t.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	nt := kmsg.NewCreateTopicsRequestTopic()
	nt.Topic, nt.NumPartitions, nt.ReplicationFactor = name, 1, 2
	q.Topics, q.TimeoutMillis = append(q.Topics, nt), 20_000
	raw, err := s.cl.Broker(int(s.others()[0])).Request(context.Background(), q)
	if err != nil {
		s.c.t.Fatal(err)
	}
	if code := raw.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		s.c.t.Error(name, kerr.ErrorForCode(code))
	}
}

// A producer that runs, and gives up on an answer after two seconds, is acknowledged by the next leader soon: it is not sent to
// the silent one again, whoever of the others it asks.
func TestARunningProducerFindsTheNextLeader(t *testing.T) {
	each(t, 4, func(t *testing.T, seed uint64) {
		for _, controller := range []bool{false, true} {
			s := leading(t, seed, controller)
			p := s.c.connect(kgo.DefaultProduceTopic(topic))
			stop, acked := make(chan struct{}), make(chan time.Time, 100_000)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					p.Produce(context.Background(), kgo.StringRecord("x"), func(_ *kgo.Record, err error) {
						if err == nil {
							acked <- time.Now()
						} else if !errors.Is(err, kgo.ErrClientClosed) {
							t.Error(err)
						}
					})
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
				}
			}()
			time.Sleep(time.Second)
			s.cut()
			last, longest := time.Now(), time.Duration(0)
			for time.Since(s.began) < 20*time.Second {
				at := <-acked
				longest, last = max(longest, at.Sub(last)), at
			}
			close(stop)
			<-ended
			if longest > 6*time.Second {
				t.Errorf("controller %v: acknowledged after %s", controller, longest)
			}
			t.Logf("controller %v: %s", controller, longest)
			p.Close()
			s.end()
		}
	})
}
