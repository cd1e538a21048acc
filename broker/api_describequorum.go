package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller"
	"cordwood/metadata"
)

// metadataTopic is what Kafka calls the log of the controllers.
const metadataTopic = "__cluster_metadata"

// DescribeQuorum (key 55), versions 0-2: the controllers and how far each is. 1 times, 2 directories and addresses.
func (b *Broker) describeQuorum(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeQuorumRequest)
	resp := q.ResponseKind().(*kmsg.DescribeQuorumResponse)
	if len(q.Topics) != 1 || q.Topics[0].Topic != metadataTopic || len(q.Topics[0].Partitions) != 1 || q.Topics[0].Partitions[0].Partition != 0 {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp, nil
	}
	quorum, err := describeQuorum(ctx, b)
	if err != nil {
		noteElsewhere(ctx, err)
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		return resp, nil
	}
	t, p := kmsg.NewDescribeQuorumResponseTopic(), kmsg.NewDescribeQuorumResponseTopicPartition()
	t.Topic = metadataTopic
	p.LeaderID, p.LeaderEpoch, p.HighWatermark = int32(quorum.Leader), int32(quorum.Term), int64(quorum.Committed)+1
	p.CurrentVoters, p.Observers = quorumReplicas(quorum.Voters), quorumReplicas(quorum.Observers)
	t.Partitions = append(t.Partitions, p)
	resp.Topics = append(resp.Topics, t)
	for _, v := range quorum.Voters {
		resp.Nodes = append(resp.Nodes, b.quorumNode(v.ID))
	}
	return resp, nil
}

func describeQuorum(ctx context.Context, b *Broker) (controller.Quorum, error) {
	switch {
	case ctx.Err() != nil:
		return controller.Quorum{}, ctx.Err()
	case b.controller == nil:
		return controller.Quorum{}, errNoController
	}
	return b.controller.DescribeQuorum(ctx)
}

func quorumReplicas(in []controller.Replica) []kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	out := []kmsg.DescribeQuorumResponseTopicPartitionReplicaState{}
	for _, r := range in {
		s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
		s.ReplicaID, s.ReplicaDirectoryID, s.LogEndOffset = int32(r.ID), r.Dir, int64(r.LastIndex)+1
		s.LastFetchTimestamp, s.LastCaughtUpTimestamp = timestamp(r.LastFetch), timestamp(r.LastCaughtUp)
		out = append(out, s)
	}
	return out
}

// timestamp is a time in milliseconds, -1 for one that is not known.
func timestamp(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// quorumNode is where a controller is reached.
func (b *Broker) quorumNode(id metadata.NodeID) kmsg.DescribeQuorumResponseNode {
	n := kmsg.NewDescribeQuorumResponseNode()
	n.NodeID = int32(id)
	addr := b.controllerAddr(id)
	for _, l := range b.listeners {
		if id == b.cfg.NodeID && l.internal() {
			if host, port, err := l.registered(); err == nil {
				addr = endpointAddr(&metadata.Endpoint{Host: host, Port: port})
			}
		}
	}
	if host, port, err := splitAddr(addr); err == nil {
		l := kmsg.NewDescribeQuorumResponseNodeListener()
		l.Name, l.Host, l.Port = b.cfg.controllerNames()[0], host, uint16(port)
		n.Listeners = append(n.Listeners, l)
	}
	return n
}
