package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestALoneBrokerAnswersReassignmentsAsKafkaDoes(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	cl := n.client()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 2, 1, nil, "moved"); err != nil {
		t.Fatal(err)
	}
	const nobody, gone = 99, 7
	q := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	for _, of := range []struct {
		topic string
		parts map[int32][]int32
	}{
		{"moved", map[int32][]int32{0: {1}, 1: {nobody}, gone: {1}}},
		{"missing", map[int32][]int32{0: {1}}},
	} {
		topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		topic.Topic = of.topic
		for p, replicas := range of.parts {
			part := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
			part.Partition, part.Replicas = p, replicas
			topic.Partitions = append(topic.Partitions, part)
		}
		q.Topics = append(q.Topics, topic)
	}
	resp, err := q.RequestWith(ctx, cl)
	if err != nil || resp.ErrorCode != 0 {
		t.Fatalf("%+v, %v", resp, err)
	}
	want := map[string]map[int32]int16{
		"moved":   {0: 0, 1: kerr.InvalidReplicaAssignment.Code, gone: kerr.UnknownTopicOrPartition.Code},
		"missing": {0: kerr.UnknownTopicOrPartition.Code},
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if p.ErrorCode != want[topic.Topic][p.Partition] || (p.ErrorCode != 0) != (p.ErrorMessage != nil) {
				t.Errorf("%s-%d: %v", topic.Topic, p.Partition, kerr.ErrorForCode(p.ErrorCode))
			}
			delete(want[topic.Topic], p.Partition)
		}
	}
	if len(want["moved"])+len(want["missing"]) > 0 {
		t.Errorf("not answered: %v", want)
	}
	part := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition() // null replicas: cancel
	topic := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	topic.Topic, topic.Partitions = "moved", append(topic.Partitions, part)
	q.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{topic}
	if resp, err = q.RequestWith(ctx, cl); err != nil || resp.Topics[0].Partitions[0].ErrorCode != kerr.NoReassignmentInProgress.Code {
		t.Errorf("cancelled nothing: %+v, %v", resp, err)
	}
	list, err := kmsg.NewPtrListPartitionReassignmentsRequest().RequestWith(ctx, cl)
	if err != nil || list.ErrorCode != 0 || len(list.Topics) != 0 {
		t.Errorf("in progress: %+v, %v", list, err)
	}
}
