package protocol

import (
	"math"
	"slices"
)

// Key is an api key.
type Key int16

// The keys we serve. 20000 and up are our own messages: Kafka's framing, version
// 0, CBOR bodies, on the internal listener only.
const (
	Produce                     Key = 0
	Fetch                       Key = 1
	ListOffsets                 Key = 2
	Metadata                    Key = 3
	OffsetCommit                Key = 8
	OffsetFetch                 Key = 9
	FindCoordinator             Key = 10
	JoinGroup                   Key = 11
	Heartbeat                   Key = 12
	LeaveGroup                  Key = 13
	SyncGroup                   Key = 14
	DescribeGroups              Key = 15
	ListGroups                  Key = 16
	ApiVersions                 Key = 18
	CreateTopics                Key = 19
	DeleteTopics                Key = 20
	DeleteRecords               Key = 21
	InitProducerID              Key = 22
	OffsetForLeaderEpoch        Key = 23
	DescribeConfigs             Key = 32
	AlterConfigs                Key = 33
	AlterReplicaLogDirs         Key = 34
	DescribeLogDirs             Key = 35
	CreatePartitions            Key = 37
	DeleteGroups                Key = 42
	ElectLeaders                Key = 43
	IncrementalAlterConfigs     Key = 44
	AlterPartitionReassignments Key = 45
	ListPartitionReassignments  Key = 46
	OffsetDelete                Key = 47
	DescribeClientQuotas        Key = 48
	AlterClientQuotas           Key = 49
	DescribeQuorum              Key = 55
	AlterPartition              Key = 56
	UpdateFeatures              Key = 57
	Envelope                    Key = 58
	DescribeCluster             Key = 60
	DescribeProducers           Key = 61
	BrokerRegistration          Key = 62
	BrokerHeartbeat             Key = 63
	UnregisterBroker            Key = 64
	AllocateProducerIDs         Key = 67
	AssignReplicasToDirs        Key = 73
	ListConfigResources         Key = 74
	DescribeTopicPartitions     Key = 75
	AddRaftVoter                Key = 80
	RemoveRaftVoter             Key = 81

	RaftStream    Key = 20000 // after its answer the connection is raft's byte stream
	FetchMetadata Key = 20001 // the metadata feed
	SegmentStream Key = 20002 // ranges of a log to a replica that is far behind, or that mends its own
	Hello         Key = 20003 // what controllers tell each other before there is a quorum
	PeerLost      Key = 20004 // a broker tells the active controller that another may be gone
	LogEnds       Key = 20005 // a broker tells the active controller where logs end that nobody may lead
	StoodDown     Key = 20006 // a new leader asks the active controller whether those before it still serve
)

// Listener is a set of kinds of listener. One socket may be both: a broker-only
// node has a single listener for clients and peers.
type Listener uint8

const (
	Client Listener = 1 << iota
	Internal
	Replicas // where other brokers' replicas come: an internal one, or the first of a broker-only node
)

// Largest frames. Only Produce may come near the listener's own limit
// (socket.request.max.bytes); one huge administrative call must not be able to
// take the memory of a thousand ordinary ones.
const (
	FrameSmall = 64 << 10
	FrameAdmin = 8 << 20
	FrameLarge = math.MaxInt32
)

// API is one served key.
type API struct {
	Key           Key
	Name          string
	Min, Max      int16
	AdvertisedMin int16 // what ApiVersions says; below Min for Produce only (trap 3)
	Flexible      int16 // first flexible request version, -1 never
	Listeners     Listener
	MaxFrame      int
}

// Serves reports whether a request of this version may be decoded.
func (a *API) Serves(version int16) bool { return version >= a.Min && version <= a.Max }

// IsFlexible reports whether this version has compact lengths and tags.
func (a *API) IsFlexible(version int16) bool { return a.Flexible >= 0 && version >= a.Flexible }

// table has a row for a key if, and only if, its handler is whole (P1). The
// ranges are Kafka 4.4's. InitProducerId ends at 5: 6 is two-phase commit.
// What brokers say to controllers is served in the versions our own brokers speak: older ones leave out epochs that the
// rules of replication need.
// librdkafka up to 2.x wants to see Produce 0 before it trusts the rest.
var table = []API{
	row(Produce, "Produce", 3, 13, 9, FrameLarge),
	row(Fetch, "Fetch", 4, 18, 12, FrameAdmin),
	row(ListOffsets, "ListOffsets", 1, 11, 6, FrameAdmin),
	row(Metadata, "Metadata", 0, 13, 9, FrameAdmin),
	row(OffsetCommit, "OffsetCommit", 2, 10, 8, FrameAdmin),
	row(OffsetFetch, "OffsetFetch", 1, 10, 6, FrameAdmin),
	row(FindCoordinator, "FindCoordinator", 0, 6, 3, FrameAdmin),
	row(JoinGroup, "JoinGroup", 0, 9, 6, FrameAdmin),
	row(Heartbeat, "Heartbeat", 0, 4, 4, FrameAdmin),
	row(LeaveGroup, "LeaveGroup", 0, 5, 4, FrameAdmin),
	row(SyncGroup, "SyncGroup", 0, 5, 4, FrameAdmin),
	row(DescribeGroups, "DescribeGroups", 0, 6, 5, FrameAdmin),
	row(ListGroups, "ListGroups", 0, 5, 3, FrameAdmin),
	row(ApiVersions, "ApiVersions", 0, 5, 3, FrameSmall),
	row(CreateTopics, "CreateTopics", 2, 7, 5, FrameAdmin),
	row(DeleteTopics, "DeleteTopics", 1, 6, 4, FrameAdmin),
	row(DeleteRecords, "DeleteRecords", 0, 2, 2, FrameAdmin),
	row(InitProducerID, "InitProducerId", 0, 5, 2, FrameAdmin),
	row(OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 2, 4, 4, FrameAdmin),
	row(DescribeConfigs, "DescribeConfigs", 1, 4, 4, FrameAdmin),
	row(AlterConfigs, "AlterConfigs", 0, 2, 2, FrameAdmin),
	row(AlterReplicaLogDirs, "AlterReplicaLogDirs", 1, 2, 2, FrameAdmin),
	row(DescribeLogDirs, "DescribeLogDirs", 1, 5, 2, FrameAdmin),
	row(CreatePartitions, "CreatePartitions", 0, 3, 2, FrameAdmin),
	row(DeleteGroups, "DeleteGroups", 0, 3, 2, FrameAdmin),
	row(ElectLeaders, "ElectLeaders", 0, 2, 2, FrameAdmin),
	row(IncrementalAlterConfigs, "IncrementalAlterConfigs", 0, 1, 1, FrameAdmin),
	row(AlterPartitionReassignments, "AlterPartitionReassignments", 0, 1, 0, FrameAdmin),
	row(ListPartitionReassignments, "ListPartitionReassignments", 0, 0, 0, FrameAdmin),
	row(OffsetDelete, "OffsetDelete", 0, 0, -1, FrameAdmin),
	row(DescribeClientQuotas, "DescribeClientQuotas", 0, 1, 1, FrameAdmin),
	row(AlterClientQuotas, "AlterClientQuotas", 0, 1, 1, FrameAdmin),
	row(DescribeQuorum, "DescribeQuorum", 0, 2, 0, FrameSmall),
	row(AlterPartition, "AlterPartition", 3, 3, 0, FrameAdmin),
	row(UpdateFeatures, "UpdateFeatures", 0, 2, 0, FrameSmall),
	row(Envelope, "Envelope", 0, 0, 0, FrameAdmin),
	row(DescribeCluster, "DescribeCluster", 0, 2, 0, FrameAdmin),
	row(DescribeProducers, "DescribeProducers", 0, 0, 0, FrameAdmin),
	row(BrokerRegistration, "BrokerRegistration", 4, 4, 0, FrameSmall),
	row(BrokerHeartbeat, "BrokerHeartbeat", 1, 2, 0, FrameSmall),
	row(UnregisterBroker, "UnregisterBroker", 0, 0, 0, FrameSmall),
	row(AllocateProducerIDs, "AllocateProducerIds", 0, 0, 0, FrameSmall),
	row(AssignReplicasToDirs, "AssignReplicasToDirs", 0, 0, 0, FrameAdmin),
	row(ListConfigResources, "ListConfigResources", 0, 1, 0, FrameAdmin),
	row(DescribeTopicPartitions, "DescribeTopicPartitions", 0, 0, 0, FrameAdmin),
	row(AddRaftVoter, "AddRaftVoter", 0, 1, 0, FrameSmall),
	row(RemoveRaftVoter, "RemoveRaftVoter", 0, 0, 0, FrameSmall),

	row(RaftStream, "RaftStream", 0, 0, -1, FrameSmall),
	row(FetchMetadata, "FetchMetadata", 0, 0, -1, FrameSmall),
	row(SegmentStream, "SegmentStream", 0, 0, -1, FrameSmall),
	row(Hello, "Hello", 0, 0, -1, FrameSmall),
	row(PeerLost, "PeerLost", 0, 0, -1, FrameSmall),
	row(LogEnds, "LogEnds", 0, 0, -1, FrameAdmin),
	row(StoodDown, "StoodDown", 0, 0, -1, FrameSmall),
}

func row(key Key, name string, lowest, highest, flexible int16, maxFrame int) API {
	a := API{
		Key: key, Name: name, Min: lowest, Max: highest, AdvertisedMin: lowest,
		Flexible: flexible, Listeners: Client, MaxFrame: maxFrame,
	}
	switch key {
	case Produce:
		a.AdvertisedMin = 0
	case ApiVersions, Fetch: // followers fetch as consumers do
		a.Listeners = Client | Internal
	case AlterPartition, Envelope, BrokerRegistration, BrokerHeartbeat, AllocateProducerIDs, AssignReplicasToDirs, RaftStream, FetchMetadata, Hello, PeerLost, LogEnds, StoodDown:
		a.Listeners = Internal
	case SegmentStream:
		a.Listeners = Replicas
	}
	return a
}

const (
	firstOwn  = RaftStream
	lastOwn   = StoodDown
	lastKafka = RemoveRaftVoter
)

// index makes Lookup two comparisons and a load.
var index = func() (rows [int(lastKafka) + 1 + int(lastOwn-firstOwn) + 1]*API) {
	for i := range table {
		rows[slot(int16(table[i].Key))] = &table[i]
	}
	return rows
}()

func slot(k int16) int {
	switch {
	case k >= 0 && k <= int16(lastKafka):
		return int(k)
	case k >= int16(firstOwn) && k <= int16(lastOwn):
		return int(lastKafka) + 1 + int(k) - int(firstOwn)
	}
	return -1
}

// Lookup returns the key's row, nil if we do not serve it. The row is shared:
// do not change it.
func Lookup(k int16) *API {
	if s := slot(k); s >= 0 {
		return index[s]
	}
	return nil
}

// APIs returns all rows in key order.
func APIs() []API { return slices.Clone(table) }
