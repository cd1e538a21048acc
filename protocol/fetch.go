package protocol

type FetchRequest struct {
	Version                           int16
	ClusterID                         []byte // nil = null
	ReplicaID                         int32
	ReplicaEpoch                      int64
	MaxWaitMillis, MinBytes, MaxBytes int32
	Isolation                         int8
	SessionID, SessionEpoch           int32
	Rack                              []byte
	Partitions                        []FetchPartition
	Forgotten                         []ForgottenPartition
}

type FetchPartition struct {
	Topic                     []byte
	TopicID                   [16]byte
	Index, CurrentLeaderEpoch int32
	FetchOffset               int64
	LastFetchedEpoch          int32
	MaxBytes                  int32
	LogStart                  int64
	ReplicaDirectory          [16]byte
	HighWatermark             int64
}

type ForgottenPartition struct {
	Topic   []byte
	TopicID [16]byte
	Index   int32
}

func (r *FetchRequest) Decode(version int16, body []byte) error { return nil }

type AbortedTxn struct{ ProducerID, FirstOffset int64 }

type EpochEnd struct {
	Epoch int32
	End   int64
}

type CurrentLeader struct{ ID, Epoch int32 }

type FetchedPartition struct {
	Topic                               []byte
	TopicID                             [16]byte
	Index                               int32
	Code                                int16
	HighWatermark, LastStable, LogStart int64
	Aborted                             []AbortedTxn // nil = null
	PreferredReplica                    int32        // -1 none
	Diverging                           EpochEnd     // Epoch -1 none
	CurrentLeader                       CurrentLeader
	RecordsLen                          int // -1 = null
}

func (p *FetchedPartition) Clear() {}

type FetchEncoder struct {
	Bytes []byte
	Marks []int
}

func (e *FetchEncoder) Encode(version int16, correlation, throttle int32, code int16, session int32, parts []FetchedPartition, nodes []NodeEndpoint) {
}
