package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// DescribeTopicPartitions (key 75), version 0: pages of partitions, sorted by topic name, with a cursor.

// describePartitionsMax is max.request.partition.size.limit's default: partitions in one page.
const describePartitionsMax = 2000

func (b *Broker) describeTopicPartitions(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeTopicPartitionsRequest)
	resp := q.ResponseKind().(*kmsg.DescribeTopicPartitionsResponse)
	img := b.view()
	left := describePartitionsMax
	if n := int(q.ResponsePartitionLimit); n > 0 {
		left = min(n, left)
	}
	names, from := topicPage(img.Image, q)
	for _, name := range names {
		t := img.Topic(name)
		if t == nil {
			resp.Topics = append(resp.Topics, unknownTopic(name))
			continue
		}
		out := kmsg.NewDescribeTopicPartitionsResponseTopic()
		out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
		out.AuthorizedOperations = topicOperations
		for ; from < len(t.Partitions) && left > 0; from++ {
			out.Partitions = append(out.Partitions, r.s.describePartition(img, t, from))
			left--
		}
		resp.Topics = append(resp.Topics, out)
		if from < len(t.Partitions) {
			c := kmsg.NewDescribeTopicPartitionsResponseNextCursor()
			c.Topic, c.Partition = t.Name, int32(from)
			resp.NextCursor = &c
			break
		}
		from = 0
	}
	return resp, nil
}

// topicPage lists the topics asked for from the cursor on, and the first topic's first partition.
func topicPage(img *metadata.Image, q *kmsg.DescribeTopicPartitionsRequest) (names []string, from int) {
	if len(q.Topics) == 0 {
		for t := range img.Topics() {
			names = append(names, t.Name)
		}
	} else {
		for i := range q.Topics {
			names = append(names, q.Topics[i].Topic)
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	if q.Cursor == nil {
		return names, 0
	}
	at, found := slices.BinarySearch(names, q.Cursor.Topic)
	if found {
		from = int(max(q.Cursor.Partition, 0))
	}
	return names[at:], from
}

func unknownTopic(name string) kmsg.DescribeTopicPartitionsResponseTopic {
	out := kmsg.NewDescribeTopicPartitionsResponseTopic()
	out.Topic = kmsg.StringPtr(name)
	out.AuthorizedOperations = operationsUnknown
	out.ErrorCode = kerr.UnknownTopicOrPartition.Code
	if metadata.ValidTopicName(name) != nil {
		out.ErrorCode = kerr.InvalidTopicException.Code
	}
	return out
}

func (s *session) describePartition(img view, t *metadata.Topic, i int) kmsg.DescribeTopicPartitionsResponseTopicPartition {
	p := t.Partitions[i]
	out := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
	out.Partition, out.LeaderID, out.LeaderEpoch = int32(i), int32(p.Leader), p.LeaderEpoch
	out.Replicas, out.ISR = int32s(p.Replicas), int32s(p.ISR)
	out.EligibleLeaderReplicas, out.LastKnownELR = int32s(p.ELR), int32s(p.LastKnownELR)
	out.OfflineReplicas = offline(img, p)
	if out.ErrorCode = s.leaderError(img, p.Leader, 6); out.ErrorCode != 0 {
		out.LeaderID = -1
	}
	return out
}
