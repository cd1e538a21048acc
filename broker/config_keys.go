package broker

import (
	"iter"
	"slices"
	"strings"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// Key describes one configuration key of a broker. The names, defaults and meanings are Kafka's, but for those that
// start with "cordwood." and the differences of default in the operator's reference.
type Key struct {
	Name      string
	Type      metadata.ConfigType
	Default   string // Kafka's text of the default; empty: unset
	Doc       string
	Sensitive bool
	Status    KeyStatus
	Brokers   []string                            // of a topic's config: the broker keys that give its default, the first one set counts
	apply     func(c *Config, value string) error // nil: checked by its type only
}

// KeyStatus is what setting a key does.
type KeyStatus int

const (
	Applied  KeyStatus = iota // read at the start
	Dynamic                   // read at the start, and may be altered while running
	Ignored                   // accepted; the thing it tunes does not exist here, as Doc says
	Rejected                  // refused: to ignore it would be unsafe, as Doc says
)

func (s KeyStatus) String() string {
	return [...]string{"applied", "dynamic", "ignored", "rejected"}[s]
}

// Dynamic reports whether the key may be altered while the broker runs.
func (k *Key) Dynamic() bool { return k.Status == Dynamic }

// keys is every key, sorted by name. It is made once, before main.
var keys = func() []Key {
	all := slices.Concat(processKeys(), clusterKeys(), dnsKeys(), decommissionKeys(), throttleKeys(), logKeys(), groupKeys(), quotaWindowKeys(), ignoredKeys(), rejectedKeys())
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	return all
}()

// Keys lists every key in alphabetical order.
func Keys() []Key { return keys }

// LookupKey finds a key by its name; nil for an unknown one.
func LookupKey(name string) *Key {
	i, ok := slices.BinarySearchFunc(keys, name, func(k Key, n string) int { return strings.Compare(k.Name, n) })
	if !ok {
		return nil
	}
	return &keys[i]
}

// Check says whether a value may be given to the key.
func (k *Key) Check(value string) error {
	var scratch Config
	return k.set(&scratch, value)
}

func (k *Key) set(c *Config, value string) error {
	value = strings.TrimSpace(value)
	if k.apply != nil {
		return k.apply(c, value)
	}
	if t := metadata.BrokerSynonym(k.Name); t != nil {
		if name, v, ok := topicValue(k.Name, value); ok {
			return metadata.TopicKey(name).Validate(v)
		}
	}
	return checkType(k.Type, value)
}

// topicValue translates a broker key that gives a topic key its default.
func topicValue(key, value string) (name, translated string, ok bool) {
	t := metadata.BrokerSynonym(key)
	if t == nil {
		return "", "", false
	}
	v, ok := t.FromBroker(map[string]string{key: value})
	return t.Name, v, ok
}

// LookupTopicKey finds the config of a topic by its name, described as a key of the broker is; nil for an unknown one.
// Brokers is the keys that give it its default.
func LookupTopicKey(name string) *Key {
	t := metadata.TopicKey(name)
	if t == nil {
		return nil
	}
	k := &Key{Name: t.Name, Type: t.Type, Default: t.Default, Doc: t.Doc, Sensitive: t.Sensitive, Status: Dynamic,
		apply: func(_ *Config, value string) error { return t.Validate(value) }}
	for s := range t.Synonyms() {
		k.Brokers = append(k.Brokers, s.Key)
	}
	return k
}

// Suggest is the known key that an unknown one most likely means; empty when none is close.
func Suggest(name string) string {
	return nearest(name, func(yield func(string) bool) {
		for i := range keys {
			if keys[i].Status != Ignored && !yield(keys[i].Name) {
				return
			}
		}
	})
}

// SuggestTopicKey is Suggest for the configs of topics.
func SuggestTopicKey(name string) string {
	return nearest(name, func(yield func(string) bool) {
		for _, k := range metadata.TopicKeys() {
			if !yield(k.Name) {
				return
			}
		}
	})
}

func nearest(name string, known iter.Seq[string]) string {
	best, least := "", len(name)/3+1
	if len(name) > 100 { // no typing error of a key, and the comparison costs its length
		return ""
	}
	for k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the single-character edits between two names; two neighbours that changed places are one
// (optimal string alignment).
func distance(a, b string) int {
	before, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j+1]+1, next[j]+1, row[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(b)]
}

// describeBrokerKey tells the controller's rules about a key; nil for an unknown one.
func describeBrokerKey(name string) *decide.BrokerKey {
	k := LookupKey(name)
	if k == nil {
		return nil
	}
	return &decide.BrokerKey{
		List: k.Type == metadata.ConfigList, ReadOnly: !k.Dynamic(), PerBroker: true, Default: k.Default, Validate: k.Check,
	}
}
