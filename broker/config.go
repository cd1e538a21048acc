package broker

import (
	"context"
	"math"
	"net"
	"time"

	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/protocol"
	"cordwood/segment/vfs"
)

// Config is everything a broker is told at its start. Defaults gives Kafka's values where protocol/keys.md does not
// say otherwise; FromProperties reads Kafka's property names into it; Validate refuses what cannot work.
type Config struct {
	NodeID    metadata.NodeID // node.id
	ClusterID string          // set by tests and demos; empty: generated at the first start
	Rack      string          // broker.rack
	RackAware bool            // replica.selector.class: consumers are sent to a replica in their rack
	LogDirs   []string        // log.dirs; the first one also holds raft/

	Listeners   []ListenerConfig // client listeners, then the internal one (Kind tells)
	InterBroker string           // inter.broker.listener.name: where brokers fetch from each other; empty: see amongBrokers

	HTTPAddr string // cordwood.http.listener; empty: none
	Pprof    bool   // cordwood.pprof.enable
	DNSAddr  string // cordwood.dns.listener; empty: none
	DNSZone  string // cordwood.dns.zone

	AutoCreateTopics   bool                 // auto.create.topics.enable
	DeleteTopics       bool                 // delete.topic.enable
	NumPartitions      int32                // num.partitions
	ReplicationFactor  int16                // default.replication.factor; -1: min(3, live brokers)
	Topic              metadata.TopicConfig // broker-wide defaults of topic configs (log.*, message.max.bytes, …)
	FetchMaxBytes      int                  // fetch.max.bytes
	FetchSessions      int                  // max.incremental.fetch.session.cache.slots
	RequestMaxBytes    int                  // socket.request.max.bytes
	ConnectionsMaxIdle time.Duration        // connections.max.idle.ms
	MaxConnections     int                  // max.connections; 0: no limit
	MaxPerIP           int                  // max.connections.per.ip; 0: no limit
	ConnectionRate     int                  // max.connection.creation.rate per second; 0: no limit

	Offsets OffsetsConfig // __consumer_offsets
	Group   GroupConfig   // classic consumer groups
	Quota   QuotaConfig   // how the use of clients is counted

	ProducerIDExpiration time.Duration // producer.id.expiration.ms
	RetentionCheck       time.Duration // log.retention.check.interval.ms
	InitialTaskDelay     time.Duration // log.initial.task.delay.ms
	CheckpointInterval   time.Duration // log.flush.offset.checkpoint.interval.ms
	RecoveryThreads      int           // num.recovery.threads.per.data.dir
	DiskStall            time.Duration // cordwood.disk.stall.ms
	ScrubInterval        time.Duration // cordwood.scrub.interval.ms; negative: never
	HeartbeatInterval    time.Duration // broker.heartbeat.interval.ms
	SessionTimeout       time.Duration // broker.session.timeout.ms
	ShutdownTimeout      time.Duration // bound of a graceful stop

	Roles            []string      // process.roles; empty: broker and controller
	Voters           []Voter       // controller.quorum.voters
	BootstrapServers []string      // controller.quorum.bootstrap.servers
	BootstrapExpect  int           // cordwood.bootstrap.expect; 0: as many as there are bootstrap servers
	LeaderLease      LeaseMode     // cordwood.leader.lease
	DefiniteDeath    bool          // cordwood.failure.definite.death
	LeaderRebalance  bool          // auto.leader.rebalance.enable
	ImbalanceCheck   time.Duration // leader.imbalance.check.interval.seconds
	ImbalancePercent int           // leader.imbalance.per.broker.percentage
	ReplicaLag       time.Duration // replica.lag.time.max.ms
	ReplicaFetch     FetchConfig   // how followers fetch
	LeaderThrottle   int64         // leader.replication.throttled.rate
	FollowerThrottle int64         // follower.replication.throttled.rate
	CopyThrottle     int64         // replica.alter.log.dirs.io.max.bytes.per.second

	// Static holds every key as it was set, for DescribeConfigs and `config explain`.
	Static map[string]Setting

	// Ready, if set, is called once when the broker begins to serve.
	Ready func(Addrs)

	// Seams for tests and for embedding; nil means the real thing.
	FS     vfs.FS
	Listen func(network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	Now    func() time.Time // wall time of record timestamps and retention
	Log    *zap.Logger

	// as written; FromProperties resolves them together
	brokerID                                     int32
	logDir                                       string
	votersText                                   []string
	listenersText, advertisedText, protocolsText string
	controllerListeners                          []string
}

// ListenerConfig is one address to serve.
type ListenerConfig struct {
	Name       string // PLAINTEXT, CONTROLLER, …
	Protocol   string // PLAINTEXT until TLS and SASL exist
	Addr       string // host:port to bind; empty host: all interfaces; port 0: any
	Advertised string // host:port told to clients; empty: chosen per connection ("auto")
	Kind       protocol.Listener
}

// Voter is one member of the first quorum.
type Voter struct {
	ID   metadata.NodeID
	Addr string // host:port of its controller listener
}

// LeaseMode says what a leader may serve that has not heard from the controller for most of a session (R18).
type LeaseMode int

const (
	LeaseStrict LeaseMode = iota // nothing
	LeaseWrites                  // reads
	LeaseOff                     // everything
)

// FetchConfig is how followers fetch from leaders.
type FetchConfig struct {
	MaxBytes      int           // replica.fetch.max.bytes, of one partition
	ResponseBytes int           // replica.fetch.response.max.bytes
	MinBytes      int           // replica.fetch.min.bytes
	WaitMax       time.Duration // replica.fetch.wait.max.ms
	Backoff       time.Duration // replica.fetch.backoff.ms
}

// OffsetsConfig is how the offsets topic is made and kept.
type OffsetsConfig struct {
	Partitions        int32         // offsets.topic.num.partitions
	ReplicationFactor int16         // offsets.topic.replication.factor, at most the live brokers
	SegmentBytes      int64         // offsets.topic.segment.bytes
	Retention         time.Duration // offsets.retention.minutes
	RetentionCheck    time.Duration // offsets.retention.check.interval.ms
	MetadataMaxBytes  int           // offset.metadata.max.bytes
	CommitTimeout     time.Duration // offsets.commit.timeout.ms
}

// GroupConfig bounds classic consumer groups.
type GroupConfig struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MaxSize               int           // group.max.size
}

// QuotaConfig is how long the use of clients is remembered.
type QuotaConfig struct {
	Windows              int           // quota.window.num
	WindowSize           time.Duration // quota.window.size.seconds
	ControllerWindows    int           // controller.quota.window.num
	ControllerWindowSize time.Duration // controller.quota.window.size.seconds
}

// Setting is one configured value and where it was written.
type Setting struct {
	Value string
	File  string // property file, "--override", or empty
	Line  int
}

// Defaults is the configuration of a broker that was told nothing.
func Defaults() Config {
	return Config{
		NodeID:  1,
		LogDirs: []string{"./cordwood-data"},
		Listeners: []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: ":9092", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal},
		},
		HTTPAddr:           "127.0.0.1:9644",
		AutoCreateTopics:   true,
		DeleteTopics:       true,
		NumPartitions:      1,
		ReplicationFactor:  -1,
		Topic:              metadata.DefaultTopicConfig(),
		FetchMaxBytes:      55 << 20,
		FetchSessions:      1000,
		RequestMaxBytes:    100 << 20,
		ConnectionsMaxIdle: 10 * time.Minute,
		Offsets: OffsetsConfig{
			Partitions: 50, ReplicationFactor: 3, SegmentBytes: 100 << 20, Retention: 7 * 24 * time.Hour,
			RetentionCheck: 10 * time.Minute, MetadataMaxBytes: 4096, CommitTimeout: 5 * time.Second,
		},
		Group: GroupConfig{
			MinSessionTimeout: 6 * time.Second, MaxSessionTimeout: 30 * time.Minute,
			InitialRebalanceDelay: 3 * time.Second, MaxSize: 1<<31 - 1,
		},
		Quota:                QuotaConfig{Windows: 11, WindowSize: time.Second, ControllerWindows: 11, ControllerWindowSize: time.Second},
		ProducerIDExpiration: 24 * time.Hour,
		RetentionCheck:       5 * time.Minute,
		InitialTaskDelay:     30 * time.Second,
		CheckpointInterval:   time.Minute,
		RecoveryThreads:      2,
		DiskStall:            5 * time.Second,
		ScrubInterval:        7 * 24 * time.Hour,
		HeartbeatInterval:    500 * time.Millisecond,
		SessionTimeout:       3 * time.Second,
		DefiniteDeath:        true,
		LeaderRebalance:      true,
		ImbalanceCheck:       5 * time.Minute,
		ImbalancePercent:     10,
		ReplicaLag:           10 * time.Second,
		LeaderThrottle:       math.MaxInt64, FollowerThrottle: math.MaxInt64, CopyThrottle: math.MaxInt64,
		ReplicaFetch: FetchConfig{
			MaxBytes: 1 << 20, ResponseBytes: 10 << 20, MinBytes: 1, WaitMax: 500 * time.Millisecond, Backoff: time.Second,
		},
		ShutdownTimeout: 5 * time.Minute,
	}
}
