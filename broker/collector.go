package broker

import (
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"cordwood/partition"
	"cordwood/protocol"
)

// collector turns the plain counters of the rooms into Prometheus metrics on each scrape.
type collector struct {
	b        *Broker
	process  prometheus.Collector
	runtime  prometheus.Collector
	replicas replicaMetrics
	dns      dnsMetrics

	build, ready, connections, accepted, closed, refused        *prometheus.Desc
	requests, requestBytes, latency                             *prometheus.Desc
	bytesIn, recordsIn, batchesIn, failed, duplicates, bytesOut *prometheus.Desc
	throttles, throttleTime                                     *prometheus.Desc
	topics, partitions, leaders, offline, underMinISR           *prometheus.Desc
	dirOnline, appended, refusedLog, readErrors, fsync          *prometheus.Desc
	sessions, openFiles, imageIndex, active                     *prometheus.Desc
	scrubbed, scrubPasses, scrubFaults, scrubMismatches         *prometheus.Desc
}

func newCollector(b *Broker) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("cordwood_"+name, help, labels, nil)
	}
	return &collector{
		b:        b,
		process:  collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		runtime:  collectors.NewGoCollector(),
		replicas: newReplicaMetrics(d),
		dns:      newDNSMetrics(d),

		build:       d("build_info", "Version of this binary.", "version", "go"),
		ready:       d("ready", "1 when this broker is registered, unfenced and serving."),
		connections: d("connections", "Open connections.", "listener"),
		accepted:    d("connections_accepted_total", "Connections accepted.", "listener"),
		closed:      d("connections_closed_total", "Connections closed by this broker, by reason.", "listener", "reason"),

		refused: d("connections_refused_requests_total", "Requests that closed their connection, by reason.", "listener", "reason"),

		requests:     d("kafka_requests_total", "Requests received.", "api"),
		requestBytes: d("kafka_request_bytes_total", "Bytes of requests received.", "api"),
		latency:      d("kafka_request_latency_seconds", "Time from the arrival of a request to its answer.", "api"),

		bytesIn:    d("produced_bytes_total", "Record batch bytes appended for clients."),
		recordsIn:  d("produced_records_total", "Records appended for clients."),
		batchesIn:  d("produced_batches_total", "Record batches received from clients."),
		failed:     d("produce_failed_total", "Record batches that were not appended."),
		duplicates: d("produce_duplicates_total", "Record batches recognised as duplicates (idempotence)."),
		bytesOut:   d("fetched_bytes_total", "Record batch bytes sent to clients."),

		throttles:    d("throttled_answers_total", "Answers that told their client to wait, by quota.", "quota"),
		throttleTime: d("throttled_seconds_total", "Time clients were told to wait and their connections were muted, by quota.", "quota"),

		topics:      d("topics", "Topics in the cluster."),
		partitions:  d("partitions", "Partitions hosted here."),
		leaders:     d("partition_leaders", "Partitions led here."),
		offline:     d("offline_partitions", "Partitions of the cluster without a leader."),
		underMinISR: d("under_min_isr_partitions", "Partitions of the cluster whose in-sync set is below the minimum."),
		dirOnline:   d("log_dir_online", "1 while a data directory works.", "dir"),
		appended:    d("log_appended_bytes_total", "Bytes appended to logs.", "dir"),

		fsync:           d("fsync_seconds", "Time of each fsync of a log, and of the journal that stands in for many.", "dir", "file"),
		refusedLog:      d("log_appends_refused_total", "Appends refused by a full disk.", "dir"),
		readErrors:      d("log_read_errors_total", "Reads of logs that failed.", "dir"),
		sessions:        d("fetch_sessions", "Incremental fetch sessions."),
		openFiles:       d("open_log_files", "Log files held open."),
		imageIndex:      d("metadata_index", "Raft index of this broker's metadata image."),
		active:          d("controller_active", "1 on the active controller."),
		scrubbed:        d("scrub_bytes_total", "Bytes of sealed segments read back and checked.", "dir"),
		scrubPasses:     d("scrub_passes_total", "Complete passes of the scrub.", "dir"),
		scrubFaults:     d("scrub_faults_total", "Damaged ranges that the scrub found.", "dir"),
		scrubMismatches: d("scrub_seal_mismatches_total", "Segments found to differ from their seal, although every batch is good.", "dir"),
	}
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.process.Collect(ch)
	c.runtime.Collect(ch)
	c.collectRequests(ch)
	c.collectListeners(ch)
	c.collectCluster(ch)
	stats := c.b.partitions.Stats()
	c.collectLogs(ch, &stats)
	c.replicas.collect(ch, &stats)
	c.dns.collect(ch, c.b.names)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (c *collector) collectRequests(ch chan<- prometheus.Metric) {
	m := c.b.metrics
	for _, api := range protocol.APIs() {
		s := m.api(int16(api.Key))
		if s.requests.Load() == 0 {
			continue
		}
		counter(ch, c.requests, float64(s.requests.Load()), api.Name)
		counter(ch, c.requestBytes, float64(s.bytes.Load()), api.Name)
		buckets, count := make(map[float64]uint64, latencyBuckets), uint64(0)
		for i := range s.buckets {
			count += s.buckets[i].Load()
			if i < latencyBuckets-1 {
				buckets[math.Ldexp(1e-6, i)] = count
			}
		}
		ch <- prometheus.MustNewConstHistogram(c.latency, count, float64(s.nanos.Load())/1e9, buckets, api.Name)
	}
	counter(ch, c.bytesIn, float64(m.bytesIn.Load()))
	counter(ch, c.recordsIn, float64(m.recordsIn.Load()))
	counter(ch, c.batchesIn, float64(m.batchesIn.Load()))
	counter(ch, c.failed, float64(m.failedAppends.Load()))
	counter(ch, c.duplicates, float64(m.duplicates.Load()))
	counter(ch, c.bytesOut, float64(m.bytesOut.Load()))
	for kind, name := range quotaKeys {
		counter(ch, c.throttles, float64(m.throttles[kind].Load()), name)
		counter(ch, c.throttleTime, float64(m.throttleTime[kind].Load())/1e9, name)
	}
	gauge(ch, c.sessions, float64(c.b.sessions.count()))
}

func (c *collector) collectCluster(ch chan<- prometheus.Metric) {
	img := c.b.image()
	var offline, under float64
	for t := range img.Topics() {
		for i := range t.Partitions {
			p := t.Partitions[i]
			if p.Leader < 0 {
				offline++
			}
			if len(p.ISR) < int(p.MinISR) {
				under++
			}
		}
	}
	gauge(ch, c.build, 1, Version, runtime.Version())
	gauge(ch, c.ready, boolean(c.b.notReady() == ""))
	gauge(ch, c.topics, float64(img.TopicCount()))
	gauge(ch, c.offline, offline)
	gauge(ch, c.underMinISR, under)
	gauge(ch, c.imageIndex, float64(img.Index()))
	gauge(ch, c.active, boolean(c.b.isActive()))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Version is this binary's version; the build sets it.
var Version = "dev"

func init() {
	if Version != "dev" {
		return
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		Version = info.Main.Version
	}
}

func (c *collector) collectListeners(ch chan<- prometheus.Metric) {
	for _, l := range c.b.listeners {
		s := l.l.Stats()
		gauge(ch, c.connections, float64(s.Open), l.cfg.Name)
		counter(ch, c.accepted, float64(s.Accepted), l.cfg.Name)
		for reason, n := range s.Closed {
			counter(ch, c.closed, float64(n), l.cfg.Name, reason)
		}
		for reason, n := range s.Refused {
			counter(ch, c.refused, float64(n), l.cfg.Name, reason)
		}
	}
}

func (c *collector) collectLogs(ch chan<- prometheus.Metric, s *partition.Stats) {
	gauge(ch, c.partitions, float64(s.Partitions))
	gauge(ch, c.leaders, float64(s.Leaders))
	gauge(ch, c.openFiles, float64(s.OpenFiles))
	for _, d := range s.Dirs {
		gauge(ch, c.dirOnline, boolean(d.Online), d.Path)
		counter(ch, c.appended, float64(d.AppendedBytes), d.Path)
		counter(ch, c.refusedLog, float64(d.Refused), d.Path)
		counter(ch, c.readErrors, float64(d.ReadErrors), d.Path)
		syncTimes(ch, c.fsync, d.SyncTime, d.SyncBuckets[:], d.Path, "log")
		syncTimes(ch, c.fsync, d.JournalTime, d.JournalBuckets[:], d.Path, "journal")
		counter(ch, c.scrubbed, float64(d.Scrubbed), d.Path)
		counter(ch, c.scrubPasses, float64(d.ScrubPasses), d.Path)
		counter(ch, c.scrubFaults, float64(d.ScrubFaults), d.Path)
		counter(ch, c.scrubMismatches, float64(d.ScrubMismatches), d.Path)
	}
}

// syncTimes is a histogram over partition.SyncBounds.
func syncTimes(ch chan<- prometheus.Metric, d *prometheus.Desc, sum time.Duration, counts []int64, labels ...string) {
	buckets, total := make(map[float64]uint64, len(counts)), uint64(0)
	for i, n := range counts {
		total += uint64(n)
		if i < len(partition.SyncBounds) {
			buckets[partition.SyncBounds[i].Seconds()] = total
		}
	}
	ch <- prometheus.MustNewConstHistogram(d, total, sum.Seconds(), buckets, labels...)
}
