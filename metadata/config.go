package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ConfigType is the type of a config value; the numbers are those of DescribeConfigs.
type ConfigType int8

const (
	ConfigBoolean ConfigType = 1
	ConfigString  ConfigType = 2
	ConfigInt     ConfigType = 3
	ConfigLong    ConfigType = 5
	ConfigDouble  ConfigType = 6
	ConfigList    ConfigType = 7
)

func (t ConfigType) String() string {
	return [...]string{1: "BOOLEAN", 2: "STRING", 3: "INT", 5: "LONG", 6: "DOUBLE", 7: "LIST"}[t]
}

// Synonym is a broker key that stands for a topic key, in units of Factor.
type Synonym struct {
	Key    string
	Factor int64 // 0: the same unit; else the value is multiplied by it
}

// ConfigKey describes one topic key. Synonym is the broker key of the highest priority
// that gives the default, empty if there is none; Also lists further ones, in order.
type ConfigKey struct {
	Name      string
	Type      ConfigType
	Default   string
	Doc       string
	Synonym   string
	Also      []Synonym
	Sensitive bool
	ReadOnly  bool
	apply     func(c *TopicConfig, value string) error
}

// Validate says whether the value may be set.
func (k *ConfigKey) Validate(value string) error {
	var scratch TopicConfig
	return k.set(&scratch, value)
}

func (k *ConfigKey) set(c *TopicConfig, value string) error {
	if err := k.apply(c, strings.TrimSpace(value)); err != nil {
		return &ConfigError{Key: k.Name, Value: value, Reason: err.Error()}
	}
	return nil
}

// ConfigError is a refused value or an unknown key; its text is Kafka's.
type ConfigError struct {
	Key, Value string
	Reason     string
}

func (e *ConfigError) Error() string {
	if e.Key == "" {
		return e.Reason
	}
	return fmt.Sprintf("Invalid value %s for configuration %s: %s", e.Value, e.Key, e.Reason)
}

// Compression is what compression.type asks for.
type Compression int8

const (
	CompressionProducer Compression = -1 // keep the producer's
	CompressionNone     Compression = 0  // from here on the codec numbers of record batches
	CompressionGzip     Compression = 1
	CompressionSnappy   Compression = 2
	CompressionLZ4      Compression = 3
	CompressionZstd     Compression = 4
)

// TopicConfig holds the effective configs of one topic. Durations that Kafka gives as
// 2^63-1 ms are the longest Duration; negative ones keep Kafka's meaning in milliseconds
// (-1 ms: no limit, -2 ms: as the other limit).
type TopicConfig struct {
	Compact, Delete        bool // cleanup.policy; neither: keep for ever
	Compression            Compression
	GzipLevel              int
	LZ4Level               int
	ZstdLevel              int
	DeleteRetention        time.Duration
	DeadLetterGroup        bool
	FileDeleteDelay        time.Duration
	FlushMessages          int64
	FlushInterval          time.Duration
	FlushBeforeAck         bool
	IndexInterval          int
	LocalRetentionBytes    int64
	LocalRetention         time.Duration
	MaxCompactionLag       time.Duration
	MinCompactionLag       time.Duration
	MaxMessageBytes        int
	LogAppendTime          bool
	TimestampBeforeMax     time.Duration
	TimestampAfterMax      time.Duration
	MinCleanableDirtyRatio float64
	MinInsyncReplicas      int32 // as set; 0: not set, see EffectiveMinISR
	Preallocate            bool
	RemoteStorage          bool
	RemoteCopyDisable      bool
	RemoteDeleteOnDisable  bool
	RemoteCopyLag          time.Duration
	RemoteCopyLagBytes     int64
	RetentionBytes         int64
	Retention              time.Duration
	SegmentBytes           int64
	SegmentAge             time.Duration
	SegmentJitter          time.Duration
	SegmentIndexBytes      int
	UncleanElection        bool
	LeaderThrottled        []string
	FollowerThrottled      []string
}

// EffectiveMinISR is the value of a partition's record. Unset means two copies where there
// are three or more, else one: max(1, min(2, replicas-1)).
func (c *TopicConfig) EffectiveMinISR(replicas int) int32 {
	m := c.MinInsyncReplicas
	if m <= 0 {
		m = max(1, min(2, int32(replicas)-1))
	}
	return min(m, int32(replicas))
}

// DefaultTopicConfig returns the configs of a topic without overrides under a broker
// without settings.
func DefaultTopicConfig() TopicConfig { return defaults }

var defaults = func() TopicConfig {
	var c TopicConfig
	for i := range topicKeys {
		if topicKeys[i].Default == "" {
			continue
		}
		if err := topicKeys[i].set(&c, topicKeys[i].Default); err != nil {
			panic(err) // the table is wrong: seen by any test
		}
	}
	return c
}()

// TopicKeys returns the description of every topic key, sorted by name. Do not modify it.
func TopicKeys() []ConfigKey { return topicKeys }

// TopicKey returns the description of one key, or nil.
func TopicKey(name string) *ConfigKey {
	i, ok := slices.BinarySearchFunc(topicKeys, name, func(k ConfigKey, n string) int { return strings.Compare(k.Name, n) })
	if !ok {
		return nil
	}
	return &topicKeys[i]
}

// With returns the configs with overrides (topic keys) applied to them.
func (c TopicConfig) With(overrides map[string]string) (TopicConfig, error) {
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		k := TopicKey(name)
		if k == nil {
			return c, &ConfigError{Reason: "Unknown topic config name: " + name}
		}
		if err := k.set(&c, overrides[name]); err != nil {
			return c, err
		}
	}
	return c, c.check()
}

// check holds what one key cannot know alone.
func (c *TopicConfig) check() error {
	if c.MinCompactionLag > c.MaxCompactionLag {
		return &ConfigError{Reason: fmt.Sprintf("conflict topic config setting min.compaction.lag.ms (%d) > max.compaction.lag.ms (%d)",
			c.MinCompactionLag.Milliseconds(), c.MaxCompactionLag.Milliseconds())}
	}
	if c.RemoteStorage {
		return &ConfigError{Reason: "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."}
	}
	return nil
}

// ValidateTopicConfig says whether the overrides may be set on a topic, given nothing but
// the defaults.
func ValidateTopicConfig(overrides map[string]string) error {
	_, err := DefaultTopicConfig().With(overrides)
	return err
}

// FromBroker translates broker keys into the topic keys they are the defaults of; keys
// without a topic key are left out. Where several synonyms are set, the first counts.
func FromBroker(broker map[string]string) map[string]string {
	out := map[string]string{}
	for i := range topicKeys {
		if v, ok := topicKeys[i].FromBroker(broker); ok {
			out[topicKeys[i].Name] = v
		}
	}
	return out
}

// FromBroker finds the key's default in a broker's settings.
func (k *ConfigKey) FromBroker(broker map[string]string) (string, bool) {
	for s := range k.Synonyms() {
		v, ok := broker[s.Key]
		if !ok || (s.Factor != 0 && strings.TrimSpace(v) == "") {
			continue
		}
		if s.Factor == 0 {
			return v, true
		}
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return v, true // its own validation will refuse it
		}
		if n > 0 {
			n = min(n, (1<<63-1)/s.Factor) * s.Factor
		}
		return strconv.FormatInt(n, 10), true
	}
	return "", false
}

// Synonyms goes through the broker keys of a topic key, the strongest first.
func (k *ConfigKey) Synonyms() func(yield func(Synonym) bool) {
	return func(yield func(Synonym) bool) {
		if k.Synonym == "" || !yield(Synonym{Key: k.Synonym}) {
			return
		}
		for _, s := range k.Also {
			if !yield(s) {
				return
			}
		}
	}
}

// BrokerSynonym returns the topic key a broker key gives the default of, or nil.
func BrokerSynonym(broker string) *ConfigKey {
	for i := range topicKeys {
		for s := range topicKeys[i].Synonyms() {
			if s.Key == broker {
				return &topicKeys[i]
			}
		}
	}
	return nil
}
