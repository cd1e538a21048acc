package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
)

// ListPartitionReassignments (key 46), version 0: the reassignments in progress, of the named partitions or, with null
// topics, of all. What is not being reassigned, or does not exist, is left out.
func (b *Broker) listPartitionReassignments(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ListPartitionReassignmentsRequest)
	resp := q.ResponseKind().(*kmsg.ListPartitionReassignmentsResponse)
	type place struct {
		topic string
		index int32
	}
	var wanted func(topic string, index int32) bool
	if q.Topics != nil {
		named := map[place]bool{}
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				named[place{t.Topic, p}] = true
			}
		}
		wanted = func(topic string, index int32) bool { return named[place{topic, index}] }
	}
	for _, re := range decide.Reassignments(b.image(), wanted) {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != re.Topic {
			t := kmsg.NewListPartitionReassignmentsResponseTopic()
			t.Topic = re.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition, p.Replicas = re.Index, int32s(re.Partition.Replicas)
		p.AddingReplicas, p.RemovingReplicas = int32s(re.Partition.Adding), int32s(re.Partition.Removing)
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return resp, nil
}
