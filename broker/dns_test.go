package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cordwood/metadata"
	"cordwood/protocol"
)

func TestNameServersThatCannotWorkAreRefused(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"cordwood.dns.listener=:53", "cordwood.dns.listener=:53: there is no zone to serve"},
		{"cordwood.dns.listener=53|cordwood.dns.zone=kafka.example", "cordwood.dns.listener=53: "},
		{"cordwood.dns.listener=:domain|cordwood.dns.zone=kafka.example", `port "domain" is no number`},
		{"cordwood.dns.zone=kafka_example", `cordwood.dns.zone=kafka_example: "kafka_example" cannot be part of a host's name`},
		{"cordwood.dns.zone=10.0.0.1", `cordwood.dns.zone=10.0.0.1: "10.0.0.1" is no domain name`},
		{"cordwood.dns.listener=:53|cordwood.dns.zone=kafka.example|advertised.listeners=PLAINTEXT://b1.Kafka.example:9092", "advertised.listeners=PLAINTEXT://b1.Kafka.example:9092: b1.Kafka.example is a name of cordwood.dns.zone"},
		{"cordwood.dns.listener=:53|cordwood.dns.zone=kafka.example|process.roles=controller|listeners=CONTROLLER://:9093|controller.quorum.voters=1@127.0.0.1:9093", "a node that is a controller only"},
		{"cordwood.dns.zone=kafka.example", ""}, // a file for all nodes, this one serves none
		{"cordwood.dns.listener=none", ""},
		{"cordwood.dns.listener=:5353|cordwood.dns.zone=Kafka.Example.", ""},
	} {
		cfg, err := FromProperties(settings(strings.Split(c.lines, "|")...))
		if err == nil {
			err = cfg.Validate()
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.lines, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v", c.lines, err)
		}
	}
	if c := mustRead(t, "cordwood.dns.listener=:5353", "cordwood.dns.zone=Kafka.Example."); c.DNSAddr != ":5353" || c.DNSZone != "kafka.example" {
		t.Errorf("read as %q, %q", c.DNSAddr, c.DNSZone)
	}
}

// look asks a broker's name server for services and says where they are; why not, if it does not answer with any.
func look(t *testing.T, n *node, name string) string {
	t.Helper()
	r, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(new(dns.Msg).SetQuestion(name+".kafka.example.", dns.TypeSRV), n.b.Addrs().DNS)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Answer) == 0 {
		return dns.RcodeToString[r.Rcode]
	}
	var out []string
	for _, rr := range r.Answer {
		srv := rr.(*dns.SRV)
		out = append(out, fmt.Sprintf("%s:%d", strings.TrimSuffix(srv.Target, ".kafka.example."), srv.Port))
	}
	return strings.Join(out, " ")
}

func TestNamesFollowTheMetadata(t *testing.T) {
	s := startSplit(t, 0)
	for i := range 2 {
		s.brokers = append(s.brokers, nil)
		s.start(t, i, t.TempDir(), func(c *Config) { c.DNSAddr, c.DNSZone = "127.0.0.1:0", "kafka.example" })
	}
	s.create(t, "orders", 1)
	at := func(id metadata.NodeID) string {
		_, port, _ := splitAddr(s.brokers[id-1].addr)
		return fmt.Sprintf("b%d:%d", id, port)
	}
	leader := s.brokers[0].b.image().Topic("orders").Partition(0).Leader
	for _, n := range s.brokers {
		eventually(t, func() bool { return look(t, n, "p0.orders") == at(leader) })
		_, port, _ := splitAddr(s.controller.b.Addrs().Internal)
		eventually(t, func() bool { return look(t, n, "controller") == fmt.Sprintf("controller:%d", port) })
	}
	s.inSync(t, 0, "orders", 0, 2)
	stays := s.brokers[2-leader] // the other one
	s.brokers[leader-1].close()
	eventually(t, func() bool { return look(t, stays, "p0.orders") == at(3-leader) })
	if got := look(t, stays, "bootstrap"); got != at(3-leader) {
		t.Errorf("bootstrap is %s", got)
	}
	if got := look(t, stays, "p1.orders"); got != "NXDOMAIN" {
		t.Errorf("a partition that is not there is %s", got)
	}
	s.again(t, int(leader-1))
	eventually(t, func() bool { return len(strings.Fields(look(t, stays, "bootstrap"))) == 2 })

	s.controller.kill() // now nobody can know whether anything changes
	eventually(t, func() bool { return look(t, stays, "p0.orders") == "SERVFAIL" })
	for _, n := range s.brokers {
		n.kill() // a clean stop would wait for the controller
	}
}

func TestALoneNodeServesNamesToo(t *testing.T) {
	n := startNode(t, t.TempDir(), func(c *Config) {
		c.DNSAddr, c.DNSZone = "127.0.0.1:0", "kafka.example"
		c.Listeners = []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal},
		}
	})
	_, port, _ := splitAddr(n.addr)
	for _, name := range []string{"bootstrap", "controller"} {
		eventually(t, func() bool { return look(t, n, name) == fmt.Sprintf("b1:%d", port) })
	}
}

func TestTheLabelOfATopicDependsOnTheOthers(t *testing.T) {
	all := func(yield func(string) bool) { _ = yield("orders") && yield("Events") && yield("events") }
	id := [16]byte{1}
	for name, plain := range map[string]bool{"orders": true, "Events": false, "events": false} {
		if got := TopicLabel(name, id, all); (got == name) != plain || !plain && got != "t-aeaaaaaaaaaaaaaaaaaaaaaaaa" {
			t.Errorf("%s has the label %s", name, got)
		}
	}
}
