package broker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cordwood/metadata"
)

// ConfigError is one refused setting: what, where, and what to do.
type ConfigError struct {
	Key     string
	Setting Setting
	Reason  string
	Advice  string
}

func (e *ConfigError) Error() string {
	text := e.Key
	if e.Setting.Value != "" && !sensitive(e.Key) {
		text += "=" + e.Setting.Value
	}
	text += ": " + e.Reason
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	switch {
	case e.Setting.File == "": // not set: the trouble is with the default, or with another key
		return text
	case e.Setting.Line == 0:
		return e.Setting.File + ": " + text
	}
	return fmt.Sprintf("%s:%d: %s", e.Setting.File, e.Setting.Line, text)
}

func (e *ConfigError) Unwrap() error { return ErrConfig }

func sensitive(key string) bool {
	k := LookupKey(key)
	return k == nil || k.Sensitive
}

// FromProperties reads settings by Kafka's names over the defaults. Every problem is reported, each as a ConfigError.
func FromProperties(settings map[string]Setting) (Config, error) {
	c := Defaults()
	c.Static = maps.Clone(settings)
	c.brokerID = -1
	var problems []error
	refuse := func(key, reason, advice string) {
		problems = append(problems, &ConfigError{Key: key, Setting: settings[key], Reason: reason, Advice: advice})
	}
	topic := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		k := LookupKey(name)
		switch {
		case k == nil && strings.HasPrefix(name, "listener.name."):
			refuse(name, "keys of single listeners are about TLS and SASL, which this version does not serve", "remove it")
		case k == nil:
			refuse(name, "unknown key", suggestion(name))
		case name == metadata.DecommissionKey && !strings.EqualFold(settings[name].Value, "false"):
			refuse(name, "a broker is decommissioned while it runs", "remove it, and use `cordwood cluster decommission`")
		case k.Status == Ignored:
		default:
			if err := k.set(&c, settings[name].Value); err != nil {
				refuse(name, err.Error(), "see `cordwood config explain "+name+"`")
			}
			if metadata.BrokerSynonym(name) != nil {
				topic[name] = settings[name].Value
			}
		}
	}
	if len(problems) == 0 {
		var err error
		if c.Topic, err = c.Topic.With(metadata.FromBroker(topic)); err != nil {
			refuse("log.*", err.Error(), "")
		}
		c.resolveRest(settings)
		c.resolveCluster(refuse)
		c.resolveListeners(settings, refuse)
	}
	return c, errors.Join(problems...)
}

func suggestion(name string) string {
	if s := Suggest(name); s != "" {
		return "did you mean " + s + "?"
	}
	return "remove it, or see `cordwood config explain` for the keys there are"
}

// resolveRest settles keys that have two names.
func (c *Config) resolveRest(settings map[string]Setting) {
	if _, ok := settings["node.id"]; !ok && c.brokerID >= 0 {
		c.NodeID = metadata.NodeID(c.brokerID)
	}
	if _, ok := settings["log.dirs"]; !ok && c.logDir != "" {
		c.LogDirs = []string{c.logDir}
	}
}

// Validate refuses what cannot work, with ErrConfig inside.
func (c *Config) Validate() error {
	bad := func(key, reason, advice string) error {
		return &ConfigError{Key: key, Setting: c.Static[key], Reason: reason, Advice: advice}
	}
	switch {
	case len(c.LogDirs) == 0:
		return bad("log.dirs", "no data directory", "name at least one")
	case len(slices.Compact(slices.Sorted(slices.Values(c.LogDirs)))) != len(c.LogDirs):
		return bad("log.dirs", "a directory is named twice", "name each once")
	case c.NodeID < 0:
		return bad("node.id", "must not be negative", "use a number from 0 on")
	case c.HeartbeatInterval*2 > c.SessionTimeout:
		return bad("broker.session.timeout.ms", "less than two heartbeats", "make it at least twice broker.heartbeat.interval.ms")
	case c.ReplicaFetch.WaitMax > c.ReplicaLag:
		return bad("replica.fetch.wait.max.ms", "longer than replica.lag.time.max.ms", "make it shorter")
	}
	if err := c.validateListeners(bad); err != nil {
		return err
	}
	return c.validateDNS(bad)
}

func (c *Config) validateListeners(bad func(key, reason, advice string) error) error {
	clients, internal := 0, 0
	for _, l := range c.Listeners {
		if l.Protocol != "PLAINTEXT" {
			return bad("listener.security.protocol.map", fmt.Sprintf("listener %s wants %s; this version serves PLAINTEXT only", l.Name, l.Protocol), "use PLAINTEXT")
		}
		if isInternal(l.Kind) {
			internal++
		} else {
			clients++
		}
	}
	switch {
	case c.IsBroker() && clients == 0:
		return bad("listeners", "a broker needs a client listener", "see `cordwood config explain listeners`")
	case c.IsController() && internal != 1:
		return bad("listeners", "a controller needs a listener of controller.listener.names", "see `cordwood config explain listeners`")
	case !c.IsController() && internal != 0:
		return bad("listeners", "a node that is a broker only has no controller listener", "remove it, or add the role controller")
	case !c.IsBroker() && clients > 0:
		return bad("listeners", "a node that is a controller only serves no clients", "remove the listener, or add the role broker")
	}
	return nil
}
