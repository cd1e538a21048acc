package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"cordwood/broker/nameserver/zone"
	"cordwood/metadata"
)

// run serves until the test ends.
func run(t testing.TB, addr string, change ...func(*Config)) *Server {
	t.Helper()
	cfg := Config{
		Addr: addr, Zone: testZone, Informed: func() bool { return true }, Log: zap.NewNop(),
		Lookup: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("not asked for") },
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

var nowhere = zone.Controller{ID: metadata.NoNode}

func port(s *Server) string {
	_, p, _ := net.SplitHostPort(s.Addr())
	return p
}

// exchange asks a server as an independent client does.
func exchange(t testing.TB, network, addr string, m *dns.Msg) *dns.Msg {
	t.Helper()
	r, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second}).Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, addr, err)
	}
	return r
}

func TestQueriesAreAnsweredOverBothTransports(t *testing.T) {
	s := run(t, "127.0.0.1:0")
	if r := exchange(t, "udp", s.Addr(), ask("p0.orders.kafka.example.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("before there is an image: %v", r)
	}
	img := cluster(t, 200, "orders")
	s.Show(img, nowhere)
	for _, network := range []string{"udp", "tcp"} {
		r := exchange(t, network, s.Addr(), ask("p0.orders.kafka.example.", dns.TypeA))
		if got := lines(r.Answer); !slices.Equal(got, []string{"p0.orders.kafka.example. 1 IN A 10.0.0.1"}) {
			t.Errorf("%s: %q", network, got)
		}
	}
	if r := exchange(t, "udp", s.Addr(), ask("bootstrap.kafka.example.", dns.TypeA)); !r.Truncated {
		t.Errorf("200 addresses in a datagram: %v", r)
	}
	if r := exchange(t, "tcp", s.Addr(), ask("bootstrap.kafka.example.", dns.TypeA)); r.Truncated || len(r.Answer) != 200 {
		t.Errorf("over TCP: %d addresses", len(r.Answer))
	}
	s.Show(move(t, img, "orders", 3), nowhere)
	if r := exchange(t, "udp", s.Addr(), ask("p0.orders.kafka.example.", dns.TypeA)); !strings.HasSuffix(r.Answer[0].String(), "10.0.0.3") {
		t.Errorf("after Show returned: %v", r)
	}
	s.Show(img, nowhere) // an older image changes nothing
	if r := exchange(t, "udp", s.Addr(), ask("p0.orders.kafka.example.", dns.TypeA)); !strings.HasSuffix(r.Answer[0].String(), "10.0.0.3") {
		t.Errorf("after an older image: %v", r)
	}
	if got := s.Stats(); got.UDP != 5 || got.TCP != 2 || got.Answers["found"] != 6 || got.Answers["not_known"] != 1 || got.Truncated != 1 {
		t.Errorf("counted %+v", got)
	}
}

func TestANodeCutOffSendsAskersElsewhere(t *testing.T) {
	var informed atomic.Bool
	s := run(t, "127.0.0.1:0", func(c *Config) { c.Informed = informed.Load })
	s.Show(cluster(t, 3), nowhere)
	for _, known := range []bool{true, false, true} {
		informed.Store(known)
		r := exchange(t, "udp", s.Addr(), ask("bootstrap.kafka.example.", dns.TypeA))
		if (r.Rcode == dns.RcodeSuccess) != known || (r.Rcode == dns.RcodeServerFailure) == known {
			t.Errorf("informed %v: %v", known, r)
		}
	}
}

// On all addresses the kernel would answer from 127.0.0.1, whomever was asked.
func TestAReplyComesFromTheAddressThatWasAsked(t *testing.T) {
	for _, bound := range []string{"0.0.0.0:0", ":0"} {
		s := run(t, bound)
		s.Show(cluster(t, 3), nowhere)
		asked := []string{"127.0.0.1", "127.0.0.2"}
		if c, err := net.ListenPacket("udp", "[::1]:0"); err == nil { // this host has IPv6
			_ = c.Close()
			if bound == ":0" {
				asked = append(asked, "::1")
			}
		}
		for _, host := range asked {
			// an unconnected socket, which sees whom the reply is from
			local := "127.0.0.1:0"
			if host == "::1" {
				local = "[::1]:0"
			}
			c, err := net.ListenPacket("udp", local)
			if err != nil {
				t.Fatal(err)
			}
			wire, _ := ask("bootstrap.kafka.example.", dns.TypeA).Pack()
			to, _ := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port(s)))
			if _, err := c.WriteTo(wire, to); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, from, err := c.ReadFrom(make([]byte, 512))
			_ = c.Close()
			if err != nil || from.String() != to.String() {
				t.Errorf("bound to %s, asked %s: the reply is from %v, %v", bound, to, from, err)
			}
		}
	}
}

// silent sends bytes in a datagram, then a proper query: the first reply must be that query's.
func TestWhatIsNoQueryGetsNoReply(t *testing.T) {
	s := run(t, "127.0.0.1:0")
	s.Show(cluster(t, 3), nowhere)
	answer := ask("bootstrap.kafka.example.", dns.TypeA)
	answer.Response = true
	wire, _ := answer.Pack()
	for what, bytes := range map[string][]byte{
		"nothing": {}, "a short header": make([]byte, 11), "an answer": wire, "too much": append(wire, make([]byte, maxQuery)...), "64 KB": make([]byte, 60000),
	} {
		c, err := net.Dial("udp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(bytes); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		m := ask("bootstrap.kafka.example.", dns.TypeA)
		r, _, err := new(dns.Client).ExchangeWithConn(m, &dns.Conn{Conn: c})
		if err != nil || len(r.Answer) != 3 {
			t.Errorf("after %s: %v, %v", what, r, err)
		}
		_ = c.Close()
	}
	if got := s.Stats(); got.Refused["malformed"] != 4 || got.Refused["response"] != 1 {
		t.Errorf("counted %v", got.Refused)
	}
}

func TestTCPIsBounded(t *testing.T) {
	s := run(t, "127.0.0.1:0")
	s.Show(cluster(t, 3), nowhere)
	var open []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for _, c := range open { // each is being served
		exchangeOn(t, c)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a connection too many is served: %v", err)
	}
	for range maxQuestions - 1 {
		exchangeOn(t, open[0])
	}
	expectEnd(t, open[0], nil)                                                        // it asked enough
	expectEnd(t, open[1], []byte{0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})           // no header
	expectEnd(t, open[2], append(binary.BigEndian.AppendUint16(nil, 65000), 1, 2, 3)) // no query is so long
	if got := s.Stats(); got.RefusedConnections != 1 || got.Refused["malformed"] != 2 {
		t.Errorf("counted %+v", got)
	}
}

func exchangeOn(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if r, _, err := new(dns.Client).ExchangeWithConn(ask("bootstrap.kafka.example.", dns.TypeA), &dns.Conn{Conn: c}); err != nil || len(r.Answer) != 3 {
		t.Fatalf("%v, %v", r, err)
	}
}

func expectEnd(t *testing.T, c net.Conn, send []byte) {
	t.Helper()
	if _, err := c.Write(send); err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(idle / 2)) // before its time would be over anyway
	if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, io.ErrNoProgress) || isTimeout(err) {
		t.Errorf("the connection goes on: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// advertise makes broker 1 advertise a name.
func advertise(t *testing.T, img *metadata.Image, host string) *metadata.Image {
	t.Helper()
	img = with(t, img, metadata.BrokerRegistered{ID: 1, Listeners: []metadata.Endpoint{{Name: "PLAINTEXT", Host: host, Port: 9092}}})
	return with(t, img, metadata.BrokerUnfenced{ID: 1, Epoch: img.Broker(1).Epoch})
}

// addresses is how many there are of the leader of a topic that broker 1 leads.
func addresses(t *testing.T, s *Server) int {
	t.Helper()
	return len(exchange(t, "udp", s.Addr(), ask("p0.orders.kafka.example.", dns.TypeA)).Answer)
}

func TestAdvertisedNamesAreLookedUpBesideTheQueries(t *testing.T) {
	asked, answer := make(chan string, 10), make(chan []netip.Addr)
	s := run(t, "127.0.0.1:0", func(c *Config) {
		c.LookupEvery = time.Hour
		c.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			asked <- host
			select {
			case a := <-answer:
				return a, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	img := advertise(t, cluster(t, 3, "orders"), "one.example")
	s.Show(img, nowhere)
	if host := <-asked; host != "one.example" {
		t.Fatalf("asked for %s", host)
	}
	if n := addresses(t, s); n != 0 { // while the lookup waits
		t.Fatalf("%d addresses of a name that was not found yet", n)
	}
	answer <- []netip.Addr{netip.MustParseAddr("::ffff:10.7.7.7"), netip.MustParseAddr("10.7.7.7")}
	for addresses(t, s) != 1 { // the lookup's end has no event that an asker could see
		time.Sleep(time.Millisecond)
	}
	for range 10 { // asks for nothing that is known
		img = move(t, move(t, img, "orders", 2), "orders", 1)
		s.Show(img, nowhere)
	}
	s.Show(advertise(t, img, "two.example"), nowhere)
	if host := <-asked; host != "two.example" {
		t.Errorf("asked for %s again", host)
	}
}

func TestAFailedLookupLeavesTheAddressesAsTheyWere(t *testing.T) {
	var fails atomic.Bool
	s := run(t, "127.0.0.1:0", func(c *Config) {
		c.LookupEvery = time.Millisecond
		c.Lookup = func(context.Context, string) ([]netip.Addr, error) {
			if fails.Load() {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("10.7.7.7")}, nil
		}
	})
	s.Show(advertise(t, cluster(t, 3, "orders"), "one.example"), nowhere)
	for addresses(t, s) != 1 {
		time.Sleep(time.Millisecond)
	}
	fails.Store(true)
	for s.Stats().FailedLookups < 2 { // the first one is over
		time.Sleep(time.Millisecond)
	}
	if n := addresses(t, s); n != 1 {
		t.Errorf("%d addresses after a lookup that failed", n)
	}
}

func TestAPanicCostsItsMessageOnly(t *testing.T) {
	first := true
	s := run(t, "127.0.0.1:0", func(c *Config) {
		c.Informed = func() bool {
			if first {
				first = false
				panic("at a query")
			}
			return true
		}
	})
	s.Show(cluster(t, 3), nowhere)
	c, err := net.Dial("udp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wire, _ := ask("b1.kafka.example.", dns.TypeA).Pack()
	if _, err := c.Write(wire); err != nil {
		t.Fatal(err)
	}
	r, _, err := new(dns.Client).ExchangeWithConn(ask("bootstrap.kafka.example.", dns.TypeA), &dns.Conn{Conn: c})
	if err != nil || len(r.Answer) != 3 {
		t.Errorf("%v, %v", r, err)
	}
}

func TestAnAddressInUseIsRefused(t *testing.T) {
	s := run(t, "127.0.0.1:0")
	if _, err := Open(Config{Addr: s.Addr(), Zone: testZone}); err == nil {
		t.Error("two servers at one address")
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0") // taken for UDP only
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Open(Config{Addr: c.LocalAddr().String(), Zone: testZone}); err == nil {
		t.Error("served over TCP alone")
	}
}
