package nameserver

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"cordwood/broker/nameserver/zone"
)

// One query, from its bytes to the reply's. Figures: docs/dns.md.
func BenchmarkAnswer(b *testing.B) {
	z := zone.New(testZone).At(cluster(b, 3, "orders"))
	r := newResponder(testZone)
	for _, c := range []struct {
		what  string
		name  string
		qtype uint16
	}{
		{"leader/A", "p0.orders.kafka.example.", dns.TypeA}, {"leader/SRV", "p0.orders.kafka.example.", dns.TypeSRV},
		{"bootstrap/A", "bootstrap.kafka.example.", dns.TypeA}, {"bootstrap/SRV", "bootstrap.kafka.example.", dns.TypeSRV},
		{"none", "none.kafka.example.", dns.TypeA}, {"outside", "www.example.com.", dns.TypeA}, {"any", "kafka.example.", dns.TypeANY},
	} {
		wire, _ := ask(c.name, c.qtype).SetEdns0(1232, false).Pack()
		b.Run(c.what, func(b *testing.B) {
			out := make([]byte, 0, maxUDP)
			q := query{wire: wire, from: netip.MustParseAddr("10.0.0.1"), udp: true}
			b.ReportAllocs()
			for b.Loop() {
				reply, _ := r.answer(z, q, out)
				if len(reply) == 0 {
					b.Fatal("no reply")
				}
			}
		})
	}
}

// Queries over UDP on this host, 64 at a time. The goroutines of server and asker share the process: cpu-ns/query is what both
// took, the asker by half its system calls.
func BenchmarkUDP(b *testing.B) {
	s := run(b, "127.0.0.1:0")
	s.Show(cluster(b, 3, "orders"), nowhere)
	wire, _ := ask("p0.orders.kafka.example.", dns.TypeA).SetEdns0(1232, false).Pack()
	c, err := net.Dial("udp", s.Addr())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	const window = 64
	in := make([]byte, maxUDP)
	took := processTime()
	for sent, got := 0, 0; got < b.N; {
		for ; sent < b.N && sent < got+window; sent++ {
			if _, err := c.Write(wire); err != nil {
				b.Fatal(err)
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(in); err != nil {
			b.Fatal(err)
		}
		got++
	}
	b.ReportMetric(float64(processTime()-took)/float64(b.N), "cpu-ns/query")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}

func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A change of metadata in a cluster with many topics, until queries see it.
func BenchmarkShow(b *testing.B) {
	topics := make([]string, 0, 20000)
	for i := range 20000 {
		topics = append(topics, fmt.Sprintf([]string{"topic-%d", "Topic-%d"}[i%2], i))
	}
	img := cluster(b, 3, topics...)
	next := move(b, img, topics[7], 2)
	z := zone.New(testZone).At(img)
	b.ReportAllocs()
	for b.Loop() {
		if z.At(next).Index() != next.Index() {
			b.Fatal("not shown")
		}
	}
}
