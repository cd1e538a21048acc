package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AlterPartitionReassignments (key 45), versions 0-1: gives partitions other replicas; null replicas cancel. 1 may
// forbid a change of the replication factor.
//
// The answer says that the reassignment has begun, not that it is complete.
func (b *Broker) alterPartitionReassignments(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AlterPartitionAssignmentsRequest)
	resp := q.ResponseKind().(*kmsg.AlterPartitionAssignmentsResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	req := decide.AlterReassignmentsRequest{AllowFactorChange: q.Version < 1 || q.AllowReplicationFactorChange, Rules: b.rules()}
	resp.AllowReplicationFactorChange = req.AllowFactorChange
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			target := decide.Reassignment{Topic: t.Topic, Index: p.Partition}
			if p.Replicas != nil {
				target.Replicas = nodeIDs(p.Replicas)
			}
			req.Partitions = append(req.Partitions, target)
		}
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AlterReassignmentsReply], error) {
		return decide.AlterReassignments(img, req, now)
	})
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	}
	next := 0
	for _, t := range q.Topics {
		out := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			part := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			part.Partition = p.Partition
			if err != nil {
				part.ErrorCode, part.ErrorMessage = resp.ErrorCode, resp.ErrorMessage
			} else {
				part.ErrorCode, part.ErrorMessage = refusal(reply.Partitions[next].Err)
			}
			next++
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp, nil
}
