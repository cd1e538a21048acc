package metadata

import (
	"errors"
	"fmt"
	"strings"
)

// MaxTopicName leaves room for "-<partition>" and a suffix in a file name of 255 bytes.
const MaxTopicName = 249

// ErrTopicName is what every refused topic name is.
var ErrTopicName = errors.New("invalid topic name")

// ValidTopicName lets only names through that are safe as part of a directory name
// (bad input 124). The texts are Kafka's, where Kafka refuses too.
func ValidTopicName(name string) error {
	switch {
	case name == "":
		return topicNameError("the empty string is not allowed")
	case name == "." || name == "..":
		return topicNameError("'%s' is not allowed", name)
	case device(name):
		return topicNameError("'%s' is the name of a device on some systems", name)
	case len(name) > MaxTopicName:
		return topicNameError("the length of '%s' is longer than the max allowed length %d", clip(name), MaxTopicName)
	}
	for i := 0; i < len(name); i++ {
		if !topicByte(name[i]) {
			return topicNameError("'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", clip(name))
		}
	}
	return nil
}

// device reports whether files of this name open a device on Windows. Topics must be
// copyable to anywhere; Kafka lets these names through.
func device(name string) bool {
	switch lower := strings.ToLower(name); len(lower) {
	case 3:
		return lower == "con" || lower == "prn" || lower == "aux" || lower == "nul"
	case 4:
		return (lower[:3] == "com" || lower[:3] == "lpt") && '1' <= lower[3] && lower[3] <= '9'
	}
	return false
}

func topicByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '.' || b == '_' || b == '-'
}

func topicNameError(format string, a ...any) error {
	return fmt.Errorf("Topic name is invalid: %s%w", fmt.Sprintf(format, a...), silent{ErrTopicName})
}

// silent is an error that is found by errors.Is but adds no text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// clip keeps a hostile name from filling answers and logs.
func clip(name string) string {
	if len(name) > MaxTopicName {
		return name[:MaxTopicName] + "…"
	}
	return name
}

// TopicNamesCollide reports whether two names give the same metric name, in which '.' and
// '_' are one (bad input 125).
func TopicNamesCollide(a, b string) bool {
	return len(a) == len(b) && unify(a) == unify(b)
}

func unify(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Collides returns an existing topic the new name collides with, or nil. A name without
// the two characters can only collide with itself.
func (i *Image) Collides(name string) *Topic {
	if t := i.Topic(name); t != nil {
		return t
	}
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	want := unify(name)
	for t := range i.Topics() {
		if len(t.Name) == len(name) && unify(t.Name) == want {
			return t
		}
	}
	return nil
}

// The internal topics. They exist under these names only.
const (
	OffsetsTopic      = "__consumer_offsets"
	TransactionsTopic = "__transaction_state"
	ShareStateTopic   = "__share_group_state"
	ClusterTopic      = "__cluster_metadata"
)

// InternalTopic reports whether the name belongs to the broker itself (bad input 127).
func InternalTopic(name string) bool {
	switch name {
	case OffsetsTopic, TransactionsTopic, ShareStateTopic, ClusterTopic:
		return true
	}
	return false
}
