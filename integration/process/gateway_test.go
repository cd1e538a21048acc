//go:build process

package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	t.Parallel()
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
	t.Parallel()
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

// A stop lets requests under way be answered and nobody new in; the exit code is 0.
func TestAGatewayStopsCleanlyUnderLoad(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, 3)
	c.Start()
	first, second := plainGateway(t, c), plainGateway(t, c)
	first.Start()
	second.Start()
	ctx := Context(t, time.Minute)
	if r, err := kadm.NewClient(first.Client()).CreateTopic(ctx, 1, 3, nil, "drained"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	var gone atomic.Bool // then every address leads to the second gateway's bootstrap, as a load balancer would
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if gone.Load() {
			addr = second.Addr
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	l := NewLoad("drained")
	l.Pace = time.Millisecond
	cl := first.Client(append(LoadOptions(), kgo.Dialer(dial))...)
	loading, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(loading, cl) }()
	c.await(ctx, "a load", func() error {
		if acked, _ := l.Acked(); acked < 500 {
			return fmt.Errorf("%d acknowledged", acked)
		}
		return nil
	})
	stop()
	<-done
	began := time.Now()
	code := first.Stop()
	gone.Store(true)
	if took := time.Since(began); code != 0 || took > 9*time.Second {
		t.Errorf("exit code %d after %s\n%s", code, took, first.Log())
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	second.ReadAll(l.record, reader, "drained", 1)
	r := check.Check(l.record.History())
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
}

func TestAGatewayWithABadFileEndsWith78AndOneLine(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for want, lines := range map[string][]string{
		"gateway.properties:2: gateway.upstrem=a:1: unknown key; a gateway's are": {"gateway.upstrem=a:1"},
		"gateway.upstream: no broker is named; write":                             {"listeners=PLAINTEXT://127.0.0.1:0", "gateway.port.base=0"},
		"address already in use; stop what uses the port":                         {"listeners=PLAINTEXT://" + busy.Addr().String(), "gateway.port.base=0", "gateway.upstream=a:1"},
		"ssl.keystore.location=/nowhere.pem: stat /nowhere.pem": {"listeners=SSL://127.0.0.1:0", "gateway.host.pattern=b{node}.x", "gateway.upstream=a:1",
			"ssl.keystore.location=/nowhere.pem"},
	} {
		g := NewGateway(t, lines...)
		if err := g.start(filepath.Join(g.work, "ports.json")); err != nil {
			t.Fatal(err)
		}
		code := g.Wait(20 * time.Second)
		var said []string
		for line := range strings.Lines(string(g.WholeLog())) {
			if strings.HasPrefix(line, "cordwood: ") {
				said = append(said, line)
			}
		}
		if code != 78 || len(said) != 1 || !strings.Contains(said[0], want) {
			t.Errorf("%v: exit code %d\n%s", lines, code, g.Log())
		}
	}
}

// What comes from a bad client ends its connection and costs nobody else anything.
func TestBadInputsEndTheirConnectionAtAGateway(t *testing.T) {
	t.Parallel()
	c := NewCluster(t, 3)
	c.Start()
	g := plainGateway(t, c)
	g.Start()
	honest := kadm.NewClient(g.Client())
	before := g.Held()
	for range 200 {
		for _, bytes := range []string{
			"\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x7f\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\xa5", "\x00\x00\x00\x07\x00\x03\x00",
			"\x00\x00\x00\x0a\x27\x0f\x00\x00\x00\x00\x00\x01\xff\xff", "\x00\x00\x00\x0a\x00\x38\x00\x03\x00\x00\x00\x01\xff\xff",
			"\x06\x40\x00\x00\x00\x13\x00\x07", // 100 MiB of CreateTopics
			"\x00\x00\x00\x10\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\xff\xff\xff\xff\x0f\x00",
			"\x00\x00\x00\x0c\x00\x01\x00\x0b\x00\x00\x00\x01\xff\xff\x00\x00", // half a Fetch
		} {
			nc, err := net.Dial("tcp", g.Addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := nc.Write([]byte(bytes)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%x does not end its connection", bytes)
			}
			_ = nc.Close()
		}
	}
	if _, err := honest.ListTopics(Context(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	g.AwaitMetric(`cordwood_gateway_connections_closed_total{reason="panic"} 0`)
	after := g.Held()
	if after.Files > before.Files+20 || after.RSS > before.RSS+32<<20 {
		t.Errorf("files %d -> %d, memory %d -> %d", before.Files, after.Files, before.RSS, after.RSS)
	}
}

// Clients that have spoken once and wait cost at most 30 KB each, the process itself included: ten thousand of them 300 MB. Where
// a process may not open two files for each of so many, there are fewer.
func TestAGatewayHoldsTenThousandIdleConnections(t *testing.T) {
	t.Parallel() // it waits 20 s, so all tests of gateways run beside it
	const most, each = 10_000, 300_000_000 / 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	clients := most
	if room := (int64(files.Max) - 500) / 2; files.Max < 2*most+500 { // the rest is for the gateway's other files
		clients = int(room)
	}
	if clients < most/5 { // what the process costs without any would count too much
		t.Skipf("a process may open %d files only", files.Max)
	}
	c := NewCluster(t, 3)
	c.Start()
	g := plainGateway(t, c)
	g.Start()
	versions := []byte("\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff")
	conns := make([]net.Conn, 0, clients)
	for range clients {
		nc, err := net.Dial("tcp", g.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write(versions); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, nc)
	}
	answer := make([]byte, 8)
	for _, nc := range conns {
		_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.ReadFull(nc, answer); err != nil {
			t.Fatal(err)
		}
	}
	g.AwaitMetric(fmt.Sprintf("cordwood_gateway_upstream_connections %d", clients))
	began := time.Now() // a buffer goes after 10 s of silence, and its memory back to the system at one of the looks every 20 s
	for {
		rss := int(g.Held().RSS)
		if rss <= clients*each {
			t.Logf("%d MB with %d connections that wait for %s", rss/1e6, clients, time.Since(began).Round(time.Second))
			return
		}
		if time.Since(began) > 70*time.Second {
			t.Fatalf("%d bytes for each of %d connections", rss/clients, clients)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
