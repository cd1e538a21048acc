package decide

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"cordwood/metadata"
)

// configKey is what AlterConfigs must know of a key, whatever it belongs to.
type configKey struct {
	list        bool
	readOnly    bool
	clusterWide bool // cannot differ from broker to broker
	single      bool // is of one broker, never of all
	standard    string
	validate    func(string) error
}

// key describes a key of a resource; nil if the resource has none of that name.
func (a *alteration) key(r ConfigResource, name string) *configKey {
	switch r.Type {
	case metadata.ResourceTopic:
		k := metadata.TopicKey(name)
		if k == nil {
			return nil
		}
		standard, set := k.FromBroker(a.img.Config(metadata.ResourceBroker, ""))
		if !set {
			standard = k.Default
		}
		return &configKey{list: k.Type == metadata.ConfigList, readOnly: k.ReadOnly, standard: standard, validate: k.Validate}
	case metadata.ResourceBroker:
		return a.brokerKey(name)
	case metadata.ResourceGroup:
		if b, known := groupKeys[name]; known {
			return &configKey{validate: func(v string) error { return b.validate(name, v) }}
		}
	case metadata.ResourceClientMetrics:
		if validate, known := clientMetricsKeys[name]; known {
			return &configKey{list: name != "interval.ms", validate: validate}
		}
	}
	return nil
}

// brokerKey: the broker's own table if it was handed in; the defaults of topic keys are
// known without it.
func (a *alteration) brokerKey(name string) *configKey {
	topic := metadata.BrokerSynonym(name)
	if topic != nil {
		return &configKey{
			list: topic.Type == metadata.ConfigList, standard: topic.Default,
			// They are part of every partition's record, so a single broker cannot have its own.
			clusterWide: topic.Name == "min.insync.replicas" || topic.Name == "flush.before.ack",
			validate: func(v string) error {
				translated, _ := topic.FromBroker(map[string]string{name: v})
				if err := topic.Validate(translated); err != nil {
					return &metadata.ConfigError{Key: name, Value: v, Reason: reason(err)}
				}
				return nil
			},
		}
	}
	if a.rules == nil || a.rules.BrokerKey == nil {
		return nil
	}
	b := a.rules.BrokerKey(name)
	if b == nil {
		return nil
	}
	k := &configKey{list: b.List, readOnly: b.ReadOnly, clusterWide: !b.PerBroker, single: name == metadata.DecommissionKey, standard: b.Default, validate: b.Validate}
	if k.validate == nil {
		k.validate = func(string) error { return nil }
	}
	return k
}

func reason(err error) string {
	if c, ok := err.(*metadata.ConfigError); ok {
		return c.Reason
	}
	return err.Error()
}

// bounds of an integer key of a group; the limits are Kafka's defaults for brokers.
type bounds struct{ lowest, highest int64 }

func (b bounds) validate(name, value string) error {
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return &metadata.ConfigError{Key: name, Value: value, Reason: "Not a number of type INT"}
	}
	if n < b.lowest {
		return fmt.Errorf("%s must be greater than or equal to %d", name, b.lowest)
	}
	if n > b.highest {
		return fmt.Errorf("%s must be less than or equal to %d", name, b.highest)
	}
	return nil
}

const (
	consumerSession   = "consumer.session.timeout.ms"
	consumerHeartbeat = "consumer.heartbeat.interval.ms"
	shareSession      = "share.session.timeout.ms"
	shareHeartbeat    = "share.heartbeat.interval.ms"
)

var groupKeys = map[string]bounds{
	consumerSession:                 {45_000, 60_000},
	consumerHeartbeat:               {5_000, 15_000},
	shareSession:                    {45_000, 60_000},
	shareHeartbeat:                  {5_000, 15_000},
	"share.record.lock.duration.ms": {15_000, 60_000},
}

// validGroup: a session must outlive a heartbeat.
func validGroup(set map[string]string) error {
	number := func(key string, standard int64) int64 {
		if v, err := strconv.ParseInt(strings.TrimSpace(set[key]), 10, 32); err == nil {
			return v
		}
		return standard
	}
	for _, pair := range [][2]string{{consumerSession, consumerHeartbeat}, {shareSession, shareHeartbeat}} {
		if number(pair[0], 45_000) <= number(pair[1], 5_000) {
			return fmt.Errorf("%s must be greater than %s", pair[0], pair[1])
		}
	}
	return nil
}

var clientMetricsKeys = map[string]func(string) error{
	"metrics": func(string) error { return nil },
	"interval.ms": func(v string) error {
		n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
		if err != nil {
			return &metadata.ConfigError{Key: "interval.ms", Value: v, Reason: "Not a number of type INT"}
		}
		if n < 100 || n > 3_600_000 {
			return fmt.Errorf("Invalid value %d for interval.ms, interval must be between 100 and 3600000 (1 hour)", n)
		}
		return nil
	},
	"match": func(v string) error {
		for _, pattern := range metadata.SplitList(v) {
			if !validMatch(pattern) {
				return fmt.Errorf("Illegal client matching pattern: %s", pattern)
			}
		}
		return nil
	},
}

func validMatch(pattern string) bool {
	name, value, ok := strings.Cut(pattern, "=")
	if !ok || strings.Contains(value, "=") {
		return false
	}
	switch strings.TrimSpace(name) {
	case "client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port":
		_, err := regexp.Compile(strings.TrimSpace(value))
		return err == nil
	}
	return false
}
