package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DeleteRecords (key 21), versions 0-2: moves the log start offset; -1 means the high watermark. The answer is the low
// watermark of all live replicas (trap 40).
func (b *Broker) deleteRecords(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DeleteRecordsRequest)
	resp := q.ResponseKind().(*kmsg.DeleteRecordsResponse)
	for i := range q.Topics {
		in := &q.Topics[i]
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic = in.Topic
		for _, ask := range in.Partitions {
			a := kmsg.NewDeleteRecordsResponseTopicPartition()
			a.Partition, a.LowWatermark = ask.Partition, -1
			if p := b.partitions.Lookup([]byte(in.Topic), ask.Partition); p == nil {
				a.ErrorCode = codeOf(b.whyNoPartition([]byte(in.Topic), [16]byte{}, ask.Partition, false))
			} else if refused := b.mayWrite(p); refused != nil {
				a.ErrorCode = refused.Code
			} else if low, err := p.DeleteRecords(ask.Offset); err != nil {
				a.ErrorCode = codeOf(err)
			} else {
				a.LowWatermark = low
			}
			out.Partitions = append(out.Partitions, a)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}
