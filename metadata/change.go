package metadata

// Change is a fact about the cluster that has been decided. Facts are in the past tense;
// applying one needs no decision, so an old log replays under new rules.
type Change interface{ kind() uint64 }

// The numbers are part of the durable format and are never given out twice.
const (
	kindClusterCreated       = 1
	kindBrokerRegistered     = 2
	kindBrokerUnregistered   = 3
	kindBrokerFenced         = 4
	kindBrokerUnfenced       = 5
	kindBrokerShuttingDown   = 6
	kindTopicCreated         = 7
	kindTopicDeleted         = 8
	kindPartitionCreated     = 9
	kindPartitionChanged     = 10
	kindConfigChanged        = 11
	kindProducerIDsAllocated = 12
	kindFeatureChanged       = 13
	kindVoterRecorded        = 14
	kindQuotaChanged         = 15
	kindBrokerDirsChanged    = 16
)

type (
	// ClusterCreated gives the cluster its id, once.
	ClusterCreated struct {
		ClusterID string `cbor:"1,keyasint"`
	}

	// BrokerRegistered: a process joined, fenced. Its epoch becomes the index of the entry
	// that holds this fact (R1).
	BrokerRegistered struct {
		ID          NodeID                  `cbor:"1,keyasint"`
		Incarnation UUID                    `cbor:"2,keyasint"`
		Dirs        []DirID                 `cbor:"3,keyasint,omitempty"`
		Listeners   []Endpoint              `cbor:"4,keyasint,omitempty"`
		Rack        string                  `cbor:"5,keyasint,omitempty"`
		Features    map[string]VersionRange `cbor:"6,keyasint,omitempty"`
	}

	// BrokerUnregistered: the broker was removed for good.
	BrokerUnregistered struct {
		ID    NodeID `cbor:"1,keyasint"`
		Epoch int64  `cbor:"2,keyasint"`
	}

	// BrokerFenced bars a broker; it keeps its epoch.
	BrokerFenced struct {
		ID    NodeID `cbor:"1,keyasint"`
		Epoch int64  `cbor:"2,keyasint"`
	}

	// BrokerUnfenced lets a registered broker in.
	BrokerUnfenced struct {
		ID    NodeID `cbor:"1,keyasint"`
		Epoch int64  `cbor:"2,keyasint"`
	}

	// BrokerShuttingDown: a broker asked to leave; it gets no leadership any more.
	BrokerShuttingDown struct {
		ID    NodeID `cbor:"1,keyasint"`
		Epoch int64  `cbor:"2,keyasint"`
	}

	// BrokerDirsChanged: these are the directories the broker has online; it had others when it registered (R16).
	BrokerDirsChanged struct {
		ID    NodeID  `cbor:"1,keyasint"`
		Epoch int64   `cbor:"2,keyasint"`
		Dirs  []DirID `cbor:"3,keyasint,omitempty"`
	}

	// TopicCreated names a topic; its partitions follow as PartitionCreated, in order.
	TopicCreated struct {
		ID       TopicID `cbor:"1,keyasint"`
		Name     string  `cbor:"2,keyasint"`
		Internal bool    `cbor:"3,keyasint,omitempty"`
	}

	// TopicDeleted takes the topic's configs along.
	TopicDeleted struct {
		ID TopicID `cbor:"1,keyasint"`
	}

	// PartitionCreated adds the next partition of a topic.
	PartitionCreated struct {
		Topic     TopicID   `cbor:"1,keyasint"`
		Index     int32     `cbor:"2,keyasint"`
		Partition Partition `cbor:"3,keyasint"`
	}

	// PartitionChanged holds the whole record after the change.
	PartitionChanged struct {
		Topic     TopicID   `cbor:"1,keyasint"`
		Index     int32     `cbor:"2,keyasint"`
		Partition Partition `cbor:"3,keyasint"`
	}

	// ConfigChanged sets (or, with Deleted, removes) one key of one resource.
	ConfigChanged struct {
		Type    ResourceType `cbor:"1,keyasint"`
		Name    string       `cbor:"2,keyasint"`
		Key     string       `cbor:"3,keyasint"`
		Value   string       `cbor:"4,keyasint,omitempty"`
		Deleted bool         `cbor:"5,keyasint,omitempty"`
	}

	// ProducerIDsAllocated: all ids below Next are given out.
	ProducerIDsAllocated struct {
		Broker NodeID `cbor:"1,keyasint"`
		Epoch  int64  `cbor:"2,keyasint"`
		Next   int64  `cbor:"3,keyasint"`
	}

	// FeatureChanged finalizes a feature at a level; 0 removes it.
	FeatureChanged struct {
		Name  string `cbor:"1,keyasint"`
		Level int16  `cbor:"2,keyasint"`
	}

	// VoterRecorded binds a voter's id to its disk (R17, Z29). Removed takes it out.
	VoterRecorded struct {
		ID      NodeID `cbor:"1,keyasint"`
		Dir     DirID  `cbor:"2,keyasint"`
		Removed bool   `cbor:"3,keyasint,omitempty"`
	}

	// QuotaChanged sets (or, with Deleted, removes) one key of the quotas of one entity.
	QuotaChanged struct {
		Entity  QuotaEntity `cbor:"1,keyasint"`
		Key     string      `cbor:"2,keyasint"`
		Value   float64     `cbor:"3,keyasint,omitempty"`
		Deleted bool        `cbor:"4,keyasint,omitempty"`
	}
)

func (ClusterCreated) kind() uint64       { return kindClusterCreated }
func (BrokerRegistered) kind() uint64     { return kindBrokerRegistered }
func (BrokerUnregistered) kind() uint64   { return kindBrokerUnregistered }
func (BrokerFenced) kind() uint64         { return kindBrokerFenced }
func (BrokerUnfenced) kind() uint64       { return kindBrokerUnfenced }
func (BrokerShuttingDown) kind() uint64   { return kindBrokerShuttingDown }
func (BrokerDirsChanged) kind() uint64    { return kindBrokerDirsChanged }
func (TopicCreated) kind() uint64         { return kindTopicCreated }
func (TopicDeleted) kind() uint64         { return kindTopicDeleted }
func (PartitionCreated) kind() uint64     { return kindPartitionCreated }
func (PartitionChanged) kind() uint64     { return kindPartitionChanged }
func (ConfigChanged) kind() uint64        { return kindConfigChanged }
func (ProducerIDsAllocated) kind() uint64 { return kindProducerIDsAllocated }
func (FeatureChanged) kind() uint64       { return kindFeatureChanged }
func (VoterRecorded) kind() uint64        { return kindVoterRecorded }
func (QuotaChanged) kind() uint64         { return kindQuotaChanged }
