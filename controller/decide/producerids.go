package decide

import (
	"time"

	"cordwood/metadata"
)

// ProducerIDBlock is how many producer ids a broker gets at a time.
const ProducerIDBlock = 1000

// AllocateProducerIDsRequest asks for a block of producer ids.
type AllocateProducerIDsRequest struct {
	Broker metadata.NodeID
	Epoch  int64
}

// AllocateProducerIDsReply: the ids First to First+Count-1 belong to the broker.
type AllocateProducerIDsReply struct {
	First int64
	Count int32
}

func AllocateProducerIDs(img *metadata.Image, req AllocateProducerIDsRequest, now time.Time) (Outcome[AllocateProducerIDsReply], error) {
	return Outcome[AllocateProducerIDsReply]{}, errNotYet
}
