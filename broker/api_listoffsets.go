package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/partition"
)

// ListOffsets (key 2), versions 1-11.
//
//	2  isolation level     4  leader epoch        7  -3 offset of the largest timestamp     9  -5 latest tiered
//	5  OFFSET_NOT_AVAILABLE                       8  -4 earliest local                     11  -6 earliest pending upload
//
// A partition named twice is INVALID_REQUEST for all its mentions; nothing found is offset -1 without an error
// (trap 35).
func (b *Broker) listOffsets(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ListOffsetsRequest)
	resp := q.ResponseKind().(*kmsg.ListOffsetsResponse)
	seen := make(map[topicPartition]int)
	for i := range q.Topics {
		for j := range q.Topics[i].Partitions {
			seen[topicPartition{q.Topics[i].Topic, q.Topics[i].Partitions[j].Partition}]++
		}
	}
	for i := range q.Topics {
		in := &q.Topics[i]
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = in.Topic
		for j := range in.Partitions {
			p := &in.Partitions[j]
			if seen[topicPartition{in.Topic, p.Partition}] > 1 {
				out.Partitions = append(out.Partitions, noOffset(p.Partition, kerr.InvalidRequest))
				continue
			}
			out.Partitions = append(out.Partitions, b.listOffset(q, in.Topic, p))
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}

// topicPartition names a partition in a request.
type topicPartition struct {
	topic string
	index int32
}

func noOffset(index int32, err error) kmsg.ListOffsetsResponseTopicPartition {
	out := kmsg.NewListOffsetsResponseTopicPartition()
	out.Partition, out.ErrorCode = index, codeOf(err)
	out.Offset, out.Timestamp, out.LeaderEpoch = -1, -1, -1
	return out
}

func (b *Broker) listOffset(q *kmsg.ListOffsetsRequest, topic string, in *kmsg.ListOffsetsRequestTopicPartition) kmsg.ListOffsetsResponseTopicPartition {
	p := b.partitions.Lookup([]byte(topic), in.Partition)
	if p == nil {
		return noOffset(in.Partition, b.whyNoPartition([]byte(topic), [16]byte{}, in.Partition, false))
	}
	epoch := int32(-1)
	if q.Version >= 4 {
		epoch = in.CurrentLeaderEpoch
	}
	var found partition.Offset
	var err error
	if refused := b.mayRead(p); refused != nil {
		err = refused
	} else {
		found, err = p.ListOffset(in.Timestamp, q.IsolationLevel == 1, epoch)
	}
	if err != nil {
		if codeOf(err) == kerr.OffsetNotAvailable.Code && q.Version < 5 {
			err = kerr.LeaderNotAvailable // trap 36
		}
		return noOffset(in.Partition, err)
	}
	out := noOffset(in.Partition, nil)
	out.Offset, out.Timestamp, out.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	return out
}
