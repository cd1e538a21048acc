package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// OffsetForLeaderEpoch (key 23), versions 2-4: where an epoch ended on the leader (KIP-320). An epoch that the leader
// does not know is (-1, -1) without an error (trap 37, bad input 142).
func (b *Broker) offsetForLeaderEpoch(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.OffsetForLeaderEpochRequest)
	resp := q.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for i := range q.Topics {
		in := &q.Topics[i]
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = in.Topic
		for _, ask := range in.Partitions {
			a := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			a.Partition, a.LeaderEpoch, a.EndOffset = ask.Partition, -1, -1
			if p := b.partitions.Lookup([]byte(in.Topic), ask.Partition); p == nil {
				a.ErrorCode = codeOf(b.whyNoPartition([]byte(in.Topic), [16]byte{}, ask.Partition, false))
			} else if refused := b.mayRead(p); refused != nil {
				a.ErrorCode = refused.Code
			} else if epoch, end, err := p.EpochEnd(ask.CurrentLeaderEpoch, ask.LeaderEpoch); err != nil {
				a.ErrorCode = codeOf(err)
			} else {
				a.LeaderEpoch, a.EndOffset = epoch, end
			}
			out.Partitions = append(out.Partitions, a)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}
