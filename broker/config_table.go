package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"cordwood/metadata"
)

const (
	tBool   = metadata.ConfigBoolean
	tString = metadata.ConfigString
	tInt    = metadata.ConfigInt
	tLong   = metadata.ConfigLong
	tDouble = metadata.ConfigDouble
	tList   = metadata.ConfigList
)

// processKeys are the keys of the process: who it is, where it listens, how much it takes on.
func processKeys() []Key {
	return []Key{
		{Name: "node.id", Type: tInt, Default: "1", Doc: "Number of this node, unique in the cluster.",
			apply: intTo(0, math.MaxInt32, func(c *Config) *metadata.NodeID { return &c.NodeID })},
		{Name: "broker.id", Type: tInt, Default: "-1", Doc: "Older name of node.id.",
			apply: intTo(-1, math.MaxInt32, func(c *Config) *int32 { return &c.brokerID })},
		{Name: "controller.listener.names", Type: tList, Default: "CONTROLLER", Doc: "Listeners of the controller.",
			apply: func(c *Config, v string) error {
				c.controllerListeners = metadata.SplitList(strings.ToUpper(v)) // names of listeners have no case
				return nil
			}},
		{Name: "inter.broker.listener.name", Type: tString, Doc: "Listener that brokers use among themselves; default: the controller listener, else the first.",
			apply: func(c *Config, v string) error { c.InterBroker = strings.ToUpper(v); return nil }},
		{Name: "security.inter.broker.protocol", Type: tString, Default: "PLAINTEXT", Doc: "Protocol between brokers; PLAINTEXT until TLS is served.", apply: onlyPlaintext},
		{Name: "listeners", Type: tList, Default: "PLAINTEXT://:9092", Doc: "Addresses to serve, as NAME://host:port,… An empty host means all interfaces.",
			apply: textTo(func(c *Config) *string { return &c.listenersText })},
		{Name: "advertised.listeners", Type: tList, Default: "auto", Doc: "Addresses told to clients, as NAME://host:port,…; auto: the address by which the client came in.",
			apply: textTo(func(c *Config) *string { return &c.advertisedText })},
		{Name: "listener.security.protocol.map", Type: tList, Default: "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT", Doc: "Protocol of each listener, as NAME:PROTOCOL, and so on.",
			apply: textTo(func(c *Config) *string { return &c.protocolsText })},
		{Name: "broker.rack", Type: tString, Doc: "Rack of this broker.", apply: textTo(func(c *Config) *string { return &c.Rack })},
		{Name: "replica.selector.class", Type: tString, Doc: "Which replica consumers read from: LeaderSelector, the default, or RackAwareReplicaSelector: one in the rack that the client names (client.rack), else the leader. Both are names of org.apache.kafka.common.replica.",
			apply: selectorTo},
		{Name: "log.dirs", Type: tList, Default: "./cordwood-data", Doc: "Data directories.",
			apply: listTo(func(c *Config) *[]string { return &c.LogDirs })},
		{Name: "log.dir", Type: tString, Doc: "Data directory, if log.dirs is not set.",
			apply: textTo(func(c *Config) *string { return &c.logDir })},
		{Name: "metadata.log.dir", Type: tString, Doc: "Not supported: the controller's log is kept in the first of log.dirs.", Status: Rejected, apply: refuse},
		{Name: "cordwood.http.listener", Type: tString, Default: "127.0.0.1:9644", Doc: "Address of /metrics, /livez and /readyz; none: not served.",
			apply: func(c *Config, v string) error {
				if c.HTTPAddr = v; strings.EqualFold(v, "none") {
					c.HTTPAddr = ""
				}
				return nil
			}},
		{Name: "cordwood.pprof.enable", Type: tBool, Default: "false", Doc: "Go's profiler under /debug/pprof/ on the HTTP listener.",
			apply: boolTo(func(c *Config) *bool { return &c.Pprof })},
		{Name: "cordwood.disk.stall.ms", Type: tLong, Default: "5000", Doc: "A write or fsync that takes longer takes the data directory offline.",
			apply: timeTo(time.Millisecond, 100, func(c *Config) *time.Duration { return &c.DiskStall })},
		{Name: "cordwood.scrub.interval.ms", Type: tLong, Default: "604800000", Doc: "Time in which every sealed segment is read once and checked; -1: never.",
			apply: func(c *Config, v string) error {
				if v == "-1" {
					c.ScrubInterval = -1
					return nil
				}
				return timeTo(time.Millisecond, 1000, func(c *Config) *time.Duration { return &c.ScrubInterval })(c, v)
			}},
		{Name: "auto.create.topics.enable", Type: tBool, Default: "true", Doc: "Metadata requests may create topics.",
			apply: boolTo(func(c *Config) *bool { return &c.AutoCreateTopics })},
		{Name: "delete.topic.enable", Type: tBool, Default: "true", Doc: "Topics may be deleted.",
			apply: boolTo(func(c *Config) *bool { return &c.DeleteTopics })},
		{Name: "num.partitions", Type: tInt, Default: "1", Doc: "Partitions of a topic that does not say.",
			apply: intTo(1, 1_000_000, func(c *Config) *int32 { return &c.NumPartitions })},
		{Name: "default.replication.factor", Type: tInt, Doc: "Replicas of a topic that does not say; unset: 3, at most the live brokers (Kafka: 1).",
			apply: intTo(1, math.MaxInt16, func(c *Config) *int16 { return &c.ReplicationFactor })},
		{Name: "socket.request.max.bytes", Type: tInt, Default: "104857600", Doc: "Largest request.",
			apply: intTo(1024, math.MaxInt32, func(c *Config) *int { return &c.RequestMaxBytes })},
		{Name: "fetch.max.bytes", Type: tInt, Default: "57671680", Doc: "Most record bytes in one answer to a fetch.",
			apply: intTo(1024, math.MaxInt32, func(c *Config) *int { return &c.FetchMaxBytes })},
		{Name: "max.incremental.fetch.session.cache.slots", Type: tInt, Default: "1000", Doc: "Most incremental fetch sessions.",
			apply: intTo(0, math.MaxInt32, func(c *Config) *int { return &c.FetchSessions })},
		{Name: "connections.max.idle.ms", Type: tLong, Default: "600000", Doc: "An idle connection is closed after this time.",
			apply: timeTo(time.Millisecond, 1, func(c *Config) *time.Duration { return &c.ConnectionsMaxIdle })},
		{Name: "max.connections", Type: tInt, Default: "2147483647", Doc: "Most connections of clients.",
			apply: limitTo(func(c *Config) *int { return &c.MaxConnections })},
		{Name: "max.connections.per.ip", Type: tInt, Default: "2147483647", Doc: "Most connections of clients from one address.",
			apply: limitTo(func(c *Config) *int { return &c.MaxPerIP })},
		{Name: "max.connection.creation.rate", Type: tInt, Default: "2147483647", Doc: "Most new connections of one address in a second.",
			apply: limitTo(func(c *Config) *int { return &c.ConnectionRate })},
		{Name: "producer.id.expiration.ms", Type: tInt, Default: "86400000", Doc: "An idle producer id is forgotten after this time.",
			apply: timeTo(time.Millisecond, 1, func(c *Config) *time.Duration { return &c.ProducerIDExpiration })},
	}
}

// onlyPlaintext refuses protocols that are not served yet: to fall back to plain text would be unsafe.
func onlyPlaintext(_ *Config, v string) error {
	if v != "PLAINTEXT" {
		return fmt.Errorf("only PLAINTEXT is served by this version, not %s", v)
	}
	return nil
}

// selectorTo knows Kafka's two selectors; there is nothing to load others from.
func selectorTo(c *Config, v string) error {
	const names = "org.apache.kafka.common.replica."
	switch v {
	case "", names + "LeaderSelector":
		c.RackAware = false
	case names + "RackAwareReplicaSelector":
		c.RackAware = true
	default:
		return fmt.Errorf("only %sLeaderSelector and %sRackAwareReplicaSelector are there, not %s", names, names, v)
	}
	return nil
}

// logKeys are the defaults of topic configs and what the log does on its own.
func logKeys() []Key {
	var out []Key
	for _, t := range metadata.TopicKeys() {
		for s := range t.Synonyms() {
			k := Key{Name: s.Key, Type: t.Type, Default: t.Default, Doc: "Default of the topic config " + t.Name + ". " + t.Doc, Status: Dynamic}
			if s.Factor != 0 {
				k.Default, k.Doc, k.Status = "", k.Doc+" In a larger unit; the finer one counts.", Applied
			}
			out = append(out, k)
		}
	}
	return append(out,
		Key{Name: "log.retention.check.interval.ms", Type: tLong, Default: "300000", Doc: "Time between retention passes.",
			apply: timeTo(time.Millisecond, 1, func(c *Config) *time.Duration { return &c.RetentionCheck })},
		Key{Name: "log.initial.task.delay.ms", Type: tLong, Default: "30000", Doc: "Time before the first retention pass.",
			apply: timeTo(time.Millisecond, 0, func(c *Config) *time.Duration { return &c.InitialTaskDelay })},
		Key{Name: "log.flush.offset.checkpoint.interval.ms", Type: tInt, Default: "60000", Doc: "Time between checkpoints of recovery points.",
			apply: timeTo(time.Millisecond, 1, func(c *Config) *time.Duration { return &c.CheckpointInterval })},
		Key{Name: "num.recovery.threads.per.data.dir", Type: tInt, Default: "2", Doc: "Logs recovered at once in a data directory.",
			apply: intTo(1, 1024, func(c *Config) *int { return &c.RecoveryThreads })},
	)
}

// groupKeys are the keys of consumer groups and their topic.
func groupKeys() []Key {
	ms := time.Millisecond
	return []Key{
		{Name: "group.min.session.timeout.ms", Type: tInt, Default: "6000", Doc: "Shortest session timeout a member may ask for.",
			apply: timeTo(ms, 0, func(c *Config) *time.Duration { return &c.Group.MinSessionTimeout })},
		{Name: "group.max.session.timeout.ms", Type: tInt, Default: "1800000", Doc: "Longest session timeout a member may ask for.",
			apply: timeTo(ms, 0, func(c *Config) *time.Duration { return &c.Group.MaxSessionTimeout })},
		{Name: "group.initial.rebalance.delay.ms", Type: tInt, Default: "3000", Doc: "Time a new group waits for more members.",
			apply: timeTo(ms, 0, func(c *Config) *time.Duration { return &c.Group.InitialRebalanceDelay })},
		{Name: "group.max.size", Type: tInt, Default: "2147483647", Doc: "Most members of a group.",
			apply: intTo(1, math.MaxInt32, func(c *Config) *int { return &c.Group.MaxSize })},
		{Name: "offsets.topic.num.partitions", Type: tInt, Default: "50", Doc: "Partitions of __consumer_offsets; must not change once it exists.",
			apply: intTo(1, 10_000, func(c *Config) *int32 { return &c.Offsets.Partitions })},
		{Name: "offsets.topic.replication.factor", Type: tInt, Default: "3", Doc: "Replicas of __consumer_offsets, at most the live brokers.",
			apply: intTo(1, math.MaxInt16, func(c *Config) *int16 { return &c.Offsets.ReplicationFactor })},
		{Name: "offsets.topic.segment.bytes", Type: tInt, Default: "104857600", Doc: "Segment size of __consumer_offsets.",
			apply: intTo(1<<20, math.MaxInt32, func(c *Config) *int64 { return &c.Offsets.SegmentBytes })},
		{Name: "offsets.retention.minutes", Type: tInt, Default: "10080", Doc: "Offsets of an empty group are forgotten after this time.",
			apply: timeTo(time.Minute, 1, func(c *Config) *time.Duration { return &c.Offsets.Retention })},
		{Name: "offsets.retention.check.interval.ms", Type: tLong, Default: "600000", Doc: "Time between looks for such offsets.",
			apply: timeTo(ms, 1, func(c *Config) *time.Duration { return &c.Offsets.RetentionCheck })},
		{Name: "offset.metadata.max.bytes", Type: tInt, Default: "4096", Doc: "Most bytes of metadata in a commit.",
			apply: intTo(0, 1<<20, func(c *Config) *int { return &c.Offsets.MetadataMaxBytes })},
		{Name: "offsets.commit.timeout.ms", Type: tInt, Default: "5000", Doc: "Longest wait for a commit's replication.",
			apply: timeTo(ms, 1, func(c *Config) *time.Duration { return &c.Offsets.CommitTimeout })},
	}
}

// quotaWindowKeys say how the use of clients is counted.
func quotaWindowKeys() []Key {
	return []Key{
		{Name: "quota.window.num", Type: tInt, Default: "11", Doc: "Windows over which the use of a client is judged against its quota.",
			apply: intTo(1, 1000, func(c *Config) *int { return &c.Quota.Windows })},
		{Name: "quota.window.size.seconds", Type: tInt, Default: "1", Doc: "Length of such a window.",
			apply: timeTo(time.Second, 1, func(c *Config) *time.Duration { return &c.Quota.WindowSize })},
		{Name: "controller.quota.window.num", Type: tInt, Default: "11", Doc: "Windows whose worth of changes of topics may come at once.",
			apply: intTo(1, 1000, func(c *Config) *int { return &c.Quota.ControllerWindows })},
		{Name: "controller.quota.window.size.seconds", Type: tInt, Default: "1", Doc: "Length of such a window.",
			apply: timeTo(time.Second, 1, func(c *Config) *time.Duration { return &c.Quota.ControllerWindowSize })},
	}
}

// ignoredKeys are accepted so that Kafka's property files work unchanged; each says why it has no effect.
func ignoredKeys() []Key {
	var out []Key
	add := func(doc string, names ...string) {
		for _, n := range names {
			name, value, _ := strings.Cut(n, "=")
			out = append(out, Key{Name: name, Type: tString, Default: value, Doc: doc, Status: Ignored})
		}
	}
	add("Accepted without effect: there are no thread pools to size.", "num.network.threads=3", "num.io.threads=8", "background.threads=10",
		"queued.max.requests=500", "queued.max.request.bytes=-1", "num.replica.alter.log.dirs.threads", "log.cleaner.threads=1")
	add("Accepted without effect: the kernel sizes socket buffers.", "socket.send.buffer.bytes=102400", "socket.receive.buffer.bytes=102400",
		"socket.listen.backlog.size=50", "replica.socket.receive.buffer.bytes=65536")
	add("Accepted without effect: there is no such timer or choice here.", "replica.socket.timeout.ms=30000", "replica.high.watermark.checkpoint.interval.ms=5000", "num.replica.fetchers=1",
		"controlled.shutdown.enable=true", "controlled.shutdown.max.retries=3", "controlled.shutdown.retry.backoff.ms=5000",
		"controller.quorum.election.timeout.ms=1000", "controller.quorum.fetch.timeout.ms=2000", "controller.quorum.election.backoff.max.ms=1000",
		"controller.quorum.append.linger.ms=25", "controller.quorum.request.timeout.ms=2000", "controller.quorum.retry.backoff.ms=20",
		"controller.socket.timeout.ms=30000", "initial.broker.registration.timeout.ms=60000", "unclean.leader.election.interval.ms=300000",
		"request.timeout.ms=30000")
	add("Accepted without effect until transactions are served.", "transaction.state.log.num.partitions=50", "transaction.state.log.replication.factor=3",
		"transaction.state.log.min.isr=2", "transaction.state.log.segment.bytes=104857600", "transaction.max.timeout.ms=900000",
		"transactional.id.expiration.ms=604800000", "transaction.abort.timed.out.transaction.cleanup.interval.ms=10000",
		"transaction.remove.expired.transaction.cleanup.interval.ms=3600000", "transaction.partition.verification.enable=true",
		"transaction.two.phase.commit.enable=false", "producer.id.expiration.check.interval.ms=600000", "transaction.state.log.load.buffer.size=5242880")
	add("Accepted without effect until the newer group protocols are served.", "group.coordinator.rebalance.protocols", "group.coordinator.threads=4",
		"group.coordinator.append.linger.ms=-1", "group.consumer.session.timeout.ms=45000", "group.consumer.min.session.timeout.ms=45000",
		"group.consumer.max.session.timeout.ms=60000", "group.consumer.heartbeat.interval.ms=5000", "group.consumer.min.heartbeat.interval.ms=5000",
		"group.consumer.max.heartbeat.interval.ms=15000", "group.consumer.max.size=2147483647", "group.consumer.assignors", "group.consumer.migration.policy=bidirectional",
		"group.share.enable=false", "group.share.session.timeout.ms=45000", "group.share.min.session.timeout.ms=45000", "group.share.max.session.timeout.ms=60000",
		"group.share.heartbeat.interval.ms=5000", "group.share.record.lock.duration.ms=30000", "group.share.min.record.lock.duration.ms=15000",
		"group.share.max.record.lock.duration.ms=60000", "group.share.delivery.count.limit=5", "group.share.partition.max.record.locks=2000", "group.share.max.size=200",
		"share.coordinator.state.topic.num.partitions=50", "share.coordinator.state.topic.replication.factor=3", "share.coordinator.state.topic.min.isr=2",
		"share.coordinator.state.topic.segment.bytes=104857600", "group.streams.session.timeout.ms=45000", "group.streams.heartbeat.interval.ms=5000")
	add("Accepted without effect: the offsets topic keeps its producers' codec, and loads in one pass.", "offsets.topic.compression.codec=0", "offsets.load.buffer.size=5242880",
		"offsets.commit.required.acks=-1")
	add("Accepted without effect until logs are compacted.", "log.cleaner.enable=true", "log.cleaner.dedupe.buffer.size=134217728", "log.cleaner.backoff.ms=15000",
		"log.cleaner.io.buffer.size=524288", "log.cleaner.io.buffer.load.factor=0.9", "log.cleaner.io.max.bytes.per.second=1.7976931348623157E308")
	add("Accepted without effect: durable mode flushes by group commit, page-cache mode leaves it to the kernel.", "log.flush.scheduler.interval.ms=9223372036854775807",
		"log.flush.start.offset.checkpoint.interval.ms=60000", "log.dir.failure.timeout.ms=30000", "cordoned.log.dirs")
	add("Accepted without effect: the controller's log is snapshotted by its own rules.", "metadata.log.segment.bytes=1073741824", "metadata.log.segment.ms=604800000",
		"metadata.log.max.record.bytes.between.snapshots=20971520", "metadata.log.max.snapshot.interval.ms=3600000", "metadata.max.retention.bytes=104857600",
		"metadata.max.retention.ms=604800000", "metadata.max.idle.interval.ms=500")
	add("Accepted without effect: replication is throttled over a second, whatever the number of windows.", "replication.quota.window.num=11", "replication.quota.window.size.seconds=1")
	add("Accepted without effect: moves between directories are throttled over a second, whatever the number of windows.", "alter.log.dirs.replication.quota.window.num=11", "alter.log.dirs.replication.quota.window.size.seconds=1")
	add("Accepted without effect: one limit holds for every address; see the quota connection_creation_rate.", "max.connections.per.ip.overrides")
	add("Accepted without effect: metrics are served over HTTP, see cordwood.http.listener.", "metric.reporters", "metrics.num.samples=2", "metrics.sample.window.ms=30000",
		"metrics.recording.level=INFO", "auto.include.jmx.reporter=true", "kafka.metrics.reporters", "kafka.metrics.polling.interval.secs=10",
		"telemetry.max.bytes=1048576")
	add("Accepted without effect: ZooKeeper is not used.", "zookeeper.connect", "zookeeper.session.timeout.ms=18000", "zookeeper.connection.timeout.ms")
	add("Accepted without effect: nothing is logged in to yet.", "connection.failed.authentication.delay.ms=100", "connections.max.reauth.ms=0", "sasl.server.max.receive.size=524288",
		"sasl.enabled.mechanisms", "sasl.mechanism.inter.broker.protocol=GSSAPI", "sasl.mechanism.controller.protocol=GSSAPI", "delete.records.purgatory.purge.interval.requests=1",
		"fetch.purgatory.purge.interval.requests=1000", "producer.purgatory.purge.interval.requests=1000", "max.request.partition.size.limit=2000",
		"compression.gzip.level", "compression.lz4.level", "compression.zstd.level", "remote.log.storage.system.enable=false", "unstable.api.versions.enable=false",
		"unstable.feature.versions.enable=false")
	return dedupe(out)
}

// dedupe drops ignored keys that another table serves.
func dedupe(in []Key) []Key {
	taken := map[string]bool{}
	for _, k := range slices.Concat(processKeys(), clusterKeys(), throttleKeys(), logKeys(), groupKeys()) {
		taken[k.Name] = true
	}
	var out []Key
	for _, k := range in {
		if !taken[k.Name] {
			taken[k.Name] = true
			out = append(out, k)
		}
	}
	return out
}

func refuse(*Config, string) error { return errors.New("not supported by this version; remove it") }

// rejectedKeys would be unsafe to ignore: whoever sets one expects protection that this version does not give.
func rejectedKeys() []Key {
	var out []Key
	for _, name := range []string{
		"authorizer.class.name", "super.users", "allow.everyone.if.no.acl.found", "ssl.client.auth", "ssl.keystore.location", "ssl.keystore.password",
		"ssl.keystore.type", "ssl.keystore.key", "ssl.keystore.certificate.chain", "ssl.key.password", "ssl.truststore.location", "ssl.truststore.password",
		"ssl.truststore.type", "ssl.truststore.certificates", "ssl.principal.mapping.rules", "sasl.jaas.config", "principal.builder.class", "create.topic.policy.class.name",
		"alter.config.policy.class.name", "client.quota.callback.class", "security.providers", "delegation.token.secret.key", "early.start.listeners",
	} {
		out = append(out, Key{
			Name: name, Type: tString, Status: Rejected, apply: refuse, Sensitive: strings.Contains(name, "password") || strings.HasSuffix(name, ".key"),
			Doc: "Refused: TLS, SASL, authorization and plug-in classes are not served by this version, and ignoring the key would be unsafe.",
		})
	}
	return out
}
