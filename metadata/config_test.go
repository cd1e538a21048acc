package metadata

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The names of every topic config Kafka has, and ours.
const allTopicKeys = `cleanup.policy compression.type compression.gzip.level compression.lz4.level compression.zstd.level
delete.retention.ms errors.deadletterqueue.group.enable file.delete.delay.ms flush.messages flush.ms flush.before.ack
index.interval.bytes local.retention.bytes local.retention.ms max.compaction.lag.ms min.compaction.lag.ms max.message.bytes
message.timestamp.type message.timestamp.before.max.ms message.timestamp.after.max.ms min.cleanable.dirty.ratio
min.insync.replicas preallocate remote.storage.enable remote.log.copy.disable remote.log.delete.on.disable remote.copy.lag.ms
remote.copy.lag.bytes retention.bytes retention.ms segment.bytes segment.ms segment.jitter.ms segment.index.bytes
unclean.leader.election.enable leader.replication.throttled.replicas follower.replication.throttled.replicas`

func TestTheTableHoldsEveryTopicKeyInOrder(t *testing.T) {
	want := strings.Fields(allTopicKeys)
	slices.Sort(want)
	var got []string
	for _, k := range TopicKeys() {
		got = append(got, k.Name)
		if k.Doc == "" || k.Type.String() == "" || TopicKey(k.Name).Name != k.Name {
			t.Errorf("%s: no doc, no type or not found", k.Name)
		}
		if k.Synonym != "" && BrokerSynonym(k.Synonym).Name != k.Name {
			t.Errorf("%s: synonym %s belongs to another key", k.Name, k.Synonym)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestDefaults(t *testing.T) {
	const day = 24 * time.Hour
	want := TopicConfig{Delete: true, Compression: CompressionProducer, GzipLevel: -1, LZ4Level: 9, ZstdLevel: 3, DeleteRetention: day,
		FileDeleteDelay: time.Minute, FlushMessages: math.MaxInt64, FlushInterval: math.MaxInt64, FlushBeforeAck: true, IndexInterval: 4096,
		LocalRetentionBytes: -2, LocalRetention: -2 * time.Millisecond, MaxCompactionLag: math.MaxInt64, MaxMessageBytes: 1048588,
		TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: time.Hour, MinCleanableDirtyRatio: 0.5, RemoteCopyLagBytes: -1,
		RetentionBytes: -1, Retention: 7 * day, SegmentBytes: 1 << 30, SegmentAge: 7 * day, SegmentIndexBytes: 10 << 20}
	if diff := cmp.Diff(want, DefaultTopicConfig()); diff != "" {
		t.Fatal(diff)
	}
}

func TestValuesAreCheckedWithKafkasTexts(t *testing.T) {
	cases := []struct{ key, value, text string }{
		{"segment.bytes", "1048576", ""},
		{"segment.bytes", " 2000000 ", ""},
		{"segment.bytes", "1048575", "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576"},
		{"segment.bytes", "2147483648", "Invalid value 2147483648 for configuration segment.bytes: Not a number of type INT"},
		{"segment.bytes", "1e9", "Invalid value 1e9 for configuration segment.bytes: Not a number of type INT"},
		{"retention.ms", "-1", ""},
		{"retention.ms", "9223372036854775807", ""},
		{"retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"},
		{"retention.ms", "9223372036854775808", "Invalid value 9223372036854775808 for configuration retention.ms: Not a number of type LONG"},
		{"retention.bytes", "-5", ""},
		{"cleanup.policy", "compact,delete", ""},
		{"cleanup.policy", "compact , delete", ""},
		{"cleanup.policy", "", ""},
		{"cleanup.policy", "compress", "Invalid value compress for configuration cleanup.policy: String must be one of: compact, delete"},
		{"cleanup.policy", "delete,delete", "Invalid value delete,delete for configuration cleanup.policy: Duplicate values are not allowed"},
		{"cleanup.policy", "delete,", "Invalid value delete, for configuration cleanup.policy: String must be one of: compact, delete"},
		{"compression.type", "zstd", ""},
		{"compression.type", "ZSTD", "Invalid value ZSTD for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"compression.gzip.level", "0", "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"},
		{"compression.zstd.level", "-131072", ""},
		{"compression.lz4.level", "18", "Invalid value 18 for configuration compression.lz4.level: Value must be between 1 and 17 or equal to 9"},
		{"preallocate", "TRUE", ""},
		{"preallocate", "yes", "Invalid value yes for configuration preallocate: Expected value to be either true or false"},
		{"min.cleanable.dirty.ratio", "1.1", "Invalid value 1.1 for configuration min.cleanable.dirty.ratio: Value must be no more than 1"},
		{"min.cleanable.dirty.ratio", "NaN", "Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE"},
		{"min.insync.replicas", "0", "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1"},
		{"message.timestamp.type", "LogAppendTime", ""},
		{"message.timestamp.type", "logappendtime", "Invalid value logappendtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"},
		{"leader.replication.throttled.replicas", "0:1,1:2", ""},
		{"leader.replication.throttled.replicas", "*", ""},
		{"leader.replication.throttled.replicas", "0", "Invalid value 0 for configuration leader.replication.throttled.replicas: Value must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."},
		{"message.format.version", "3.0", "Unknown topic config name: message.format.version"},
		{"message.downconversion.enable", "true", "Unknown topic config name: message.downconversion.enable"},
		{"../../etc", "x", "Unknown topic config name: ../../etc"},
		{"remote.storage.enable", "true", "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."},
	}
	for _, c := range cases {
		err := ValidateTopicConfig(map[string]string{c.key: c.value})
		if (err == nil) != (c.text == "") || (err != nil && err.Error() != c.text) {
			t.Errorf("%s=%q: %v", c.key, c.value, err)
		}
	}
}

func TestKeysThatContradictEachOtherAreRefused(t *testing.T) {
	err := ValidateTopicConfig(map[string]string{"min.compaction.lag.ms": "10", "max.compaction.lag.ms": "5"})
	if err == nil || err.Error() != "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)" {
		t.Fatal(err)
	}
}

func TestMinISRLeavesOneCopyToLose(t *testing.T) {
	unset, three := DefaultTopicConfig(), TopicConfig{MinInsyncReplicas: 3}
	for replicas, want := range map[int][2]int32{1: {1, 1}, 2: {1, 2}, 3: {2, 3}, 5: {2, 3}} {
		if unset.EffectiveMinISR(replicas) != want[0] || three.EffectiveMinISR(replicas) != want[1] {
			t.Errorf("%d replicas: %d unset, %d set to 3", replicas, unset.EffectiveMinISR(replicas), three.EffectiveMinISR(replicas))
		}
	}
}

func TestBrokerKeysAreTheDefaultsOfTopicKeys(t *testing.T) {
	got := FromBroker(map[string]string{"log.retention.hours": "2", "log.retention.minutes": "3", "message.max.bytes": "5",
		"log.roll.hours": "99999999999999", "log.roll.jitter.hours": "x", "node.id": "1", "log.flush.before.ack": "false"})
	want := map[string]string{"retention.ms": "180000", "max.message.bytes": "5", "flush.before.ack": "false",
		"segment.ms": "9223372036854000000", "segment.jitter.ms": "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	if got := FromBroker(map[string]string{"log.retention.hours": "-1"}); got["retention.ms"] != "-1" {
		t.Fatal(got)
	}
}

func TestUUIDText(t *testing.T) {
	u := UUID{0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	back, err := ParseUUID(u.String())
	if err != nil || back != u || len(u.String()) != 22 {
		t.Fatal(u, back, err)
	}
	for _, bad := range []string{"", "AAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAA/", "AAAAAAAAAAAAAAAAAAAAAB"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q is a uuid", bad)
		}
	}
	if !(UUID{}).Reserved() || !(UUID{15: 1}).Reserved() || (UUID{0: 1}).Reserved() || !(UUID{0: 0xf8}).Reserved() {
		t.Error("reserved uuids")
	}
}
