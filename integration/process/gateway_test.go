//go:build process

package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/check"
)

// paths are the addresses a client dialed.
type paths struct {
	mu    sync.Mutex
	addrs map[string]bool
}

func (p *paths) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	p.mu.Lock()
	p.addrs[addr] = true
	p.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// none fails the test if a client reached one of the cluster's own addresses.
func (p *paths) none(t *testing.T, c *Cluster) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range c.Addrs() {
		if p.addrs[addr] {
			t.Errorf("a client went to %s, past the gateway", addr)
		}
	}
	if len(p.addrs) < 2 {
		t.Errorf("clients only went to %v", p.addrs)
	}
}

// Produce, a group and admin requests go through the gateway alone, while leaders are killed behind it: no acknowledged record
// is lost, doubled or out of order.
func TestClientsReachEveryBrokerThroughAGateway(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	g := plainGateway(t, c)
	g.Start()
	for i := range c.Nodes {
		g.AwaitMetric(fmt.Sprintf(`cordwood_gateway_upstream_up{node="%d"} 1`, i+1))
	}
	seen := &paths{addrs: map[string]bool{}}
	adm := kadm.NewClient(g.Client(kgo.Dialer(seen.dial)))
	ctx := Context(t, 2*time.Minute)
	if r, err := adm.CreateTopic(ctx, 1, 3, nil, "routed"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	l := NewLoad("routed")
	cl := g.Client(append(LoadOptions(), kgo.Dialer(seen.dial))...)
	loading, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(loading, cl) }()
	for range *kills {
		before, _ := l.Acked()
		leader := c.Leader(ctx, adm, "routed", 0)
		c.Node(leader).Kill()
		c.Leader(ctx, adm, "routed", leader)
		c.await(ctx, "records go on", func() error {
			if acked, _ := l.Acked(); acked < before+1000 {
				return fmt.Errorf("%d acknowledged", acked-before)
			}
			return nil
		})
		c.Node(leader).Start()
		c.AwaitInSync(ctx, adm, "routed")
	}
	stop()
	<-done
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	g.ReadAll(l.record, reader, "routed", 1)
	r := check.Check(l.record.History())
	t.Log(r)
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
	consumeInGroup(ctx, t, g, seen, int(r.Acked))
	seen.none(t, c)
	for _, line := range strings.Split(string(g.WholeLog()), "\n") {
		if strings.Contains(line, "panic") {
			t.Error(line)
		}
	}
}

// consumeInGroup reads a topic to its end by a group, through the gateway.
func consumeInGroup(ctx context.Context, t *testing.T, g *Gateway, seen *paths, records int) {
	t.Helper()
	cl := g.Client(kgo.Dialer(seen.dial), kgo.ConsumerGroup("readers"), kgo.ConsumeTopics("routed"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for got := 0; got < records; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d: %v", got, records, err)
		}
		got += fetches.NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	cl.Close()
	committed, err := kadm.NewClient(g.Client()).FetchOffsets(ctx, "readers")
	if o, ok := committed.Lookup("routed", 0); err != nil || !ok || int(o.At) < records {
		t.Errorf("committed %v, %v", o, err)
	}
}

func TestKcatGoesThroughAGateway(t *testing.T) {
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Skip("kcat is not installed")
	}
	c := NewCluster(t, 3)
	c.Start()
	g := plainGateway(t, c)
	g.Start()
	kcat := func(in string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(Context(t, time.Minute), "kcat", append([]string{"-b", g.Addr, "-m", "10"}, args...)...)
		cmd.Stdin = strings.NewReader(in)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat %v: %v\n%s", args, err, g.Log())
		}
		return string(out)
	}
	text := strings.Repeat("a line of text\n", 2000)
	if kcat(text, "-P", "-t", "lines", "-z", "lz4"); kcat("", "-C", "-t", "lines", "-e", "-q") != text {
		t.Error("other lines came back")
	}
	for _, addr := range c.Addrs() {
		if list := kcat("", "-L"); strings.Contains(list, addr) || !strings.Contains(list, "3 brokers") {
			t.Errorf("the list names %s:\n%s", addr, list)
		}
	}
	if got := kcat("", "-G", "kcats", "-e", "-q", "-X", "auto.offset.reset=earliest", "lines"); got != text {
		t.Errorf("the group read %d of %d bytes", len(got), len(text))
	}
}
