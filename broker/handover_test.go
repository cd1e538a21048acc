package broker

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
	"cordwood/protocol"
)

// muffled is a dialer whose connections keep back requests of some keys: a broker that cannot be told, or cannot speak.
type muffled struct {
	mu    sync.Mutex
	keys  []protocol.Key
	moved chan struct{} // closed when keys changes
	held  atomic.Int64  // times the feed was kept back
}

func newMuffled() *muffled { return &muffled{moved: make(chan struct{})} }

// hold keeps back requests of these keys only, from now on.
func (m *muffled) hold(keys ...protocol.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = keys
	close(m.moved)
	m.moved = make(chan struct{})
}

func (m *muffled) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &muffledConn{Conn: c, m: m, closed: make(chan struct{})}, nil
}

type muffledConn struct {
	net.Conn
	m      *muffled
	once   sync.Once
	closed chan struct{}
}

// Write gets whole requests.
func (c *muffledConn) Write(b []byte) (int, error) {
	for len(b) >= 6 {
		c.m.mu.Lock()
		held, moved := slices.Contains(c.m.keys, protocol.Key(binary.BigEndian.Uint16(b[4:]))), c.m.moved
		c.m.mu.Unlock()
		if !held {
			break
		}
		if protocol.Key(binary.BigEndian.Uint16(b[4:])) == protocol.FetchMetadata {
			c.m.held.Add(1)
		}
		select {
		case <-moved:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

func (c *muffledConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// handed is two brokers and a topic, of which the first broker hears and says what its muffled lets it.
type handed struct {
	*split
	m       *muffled
	clients [2]*kgo.Client
}

func handOver(t *testing.T, session, heartbeat time.Duration) *handed {
	t.Helper()
	set := func(c *Config) { c.SessionTimeout, c.HeartbeatInterval = session, heartbeat }
	h := &handed{split: startSplit(t, 0, set), m: newMuffled()}
	for i := range 2 {
		h.brokers = append(h.brokers, nil)
		h.start(t, i, t.TempDir(), set, func(c *Config) {
			if i == 0 {
				c.Dial = h.m.dial
			}
		})
		h.clients[i] = h.client(i)
	}
	h.create(t, "t", 2)
	h.inSync(t, 0, "t", h.led(), 2)
	return h
}

// deafen keeps everything new from the first broker, and requests of some more keys from others.
func (h *handed) deafen(t *testing.T, more ...protocol.Key) {
	t.Helper()
	h.m.hold(append(more, protocol.FetchMetadata)...)
	eventually(t, func() bool { return h.m.held.Load() > 0 }) // no question is under way any more
}

// led is the partition that the first broker leads at the beginning.
func (h *handed) led() int32 {
	for n, p := range h.controller.b.image().Topic("t").Partitions {
		if p.Preferred() == 1 {
			return int32(n)
		}
	}
	return -1
}

// serves asks a broker for the newest offset of a partition.
func (h *handed) serves(t *testing.T, i int, partition int32) bool {
	t.Helper()
	q := kmsg.NewPtrListOffsetsRequest()
	q.Version, q.ReplicaID = 7, -1
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rt.Topic, rp.Partition, rp.Timestamp = "t", partition, -1
	rt.Partitions = append(rt.Partitions, rp)
	q.Topics = append(q.Topics, rt)
	answer, err := h.clients[i].Broker(i+1).Request(testContext(t), q)
	if err != nil {
		return false // it has ended
	}
	switch code := answer.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode; code {
	case 0:
		return true
	case kerr.NotLeaderForPartition.Code, kerr.OffsetNotAvailable.Code:
	default:
		t.Errorf("broker %d: %v", i+1, kerr.ErrorForCode(code))
	}
	return false
}

// oneByOne watches until the second broker serves the partition: the first one must have stopped before.
func (h *handed) oneByOne(t *testing.T, partition int32) {
	t.Helper()
	eventually(t, func() bool { return h.controller.b.image().Topic("t").Partitions[partition].Leader == 2 })
	both := 0
	eventually(t, func() bool {
		if !h.serves(t, 1, partition) {
			return false
		}
		if h.serves(t, 0, partition) { // asked after the other one has answered
			both++
		}
		return true
	})
	if both > 0 {
		t.Error("two leaders serve the partition")
	}
}

// reassign asks the second broker to give the partition other replicas.
func (h *handed) reassign(t *testing.T, partition int32, replicas ...int32) {
	t.Helper()
	q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	topic, part := kmsg.NewAlterPartitionAssignmentsRequestTopic(), kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	part.Partition, part.Replicas = partition, replicas
	topic.Topic, topic.Partitions = "t", append(topic.Partitions, part)
	q.Topics = append(q.Topics, topic)
	answer, err := h.clients[1].Broker(2).Request(testContext(t), q)
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.(*kmsg.AlterPartitionAssignmentsResponse); got.ErrorCode != 0 || got.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Fatalf("%+v", got)
	}
}

// preferSecond makes the second broker the preferred leader of the partition.
func (h *handed) preferSecond(t *testing.T, partition int32) {
	t.Helper()
	h.reassign(t, partition, 2, 1)
	eventually(t, func() bool { return h.controller.b.image().Topic("t").Partitions[partition].Preferred() == 2 })
}

// R18: who is elected on request begins when its predecessor has stopped, whose heartbeats go on.
func TestZ36ALeaderElectedOnRequestBeginsWhenTheFormerOneHasStopped(t *testing.T) {
	h := handOver(t, time.Second, 50*time.Millisecond)
	p := h.led()
	h.preferSecond(t, p)
	h.deafen(t)
	if got := h.elections(testContext(t), t, 1, kadm.ElectPreferredReplica, kadm.TopicsSet{"t": {p: {}}}); got["t"][p] != nil {
		t.Fatal(got)
	}
	h.oneByOne(t, p)
	h.m.hold()
	eventually(t, func() bool { return h.brokers[0].b.image().Topic("t").Partitions[p].Leader == 2 })
	h.inSync(t, 0, "t", p, 2)
}

// A leadership that goes over in good order does not wait for a lease.
func TestAFormerLeaderThatHearsOfItStandsDownAtOnce(t *testing.T) {
	h := handOver(t, time.Minute, time.Second) // the lease is longer than anybody here waits
	p := h.led()
	h.preferSecond(t, p)
	if got := h.elections(testContext(t), t, 1, kadm.ElectPreferredReplica, kadm.TopicsSet{"t": {p: {}}}); got["t"][p] != nil {
		t.Fatal(got)
	}
	h.oneByOne(t, p)
}

func TestZ36AfterAReassignmentTheNewLeaderBeginsWhenTheFormerOneHasStopped(t *testing.T) {
	h := handOver(t, time.Second, 50*time.Millisecond)
	p := h.led()
	h.deafen(t)
	h.reassign(t, p, 2)
	h.oneByOne(t, p)
}

func TestZ36WhoLeadsAfterABrokerWasUnregisteredBeginsWhenThatHasStopped(t *testing.T) {
	h := handOver(t, time.Second, 50*time.Millisecond)
	p := h.led()
	h.deafen(t, protocol.BrokerHeartbeat) // it learns of it by neither
	if err := h.unregister(testContext(t), t, 1, 1); err != nil {
		t.Fatal(err)
	}
	h.oneByOne(t, p)
	h.m.hold()
	select {
	case <-h.brokers[0].done:
		h.brokers[0].stop()
		h.brokers[0].stop = nil
	case <-testContext(t).Done():
		t.Fatal("it goes on")
	}
}

// A broker that was silent for longer than its session speaks again before it hears again: the answers to its heartbeats
// are no leave to serve what is led by others by now.
func TestZ36AFencedLeaderServesAgainOnlyWhenItKnowsWhatItLost(t *testing.T) {
	h := handOver(t, time.Second, 50*time.Millisecond)
	p := h.led()
	h.deafen(t, protocol.BrokerHeartbeat)
	fenced := func() bool { return h.controller.b.image().Broker(1).Fenced }
	eventually(t, fenced)
	h.m.hold(protocol.FetchMetadata)
	for range 50 {
		if h.serves(t, 0, p) {
			t.Fatal("it serves on the word of the controller that fenced it")
		}
		<-time.After(10 * time.Millisecond) // several heartbeats
	}
	if !fenced() {
		t.Error("it is let in before it knows that it was fenced")
	}
	h.m.hold()
	h.inSync(t, 1, "t", p, 2)
}

func TestWhoMayServeBesideANewLeader(t *testing.T) {
	at := func(leader metadata.NodeID, epoch int32) *metadata.Partition {
		return &metadata.Partition{Replicas: []metadata.NodeID{1, 2, 3}, ISR: []metadata.NodeID{1, 2, 3}, Leader: leader, LeaderEpoch: epoch}
	}
	before := imageOf(t, 1, 2, 3, 4)
	change := func(changes ...metadata.Change) *metadata.Image {
		img, err := before.With(before.Index()+1, append([]metadata.Change{metadata.ProducerIDsAllocated{Next: 1}}, changes...))
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	up := func(id metadata.NodeID) metadata.Change {
		return metadata.BrokerUnfenced{ID: id, Epoch: before.Broker(id).Epoch}
	}
	for id := range metadata.NodeID(4) {
		before = change(up(id + 1))
	}
	fenced := change(metadata.BrokerFenced{ID: 2, Epoch: before.Broker(2).Epoch})
	leaving := change(metadata.BrokerShuttingDown{ID: 2, Epoch: before.Broker(2).Epoch})
	gone := change(metadata.BrokerUnregistered{ID: 2, Epoch: before.Broker(2).Epoch})
	topic := &metadata.Topic{ID: metadata.TopicID{1}, Name: "t"}
	for name, c := range map[string]struct {
		old, new *metadata.Partition
		img      *metadata.Image
		want     []metadata.NodeID
	}{
		"who led it before":         {at(2, 4), at(1, 5), change(), []metadata.NodeID{2}},
		"nobody, it led itself":     {at(1, 4), at(1, 5), change(), nil},
		"nobody, nothing changed":   {at(1, 5), at(1, 5), change(), nil},
		"nobody, it is new":         {nil, at(1, 0), change(), nil},
		"nobody, another leads now": {at(2, 4), at(3, 5), change(), nil},
		"nobody, it was fenced":     {at(2, 4), at(1, 5), fenced, nil},
		"nobody, it shuts down":     {at(2, 4), at(1, 5), leaving, nil},
		"who was unregistered":      {at(2, 4), at(1, 5), gone, []metadata.NodeID{2}},
		"who was, without a leader": {at(metadata.NoNode, 5), at(1, 6), gone, []metadata.NodeID{2}},
		"nobody led it":             {at(metadata.NoNode, 4), at(1, 5), change(), nil},
		"everybody, epochs skipped": {at(2, 4), at(1, 6), change(), []metadata.NodeID{2, 3, 4}},
	} {
		h := newHandover(newLease(LeaseStrict, time.Second))
		diff := metadata.Compare(before, c.img)
		diff.Partitions = []metadata.PartitionDiff{{Topic: topic, Old: c.old, New: c.new}}
		var got []metadata.NodeID
		if g := h.see(before, c.img, &diff, 1, time.Now()); g != nil {
			got = g.former
			slices.Sort(got)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestAQuestionAboutFormerLeadersIsJudged(t *testing.T) {
	s := startSplit(t, 1)
	cluster, index := s.controller.b.clusterID(), s.controller.b.image().Index()
	for name, c := range map[string]struct {
		q      stoodDownRequest
		code   int16
		behind int
	}{
		"who knows":            {stoodDownRequest{cluster, 1, 1, []metadata.NodeID{1}}, 0, 0},
		"who was never heard":  {stoodDownRequest{cluster, 1, 1, []metadata.NodeID{7}}, 0, 1},
		"about the future":     {stoodDownRequest{cluster, 1, index + 1000, []metadata.NodeID{1}}, kerr.NotController.Code, 0},
		"of another cluster":   {stoodDownRequest{"other", 1, 1, nil}, kerr.InconsistentClusterID.Code, 0},
		"about nobody, though": {stoodDownRequest{cluster, 1, 1, nil}, 0, 0},
	} {
		var r stoodDownResponse
		s.controller.internal(t, protocol.StoodDown, c.q, &r)
		if r.Code != c.code || len(r.Behind) != c.behind {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
