//go:build process

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// command runs `cordwood cluster` against the nodes with the given numbers.
func (c *Cluster) command(nodes []int, args ...string) (code int, out, errs string) {
	c.t.Helper()
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, c.Nodes[n-1].Addr)
	}
	var o, e bytes.Buffer
	cmd := exec.CommandContext(Context(c.t, 3*time.Minute), Binary(c.t), append([]string{"cluster", "-b", strings.Join(addrs, ",")}, args...)...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// wants runs a command that must end with the code and say all of what is wanted.
func (c *Cluster) wants(code int, nodes []int, args []string, wanted ...string) {
	c.t.Helper()
	got, out, errs := c.command(nodes, args...)
	for _, w := range wanted {
		if !strings.Contains(out+errs, w) {
			c.t.Errorf("%v: no %q in\n%s%s", args, w, out, errs)
		}
	}
	if got != code {
		c.t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, out, errs)
	}
}

// An operator restarts one node after the other, each when safe-to-stop says so; a producer with default settings sees
// nothing of it.
func TestARollingRestartCausesNoProduceError(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	adm := kadm.NewClient(c.Client())
	if r, err := adm.CreateTopic(Context(t, time.Minute), 6, 3, nil, "rolled"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithCancel(context.Background())
	acknowledged, slowest, failed, ended := 0, time.Duration(0), []error{}, make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ctx.Err() == nil; i++ {
			sent := time.Now()
			results := cl.ProduceSync(context.Background(), &kgo.Record{Topic: "rolled", Key: fmt.Append(nil, i), Value: []byte("v")})
			if err := results.FirstErr(); err != nil {
				failed = append(failed, err)
			} else {
				acknowledged++
				slowest = max(slowest, time.Since(sent))
			}
		}
	}()
	for n := range c.Nodes {
		others := []int{(n+1)%3 + 1, (n+2)%3 + 1}
		c.wants(0, others, []string{"safe-to-stop", fmt.Sprint(n + 1), "--wait", "60s"}, "safe to stop")
		if code := c.Nodes[n].Stop(); code != 0 {
			t.Errorf("exit code %d\n%s", code, c.Nodes[n].Log())
		}
		c.wants(1, others, []string{"safe-to-stop", fmt.Sprint(others[0])}, "below min.insync.replicas", "no majority", fmt.Sprintf("start broker %d", n+1))
		c.Nodes[n].Start()
	}
	c.wants(0, []int{1, 2, 3}, []string{"health", "--wait", "60s"}, "state  healthy")
	c.wants(0, []int{1, 2, 3}, []string{"status"}, "3 of 3 live", "under-replicated  0")
	cancel()
	<-ended
	t.Logf("%d records were acknowledged, the slowest after %v", acknowledged, slowest)
	if len(failed) > 0 || acknowledged == 0 {
		t.Errorf("%d produce errors, the first: %v", len(failed), failed)
	}
}

// A broker dies; health tells, its replicas are made anew elsewhere, and it is forgotten.
func TestALostBrokerIsDecommissioned(t *testing.T) {
	c := NewCluster(t, 4)
	c.Start()
	adm := kadm.NewClient(c.Client())
	for topic, partitions := range map[string]int32{"t": 8, "loaded": 1} {
		if r, err := adm.CreateTopic(Context(t, time.Minute), partitions, 2, nil, topic); err != nil || r.Err != nil {
			t.Fatal(err, r.Err)
		}
	}
	l := NewLoad("loaded")
	cl := c.Client(LoadOptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()
	alive := []int{1, 2, 3}
	c.wants(0, alive, []string{"health", "--wait", "60s"}, "state  healthy")
	c.Nodes[3].Kill()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // until the controllers miss it
		if _, out, _ := c.command(alive, "health"); strings.Contains(out, "broker-down") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("broker 4 is not missed")
		}
	}
	c.wants(1, alive, []string{"health"}, "state  degraded", "under-replicated", "start broker 4", "cordwood cluster decommission 4")
	c.wants(0, alive, []string{"decommission", "4", "--dry-run"}, "FROM")
	code, out, errs := c.command(alive, "decommission", "4", "--at-once", "3", "--timeout", "2m")
	t.Logf("%s%s", out, errs)
	forgotten := code == 0 && strings.Contains(out, "unregistered  broker 4")
	tooOld := code == 1 && strings.Contains(errs, "not every broker serves UnregisterBroker (key 64); upgrade them")
	if !strings.Contains(out, "moved  t-") || !forgotten && !tooOld {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(out, "node 4 is no controller any more; there are 3") {
		t.Error("the dead controller is still counted")
	}
	c.wants(0, alive, []string{"health", "--wait", "60s"}, "state  healthy")
	topics, err := adm.ListTopics(Context(t, time.Minute), "t")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range topics["t"].Partitions.Sorted() {
		if len(p.Replicas) != 2 || len(p.ISR) != 2 || strings.Contains(fmt.Sprint(p.Replicas), "4") {
			t.Errorf("%+v", p)
		}
	}
	cancel()
	<-done
	if err := cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := l.Check(t, c.Nodes[0])
	t.Log(r)
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
}

// reassign asks one broker, which forwards it: whom clients take for the controller may be the one that hangs.
func (c *Cluster) reassign(topic string, replicas []int32, broker int) {
	c.t.Helper()
	q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	move := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	move.Topic, move.Partitions = topic, []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Replicas: replicas}}
	q.Topics = append(q.Topics, move)
	raw, err := c.Nodes[broker-1].Client().Broker(broker).RetriableRequest(Context(c.t, time.Minute), q)
	if err != nil {
		c.t.Fatal(err)
	}
	r := raw.(*kmsg.AlterPartitionAssignmentsResponse)
	if r.ErrorCode != 0 || len(r.Topics) != 1 || r.Topics[0].Partitions[0].ErrorCode != 0 {
		c.t.Fatalf("%+v", r)
	}
}

// A move to a broker that hangs is stuck, says why, and can be undone.
func TestAStuckMoveSaysWhyAndIsUndone(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	adm := kadm.NewClient(c.Client())
	if r, err := adm.CreateTopic(Context(t, time.Minute), 1, 1, nil, "t"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	leader := int(c.Leader(Context(t, time.Minute), adm, "t", -1))
	target, other := leader%3+1, (leader+1)%3+1
	c.wants(0, []int{1, 2, 3}, []string{"health", "--wait", "60s"})
	// The quorum's leader must answer: the other one hangs then.
	if _, out, _ := c.command([]int{leader}, "quorum", "--format", "json"); strings.Contains(out, fmt.Sprintf(`"leader": %d`, target)) {
		target, other = other, target
	}
	// It hangs, and the controllers do not know yet: they take it for a replica's new place.
	c.Nodes[target-1].Pause()
	c.reassign("t", []int32{int32(target)}, leader)
	alive := []int{leader, other}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		_, out, errs := c.command(alive, "reassign", "list")
		if strings.Contains(out, fmt.Sprintf("broker %d is down; start it", target)) {
			t.Log(out)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody says why the move is stuck\n%s%s", out, errs)
		}
	}
	c.wants(1, alive, []string{"reassign", "wait", "--timeout", "1s"}, "not done after 1s", fmt.Sprintf("t-0  %d -> %d  copying", leader, target), "stuck: ")
	c.wants(0, alive, []string{"reassign", "--cancel"}, "cancelled  t-0")
	c.wants(0, alive, []string{"reassign", "wait"}, "0 of 0 partitions moved")
	c.Nodes[target-1].Resume()
	c.wants(0, []int{1, 2, 3}, []string{"health", "--wait", "60s"}, "state  healthy")
}
