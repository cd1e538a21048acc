package decide

import (
	"math"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
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

// AllocateProducerIDs gives a registered broker the next block. Ids of a block that was
// never used up are lost; there are enough.
func AllocateProducerIDs(img *metadata.Image, req AllocateProducerIDsRequest, now time.Time) (Outcome[AllocateProducerIDsReply], error) {
	if _, err := registered(img, req.Broker, req.Epoch); err != nil {
		return Outcome[AllocateProducerIDsReply]{}, err
	}
	first := img.NextProducerID()
	if first > math.MaxInt64-ProducerIDBlock {
		return Outcome[AllocateProducerIDsReply]{}, refuse(kerr.UnknownServerError, "Exhausted all producer ids")
	}
	return Outcome[AllocateProducerIDsReply]{
		Changes: []metadata.Change{metadata.ProducerIDsAllocated{Broker: req.Broker, Epoch: req.Epoch, Next: first + ProducerIDBlock}},
		Reply:   AllocateProducerIDsReply{First: first, Count: ProducerIDBlock},
	}, nil
}
