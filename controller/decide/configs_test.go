package decide

import (
	"errors"
	"testing"

	"cordwood/metadata"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
)

var (
	topicT     = ConfigResource{metadata.ResourceTopic, "t"}
	allBrokers = ConfigResource{metadata.ResourceBroker, ""}
	brokerOne  = ConfigResource{metadata.ResourceBroker, "1"}
)

func configWorld(t *testing.T) *world {
	w := newWorld(t, 1, 2, 3)
	w.rules = &Rules{BrokerKey: func(name string) *BrokerKey {
		return map[string]*BrokerKey{
			"log.dirs":            {ReadOnly: true},
			"num.io.threads":      {},
			"fetch.max.bytes":     {PerBroker: true, Validate: func(v string) error { return map[bool]error{true: errors.New("too small")}[v == "1"] }},
			"cordoned.log.dirs":   {PerBroker: true, List: true},
			"authorizer.class":    {ReadOnly: true},
			"listeners.something": nil,
		}[name]
	}}
	w.create(topic("t", 2, 3))
	return w
}

func (w *world) step(r ConfigResource, ops ...ConfigOp) *Refusal {
	w.t.Helper()
	out, err := IncrementalAlterConfigs(w.img, IncrementalAlterConfigsRequest{Rules: w.rules, Resources: []AlteredConfigs{{r, ops}}}, w.now)
	return do(w, out, err).Resources[0].Err
}

func value(s string) *string { return &s }

func TestIncrementalChangesTouchSingleKeys(t *testing.T) {
	w := configWorld(t)
	for _, ops := range [][]ConfigOp{
		{{OpSet, "retention.ms", value("5")}, {OpSet, "segment.bytes", value("2000000")}},
		{{OpDelete, "segment.bytes", nil}, {OpDelete, "never.set", nil}},
		{{OpAppend, "cleanup.policy", value("compact")}},
		{{OpAppend, "cleanup.policy", value("compact,delete")}},
		{{OpSubtract, "cleanup.policy", value("delete")}},
		{{OpSubtract, "leader.replication.throttled.replicas", value("0:1")}},
	} {
		if err := w.step(topicT, ops...); err != nil {
			t.Fatal(ops, err)
		}
	}
	want := map[string]string{"retention.ms": "5", "cleanup.policy": "compact", "leader.replication.throttled.replicas": ""}
	if diff := cmp.Diff(want, w.img.Config(metadata.ResourceTopic, "t")); diff != "" {
		t.Fatal(diff)
	}
}

func TestLegacyAlterReplacesTheWholeSet(t *testing.T) {
	w := configWorld(t)
	replace := func(entries ...ConfigEntry) *Refusal {
		out, err := AlterConfigs(w.img, AlterConfigsRequest{Rules: w.rules, Resources: []ReplacedConfigs{{topicT, entries}}}, w.now)
		return do(w, out, err).Resources[0].Err
	}
	if err := replace(ConfigEntry{"retention.ms", value("5")}, ConfigEntry{"preallocate", value("true")}); err != nil {
		t.Fatal(err)
	}
	if err := replace(ConfigEntry{"preallocate", value("false")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"preallocate": "false"}, w.img.Config(metadata.ResourceTopic, "t")); diff != "" {
		t.Fatal(diff)
	}
	wantCode(t, replace(ConfigEntry{"preallocate", nil}), kerr.InvalidRequest)
	wantCode(t, replace(ConfigEntry{"preallocate", value("true")}, ConfigEntry{"preallocate", value("true")}), kerr.InvalidRequest)
	wantCode(t, replace(ConfigEntry{"unknown", value("true")}), kerr.InvalidConfig)
	if err := replace(); err != nil || w.img.Config(metadata.ResourceTopic, "t") != nil {
		t.Fatal(err)
	}
}

func TestRefusedConfigs(t *testing.T) {
	group := ConfigResource{metadata.ResourceGroup, "g"}
	metrics := ConfigResource{metadata.ResourceClientMetrics, "m"}
	set := func(k, v string) []ConfigOp { return []ConfigOp{{OpSet, k, &v}} }
	cases := []struct {
		name     string
		resource ConfigResource
		ops      []ConfigOp
		code     *kerr.Error
		text     string
	}{
		{"unknown topic key", topicT, set("retention.msec", "1"), kerr.InvalidConfig, "Unknown topic config name: retention.msec"},
		{"a url", topicT, set("http://x/", "1"), kerr.InvalidConfig, ""},
		{"bad value", topicT, set("segment.bytes", "1000"), kerr.InvalidConfig, "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576"},
		{"contradiction", topicT, append(set("min.compaction.lag.ms", "10"), set("max.compaction.lag.ms", "5")...), kerr.InvalidConfig, ""},
		{"append to a number", topicT, []ConfigOp{{OpAppend, "retention.ms", value("1")}}, kerr.InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST."},
		{"subtract from nothing known", topicT, []ConfigOp{{OpSubtract, "x", value("1")}}, kerr.InvalidConfig, "Can't SUBTRACT to key x because its type is not LIST."},
		{"key twice", topicT, append(set("retention.ms", "1"), set("retention.ms", "2")...), kerr.InvalidRequest, "Error due to duplicate config keys"},
		{"no value", topicT, []ConfigOp{{OpSet, "retention.ms", nil}}, kerr.InvalidRequest, "Null value not supported for : retention.ms"},
		{"unknown step", topicT, []ConfigOp{{9, "retention.ms", value("1")}}, kerr.InvalidRequest, ""},
		{"unknown topic", ConfigResource{metadata.ResourceTopic, "x"}, set("retention.ms", "1"), kerr.UnknownTopicOrPartition, "The topic 'x' does not exist."},
		{"invalid topic", ConfigResource{metadata.ResourceTopic, "a/b"}, set("retention.ms", "1"), kerr.InvalidTopicException, ""},
		{"default topic", ConfigResource{metadata.ResourceTopic, ""}, set("retention.ms", "1"), kerr.InvalidRequest, "Default topic resources are not allowed."},
		{"unknown broker", ConfigResource{metadata.ResourceBroker, "9"}, set("log.retention.ms", "1"), kerr.BrokerIDNotRegistered, ""},
		{"negative broker", ConfigResource{metadata.ResourceBroker, "-1"}, set("log.retention.ms", "1"), kerr.InvalidRequest, ""},
		{"broker with leading zero", ConfigResource{metadata.ResourceBroker, "01"}, set("log.retention.ms", "1"), kerr.InvalidRequest, ""},
		{"broker not a number", ConfigResource{metadata.ResourceBroker, "x"}, set("log.retention.ms", "1"), kerr.InvalidRequest, "Unable to parse broker name as a base 10 number."},
		{"unknown broker key", allBrokers, set("log.retenton.ms", "1"), kerr.InvalidConfig, "Unknown broker config name: log.retenton.ms"},
		{"read-only broker key", brokerOne, set("log.dirs", "/etc"), kerr.InvalidConfig, "Cannot update these configs dynamically: Set(log.dirs)"},
		{"class", brokerOne, set("authorizer.class", "x"), kerr.InvalidConfig, ""},
		{"cluster-wide key for one broker", brokerOne, set("num.io.threads", "1"), kerr.InvalidConfig, ""},
		{"min isr for one broker", brokerOne, set("min.insync.replicas", "2"), kerr.InvalidConfig, ""},
		{"mode for one broker", brokerOne, set("log.flush.before.ack", "false"), kerr.InvalidConfig, ""},
		{"bad broker value", brokerOne, set("fetch.max.bytes", "1"), kerr.InvalidConfig, "too small"},
		{"bad synonym", allBrokers, set("log.retention.hours", "x"), kerr.InvalidConfig, "Invalid value x for configuration log.retention.hours: Not a number of type LONG"},
		{"default group", ConfigResource{metadata.ResourceGroup, ""}, set("consumer.session.timeout.ms", "50000"), kerr.InvalidRequest, ""},
		{"long group", ConfigResource{metadata.ResourceGroup, string(make([]byte, 300))}, set("consumer.session.timeout.ms", "50000"), kerr.InvalidRequest, ""},
		{"unknown group key", group, set("x", "1"), kerr.InvalidConfig, "Unknown group config name: x"},
		{"short session", group, set("consumer.session.timeout.ms", "44999"), kerr.InvalidConfig, "consumer.session.timeout.ms must be greater than or equal to 45000"},
		{"long heartbeat", group, set("share.heartbeat.interval.ms", "15001"), kerr.InvalidConfig, ""},
		{"session not a number", group, set("share.session.timeout.ms", "x"), kerr.InvalidConfig, ""},
		{"no subscription name", ConfigResource{metadata.ResourceClientMetrics, ""}, set("metrics", "*"), kerr.InvalidRequest, ""},
		{"unknown subscription key", metrics, set("x", "1"), kerr.InvalidConfig, "Unknown client metrics config name: x"},
		{"short interval", metrics, set("interval.ms", "99"), kerr.InvalidConfig, ""},
		{"bad pattern", metrics, set("match", "client_id=("), kerr.InvalidConfig, "Illegal client matching pattern: client_id=("},
		{"unknown pattern", metrics, set("match", "os=linux"), kerr.InvalidConfig, ""},
		{"unknown type", ConfigResource{8, ""}, nil, kerr.InvalidRequest, "Unknown resource type 8"},
	}
	for _, c := range cases {
		w := configWorld(t)
		index := w.img.Index()
		err := w.step(c.resource, c.ops...)
		if err == nil || err.Code != c.code || (c.text != "" && err.Message != c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
		if w.img.Index() != index {
			t.Errorf("%s: something was committed", c.name)
		}
	}
}

func TestAcceptedConfigsOfOtherResources(t *testing.T) {
	w := configWorld(t)
	for _, c := range []struct {
		resource   ConfigResource
		key, value string
	}{
		{allBrokers, "log.retention.hours", "3"},
		{allBrokers, "num.io.threads", "3"},
		{brokerOne, "fetch.max.bytes", "100"},
		{brokerOne, "message.max.bytes", "100"},
		{ConfigResource{metadata.ResourceGroup, "g"}, "consumer.heartbeat.interval.ms", "6000"},
		{ConfigResource{metadata.ResourceClientMetrics, "m"}, "match", "client_id=a.*, client_software_name = Java"},
		{ConfigResource{metadata.ResourceClientMetrics, "m"}, "interval.ms", "1000"},
	} {
		if err := w.set(c.resource, c.key, c.value); err != nil {
			t.Errorf("%v %s: %v", c.resource, c.key, err)
		}
		if got := w.img.Config(c.resource.Type, c.resource.Name)[c.key]; got != c.value {
			t.Errorf("%v %s: %q", c.resource, c.key, got)
		}
	}
}

func TestTheSameResourceTwiceIsRefusedBothTimes(t *testing.T) {
	w := configWorld(t)
	out, err := IncrementalAlterConfigs(w.img, IncrementalAlterConfigsRequest{Resources: []AlteredConfigs{{topicT, nil}, {topicT, nil}, {allBrokers, nil}}}, w.now)
	got := do(w, out, err).Resources
	if got[0].Err == nil || got[1].Err == nil || got[2].Err != nil || got[0].Err.Message != "Each resource must appear at most once." {
		t.Fatalf("%+v", got)
	}
}

func TestValidateOnlyChangesNoConfig(t *testing.T) {
	w := configWorld(t)
	out, err := IncrementalAlterConfigs(w.img, IncrementalAlterConfigsRequest{ValidateOnly: true, Resources: []AlteredConfigs{{topicT, []ConfigOp{{OpSet, "retention.ms", value("1")}}}}}, w.now)
	if err != nil || len(out.Changes) > 0 || out.Reply.Resources[0].Err != nil {
		t.Fatalf("%+v %v", out, err)
	}
}

// Z35: the shrink request of a leader that has not seen the change carries the old
// partition epoch and is refused.
func TestRaisingMinISRIsAChangeOfEveryPartition(t *testing.T) {
	w := configWorld(t)
	w.create(topic("pinned", 1, 3, "min.insync.replicas", "1"))
	before := w.img.Topic("t").Partitions[1].PartitionEpoch
	if err := w.set(topicT, "min.insync.replicas", "3"); err != nil {
		t.Fatal(err)
	}
	for _, p := range w.img.Topic("t").Partitions {
		if p.MinISR != 3 || p.PartitionEpoch != before+1 {
			t.Fatalf("%+v", p)
		}
	}
	if err := w.set(allBrokers, "min.insync.replicas", "1"); err != nil {
		t.Fatal(err)
	}
	if w.img.Topic("t").Partitions[0].MinISR != 3 || w.img.Topic("pinned").Partitions[0].PartitionEpoch != 0 {
		t.Fatal("a topic's own value was overridden by the cluster's")
	}
	if err := w.step(topicT, ConfigOp{OpDelete, "min.insync.replicas", nil}); err != nil {
		t.Fatal(err)
	}
	if w.img.Topic("t").Partitions[0].MinISR != 1 {
		t.Fatal("the cluster's value is not in force")
	}
}

func TestCandidatesAreForgottenOnlyWhenTheISRIsLargeEnough(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.create(assigned("t", []metadata.NodeID{1, 2, 3}))
	w.silence(2, 3)
	w.is("t", 0, "isr [1] elr [2 3] known [] leader 1")
	if err := w.set(topicT, "min.insync.replicas", "3"); err != nil {
		t.Fatal(err)
	}
	w.is("t", 0, "isr [1] elr [2 3] known [] leader 1")
	if err := w.set(topicT, "min.insync.replicas", "1"); err != nil {
		t.Fatal(err)
	}
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
}

func TestTheModeOfATopicIsInItsPartitions(t *testing.T) {
	w := configWorld(t)
	check := func(durable, relaxed bool) {
		t.Helper()
		if p := w.img.Topic("t").Partitions[0]; p.Durable != durable || p.Relaxed != relaxed {
			t.Fatalf("%+v", p)
		}
	}
	check(true, false)
	w.set(allBrokers, "log.flush.before.ack", "false")
	check(false, true)
	w.set(topicT, "flush.before.ack", "true")
	check(true, true)
}

func TestStaticSettingsThatChangedWhileTheControllerWasDownAreApplied(t *testing.T) {
	w := configWorld(t)
	if out := Reconcile(w.img, w.rules); len(out.Changes) != 0 {
		t.Fatalf("%+v", out.Changes)
	}
	c := metadata.DefaultTopicConfig()
	c.MinInsyncReplicas = 1
	w.commit(Reconcile(w.img, &Rules{TopicConfig: c, Configured: true}).Changes)
	if w.img.Topic("t").Partitions[0].MinISR != 1 {
		t.Fatal("not applied")
	}
}
