package protocol

// schemas holds the body of every request kmsg decodes for us, in the language
// of schema.go. A test compares each with kmsg: names, order, sizes, nullability
// and, for random requests of every version, the bytes.
var schemas = compileAll(map[Key]string{
	Produce: `
		TransactionID:string/3+?  Acks:int16  TimeoutMillis:int32
		Topics:[ Topic:string/0-12  TopicID:uuid/13+
			Partitions:[ Partition:int32  Records:bytes? ] ]`,
	Fetch: `
		ClusterID:string?#0  ReplicaID:int32/0-14  ReplicaState:{ ID:int32  Epoch:int64 }#1
		MaxWaitMillis:int32  MinBytes:int32  MaxBytes:int32/3+  IsolationLevel:int8/4+
		SessionID:int32/7+  SessionEpoch:int32/7+
		Topics:[ Topic:string/0-12  TopicID:uuid/13+
			Partitions:[ Partition:int32  CurrentLeaderEpoch:int32/9+  FetchOffset:int64
				LastFetchedEpoch:int32/12+  LogStartOffset:int64/5+  PartitionMaxBytes:int32
				ReplicaDirectoryID:uuid#0  HighWatermark:int64#1 ] ]
		ForgottenTopics:[ Topic:string/7-12  TopicID:uuid/13+  Partitions:[int32] ]/7+
		Rack:string/11+`,
	ListOffsets: `
		ReplicaID:int32  IsolationLevel:int8/2+
		Topics:[ Topic:string
			Partitions:[ Partition:int32  CurrentLeaderEpoch:int32/4+  Timestamp:int64  MaxNumOffsets:int32/0-0 ] ]
		TimeoutMillis:int32/10+`,
	Metadata: `
		Topics:[ TopicID:uuid/10+  Topic:string?10+ ]?1+
		AllowAutoTopicCreation:bool/4+
		IncludeClusterAuthorizedOperations:bool/8-10  IncludeTopicAuthorizedOperations:bool/8+`,
	OffsetCommit: `
		Group:string  Generation:int32/1+  MemberID:string/1+  InstanceID:string/7+?
		RetentionTimeMillis:int64/2-4
		Topics:[ Topic:string/0-9  TopicID:uuid/10+
			Partitions:[ Partition:int32  Offset:int64  Timestamp:int64/1-1  LeaderEpoch:int32/6+  Metadata:string? ] ]`,
	OffsetFetch: `
		Group:string/0-7
		Topics:[ Topic:string  Partitions:[int32] ]/0-7?2+
		Groups:[ Group:string  MemberID:string/9+?  MemberEpoch:int32/9+
			Topics:[ Topic:string/8-9  TopicID:uuid/10+  Partitions:[int32] ]? ]/8+
		RequireStable:bool/7+`,
	FindCoordinator: `
		CoordinatorKey:string/0-3  CoordinatorType:int8/1+  CoordinatorKeys:[string]/4+`,
	JoinGroup: `
		Group:string  SessionTimeoutMillis:int32  RebalanceTimeoutMillis:int32/1+
		MemberID:string  InstanceID:string/5+?  ProtocolType:string
		Protocols:[ Name:string  Metadata:bytes ]
		Reason:string/8+?`,
	Heartbeat: `
		Group:string  Generation:int32  MemberID:string  InstanceID:string/3+?`,
	LeaveGroup: `
		Group:string  MemberID:string/0-2
		Members:[ MemberID:string  InstanceID:string?  Reason:string/5+? ]/3+`,
	SyncGroup: `
		Group:string  Generation:int32  MemberID:string  InstanceID:string/3+?
		ProtocolType:string/5+?  Protocol:string/5+?
		GroupAssignment:[ MemberID:string  MemberAssignment:bytes ]`,
	DescribeGroups: `
		Groups:[string]  IncludeAuthorizedOperations:bool/3+`,
	ListGroups: `
		StatesFilter:[string]/4+  TypesFilter:[string]/5+`,
	ApiVersions: `
		ClientSoftwareName:string/3+  ClientSoftwareVersion:string/3+  ClusterID:string/5+?  NodeID:int32/5+`,
	CreateTopics: `
		Topics:[ Topic:string  NumPartitions:int32  ReplicationFactor:int16
			ReplicaAssignment:[ Partition:int32  Replicas:[int32] ]
			Configs:[ Name:string  Value:string? ] ]
		TimeoutMillis:int32  ValidateOnly:bool/1+`,
	DeleteTopics: `
		TopicNames:[string]/0-5  Topics:[ Topic:string?  TopicID:uuid ]/6+  TimeoutMillis:int32`,
	DeleteRecords: `
		Topics:[ Topic:string  Partitions:[ Partition:int32  Offset:int64 ] ]  TimeoutMillis:int32`,
	InitProducerID: `
		TransactionalID:string?  TransactionTimeoutMillis:int32  ProducerID:int64/3+  ProducerEpoch:int16/3+`,
	OffsetForLeaderEpoch: `
		ReplicaID:int32/3+
		Topics:[ Topic:string
			Partitions:[ Partition:int32  CurrentLeaderEpoch:int32/2+  LeaderEpoch:int32 ] ]`,
	DescribeConfigs: `
		Resources:[ ResourceType:int8  ResourceName:string  ConfigNames:[string]? ]
		IncludeSynonyms:bool/1+  IncludeDocumentation:bool/3+`,
	AlterConfigs: `
		Resources:[ ResourceType:int8  ResourceName:string  Configs:[ Name:string  Value:string? ] ]
		ValidateOnly:bool`,
	AlterReplicaLogDirs: `
		Dirs:[ Dir:string  Topics:[ Topic:string  Partitions:[int32] ] ]`,
	DescribeLogDirs: `
		Topics:[ Topic:string  Partitions:[int32] ]?`,
	CreatePartitions: `
		Topics:[ Topic:string  Count:int32  Assignment:[ Replicas:[int32] ]? ]
		TimeoutMillis:int32  ValidateOnly:bool`,
	DeleteGroups: `
		Groups:[string]`,
	ElectLeaders: `
		ElectionType:int8/1+  Topics:[ Topic:string  Partitions:[int32] ]?  TimeoutMillis:int32`,
	IncrementalAlterConfigs: `
		Resources:[ ResourceType:int8  ResourceName:string  Configs:[ Name:string  Op:int8  Value:string? ] ]
		ValidateOnly:bool`,
	AlterPartitionReassignments: `
		TimeoutMillis:int32  AllowReplicationFactorChange:bool/1+
		Topics:[ Topic:string  Partitions:[ Partition:int32  Replicas:[int32]? ] ]`,
	ListPartitionReassignments: `
		TimeoutMillis:int32  Topics:[ Topic:string  Partitions:[int32] ]?`,
	OffsetDelete: `
		Group:string  Topics:[ Topic:string  Partitions:[ Partition:int32 ] ]`,
	DescribeClientQuotas: `
		Components:[ EntityType:string  MatchType:int8  Match:string? ]  Strict:bool`,
	AlterClientQuotas: `
		Entries:[ Entity:[ Type:string  Name:string? ]  Ops:[ Key:string  Value:float64  Remove:bool ] ]
		ValidateOnly:bool`,
	DescribeQuorum: `
		Topics:[ Topic:string  Partitions:[ Partition:int32 ] ]`,
	AlterPartition: `
		BrokerID:int32  BrokerEpoch:int64
		Topics:[ Topic:string/0-1  TopicID:uuid/2+
			Partitions:[ Partition:int32  LeaderEpoch:int32  NewISR:[int32]/0-2
				NewEpochISR:[ BrokerID:int32  BrokerEpoch:int64 ]/3+
				LeaderRecoveryState:int8/1+  PartitionEpoch:int32 ] ]`,
	UpdateFeatures: `
		TimeoutMillis:int32
		FeatureUpdates:[ Feature:string  MaxVersionLevel:int16  AllowDowngrade:bool/0-0  UpgradeType:int8/1+ ]
		ValidateOnly:bool/1+`,
	Envelope: `
		RequestData:bytes  RequestPrincipal:bytes?  ClientHostAddress:bytes`,
	BrokerRegistration: `
		BrokerID:int32  ClusterID:string  IncarnationID:uuid
		Listeners:[ Name:string  Host:string  Port:uint16  SecurityProtocol:int16 ]
		Features:[ Name:string  MinSupportedVersion:int16  MaxSupportedVersion:int16 ]
		Rack:string?  IsMigratingZkBroker:bool/1+  LogDirs:[uuid]/2+  PreviousBrokerEpoch:int64/3+`,
	BrokerHeartbeat: `
		BrokerID:int32  BrokerEpoch:int64  CurrentMetadataOffset:int64  WantFence:bool  WantShutdown:bool
		OfflineLogDirs:[uuid]#0  CordonedLogDirs:[uuid]#1`,
	UnregisterBroker: `
		BrokerID:int32`,
	AllocateProducerIDs: `
		BrokerID:int32  BrokerEpoch:int64`,
	DescribeCluster: `
		IncludeClusterAuthorizedOperations:bool  EndpointType:int8/1+  IncludeFencedBrokers:bool/2+`,
	DescribeProducers: `
		Topics:[ Topic:string  Partitions:[int32] ]`,
	AssignReplicasToDirs: `
		BrokerID:int32  BrokerEpoch:int64
		Directories:[ ID:uuid  Topics:[ TopicID:uuid  Partitions:[ Partition:int32 ] ] ]`,
	ListConfigResources: `
		ResourceTypes:[int8]/1+`,
	AddRaftVoter: `
		ClusterID:string?  TimeoutMillis:int32  VoterID:int32  VoterDirectoryID:uuid
		Listeners:[ Name:string  Host:string  Port:uint16 ]  AckWhenCommitted:bool/1+`,
	RemoveRaftVoter: `
		ClusterID:string?  VoterID:int32  VoterDirectoryID:uuid`,
	DescribeTopicPartitions: `
		Topics:[ Topic:string ]  ResponsePartitionLimit:int32  Cursor:{ Topic:string  Partition:int32 }?`,
})

func compileAll(texts map[Key]string) map[Key]*message {
	m := make(map[Key]*message, len(texts))
	for key, text := range texts {
		m[key] = compile(key, text)
	}
	return m
}
