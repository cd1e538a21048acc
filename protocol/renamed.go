package protocol

// role is what a field of an answer means to a relay.
type role uint8

const (
	roleNone role = iota
	roleNode      // the broker's id; its host and port follow
	roleHost
	rolePort
	roleDrop      // an array of addresses that only lead past a relay
	roleEndpoints // of DescribeCluster: whether what follows are brokers or controllers
	roleBrokers   // the array that this is about
)

// controllerEndpoints is DescribeCluster's endpoint type for controllers, which no relay leads to.
const controllerEndpoints = 2

// answer is the schema of one key's answers, from the first version that names a broker.
type answer struct {
	from   int16
	fields []field
}

// renamed holds every answer of LookupRelayed's keys in which a broker is named, in the language of schema.go. Tags that
// name none are left out: they are passed by their size. In the answers of these keys a broker is an id followed by its
// host and port, or, of controllers, a list of listeners.
//
// Not here, because no broker is named in them: DescribeTopicPartitions (ids only), the members of groups (the client's
// host, which is the relay's), the endpoints of streams groups (the application's). What Vote, BeginQuorumEpoch,
// EndQuorumEpoch, FetchSnapshot and UpdateRaftVoter say is between controllers and passes no relay.
var renamed = compileRenamed(map[Key]struct {
	from int16
	text string
}{
	Produce: {10, `
		Topics:[ Topic:string/0-12  TopicID:uuid/13+
			Partitions:[ Partition:int32  ErrorCode:int16  BaseOffset:int64  LogAppendTime:int64  LogStartOffset:int64
				ErrorRecords:[ RelativeOffset:int32  ErrorMessage:string? ]  ErrorMessage:string? ] ]
		ThrottleMillis:int32
		Brokers:[ NodeID:int32  Host:string  Port:int32  Rack:string? ]#0`},
	Fetch: {16, `
		ThrottleMillis:int32  ErrorCode:int16  SessionID:int32
		Topics:[ TopicID:uuid
			Partitions:[ Partition:int32  ErrorCode:int16  HighWatermark:int64  LastStableOffset:int64  LogStartOffset:int64
				AbortedTransactions:[ ProducerID:int64  FirstOffset:int64 ]?  PreferredReadReplica:int32  RecordBatches:bytes? ] ]
		Brokers:[ NodeID:int32  Host:string  Port:int32  Rack:string? ]#0`},
	Metadata: {0, `
		ThrottleMillis:int32/3+
		Brokers:[ NodeID:int32  Host:string  Port:int32  Rack:string/1+? ]
		Rest:rest`},
	FindCoordinator: {0, `
		ThrottleMillis:int32/1+  ErrorCode:int16/0-3  ErrorMessage:string/1-3?  NodeID:int32/0-3  Host:string/0-3  Port:int32/0-3
		Coordinators:[ Key:string  NodeID:int32  Host:string  Port:int32  ErrorCode:int16  ErrorMessage:string? ]/4+`},
	DescribeCluster: {0, `
		ThrottleMillis:int32  ErrorCode:int16  ErrorMessage:string?  EndpointType:int8/1+  ClusterID:string  ControllerID:int32
		Brokers:[ NodeID:int32  Host:string  Port:int32  Rack:string?  IsFenced:bool/2+ ]
		ClusterAuthorizedOperations:int32`},
	DescribeQuorum: {2, `
		ErrorCode:int16  ErrorMessage:string?
		Topics:[ Topic:string
			Partitions:[ Partition:int32  ErrorCode:int16  ErrorMessage:string?  LeaderID:int32  LeaderEpoch:int32  HighWatermark:int64
				CurrentVoters:[ ReplicaID:int32  ReplicaDirectoryID:uuid  LogEndOffset:int64  LastFetchTimestamp:int64  LastCaughtUpTimestamp:int64 ]
				Observers:[ ReplicaID:int32  ReplicaDirectoryID:uuid  LogEndOffset:int64  LastFetchTimestamp:int64  LastCaughtUpTimestamp:int64 ] ] ]
		Nodes:[ NodeID:int32  Listeners:[ Name:string  Host:string  Port:uint16 ] ]`},
	shareFetch: {1, `
		ThrottleMillis:int32  ErrorCode:int16  ErrorMessage:string?  AcquisitionLockTimeoutMillis:int32
		Topics:[ TopicID:uuid
			Partitions:[ Partition:int32  ErrorCode:int16  ErrorMessage:string?  AcknowledgeErrorCode:int16  AcknowledgeErrorMessage:string?
				CurrentLeader:{ LeaderID:int32  LeaderEpoch:int32 }  Records:bytes?
				AcquiredRecords:[ FirstOffset:int64  LastOffset:int64  DeliveryCount:int16 ] ] ]
		NodeEndpoints:[ NodeID:int32  Host:string  Port:int32  Rack:string? ]`},
	shareAcknowledge: {1, `
		ThrottleMillis:int32  ErrorCode:int16  ErrorMessage:string?  AcquisitionLockTimeoutMillis:int32/2+
		Topics:[ TopicID:uuid
			Partitions:[ Partition:int32  ErrorCode:int16  ErrorMessage:string?  CurrentLeader:{ LeaderID:int32  LeaderEpoch:int32 } ] ]
		NodeEndpoints:[ NodeID:int32  Host:string  Port:int32  Rack:string? ]`},
})

func compileRenamed(texts map[Key]struct {
	from int16
	text string
}) (all [lastRelayed + 1]*answer) {
	for key, t := range texts {
		a := LookupRelayed(int16(key))
		fields, _ := parse(a.Name, a.Flexible >= 0, t.text)
		setRoles(fields)
		all[key] = &answer{from: t.from, fields: fields}
	}
	return all
}

// setRoles finds brokers by the names of their fields.
func setRoles(fields []field) {
	for i := range fields {
		f := &fields[i]
		switch f.name {
		case "NodeID":
			f.role = roleNode
		case "Host":
			f.role = roleHost
		case "Port":
			f.role = rolePort
		case "Listeners":
			f.role = roleDrop
		case "EndpointType":
			f.role = roleEndpoints
		case "Brokers":
			f.role = roleBrokers
		}
		setRoles(f.elem)
	}
}

// PassesRecords reports whether a renamed answer of the key holds records, so that it may be too large to hold and
// names brokers behind them.
func PassesRecords(key int16) bool { return Key(key) == Fetch || Key(key) == shareFetch }
