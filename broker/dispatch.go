package broker

import "cordwood/protocol"

// Kafka's api keys that the dispatch names itself; the others stand in dispatchTable only.
const (
	keyProduce     = int16(protocol.Produce)
	keyFetch       = int16(protocol.Fetch)
	keyApiVersions = int16(protocol.ApiVersions)
)

// dispatchTable is one row per served key; Produce and Fetch have replies of their own.
func (b *Broker) dispatchTable() map[int16]*api {
	inline := func(h handler) *api { return &api{serve: h} }
	blocking := func(h handler) *api { return &api{serve: h, blocking: true} }
	decided := func(h handler) *api { return &api{serve: b.forwarded(h), decide: h, blocking: true} }
	return map[int16]*api{
		2:              inline(b.listOffsets),
		3:              blocking(b.metadata), // may create topics
		8:              blocking(b.offsetCommit),
		9:              blocking(b.offsetFetch),
		10:             blocking(b.findCoordinator),
		11:             blocking(b.joinGroup),
		12:             blocking(b.heartbeat),
		13:             blocking(b.leaveGroup),
		14:             blocking(b.syncGroup),
		15:             blocking(b.describeGroups),
		16:             blocking(b.listGroups),
		keyApiVersions: inline(b.apiVersions),
		19:             decided(b.createTopics),
		20:             decided(b.deleteTopics),
		21:             blocking(b.deleteRecords),
		22:             blocking(b.initProducerID),
		23:             inline(b.offsetForLeaderEpoch),
		32:             inline(b.describeConfigs),
		33:             decided(b.alterConfigs),
		34:             blocking(b.alterReplicaLogDirs),
		35:             blocking(b.describeLogDirs),
		37:             decided(b.createPartitions),
		42:             blocking(b.deleteGroups),
		43:             decided(b.electLeaders),
		44:             decided(b.incrementalAlterConfigs),
		45:             decided(b.alterPartitionReassignments),
		46:             inline(b.listPartitionReassignments),
		47:             blocking(b.offsetDelete),
		48:             inline(b.describeClientQuotas),
		49:             decided(b.alterClientQuotas),
		55:             decided(b.describeQuorum),
		56:             blocking(b.alterPartition),
		57:             decided(b.updateFeatures),
		58:             blocking(b.envelope),
		60:             inline(b.describeCluster),
		61:             inline(b.describeProducers),
		62:             blocking(b.brokerRegistration),
		63:             blocking(b.brokerHeartbeat),
		64:             decided(b.unregisterBroker),
		67:             blocking(b.allocateProducerIDs),
		73:             blocking(b.assignReplicasToDirs),
		74:             inline(b.listConfigResources),
		75:             inline(b.describeTopicPartitions),
		80:             decided(b.addRaftVoter),
		81:             decided(b.removeRaftVoter),
	}
}
