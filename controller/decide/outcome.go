package decide

import (
	"errors"
	"fmt"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Outcome is what a decision comes to.
type Outcome[R any] struct {
	Changes []metadata.Change
	Reply   R

	// Alone asks for an entry of its own: a registration's epoch is the index of its entry,
	// so nothing else in that entry may look at it.
	Alone bool
}

// None is the reply of a decision that nobody waits for.
type None struct{}

// Refusal is an error a client must know: a Kafka error code and a sentence.
type Refusal struct {
	Code    *kerr.Error
	Message string
}

func (r *Refusal) Error() string { return r.Code.Message + ": " + r.Message }
func (r *Refusal) Unwrap() error { return r.Code }

func refuse(code *kerr.Error, format string, a ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, a...)}
}

// Refused returns the refusal in an error, or nil.
func Refused(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// Rules is what decisions need to know besides the image: the controller's own settings.
// The zero value stands for the defaults.
type Rules struct {
	Partitions        int32                // num.partitions; 0: 1
	ReplicationFactor int16                // default.replication.factor; 0: unset, min(3, live brokers)
	InternalFactor    func(string) int16   // most replicas of an internal topic; nil or 0: 3
	TopicConfig       metadata.TopicConfig // topic configs as the static broker config has them
	Configured        bool                 // TopicConfig is set; else metadata.DefaultTopicConfig

	// BrokerKey describes a broker key, nil for an unknown one. Without it only the keys
	// that are defaults of topic keys are known.
	BrokerKey func(name string) *BrokerKey
}

// BrokerKey describes one key of the broker's configuration to AlterConfigs.
type BrokerKey struct {
	List      bool // APPEND and SUBTRACT are allowed
	ReadOnly  bool // only the file and the command line can set it
	PerBroker bool // may differ from broker to broker
	Default   string
	Validate  func(value string) error
}

// base is the effective config of a topic without overrides.
func (r *Rules) base(img *metadata.Image) metadata.TopicConfig {
	c := r.static()
	dynamic, err := c.With(metadata.FromBroker(img.Config(metadata.ResourceBroker, "")))
	if err != nil {
		return c // they were validated when they were set
	}
	return dynamic
}

// static is what topics have when nothing was ever altered.
func (r *Rules) static() metadata.TopicConfig {
	if r != nil && r.Configured {
		return r.TopicConfig
	}
	return metadata.DefaultTopicConfig()
}

// topic is the effective config of a topic with overrides.
func (r *Rules) topic(img *metadata.Image, overrides map[string]string) (metadata.TopicConfig, error) {
	return r.base(img).With(overrides)
}

func (r *Rules) partitions() int32 {
	if r == nil || r.Partitions <= 0 {
		return 1
	}
	return r.Partitions
}

func (r *Rules) internalFactor(topic string, live int) int {
	factor := 3
	if r != nil && r.InternalFactor != nil {
		if f := r.InternalFactor(topic); f > 0 {
			factor = int(f)
		}
	}
	return min(factor, live)
}

func (r *Rules) replicationFactor(live int) int16 {
	if r == nil || r.ReplicationFactor <= 0 {
		return int16(max(1, min(3, live)))
	}
	return r.ReplicationFactor
}
