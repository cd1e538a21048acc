//go:build process

package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"cordwood/integration/abuse"
)

// loaded is a cluster with a topic of one partition that is written to until stop.
type loaded struct {
	*Cluster
	load *Load
	adm  *kadm.Client
	cl   *kgo.Client
	stop func()
}

func startLoaded(t *testing.T, c *Cluster) *loaded {
	t.Helper()
	c.Start()
	l := &loaded{Cluster: c, load: NewLoad("loaded"), cl: c.Client(LoadOptions()...)}
	l.adm = kadm.NewClient(l.cl)
	for _, topic := range []string{"loaded", "victim"} {
		if r, err := l.adm.CreateTopic(Context(t, time.Minute), 1, 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}, topic); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.load.Run(ctx, l.cl) }()
	l.stop = func() { cancel(); <-done }
	t.Cleanup(l.stop)
	l.grows(t)
	return l
}

// grows waits until some hundred records more are acknowledged.
func (l *loaded) grows(t *testing.T) {
	t.Helper()
	was, _ := l.load.Acked()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if now, _ := l.load.Acked(); now > was+500 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is acknowledged any more")
		}
	}
}

// judge stops the load: nothing of it may be lost, nobody may have left an ISR or died.
func (l *loaded) judge(t *testing.T) {
	t.Helper()
	topics, err := l.adm.ListTopics(Context(t, time.Minute), "loaded", "victim")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"loaded", "victim"} {
		if isr := topics[name].Partitions[0].ISR; len(isr) != 3 {
			t.Errorf("%s: in sync are %v", name, isr)
		}
	}
	l.stop()
	if err := l.cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := l.load.Check(t, l.Nodes[0])
	t.Log(r)
	if _, failed := l.load.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
	for _, n := range l.Nodes {
		noPanic(t, n)
	}
}

// office is who leads the quorum, and in which term.
func (l *loaded) office(t *testing.T) (leader, term int32) {
	t.Helper()
	q := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
	q.Topics = append(q.Topics, topic)
	r, err := q.RequestWith(Context(t, time.Minute), l.cl)
	if err != nil || r.ErrorCode != 0 {
		t.Fatal(err, r)
	}
	p := r.Topics[0].Partitions[0]
	return p.LeaderID, p.LeaderEpoch
}

// What only brokers and controllers say to each other, said by others (bad inputs 115, 116, 119, 121, 123), and topics that
// cannot be (140), move nothing in a cluster that works meanwhile.
func TestWhatOnlyBrokersSayMovesNoCluster(t *testing.T) {
	c := NewCluster(t, 3)
	for i, n := range c.Nodes { // clients have listeners of their own here
		n.args = append(n.args, "--override", "listeners=PLAINTEXT://127.0.0.1:0,AMONG://127.0.0.1:0,CONTROLLER://"+c.controllers[i],
			"--override", "inter.broker.listener.name=AMONG", "--override", "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,AMONG:PLAINTEXT,CONTROLLER:PLAINTEXT")
	}
	l := startLoaded(t, c)
	leader, term := l.office(t)
	known, err := l.adm.Metadata(Context(t, time.Minute), "victim")
	if err != nil {
		t.Fatal(err)
	}
	g := &abuse.Ground{Addr: c.Nodes[0].Addr, Internal: c.controllers[leader-1], MaxFrame: 1 << 20, ClusterID: known.Cluster, Victim: known.Topics["victim"].ID}
	played := map[int]int{}
	for range 5 {
		for _, k := range abuse.Cases(g) {
			if !slices.Contains([]int{115, 116, 119, 121, 123, 140}, k.Number) {
				continue
			}
			if err := g.Play(k); err != nil {
				t.Error(err)
			}
			played[k.Number]++
		}
		l.grows(t)
	}
	t.Logf("played %v", played)
	if now, at := l.office(t); now != leader || at != term {
		t.Errorf("node %d led in term %d, now node %d leads in term %d", leader, term, now, at)
	}
	l.judge(t)
}

// Bad input 145: clients take all descriptors of a node. The quorum and the replicas do not feel it, and clients are served
// as soon as there are descriptors again.
func TestClientsThatTakeAllDescriptorsStarveNoQuorum(t *testing.T) {
	l := startLoaded(t, NewCluster(t, 3))
	leader := l.Leader(Context(t, time.Minute), l.adm, "loaded", -1)
	node, controllers := l.Nodes[leader-1], l.controllers[leader-1]
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", node.PID()))
	if err != nil {
		t.Fatal(err)
	}
	highest := uint64(len(open) + 20)
	if err := unix.Prlimit(node.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: highest, Max: highest}, nil); err != nil {
		t.Fatal(err)
	}
	var flood []net.Conn
	for range 200 {
		conn, err := net.DialTimeout("tcp", node.Addr, 5*time.Second)
		if err != nil {
			break // the queue of the kernel is full
		}
		flood = append(flood, conn)
	}
	if err := serves(node.Addr, time.Second); err == nil {
		t.Error("there are descriptors left")
	}
	for range 8 { // each holds one
		conn, err := abuse.Dial(controllers)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Greet(); err != nil {
			t.Errorf("the internal listener is starved: %v", err)
		}
	}
	l.grows(t)
	for _, conn := range flood {
		_ = conn.Close()
	}
	if err := serves(node.Addr, 20*time.Second); err != nil {
		t.Errorf("after the flood: %v\n%s", err, node.Log())
	}
	l.judge(t)
}

// serves says whether a new client is answered within a time.
func serves(addr string, most time.Duration) error {
	conn, err := abuse.Dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(most)); err != nil {
		return err
	}
	return conn.Alive()
}
