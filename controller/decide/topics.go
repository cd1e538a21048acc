package decide

import (
	"time"

	"cordwood/metadata"
)

// MaxPartitionsPerRequest bounds one CreateTopics or CreatePartitions (bad input 140).
const MaxPartitionsPerRequest = 10_000

// Assignment names the replicas of one partition.
type Assignment struct {
	Index    int32
	Replicas []metadata.NodeID
}

// ConfigEntry is a key and its value; nil is "no value".
type ConfigEntry struct {
	Key   string
	Value *string
}

// NewTopic is one topic of a CreateTopics: -1 for partitions and replication factor asks
// for the defaults; with Assignments both must be -1.
type NewTopic struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	Assignments       []Assignment
	Configs           []ConfigEntry
}

// CreateTopicsRequest. Internal says that the broker itself asks: only it may create
// internal topics (bad input 127).
type CreateTopicsRequest struct {
	Topics       []NewTopic
	ValidateOnly bool
	Internal     bool
	Rules        *Rules
	NewID        func() metadata.UUID // random
}

// CreatedTopic is the answer for one topic, in the order asked. Configs are its overrides.
type CreatedTopic struct {
	Name              string
	ID                metadata.TopicID
	Partitions        int32
	ReplicationFactor int16
	Configs           map[string]string
	Err               *Refusal
}

// CreateTopicsReply answers CreateTopics.
type CreateTopicsReply struct{ Topics []CreatedTopic }

// TopicRef names a topic by id, or by name if the id is zero.
type TopicRef struct {
	Name string
	ID   metadata.TopicID
}

// DeleteTopicsRequest. Internal as in CreateTopicsRequest.
type DeleteTopicsRequest struct {
	Topics   []TopicRef
	Internal bool
}

// DeletedTopic is the answer for one topic; Name and ID are both filled when it was found.
type DeletedTopic struct {
	TopicRef
	Err *Refusal
}

// DeleteTopicsReply answers DeleteTopics.
type DeleteTopicsReply struct{ Topics []DeletedTopic }

// MorePartitions is one topic of a CreatePartitions: Count is the new total, Assignments
// (nil: the controller chooses) the replicas of each new partition.
type MorePartitions struct {
	Name        string
	Count       int32
	Assignments [][]metadata.NodeID
}

// CreatePartitionsRequest asks for more partitions.
type CreatePartitionsRequest struct {
	Topics       []MorePartitions
	ValidateOnly bool
	Internal     bool
	Rules        *Rules
}

// GrownTopic is the answer for one topic.
type GrownTopic struct {
	Name string
	Err  *Refusal
}

// CreatePartitionsReply answers CreatePartitions.
type CreatePartitionsReply struct{ Topics []GrownTopic }

func CreateTopics(img *metadata.Image, req CreateTopicsRequest, now time.Time) (Outcome[CreateTopicsReply], error) {
	return Outcome[CreateTopicsReply]{}, errNotYet
}

func DeleteTopics(img *metadata.Image, req DeleteTopicsRequest, now time.Time) (Outcome[DeleteTopicsReply], error) {
	return Outcome[DeleteTopicsReply]{}, errNotYet
}

func CreatePartitions(img *metadata.Image, req CreatePartitionsRequest, now time.Time) (Outcome[CreatePartitionsReply], error) {
	return Outcome[CreatePartitionsReply]{}, errNotYet
}
