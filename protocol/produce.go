package protocol

type ProduceRequest struct {
	Version         int16
	TransactionalID []byte // nil = null
	Acks            int16
	TimeoutMillis   int32
	Topics          int
	Partitions      int
}

type ProducePartition struct {
	Topic    []byte
	TopicID  [16]byte
	NewTopic bool
	Index    int32
	Records  []byte // nil = null
}

func (r *ProduceRequest) Decode(version int16, body []byte) error { return nil }
func (r *ProduceRequest) Next(p *ProducePartition) bool           { return false }
func (r *ProduceRequest) Rewind()                                 {}

type RecordError struct {
	Index   int32
	Message string
}

type ProduceResult struct {
	Topic                               []byte
	TopicID                             [16]byte
	NewTopic                            bool
	Index                               int32
	Code                                int16
	BaseOffset, LogAppendTime, LogStart int64
	Records                             []RecordError
	Message                             string
	LeaderID, LeaderEpoch               int32
}

func (p *ProduceResult) Clear() {}

type NodeEndpoint struct {
	NodeID int32
	Host   string
	Port   int32
	Rack   string // "" = null
}

func AppendProduceResponse(dst []byte, version int16, correlation int32, throttle int32, results []ProduceResult, nodes []NodeEndpoint) []byte {
	return dst
}
