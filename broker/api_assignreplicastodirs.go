package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AssignReplicasToDirs (key 73), version 0: a broker tells in which of its directories its replicas are (KIP-858). What is
// wrong with one is answered for it alone; another epoch than the registered one refuses the request (bad input 119).
func (b *Broker) assignReplicasToDirs(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AssignReplicasToDirsRequest)
	resp := q.ResponseKind().(*kmsg.AssignReplicasToDirsResponse)
	req := decide.AssignReplicasRequest{Broker: metadata.NodeID(q.BrokerID), Epoch: q.BrokerEpoch, Rules: b.rules()}
	for _, d := range q.Directories {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				req.Replicas = append(req.Replicas, decide.ReplicaDir{Topic: t.TopicID, Index: p.Partition, Dir: d.ID})
			}
		}
	}
	reply, _, err := controllerDo(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AssignReplicasReply], error) {
		return decide.AssignReplicas(img, req, now)
	})
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	next := 0
	for _, d := range q.Directories {
		dir := kmsg.NewAssignReplicasToDirsResponseDirectory()
		dir.ID = d.ID
		for _, t := range d.Topics {
			topic := kmsg.NewAssignReplicasToDirsResponseDirectoryTopic()
			topic.TopicID = t.TopicID
			for _, p := range t.Partitions {
				out := kmsg.NewAssignReplicasToDirsResponseDirectoryTopicPartition()
				out.Partition = p.Partition
				out.ErrorCode, _ = refusal(reply.Replicas[next].Err)
				topic.Partitions = append(topic.Partitions, out)
				next++
			}
			dir.Topics = append(dir.Topics, topic)
		}
		resp.Directories = append(resp.Directories, dir)
	}
	return resp, nil
}
