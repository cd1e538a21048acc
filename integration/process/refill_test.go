//go:build process

package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// newSplit prepares one node that is a controller only and n that are brokers only; the cluster's nodes are the brokers.
func newSplit(t *testing.T, n int) *Cluster {
	t.Helper()
	dir, addrs := t.TempDir(), freeAddrs(t, n+1)
	controller := New(t, filepath.Join(dir, "controller"), "--override", "node.id=100", "--override", "process.roles=controller",
		"--override", "controller.quorum.voters=100@"+addrs[n], "--override", "listeners=CONTROLLER://"+addrs[n])
	controller.Start()
	c := &Cluster{t: t}
	for i := range n {
		c.Nodes = append(c.Nodes, New(t, filepath.Join(dir, fmt.Sprint(i+1)), "--override", fmt.Sprintf("node.id=%d", i+1), "--override", "process.roles=broker",
			"--override", "controller.quorum.bootstrap.servers="+addrs[n], "--override", "listeners=PLAINTEXT://"+addrs[i]))
	}
	return c
}

// Two nodes are given their disks of last week, and the third one has records that were committed since: it stops, health says
// so, and it is made anew when the operator says so.
func TestAReplicaWhoseLeaderLacksItsRecordsIsMadeAnew(t *testing.T) {
	c := newSplit(t, 3)
	c.Start()
	ctx := Context(t, 2*time.Minute)
	if _, err := kadm.NewClient(c.Client()).CreateTopic(ctx, 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	first := int(c.Leader(ctx, kadm.NewClient(c.Client()), "t", -1))
	second, third := first%3+1, (first+1)%3+1
	all := []int{1, 2, 3}
	healthy := func() { t.Helper(); c.wants(0, all, []string{"health", "--wait", "60s"}, "state  healthy") }
	produce := func(n int) {
		t.Helper()
		cl := c.Client(kgo.DefaultProduceTopic("t"))
		defer cl.Close()
		for i := range n {
			if err := cl.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := func() {
		t.Helper()
		for _, n := range []int{first, second, third} {
			if code := c.Nodes[n-1].Stop(); code != 0 {
				t.Fatalf("exit code %d\n%s", code, c.Nodes[n-1].Log())
			}
		}
	}
	healthy()
	produce(5)
	stop()
	disks := map[int]string{}
	for _, n := range []int{second, third} {
		disks[n] = filepath.Join(t.TempDir(), "disk")
		mustDo(t, os.CopyFS(disks[n], os.DirFS(c.Nodes[n-1].Dir)))
	}
	c.Start()
	healthy()
	produce(5)
	stop()
	for n, disk := range disks {
		mustDo(t, os.RemoveAll(c.Nodes[n-1].Dir))
		mustDo(t, os.CopyFS(c.Nodes[n-1].Dir, os.DirFS(disk)))
		c.Nodes[n-1].Start()
	}
	leads := c.Leader(ctx, kadm.NewClient(c.Nodes[second-1].Client()), "t", int32(first))
	t.Log("leader: ", leads)
	produce(3)
	c.Nodes[first-1].Start()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, out, errs := c.command(all, "health")
		if strings.Contains(out, "replica-halted") {
			t.Log(out)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody says that the replica has stopped\n%s%s\n%s", out, errs, c.Nodes[first-1].Log())
		}
	}
	c.wants(1, all, []string{"health"}, fmt.Sprintf("t-0 on broker %d", first), "they end at 10 here, what both have in common at 5", fmt.Sprintf("cordwood cluster refill t-0 %d --accept-data-loss", first))
	c.wants(2, all, []string{"refill", "t-0", fmt.Sprint(first)}, "--accept-data-loss")
	c.wants(1, all, []string{"refill", "t-0", fmt.Sprint(second), "--accept-data-loss"}, "is in sync: there is nothing to make anew")
	c.wants(0, all, []string{"refill", "t-0", fmt.Sprint(first), "--accept-data-loss"}, "refilling")
	c.wants(0, all, []string{"health", "--wait", "60s"}, "state  healthy")
	cl := c.Nodes[first-1].Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	read := 0
	for read < 8 {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		read += f.NumRecords()
	}
}
