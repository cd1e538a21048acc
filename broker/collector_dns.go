package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"cordwood/broker/nameserver"
)

// dnsMetrics tell of the name server, where there is one.
type dnsMetrics struct {
	queries, answers, refused, truncated *prometheus.Desc
	connections, refusedConns, lookups   *prometheus.Desc
}

func newDNSMetrics(d func(name, help string, labels ...string) *prometheus.Desc) dnsMetrics {
	return dnsMetrics{
		queries:      d("dns_queries_total", "DNS messages that came.", "transport"),
		answers:      d("dns_answers_total", "DNS queries answered, by what the answer said.", "result"),
		refused:      d("dns_refused_total", "DNS queries refused or dropped, by reason; edns_size: answered, but only with as much as fits 512 bytes.", "reason"),
		truncated:    d("dns_truncated_total", "DNS answers over UDP that were cut: the asker comes again over TCP."),
		connections:  d("dns_connections", "Open TCP connections of the DNS server."),
		refusedConns: d("dns_connections_refused_total", "TCP connections closed at once, because there were too many."),
		lookups:      d("dns_lookup_failures_total", "Lookups of names that brokers advertise, and that failed."),
	}
}

func (m *dnsMetrics) collect(ch chan<- prometheus.Metric, names *nameserver.Server) {
	if names == nil {
		return
	}
	s := names.Stats()
	counter(ch, m.queries, float64(s.UDP), "udp")
	counter(ch, m.queries, float64(s.TCP), "tcp")
	for result, n := range s.Answers {
		counter(ch, m.answers, float64(n), result)
	}
	for reason, n := range s.Refused {
		counter(ch, m.refused, float64(n), reason)
	}
	counter(ch, m.truncated, float64(s.Truncated))
	gauge(ch, m.connections, float64(s.Connections))
	counter(ch, m.refusedConns, float64(s.RefusedConnections))
	counter(ch, m.lookups, float64(s.FailedLookups))
}
