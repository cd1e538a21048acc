package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// twoDirs is a node with two directories and a topic "t" with a record in the first or second; it says in which, and the
// other one.
func twoDirs(t *testing.T) (n *node, in, other string) {
	a, b := t.TempDir(), t.TempDir()
	n = startNode(t, a, func(c *Config) { c.LogDirs = append(c.LogDirs, b) })
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("good")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if n.b.partitions.Lookup([]byte("t"), 0).Describe().Dir == a {
		return n, a, b
	}
	return n, b, a
}

func alterDirs(version int16, dirs ...string) *kmsg.AlterReplicaLogDirsRequest {
	q := kmsg.NewPtrAlterReplicaLogDirsRequest()
	q.Version = version
	for _, dir := range dirs {
		d := kmsg.NewAlterReplicaLogDirsRequestDir()
		d.Dir = dir
		t := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		t.Topic, t.Partitions = "t", []int32{0}
		d.Topics = append(d.Topics, t)
		q.Dirs = append(q.Dirs, d)
	}
	return q
}

func TestAReplicaIsMovedToAnotherDirectory(t *testing.T) {
	n, in, other := twoDirs(t)
	p := n.b.partitions.Lookup([]byte("t"), 0)
	rate := func(r string) {
		t.Helper()
		set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "replica.alter.log.dirs.io.max.bytes.per.second", Value: &r}}
		if _, err := kadm.NewClient(n.client()).AlterBrokerConfigs(testContext(t), set, 1); err != nil {
			t.Fatal(err)
		}
	}
	rate("0")
	for _, version := range []int16{1, 2} {
		resp := n.raw(t).ask(alterDirs(version, other)).(*kmsg.AlterReplicaLogDirsResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("%+v", resp)
		}
	}
	describe := func(dir string) kmsg.DescribeLogDirsResponseDirTopicPartition {
		t.Helper()
		q := kmsg.NewPtrDescribeLogDirsRequest()
		q.Version = 4
		for _, d := range n.raw(t).ask(q).(*kmsg.DescribeLogDirsResponse).Dirs {
			for _, topic := range d.Topics {
				if d.Dir == dir && topic.Topic == "t" {
					return topic.Partitions[0]
				}
			}
		}
		return kmsg.DescribeLogDirsResponseDirTopicPartition{Partition: -1}
	}
	if now, future := describe(in), describe(other); now.IsFuture || now.Size == 0 || !future.IsFuture || future.Size != 0 || future.OffsetLag != 1 {
		t.Errorf("%+v, %+v", now, future)
	}
	rate("1000000")
	eventually(t, func() bool { return p.Describe().Dir == other })
	if now, future := describe(other), describe(in); now.IsFuture || now.Size == 0 || future.Partition != -1 {
		t.Errorf("%+v, %+v", now, future)
	}
	id := n.b.dirs[0].id
	if n.b.dirs[1].path == other {
		id = n.b.dirs[1].id
	}
	eventually(t, func() bool { return n.b.image().Topic("t").Partition(0).Dir(1) == id }) // the controller knows
	n.unharmed(t, 1)
}

func TestBadMovesBetweenDirectories(t *testing.T) {
	n, in, other := twoDirs(t)
	code := func(q *kmsg.AlterReplicaLogDirsRequest) int16 {
		t.Helper()
		resp := n.raw(t).ask(q).(*kmsg.AlterReplicaLogDirsResponse)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			t.Fatalf("%+v", resp)
		}
		return resp.Topics[0].Partitions[0].ErrorCode
	}
	for _, c := range []struct {
		dirs []string
		want int16
	}{
		{[]string{"/nowhere"}, kerr.LogDirNotFound.Code}, {[]string{""}, kerr.LogDirNotFound.Code}, {[]string{in + "/t-0"}, kerr.LogDirNotFound.Code},
		{[]string{other, other}, kerr.InvalidRequest.Code}, {[]string{other, in}, kerr.InvalidRequest.Code}, {[]string{in}, 0}, {[]string{in + "/"}, 0},
	} {
		if got := code(alterDirs(2, c.dirs...)); got != c.want {
			t.Errorf("to %q: %v", c.dirs, kerr.ErrorForCode(got))
		}
	}
	huge := alterDirs(2, other)
	huge.Dirs[0].Topics[0].Topic = "none"
	huge.Dirs[0].Topics[0].Partitions = nil
	for i := range int32(100_000) {
		huge.Dirs[0].Topics[0].Partitions = append(huge.Dirs[0].Topics[0].Partitions, i-50_000)
	}
	resp := n.raw(t).ask(huge).(*kmsg.AlterReplicaLogDirsResponse)
	if len(resp.Topics[0].Partitions) != 100_000 || resp.Topics[0].Partitions[99_999].ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("%d answers", len(resp.Topics[0].Partitions))
	}
	empty := kmsg.NewPtrAlterReplicaLogDirsRequest()
	empty.Version = 2
	if resp := n.raw(t).ask(empty).(*kmsg.AlterReplicaLogDirsResponse); len(resp.Topics) != 0 {
		t.Errorf("%+v", resp)
	}
	if p := n.b.partitions.Lookup([]byte("t"), 0); p.Describe().Dir != in {
		t.Error("it was moved")
	}
	n.unharmed(t, 1)
}

// A broker of several directories tells a controller in another process where its replicas went.
func TestTheControllerKnowsWhereReplicasHaveMoved(t *testing.T) {
	s := startSplit(t, 1)
	n := startNode(t, t.TempDir(), func(c *Config) {
		c.HTTPAddr, c.HeartbeatInterval, c.SessionTimeout = "", 100*time.Millisecond, time.Second
		c.NodeID, c.Roles, c.BootstrapServers = 2, []string{"broker"}, []string{s.controller.b.Addrs().Internal}
		c.Listeners = c.Listeners[:1]
		c.LogDirs = append(c.LogDirs, t.TempDir())
	})
	s.brokers = append(s.brokers, n)
	s.create(t, "t", 4)
	moved := 0
	for i := range int32(4) {
		p := n.b.partitions.Lookup([]byte("t"), i)
		if p == nil {
			continue
		}
		moved++
		to := n.b.dirs[0]
		if p.Describe().Dir == to.path {
			to = n.b.dirs[1]
		}
		if err := n.b.partitions.Move(testContext(t), "t", i, to.path); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return s.controller.b.image().Topic("t").Partition(i).Dir(2) == to.id })
	}
	if moved == 0 {
		t.Error("broker 2 has no replica")
	}
}
