package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeProducers (key 61), version 0: the producers a partition's leader remembers.
func (b *Broker) describeProducers(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeProducersRequest)
	resp := q.ResponseKind().(*kmsg.DescribeProducersResponse)
	for i := range q.Topics {
		in := &q.Topics[i]
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = in.Topic
		for _, index := range in.Partitions {
			a := kmsg.NewDescribeProducersResponseTopicPartition()
			a.Partition = index
			p := b.partitions.Lookup([]byte(in.Topic), index)
			if p == nil {
				err := b.whyNoPartition([]byte(in.Topic), [16]byte{}, index, false)
				a.ErrorCode, a.ErrorMessage = codeOf(err), messageOf(err)
				out.Partitions = append(out.Partitions, a)
				continue
			}
			producers, err := p.Producers()
			if err != nil {
				a.ErrorCode, a.ErrorMessage = codeOf(err), messageOf(err)
			}
			for _, s := range producers {
				d := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
				d.ProducerID, d.ProducerEpoch, d.LastSequence = s.ProducerID, int32(s.Epoch), s.LastSequence
				d.LastTimestamp, d.CoordinatorEpoch, d.CurrentTxnStartOffset = s.LastTimestamp, s.CoordinatorEpoch, s.TxnFirstOffset
				a.ActiveProducers = append(a.ActiveProducers, d)
			}
			out.Partitions = append(out.Partitions, a)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}
