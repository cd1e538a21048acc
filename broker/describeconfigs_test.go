package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka's own tools count with min.insync.replicas of a topic and tell an unset key (null) from an empty list.
func TestUnsetConfigsAreNullAndMinISRIsTheOneInForce(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	admin := kadm.NewClient(n.client())
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	text := func(r kadm.ResourceConfigs, err error) map[string]string {
		t.Helper()
		if err = firstOf(err, r[0].Err); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, c := range r[0].Configs {
			if out[c.Key] = "null"; c.Value != nil {
				out[c.Key] = "'" + *c.Value + "'"
			}
			if c.Value == nil && len(c.Synonyms) > 0 && !c.Sensitive {
				t.Errorf("%s is null and has synonyms %v", c.Key, c.Synonyms)
			}
		}
		return out
	}
	topic := text(admin.DescribeTopicConfigs(ctx, "orders"))
	broker := text(admin.DescribeBrokerConfigs(ctx, 1))
	for _, c := range []struct {
		of        map[string]string
		key, want string
	}{
		{topic, "min.insync.replicas", "'1'"},
		{topic, "leader.replication.throttled.replicas", "''"},
		{topic, "cleanup.policy", "'delete'"},
		{broker, "broker.rack", "null"},
		{broker, "min.insync.replicas", "null"},
		{broker, "log.segment.bytes", "'1073741824'"},
	} {
		if got := c.of[c.key]; got != c.want {
			t.Errorf("%s is %s, not %s", c.key, got, c.want)
		}
	}
}

func TestConfigsOfWhatCannotHaveAny(t *testing.T) {
	n := startNode(t, t.TempDir())
	q := kmsg.NewPtrDescribeConfigsRequest()
	for _, c := range []struct {
		kind kmsg.ConfigResourceType
		name string
		want *kerr.Error
	}{
		{kmsg.ConfigResourceTypeTopic, "unknown", kerr.UnknownTopicOrPartition},
		{kmsg.ConfigResourceTypeTopic, "a/b", kerr.InvalidTopicException},
		{kmsg.ConfigResourceTypeBroker, "x", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeGroupConfig, "", kerr.InvalidRequest},
		{kmsg.ConfigResourceTypeClientMetrics, "", kerr.InvalidRequest},
		{77, "x", kerr.InvalidRequest},
	} {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName = c.kind, c.name
		q.Resources = []kmsg.DescribeConfigsRequestResource{r}
		resp, err := q.RequestWith(testContext(t), n.client())
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Resources[0]; got.ErrorCode != c.want.Code || got.ErrorMessage == nil || len(got.Configs) != 0 {
			t.Errorf("type %d, %q: %+v", c.kind, c.name, got)
		}
	}
}

// What tools that move partitions do: they set the rates of brokers, see them, and delete all three at the end.
func TestThrottlesOfReplicationAreConfigsOfBrokers(t *testing.T) {
	n := startNode(t, t.TempDir(), func(c *Config) {
		c.LeaderThrottle, c.Static = 5000, map[string]Setting{"leader.replication.throttled.rate": {Value: "5000"}}
	})
	ctx := testContext(t)
	admin := kadm.NewClient(n.client())
	rates := []string{"leader.replication.throttled.rate", "follower.replication.throttled.rate", "replica.alter.log.dirs.io.max.bytes.per.second"}
	alter := func(op kadm.IncrementalOp, value string, names ...string) error {
		var all []kadm.AlterConfig
		for _, name := range names {
			all = append(all, kadm.AlterConfig{Op: op, Name: name, Value: &value})
		}
		r, err := admin.AlterBrokerConfigs(ctx, all, 1)
		return firstOf(err, r[0].Err)
	}
	is := func(want ...string) {
		t.Helper()
		r, err := admin.DescribeBrokerConfigs(ctx, 1)
		if err = firstOf(err, r[0].Err); err != nil {
			t.Fatal(err)
		}
		for i, name := range rates {
			for _, c := range r[0].Configs {
				if c.Key == name && (c.MaybeValue() != want[i] || c.Source == kmsg.ConfigSourceDynamicBrokerConfig != (want[i] == "1000" || want[i] == "0")) {
					t.Errorf("%s is %s of %s, not %s", name, c.MaybeValue(), c.Source, want[i])
				}
			}
		}
	}
	const unlimited = "9223372036854775807"
	is("5000", unlimited, unlimited)
	if err := alter(kadm.SetConfig, "1000", rates...); err != nil {
		t.Fatal(err)
	}
	is("1000", "1000", "1000")
	if err := alter(kadm.DeleteConfig, "", rates...); err != nil {
		t.Fatal(err)
	}
	is("5000", unlimited, unlimited)
	if err := alter(kadm.SetConfig, "0", rates...); err != nil { // as in Kafka: nothing passes
		t.Fatal(err)
	}
	is("0", "0", "0")
	for _, bad := range []string{"-1", "fast"} {
		if err := alter(kadm.SetConfig, bad, rates[0]); err == nil {
			t.Errorf("%s is taken for a rate", bad)
		}
	}
	for _, name := range rates {
		if k := LookupKey(name); k == nil || !k.Dynamic() {
			t.Errorf("%s: %+v", name, k)
		}
	}
}
