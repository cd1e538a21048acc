//go:build process

package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const dnsZone = "kafka.example"

// newNamed is a cluster of three nodes on addresses of their own, each with a name server.
func newNamed(t *testing.T) *Cluster {
	t.Helper()
	addrs := freeAddrs(t, 6)
	var brokers []string
	for i, addr := range addrs[:3] {
		_, port, _ := net.SplitHostPort(addr)
		brokers = append(brokers, net.JoinHostPort(fmt.Sprintf("127.0.0.%d", i+1), port))
	}
	return newCluster(t, addrs[3:], brokers, "--override", "cordwood.dns.listener=127.0.0.1:0", "--override", "cordwood.dns.zone="+dnsZone)
}

// resolve asks the name server of a node as dig does, if that is installed, and returns what +short prints.
func (n *Node) resolve(t testing.TB, name, qtype string, args ...string) string {
	t.Helper()
	name += "." + dnsZone + "."
	dig, err := exec.LookPath("dig")
	if err != nil {
		r, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(new(dns.Msg).SetQuestion(name, dns.StringToType[qtype]), n.DNS)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, rr := range r.Answer {
			out = append(out, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		return strings.Join(out, "\n")
	}
	host, port, _ := net.SplitHostPort(n.DNS)
	out, err := exec.Command(dig, append([]string{"@" + host, "-p", port, "+short", "+norecurse", name, qtype}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestTheNameOfAKilledLeaderMovesToItsSuccessor(t *testing.T) {
	c := newNamed(t)
	c.Start()
	ctx := Context(t, time.Minute)
	cl := c.Client()
	adm := kadm.NewClient(cl)
	if r, err := adm.CreateTopic(ctx, 1, 3, nil, "Orders"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	c.AwaitInSync(ctx, adm, "Orders")
	leader := c.Leader(ctx, adm, "Orders", 0)
	var witness *Node
	for i, n := range c.Nodes {
		id := int32(i + 1)
		c.await(ctx, "a name on every node", func() error {
			if got := n.resolve(t, "p0.orders", "A"); got != fmt.Sprintf("127.0.0.%d", leader) {
				return fmt.Errorf("node %d says p0.orders is %q", id, got)
			}
			return nil
		})
		if id != leader {
			witness = n
		}
	}
	_, port, _ := net.SplitHostPort(c.Node(leader).Addr)
	if got := witness.resolve(t, "P0.ORDERS", "SRV", "+tcp"); got != fmt.Sprintf("0 0 %s b%d.%s.", port, leader, dnsZone) {
		t.Errorf("the service of p0.orders is %q", got)
	}
	if got := witness.resolve(t, "bootstrap", "A"); len(strings.Fields(got)) != 3 {
		t.Errorf("bootstrap is %q", got)
	}
	boss := c.Controller(ctx, cl)
	c.await(ctx, "the controller's name", func() error {
		if got := witness.resolve(t, "controller", "A"); got != fmt.Sprintf("127.0.0.%d", boss) {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})

	c.Node(leader).Kill()
	killed := time.Now()
	next := ""
	c.await(ctx, "the name to move", func() error {
		if next = witness.resolve(t, "p0.orders", "A"); next == "" || next == fmt.Sprintf("127.0.0.%d", leader) {
			return fmt.Errorf("it is still %q", next)
		}
		return nil
	})
	t.Logf("p0.orders moved to %s within %v", next, time.Since(killed).Round(time.Millisecond))
	if now := c.Leader(ctx, adm, "Orders", leader); next != fmt.Sprintf("127.0.0.%d", now) {
		t.Errorf("p0.orders is %s, and node %d leads", next, now)
	}
	if got := witness.resolve(t, "bootstrap", "A"); len(strings.Fields(got)) != 2 || strings.Contains(got, fmt.Sprintf("127.0.0.%d", leader)) {
		t.Errorf("bootstrap is %q", got)
	}
	// Kafka's clients find the cluster by the name's answer alone.
	at := net.JoinHostPort(next, portOf(c, next))
	p, err := kgo.NewClient(kgo.SeedBrokers(at), kgo.DefaultProduceTopic("Orders"), kgo.RecordDeliveryTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.ProduceSync(ctx, kgo.StringRecord("to the successor")).FirstErr(); err != nil {
		t.Error(err)
	}
}

func portOf(c *Cluster, host string) string {
	for _, n := range c.Nodes {
		if h, port, _ := net.SplitHostPort(n.Addr); h == host {
			return port
		}
	}
	return ""
}

// A name is as new as the metadata: what a node tells a Kafka client and what it tells a resolver change together.
func TestANameChangesWithinFiftyMillisecondsOfTheMetadata(t *testing.T) {
	c := newNamed(t)
	c.Start()
	ctx := Context(t, time.Minute)
	cl := c.Client()
	adm := kadm.NewClient(cl)
	if r, err := adm.CreateTopic(ctx, 1, 3, nil, "moved"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	c.AwaitInSync(ctx, adm, "moved")
	n := c.Nodes[0]
	resolver := &dns.Client{Timeout: 10 * time.Second}
	conn, err := resolver.Dial(n.DNS)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for round := range 6 {
		to := int32(round%3 + 1)
		seen := make(chan time.Time, 1)
		go func() { seen <- sees(ctx, cl, 1, to) }() // by Kafka's metadata, at the same node
		want := fmt.Sprintf("127.0.0.%d", to)
		named := make(chan time.Time, 1)
		go func() {
			for ctx.Err() == nil {
				r, _, err := resolver.ExchangeWithConn(new(dns.Msg).SetQuestion("p0.moved."+dnsZone+".", dns.TypeA), conn)
				if err == nil && len(r.Answer) == 1 && r.Answer[0].(*dns.A).A.String() == want {
					named <- time.Now()
					return
				}
				time.Sleep(time.Millisecond)
			}
			named <- time.Time{}
		}()
		c.Lead(ctx, adm, "moved", 0, to)
		known, found := <-seen, <-named
		if known.IsZero() || found.IsZero() {
			t.Fatalf("round %d: node %d seen in the metadata: %v, by name: %v", round, to, !known.IsZero(), !found.IsZero())
		}
		t.Logf("round %d: the name changed %v after the metadata", round, found.Sub(known).Round(100*time.Microsecond))
		if late := found.Sub(known); late > 50*time.Millisecond {
			t.Errorf("round %d: %v late", round, late)
		}
	}
}

// sees waits until a node names a leader of the topic moved, and says when it did.
func sees(ctx context.Context, cl *kgo.Client, node int, leader int32) time.Time {
	q := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("moved")
	q.Topics = append(q.Topics, topic)
	for ctx.Err() == nil {
		answer, err := cl.Broker(node).Request(ctx, q) // of this very node, and not remembered by the client
		if err == nil {
			if t := answer.(*kmsg.MetadataResponse).Topics; len(t) == 1 && len(t[0].Partitions) == 1 && t[0].Partitions[0].Leader == leader {
				return time.Now()
			}
		}
		time.Sleep(time.Millisecond)
	}
	return time.Time{}
}

func TestANameServerThatCannotWorkExits78WithOneLine(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ settings, want string }{
		{"cordwood.dns.listener=:5353", "there is no zone to serve"},
		{"cordwood.dns.listener=:5353 cordwood.dns.zone=kafka_example", "cannot be part of a host's name"},
		{"cordwood.dns.listener=5353 cordwood.dns.zone=kafka.example", "missing port"},
		{"cordwood.dns.listener=" + taken.LocalAddr().String() + " cordwood.dns.zone=kafka.example", "address already in use"},
	} {
		file := filepath.Join(t.TempDir(), "server.properties")
		text := strings.ReplaceAll(c.settings, " ", "\n") + "\nlisteners=PLAINTEXT://127.0.0.1:0\ncordwood.http.listener=none\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(Binary(t), "serve", "-c", file, "--data-dir", t.TempDir()).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 78 {
			t.Errorf("%s: %v\n%s", c.settings, err, out)
		}
		_, said, _ := strings.Cut("\n"+strings.TrimSpace(string(out)), "\ncordwood: ") // before it, the log
		if !strings.Contains(said, c.want) || !strings.Contains(said, "cordwood.dns.") || strings.Contains(said, "\n") {
			t.Errorf("%s: said\n%s", c.settings, out)
		}
	}
}

func TestFiftyThousandQueriesASecondTakeLessThanACore(t *testing.T) {
	n := New(t, t.TempDir(), "--override", "cordwood.dns.listener=127.0.0.1:0", "--override", "cordwood.dns.zone="+dnsZone)
	n.Start()
	cl := n.Client()
	if r, err := kadm.NewClient(cl).CreateTopic(Context(t, 10*time.Second), 1, 1, nil, "orders"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	const queries = 100_000
	wire, err := new(dns.Msg).SetQuestion("p0.orders."+dnsZone+".", dns.TypeA).SetEdns0(1232, false).Pack()
	if err != nil {
		t.Fatal(err)
	}
	before := n.Metric("process_cpu_seconds_total")
	exchange(t, n.DNS, wire, queries)
	each := time.Duration((n.Metric("process_cpu_seconds_total") - before) / queries * float64(time.Second))
	t.Logf("%v of processor time a query: %.0f a second on one core", each, float64(time.Second)/float64(each))
	if each > 20*time.Microsecond {
		t.Errorf("a query takes %v", each)
	}
	all, _ := new(dns.Msg).SetQuestion("bootstrap."+dnsZone+".", dns.TypeANY).SetEdns0(65535, false).Pack()
	exchange(t, n.DNS, all, 1000)
	for name, want := range map[string]float64{
		`cordwood_dns_answers_total{result="found"}`: queries, `cordwood_dns_refused_total{reason="any"}`: 1000, `cordwood_dns_refused_total{reason="edns_size"}`: 1000,
	} {
		if got := n.Metric(name); got != want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
}

// exchange sends a query so many times and waits for all replies, some at a time, so that none is dropped.
func exchange(t *testing.T, addr string, wire []byte, times int) {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := make([]byte, 1500)
	for sent, got := 0, 0; got < times; got++ {
		for ; sent < times && sent < got+64; sent++ {
			if _, err := c.Write(wire); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(in); err != nil {
			t.Fatalf("after %d replies: %v", got, err)
		}
	}
}
