package protocol

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A relay stands between clients and brokers. It reads headers, and of requests only what rules the connection; it changes
// nothing but the places where an answer names a broker (rename.go). So its table is longer than that of what we serve: it
// has what clients and their tools say to brokers of Kafka up to 4.4. What brokers and controllers say to each other is
// not in it, and a version above Max is neither passed nor advertised, since nobody could know where it names a broker.
//
// SaslHandshake begins at 1: after version 0 tokens follow without Kafka's framing.
var relayed = indexRelayed([]API{
	relay(Produce, "Produce", 0, 13, 9, FrameLarge),
	relay(Fetch, "Fetch", 4, 18, 12, FrameAdmin),
	relay(ListOffsets, "ListOffsets", 0, 11, 6, FrameAdmin),
	relay(Metadata, "Metadata", 0, 13, 9, FrameAdmin),
	relay(OffsetCommit, "OffsetCommit", 0, 10, 8, FrameAdmin),
	relay(OffsetFetch, "OffsetFetch", 0, 10, 6, FrameAdmin),
	relay(FindCoordinator, "FindCoordinator", 0, 6, 3, FrameAdmin),
	relay(JoinGroup, "JoinGroup", 0, 9, 6, FrameAdmin),
	relay(Heartbeat, "Heartbeat", 0, 4, 4, FrameAdmin),
	relay(LeaveGroup, "LeaveGroup", 0, 5, 4, FrameAdmin),
	relay(SyncGroup, "SyncGroup", 0, 5, 4, FrameAdmin),
	relay(DescribeGroups, "DescribeGroups", 0, 6, 5, FrameAdmin),
	relay(ListGroups, "ListGroups", 0, 5, 3, FrameAdmin),
	relay(17, "SaslHandshake", 1, 1, -1, FrameSmall),
	relay(ApiVersions, "ApiVersions", 0, 5, 3, FrameSmall),
	relay(CreateTopics, "CreateTopics", 0, 7, 5, FrameAdmin),
	relay(DeleteTopics, "DeleteTopics", 0, 6, 4, FrameAdmin),
	relay(DeleteRecords, "DeleteRecords", 0, 2, 2, FrameAdmin),
	relay(InitProducerID, "InitProducerId", 0, 5, 2, FrameAdmin),
	relay(OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 0, 4, 4, FrameAdmin),
	relay(24, "AddPartitionsToTxn", 0, 5, 3, FrameAdmin),
	relay(25, "AddOffsetsToTxn", 0, 4, 3, FrameAdmin),
	relay(26, "EndTxn", 0, 5, 3, FrameAdmin),
	relay(27, "WriteTxnMarkers", 0, 2, 1, FrameAdmin),
	relay(28, "TxnOffsetCommit", 0, 6, 3, FrameAdmin),
	relay(29, "DescribeAcls", 0, 3, 2, FrameAdmin),
	relay(30, "CreateAcls", 0, 3, 2, FrameAdmin),
	relay(31, "DeleteAcls", 0, 3, 2, FrameAdmin),
	relay(DescribeConfigs, "DescribeConfigs", 0, 4, 4, FrameAdmin),
	relay(AlterConfigs, "AlterConfigs", 0, 2, 2, FrameAdmin),
	relay(34, "AlterReplicaLogDirs", 0, 2, 2, FrameAdmin),
	relay(DescribeLogDirs, "DescribeLogDirs", 0, 5, 2, FrameAdmin),
	relay(36, "SaslAuthenticate", 0, 2, 2, FrameSmall),
	relay(CreatePartitions, "CreatePartitions", 0, 3, 2, FrameAdmin),
	relay(38, "CreateDelegationToken", 0, 3, 2, FrameAdmin),
	relay(39, "RenewDelegationToken", 0, 2, 2, FrameAdmin),
	relay(40, "ExpireDelegationToken", 0, 2, 2, FrameAdmin),
	relay(41, "DescribeDelegationToken", 0, 3, 2, FrameAdmin),
	relay(DeleteGroups, "DeleteGroups", 0, 3, 2, FrameAdmin),
	relay(ElectLeaders, "ElectLeaders", 0, 2, 2, FrameAdmin),
	relay(IncrementalAlterConfigs, "IncrementalAlterConfigs", 0, 1, 1, FrameAdmin),
	relay(AlterPartitionReassignments, "AlterPartitionReassignments", 0, 1, 0, FrameAdmin),
	relay(ListPartitionReassignments, "ListPartitionReassignments", 0, 0, 0, FrameAdmin),
	relay(OffsetDelete, "OffsetDelete", 0, 0, -1, FrameAdmin),
	relay(DescribeClientQuotas, "DescribeClientQuotas", 0, 1, 1, FrameAdmin),
	relay(AlterClientQuotas, "AlterClientQuotas", 0, 1, 1, FrameAdmin),
	relay(50, "DescribeUserScramCredentials", 0, 0, 0, FrameAdmin),
	relay(51, "AlterUserScramCredentials", 0, 0, 0, FrameAdmin),
	relay(DescribeQuorum, "DescribeQuorum", 0, 2, 0, FrameSmall),
	relay(UpdateFeatures, "UpdateFeatures", 0, 2, 0, FrameSmall),
	relay(DescribeCluster, "DescribeCluster", 0, 2, 0, FrameAdmin),
	relay(DescribeProducers, "DescribeProducers", 0, 0, 0, FrameAdmin),
	relay(UnregisterBroker, "UnregisterBroker", 0, 0, 0, FrameSmall),
	relay(65, "DescribeTransactions", 0, 0, 0, FrameAdmin),
	relay(66, "ListTransactions", 0, 2, 0, FrameAdmin),
	relay(68, "ConsumerGroupHeartbeat", 0, 1, 0, FrameAdmin),
	relay(69, "ConsumerGroupDescribe", 0, 1, 0, FrameAdmin),
	relay(71, "GetTelemetrySubscriptions", 0, 0, 0, FrameSmall),
	relay(72, "PushTelemetry", 0, 0, 0, FrameAdmin),
	relay(ListConfigResources, "ListConfigResources", 0, 1, 0, FrameAdmin),
	relay(DescribeTopicPartitions, "DescribeTopicPartitions", 0, 0, 0, FrameAdmin),
	relay(76, "ShareGroupHeartbeat", 0, 1, 0, FrameAdmin),
	relay(77, "ShareGroupDescribe", 0, 1, 0, FrameAdmin),
	relay(shareFetch, "ShareFetch", 1, 2, 0, FrameAdmin),
	relay(shareAcknowledge, "ShareAcknowledge", 1, 2, 0, FrameAdmin),
	relay(AddRaftVoter, "AddRaftVoter", 0, 1, 0, FrameSmall),
	relay(RemoveRaftVoter, "RemoveRaftVoter", 0, 0, 0, FrameSmall),
	relay(88, "StreamsGroupHeartbeat", 0, 1, 0, FrameAdmin),
	relay(89, "StreamsGroupDescribe", 0, 1, 0, FrameAdmin),
	relay(90, "DescribeShareGroupOffsets", 0, 1, 0, FrameAdmin),
	relay(91, "AlterShareGroupOffsets", 0, 0, 0, FrameAdmin),
	relay(92, "DeleteShareGroupOffsets", 0, 0, 0, FrameAdmin),
	relay(93, "StreamsGroupTopologyDescriptionUpdate", 0, 0, 0, FrameAdmin),
	relay(94, "UnregisterController", 0, 0, 0, FrameSmall),
})

// Keys that a relay has to look into, though we do not serve them.
const (
	shareFetch       Key = 78
	shareAcknowledge Key = 79
)

const lastRelayed = 94

func relay(key Key, name string, lowest, highest, flexible int16, maxFrame int) API {
	return API{Key: key, Name: name, Min: lowest, Max: highest, AdvertisedMin: lowest, Flexible: flexible, Listeners: Client, MaxFrame: maxFrame}
}

func indexRelayed(rows []API) (all [lastRelayed + 1]*API) {
	for i := range rows {
		all[rows[i].Key] = &rows[i]
	}
	return all
}

// LookupRelayed returns the row of a key that a relay passes, nil if it passes none. The row is shared: do not change it.
func LookupRelayed(key int16) *API {
	if key < 0 || key > lastRelayed {
		return nil
	}
	return relayed[key]
}

// ParseRelayedHeader is ParseHeader with the table of a relay.
func ParseRelayedHeader(frame []byte, h *Header) (body []byte, err error) {
	return parseHeader(frame, h, LookupRelayed)
}

// Acks reads from a Produce body whether, and for how many, it wants an answer: 0 none. The error is a *CloseError.
func Acks(version int16, body []byte) (int16, error) {
	c := cursor{b: body}
	if version >= 3 {
		c.text(version >= 9, true)
	}
	acks := c.int16()
	if c.bad {
		return 0, c.close(int16(Produce), version)
	}
	return acks, nil
}

// versionsAnswer guards kmsg against a broker's ApiVersions answer, as schemas do against requests.
var versionsAnswer = func() *message {
	fields, size := parse("ApiVersions", true, `
		ErrorCode:int16  ApiKeys:[ ApiKey:int16  MinVersion:int16  MaxVersion:int16 ]  ThrottleMillis:int32/1+
		SupportedFeatures:[ Name:string  MinVersion:int16  MaxVersion:int16 ]#0  FinalizedFeaturesEpoch:int64#1
		FinalizedFeatures:[ Name:string  MaxVersionLevel:int16  MinVersionLevel:int16 ]#2  ZkMigrationReady:bool#3`)
	return &message{key: ApiVersions, flexible: true, fields: fields, memory: size}
}()

// AppendPassableVersions appends the body of an ApiVersions answer that offers what the broker serves and a relay passes.
// body is the broker's answer in the given version, or in version 0 when it did not know that one (trap 1).
func AppendPassableVersions(dst []byte, version int16, body []byte) ([]byte, error) {
	c := cursor{b: body}
	if c.int16() == kerr.UnsupportedVersion.Code {
		version = 0
	}
	if c.bad {
		return dst, c.close(int16(ApiVersions), version)
	}
	w := walk{cursor: cursor{b: body}, key: ApiVersions, version: version, flexible: version >= 3}
	if w.message(versionsAnswer, budgetFactor*int64(len(body))+budgetBase); w.bad {
		return dst, w.close(int16(ApiVersions), version)
	}
	r := kmsg.NewPtrApiVersionsResponse()
	r.Version = version
	if err := r.ReadFrom(body); err != nil {
		return dst, refuse(ReasonCut, int16(ApiVersions), version)
	}
	passed := r.ApiKeys[:0]
	for _, k := range r.ApiKeys {
		a := LookupRelayed(k.ApiKey)
		if a == nil {
			continue
		}
		k.MinVersion, k.MaxVersion = max(k.MinVersion, a.AdvertisedMin), min(k.MaxVersion, a.Max)
		if k.MinVersion <= k.MaxVersion {
			passed = append(passed, k)
		}
	}
	r.ApiKeys = passed
	return r.AppendTo(dst), nil
}
