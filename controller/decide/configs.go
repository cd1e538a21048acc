package decide

import (
	"time"

	"cordwood/metadata"
)

// ConfigOpType is what IncrementalAlterConfigs does with a key; the numbers are Kafka's.
type ConfigOpType int8

const (
	OpSet ConfigOpType = iota
	OpDelete
	OpAppend
	OpSubtract
)

// ConfigOp is one step of IncrementalAlterConfigs.
type ConfigOp struct {
	Op    ConfigOpType
	Key   string
	Value *string
}

// ConfigResource names what configs belong to: a topic, a broker ("" is every broker), a
// group, a client metrics subscription.
type ConfigResource struct {
	Type metadata.ResourceType
	Name string
}

// AlterConfigsRequest is the legacy request: Configs replace the whole set.
type AlterConfigsRequest struct {
	Resources    []ReplacedConfigs
	ValidateOnly bool
	Rules        *Rules
}

// ReplacedConfigs is one resource of the legacy request.
type ReplacedConfigs struct {
	ConfigResource
	Configs []ConfigEntry
}

// IncrementalAlterConfigsRequest changes single keys.
type IncrementalAlterConfigsRequest struct {
	Resources    []AlteredConfigs
	ValidateOnly bool
	Rules        *Rules
}

// AlteredConfigs is one resource of the incremental request.
type AlteredConfigs struct {
	ConfigResource
	Ops []ConfigOp
}

// AlteredResource is the answer for one resource.
type AlteredResource struct {
	ConfigResource
	Err *Refusal
}

// AlterConfigsReply answers both requests.
type AlterConfigsReply struct{ Resources []AlteredResource }

func AlterConfigs(img *metadata.Image, req AlterConfigsRequest, now time.Time) (Outcome[AlterConfigsReply], error) {
	return Outcome[AlterConfigsReply]{}, errNotYet
}

func IncrementalAlterConfigs(img *metadata.Image, req IncrementalAlterConfigsRequest, now time.Time) (Outcome[AlterConfigsReply], error) {
	return Outcome[AlterConfigsReply]{}, errNotYet
}
