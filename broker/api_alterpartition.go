package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AlterPartition (key 56), version 3: leaders change the ISRs of what they lead (R6). The members' broker epochs came with
// version 3; without them a broker could join with a disk of an earlier life (Z8).
//
// A change that does not fit is refused for its partition alone (bad input 120); another epoch than the registered one
// refuses the request (bad input 119).
func (b *Broker) alterPartition(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AlterPartitionRequest)
	resp := q.ResponseKind().(*kmsg.AlterPartitionResponse)
	req := decide.AlterPartitionRequest{Broker: metadata.NodeID(q.BrokerID), Epoch: q.BrokerEpoch, Rules: b.rules()}
	for i := range q.Topics {
		t := &q.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			c := decide.ISRChange{Topic: t.TopicID, Index: p.Partition, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch,
				Recovering: p.LeaderRecoveryState == 1}
			for _, m := range p.NewEpochISR {
				c.ISR = append(c.ISR, decide.ISRMember{ID: metadata.NodeID(m.BrokerID), BrokerEpoch: m.BrokerEpoch})
			}
			req.Changes = append(req.Changes, c)
		}
	}
	reply, _, err := controllerDo(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AlterPartitionReply], error) {
		return decide.AlterPartition(img, req, now)
	})
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	for i := range reply.Partitions {
		a := &reply.Partitions[i]
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].TopidID != a.Topic {
			t := kmsg.NewAlterPartitionResponseTopic()
			t.TopidID = a.Topic
			resp.Topics = append(resp.Topics, t)
		}
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, altered(a))
	}
	return resp, nil
}

// altered is the answer for one partition.
func altered(a *decide.AlteredPartition) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition, out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = a.Index, -1, -1, -1
	out.ErrorCode, _ = refusal(a.Err)
	if p := a.Partition; p != nil && (a.Err == nil || a.Err.Code == kerr.NewLeaderElected) {
		out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = int32(p.Leader), p.LeaderEpoch, p.PartitionEpoch
		out.ISR = int32s(p.ISR)
		if p.Recovering {
			out.LeaderRecoveryState = 1
		}
	}
	return out
}
