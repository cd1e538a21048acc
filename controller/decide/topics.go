package decide

import (
	"strings"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
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

// CreateTopics creates what can be created; each topic is answered for itself.
func CreateTopics(img *metadata.Image, req CreateTopicsRequest, now time.Time) (Outcome[CreateTopicsReply], error) {
	c := creation{img: img, req: &req, use: &dirUse{img: img}, twice: map[string]int{}, taken: map[string]string{}}
	for _, t := range req.Topics {
		c.twice[t.Name]++
		c.wanted += c.count(&t)
	}
	var out Outcome[CreateTopicsReply]
	for i := range req.Topics {
		t := &req.Topics[i]
		changes, created, err := c.topic(t)
		if err != nil {
			out.Reply.Topics = append(out.Reply.Topics, CreatedTopic{Name: t.Name, Err: err})
			continue
		}
		out.Reply.Topics = append(out.Reply.Topics, created)
		if !req.ValidateOnly {
			out.Changes = append(out.Changes, changes...)
		}
	}
	return out, nil
}

// creation is one CreateTopics under way.
type creation struct {
	img    *metadata.Image
	req    *CreateTopicsRequest
	use    *dirUse
	twice  map[string]int    // how often a name was given
	taken  map[string]string // metric form of accepted names → the name
	wanted int64             // partitions, of the whole request
}

// count is how many partitions a topic asks for, whatever else is wrong with it.
func (c *creation) count(t *NewTopic) int64 {
	switch {
	case len(t.Assignments) > 0:
		return int64(len(t.Assignments))
	case t.Partitions > 0:
		return int64(t.Partitions)
	}
	return int64(c.req.Rules.partitions())
}

func (c *creation) topic(t *NewTopic) ([]metadata.Change, CreatedTopic, *Refusal) {
	if err := c.name(t.Name); err != nil {
		return nil, CreatedTopic{}, err
	}
	if c.wanted > MaxPartitionsPerRequest {
		return nil, CreatedTopic{}, refuse(kerr.PolicyViolation, "Excessively large number of partitions per request.")
	}
	overrides, err := creationConfigs(t.Configs)
	if err != nil {
		return nil, CreatedTopic{}, err
	}
	config, bad := c.req.Rules.topic(c.img, overrides)
	if bad != nil {
		return nil, CreatedTopic{}, refuse(kerr.InvalidConfig, "%s", bad)
	}
	id := metadata.TopicID(c.req.NewID())
	m := maker{img: c.img, config: &config, placer: newPlacer(c.img, id, c.use)}
	partitions, err := c.layout(&m, t)
	if err != nil {
		return nil, CreatedTopic{}, err
	}
	c.taken[metricName(t.Name)] = t.Name
	changes := []metadata.Change{metadata.TopicCreated{ID: id, Name: t.Name, Internal: metadata.InternalTopic(t.Name)}}
	changes = append(changes, configChanges(metadata.ResourceTopic, t.Name, nil, overrides)...)
	for i, p := range partitions {
		changes = append(changes, metadata.PartitionCreated{Topic: id, Index: int32(i), Partition: p})
	}
	return changes, CreatedTopic{Name: t.Name, ID: id, Partitions: int32(len(partitions)),
		ReplicationFactor: int16(len(partitions[0].Replicas)), Configs: overrides}, nil
}

// name refuses names that are invalid, taken, or alike in metrics (bad inputs 124, 125).
func (c *creation) name(name string) *Refusal {
	if c.twice[name] > 1 {
		return refuse(kerr.InvalidRequest, "Duplicate topic name.")
	}
	if err := metadata.ValidTopicName(name); err != nil {
		return refuse(kerr.InvalidTopicException, "%s", err)
	}
	if metadata.InternalTopic(name) && (!c.req.Internal || name == metadata.ClusterTopic) {
		return refuse(kerr.InvalidTopicException, "Creation of internal topic %s is prohibited.", name)
	}
	existing := ""
	if t := c.img.Collides(name); t != nil {
		existing = t.Name
	} else {
		existing = c.taken[metricName(name)]
	}
	switch existing {
	case "":
		return nil
	case name:
		return refuse(kerr.TopicAlreadyExists, "Topic '%s' already exists.", name)
	}
	return refuse(kerr.InvalidTopicException, "Topic '%s' collides with existing topic: %s", name, existing)
}

// metricName is what a topic is called in metrics, where a dot would be a separator.
func metricName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// layout decides the partitions of a new topic.
func (c *creation) layout(m *maker, t *NewTopic) ([]metadata.Partition, *Refusal) {
	if len(t.Assignments) > 0 {
		return manual(m, t)
	}
	switch {
	case t.ReplicationFactor < -1 || t.ReplicationFactor == 0:
		return nil, refuse(kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value.")
	case t.Partitions < -1 || t.Partitions == 0:
		return nil, refuse(kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	}
	factor := t.ReplicationFactor
	if factor == -1 {
		factor = c.req.Rules.replicationFactor(len(m.placer.brokers))
	}
	var out []metadata.Partition
	for n := range c.count(t) {
		p, err := m.placed(int32(n), int(factor))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// manual takes the assignments of the request, in any order, without a gap.
func manual(m *maker, t *NewTopic) ([]metadata.Partition, *Refusal) {
	switch {
	case t.ReplicationFactor != -1:
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	case t.Partitions != -1:
		return nil, refuse(kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	out := make([]metadata.Partition, len(t.Assignments))
	factor := 0
	for _, a := range t.Assignments {
		if a.Index < 0 || int(a.Index) >= len(out) {
			return nil, refuse(kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		if out[a.Index].Replicas != nil {
			return nil, refuse(kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", a.Index)
		}
		p, err := m.assigned(a.Index, a.Replicas, factor)
		if err != nil {
			return nil, err
		}
		out[a.Index], factor = p, len(a.Replicas)
	}
	return out, nil
}

func creationConfigs(entries []ConfigEntry) (map[string]string, *Refusal) {
	out := map[string]string{}
	var null []string
	for _, e := range entries {
		if e.Value == nil {
			null = append(null, e.Key)
			continue
		}
		out[e.Key] = *e.Value
	}
	if null != nil {
		return nil, refuse(kerr.InvalidConfig, "Null value not supported for topic configs: %s", strings.Join(null, ","))
	}
	return out, nil
}

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

// DeleteTopics deletes topics by name or id. The name is free at once; the files of the
// old id go later.
func DeleteTopics(img *metadata.Image, req DeleteTopicsRequest, now time.Time) (Outcome[DeleteTopicsReply], error) {
	var out Outcome[DeleteTopicsReply]
	given, found := map[TopicRef]int{}, map[metadata.TopicID]int{}
	for _, ref := range req.Topics {
		given[ref]++
		if t := resolve(img, ref); t != nil && given[ref] == 1 {
			found[t.ID]++
		}
	}
	for _, ref := range req.Topics {
		t := resolve(img, ref)
		err := undeletable(ref, t, &req, given, found)
		answer := DeletedTopic{TopicRef: ref, Err: err}
		if err == nil {
			answer.TopicRef = TopicRef{Name: t.Name, ID: t.ID}
			out.Changes = append(out.Changes, metadata.TopicDeleted{ID: t.ID})
		}
		out.Reply.Topics = append(out.Reply.Topics, answer)
	}
	return out, nil
}

func resolve(img *metadata.Image, ref TopicRef) *metadata.Topic {
	if ref.ID.IsZero() {
		return img.Topic(ref.Name)
	}
	return img.TopicByID(ref.ID)
}

func undeletable(ref TopicRef, t *metadata.Topic, req *DeleteTopicsRequest, given map[TopicRef]int, found map[metadata.TopicID]int) *Refusal {
	byName := ref.ID.IsZero()
	switch {
	case ref == TopicRef{}:
		return refuse(kerr.InvalidRequest, "Neither topic name nor id were specified.")
	case !byName && ref.Name != "":
		return refuse(kerr.InvalidRequest, "You may not specify both topic name and topic id.")
	case given[ref] > 1 && byName:
		return refuse(kerr.InvalidRequest, "Duplicate topic name.")
	case given[ref] > 1:
		return refuse(kerr.InvalidRequest, "Duplicate topic id.")
	case t == nil && byName:
		return refuse(kerr.UnknownTopicOrPartition, "This server does not host this topic-partition.")
	case t == nil:
		return refuse(kerr.UnknownTopicID, "This server does not host this topic ID.")
	case found[t.ID] > 1:
		return refuse(kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied.")
	case metadata.InternalTopic(t.Name) && !req.Internal:
		return refuse(kerr.InvalidTopicException, "Deletion of internal topic %s is prohibited.", t.Name)
	}
	return nil
}
