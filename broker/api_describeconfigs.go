package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// DescribeConfigs (key 32), versions 1-4. 3 types and documentation.
//
// A value comes from the first of: the topic's own, the broker's dynamic one, the cluster's dynamic one, the
// property file, the default. The synonyms list that chain in this order (trap 41).

// describedConfig is one key with its effective value and where it comes from. Without a synonym it has no value:
// nothing sets it and its default is unset.
type describedConfig struct {
	key      configKey
	value    string
	source   kmsg.ConfigSource
	synonyms []configSource
}

// configKey is what an answer says of a key itself.
type configKey struct {
	Name      string
	Type      metadata.ConfigType
	Doc       string
	Sensitive bool
	ReadOnly  bool
}

// configSource is one link of a value's chain.
type configSource struct {
	name   string
	value  string
	source kmsg.ConfigSource
}

func (b *Broker) describeConfigs(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeConfigsRequest)
	resp := q.ResponseKind().(*kmsg.DescribeConfigsResponse)
	img := b.image()
	for i := range q.Resources {
		in := &q.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		configs, err := b.configsOf(img, metadata.ResourceType(in.ResourceType), in.ResourceName)
		if err != nil {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
		}
		for j := range configs {
			if in.ConfigNames == nil || slices.Contains(in.ConfigNames, configs[j].key.Name) {
				out.Configs = append(out.Configs, configs[j].answer(q))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp, nil
}

func (c *describedConfig) answer(q *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	e := kmsg.NewDescribeConfigsResponseResourceConfig()
	e.Name, e.Source, e.IsDefault = c.key.Name, c.source, c.source == kmsg.ConfigSourceDefaultConfig
	e.ReadOnly, e.IsSensitive, e.ConfigType = c.key.ReadOnly, c.key.Sensitive, kmsg.ConfigType(c.key.Type)
	e.Value = c.shown()
	if q.IncludeDocumentation {
		e.Documentation = &c.key.Doc
	}
	if q.IncludeSynonyms {
		for i := range c.synonyms {
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Source = c.synonyms[i].name, c.synonyms[i].source
			if !c.key.Sensitive {
				s.Value = &c.synonyms[i].value
			}
			e.ConfigSynonyms = append(e.ConfigSynonyms, s)
		}
	}
	return e
}

// shown is the value a client may see: null where it is secret or unset.
func (c *describedConfig) shown() *string {
	if c.key.Sensitive || len(c.synonyms) == 0 {
		return nil
	}
	return &c.value
}

// configsOf lists the configs of one resource.
func (b *Broker) configsOf(img *metadata.Image, kind metadata.ResourceType, name string) ([]describedConfig, error) {
	switch kind {
	case metadata.ResourceTopic:
		if err := metadata.ValidTopicName(name); err != nil {
			return nil, fmt.Errorf("%w: %w", kerr.InvalidTopicException, err)
		}
		t := img.Topic(name)
		if t == nil {
			return nil, kerr.UnknownTopicOrPartition
		}
		return b.topicConfigs(img, img.Config(kind, name), len(t.Partitions[0].Replicas)), nil
	case metadata.ResourceBroker:
		if name == "" {
			return dynamicConfigs(img.Config(kind, ""), kmsg.ConfigSourceDynamicDefaultBrokerConfig), nil
		}
		if id, err := strconv.ParseInt(name, 10, 32); err != nil || metadata.NodeID(id) != b.cfg.NodeID {
			return nil, fmt.Errorf("%w: this is broker %d, not %q", kerr.InvalidRequest, b.cfg.NodeID, name)
		}
		return b.brokerConfigs(img), nil
	case resourceBrokerLogger:
		return []describedConfig{}, nil
	case metadata.ResourceGroup:
		if name == "" {
			return nil, fmt.Errorf("%w: a group's name must not be empty", kerr.InvalidRequest)
		}
		return dynamicConfigs(img.Config(kind, name), kmsg.ConfigSourceGroupConfig), nil
	case metadata.ResourceClientMetrics:
		if name == "" {
			return nil, fmt.Errorf("%w: a client metrics subscription's name must not be empty", kerr.InvalidRequest)
		}
		return dynamicConfigs(img.Config(kind, name), kmsg.ConfigSourceClientMetricsConfig), nil
	}
	return nil, fmt.Errorf("%w: there are no configs of type %d", kerr.InvalidRequest, kind)
}

// topicConfigs is every topic key with its value under the given overrides, for a topic of so many replicas.
func (b *Broker) topicConfigs(img *metadata.Image, overrides map[string]string, replicas int) []describedConfig {
	dynamic, cluster := b.dynamicConfigs(img)
	static := b.staticValues()
	var out []describedConfig
	for _, k := range metadata.TopicKeys() {
		d := describedConfig{key: configKey{k.Name, k.Type, k.Doc, k.Sensitive, k.ReadOnly}}
		if v, ok := overrides[k.Name]; ok {
			d.add(k.Name, v, kmsg.ConfigSourceDynamicTopicConfig)
		}
		if v, ok := k.FromBroker(dynamic); ok {
			d.add(k.Synonym, v, kmsg.ConfigSourceDynamicBrokerConfig)
		}
		if v, ok := k.FromBroker(cluster); ok {
			d.add(k.Synonym, v, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
		}
		if v, ok := k.FromBroker(static); ok {
			d.add(k.Synonym, v, kmsg.ConfigSourceStaticBrokerConfig)
		}
		name := k.Synonym
		if name == "" {
			name = k.Name
		}
		standard := k.Default
		if k.Name == minISRKey { // clients count with it: they get what is in force, not that it is unset
			standard = strconv.Itoa(int((&metadata.TopicConfig{}).EffectiveMinISR(replicas)))
		}
		d.addDefault(name, standard)
		out = append(out, d)
	}
	return out
}

const minISRKey = "min.insync.replicas"

// addDefault ends the chain. The default of a list may be empty; that of any other type is then unset.
func (d *describedConfig) addDefault(name, value string) {
	if value != "" || d.key.Type == metadata.ConfigList {
		d.add(name, value, kmsg.ConfigSourceDefaultConfig)
	} else if len(d.synonyms) == 0 {
		d.source = kmsg.ConfigSourceDefaultConfig
	}
}

// add appends a link to the chain; the first one is in force.
func (d *describedConfig) add(name, value string, source kmsg.ConfigSource) {
	if len(d.synonyms) == 0 {
		d.value, d.source = value, source
	}
	d.synonyms = append(d.synonyms, configSource{name, value, source})
}

// brokerConfigs is every key this broker knows.
func (b *Broker) brokerConfigs(img *metadata.Image) []describedConfig {
	dynamic, cluster := b.dynamicConfigs(img)
	static := b.staticValues()
	var out []describedConfig
	for _, k := range Keys() {
		d := describedConfig{key: configKey{k.Name, k.Type, k.Doc, k.Sensitive, !k.Dynamic()}}
		if v, ok := dynamic[k.Name]; ok {
			d.add(k.Name, v, kmsg.ConfigSourceDynamicBrokerConfig)
		}
		if v, ok := cluster[k.Name]; ok {
			d.add(k.Name, v, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
		}
		if v, ok := static[k.Name]; ok {
			d.add(k.Name, v, kmsg.ConfigSourceStaticBrokerConfig)
		}
		d.addDefault(k.Name, k.Default)
		out = append(out, d)
	}
	return out
}

// dynamicConfigs lists what was set, nothing else.
func dynamicConfigs(set map[string]string, source kmsg.ConfigSource) []describedConfig {
	out := make([]describedConfig, 0, len(set))
	for _, name := range slices.Sorted(maps.Keys(set)) {
		d := describedConfig{key: configKey{Name: name, Type: metadata.ConfigString}}
		if k := LookupKey(name); k != nil {
			d.key = configKey{k.Name, k.Type, k.Doc, k.Sensitive, false}
		}
		d.add(name, set[name], source)
		out = append(out, d)
	}
	return out
}

// dynamicConfigs are this broker's own dynamic configs and those of the whole cluster.
func (b *Broker) dynamicConfigs(img *metadata.Image) (own, cluster map[string]string) {
	return img.Config(metadata.ResourceBroker, strconv.Itoa(int(b.cfg.NodeID))), img.Config(metadata.ResourceBroker, "")
}

// staticValues are the keys of the property file and the command line.
func (b *Broker) staticValues() map[string]string {
	out := make(map[string]string, len(b.cfg.Static))
	for name, s := range b.cfg.Static {
		out[name] = s.Value
	}
	return out
}
