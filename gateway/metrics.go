package gateway

import (
	"maps"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// What can go wrong between a gateway and its brokers; the texts are metric labels.
const (
	failConnect = iota // no connection to a broker
	failLost           // a connection ended, or an answer was not one
	failBind           // no address for a broker
	failures
)

var failureNames = [failures]string{"connect", "lost", "bind"}

// counts is what the sessions count; listeners have their own.
type counts struct {
	upstreams atomic.Int64 // open connections to brokers
	renamed   atomic.Int64 // answers in which names of brokers were looked for
	failed    [failures]atomic.Int64
}

// collector meets Prometheus on a scrape.
type collector struct{ g *Gateway }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cordwood_gateway_"+name, help, labels, nil)
}

var (
	descOpen      = desc("connections", "Open connections of clients.", "listener")
	descAccepted  = desc("connections_accepted_total", "Connections of clients that were accepted.")
	descClosed    = desc("connections_closed_total", "Connections of clients that ended or were not let in.", "reason")
	descRequests  = desc("requests_total", "Requests of clients.")
	descIn        = desc("received_bytes_total", "Bytes from clients.")
	descOut       = desc("sent_bytes_total", "Bytes to clients.")
	descUpstreams = desc("upstream_connections", "Open connections to brokers.")
	descRenamed   = desc("renamed_answers_total", "Answers in which the names of brokers were replaced.")
	descErrors    = desc("upstream_errors_total", "Failures between the gateway and its brokers.", "kind")
	descUp        = desc("upstream_up", "Whether a broker answered the last look, 1 or 0.", "node")
	descDraining  = desc("draining", "1 while the gateway stops.")
	descPlain     = desc("plaintext", "1 if the listener is plaintext.")
)

// Describe is that of an unchecked collector: none.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters.
func (c collector) Collect(out chan<- prometheus.Metric) {
	g := c.g
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	g.mu.RLock()
	sum := g.past
	sum.closed = maps.Clone(g.past.closed)
	open := map[string]int64{}
	add := func(f *front) {
		s := f.l.Stats()
		sum.add(s)
		open[f.label()] += s.Open
	}
	for _, f := range g.fronts {
		add(f)
	}
	for f := range g.leaving {
		add(f)
	}
	draining := g.draining
	g.mu.RUnlock()
	for label, n := range open {
		gauge(descOpen, n, label)
	}
	for why, n := range sum.closed {
		count(descClosed, n, why)
	}
	count(descAccepted, sum.accepted)
	count(descRequests, sum.requests)
	count(descIn, sum.bytesIn)
	count(descOut, sum.bytesOut)
	gauge(descUpstreams, g.counts.upstreams.Load())
	count(descRenamed, g.counts.renamed.Load())
	for i, name := range failureNames {
		count(descErrors, g.counts.failed[i].Load(), name)
	}
	for _, n := range g.nodes.list() {
		gauge(descUp, bit(n.up), strconv.Itoa(int(n.id)))
	}
	gauge(descDraining, bit(draining))
	gauge(descPlain, bit(g.config().Protocol != "SSL"))
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
