package abuse

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produce is a Produce of one batch to one partition.
func produce(topic string, records []byte) *kmsg.ProduceRequest {
	q := kmsg.NewPtrProduceRequest()
	q.Version, q.Acks, q.TimeoutMillis = 9, -1, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = records
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func produced(r kmsg.Response) int16 {
	return r.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode
}

// part is one partition of a fetch.
type part struct {
	topic  string
	id     [16]byte
	index  int32
	offset int64
	most   int32
}

// fetch is a Fetch without a session.
func fetch(version int16, wait, least, most int32, parts ...part) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.ReplicaID, q.MaxWaitMillis, q.MinBytes, q.MaxBytes, q.SessionEpoch = version, -1, wait, least, most, -1
	for _, in := range parts {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = in.index, in.offset, in.most, -1, -1
		if n := len(q.Topics); n > 0 && q.Topics[n-1].Topic == in.topic && q.Topics[n-1].TopicID == in.id {
			q.Topics[n-1].Partitions = append(q.Topics[n-1].Partitions, p)
			continue
		}
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = in.topic, in.id
		t.Partitions = append(t.Partitions, p)
		q.Topics = append(q.Topics, t)
	}
	return q
}

// fetched is every partition of an answer.
func fetched(r kmsg.Response) []kmsg.FetchResponseTopicPartition {
	var all []kmsg.FetchResponseTopicPartition
	for _, t := range r.(*kmsg.FetchResponse).Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

func fetchCode(r kmsg.Response) int16 { return fetched(r)[0].ErrorCode }

// metadata asks for topics by name.
func metadata(create bool, names ...string) *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Version, q.AllowAutoTopicCreation = 9, create
	q.Topics = []kmsg.MetadataRequestTopic{}
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		q.Topics = append(q.Topics, t)
	}
	return q
}

func metadataCode(r kmsg.Response) int16 { return r.(*kmsg.MetadataResponse).Topics[0].ErrorCode }

// create asks for topics of one partition.
func create(names ...string) *kmsg.CreateTopicsRequest {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version, q.TimeoutMillis = 7, 10_000
	for _, n := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = n, 1, 1
		q.Topics = append(q.Topics, t)
	}
	return q
}

func createCode(r kmsg.Response) int16 { return r.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode }

// remove deletes topics by name.
func remove(names ...string) *kmsg.DeleteTopicsRequest {
	q := kmsg.NewPtrDeleteTopicsRequest()
	q.Version, q.TimeoutMillis = 6, 10_000
	for _, n := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		q.Topics = append(q.Topics, t)
	}
	return q
}

func removeCode(r kmsg.Response) int16 { return r.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode }

// join asks to become a member of a group.
func join(group, member string) *kmsg.JoinGroupRequest {
	q := kmsg.NewPtrJoinGroupRequest()
	q.Version, q.Group, q.MemberID, q.ProtocolType = 9, group, member, "consumer"
	q.SessionTimeoutMillis, q.RebalanceTimeoutMillis = 6000, 6000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	q.Protocols = append(q.Protocols, p)
	return q
}

func joinCode(r kmsg.Response) int16 { return r.(*kmsg.JoinGroupResponse).ErrorCode }

// find asks for the coordinator of a group; the first one creates the topic of the offsets.
func find(group string) *kmsg.FindCoordinatorRequest {
	q := kmsg.NewPtrFindCoordinatorRequest()
	q.Version, q.CoordinatorKey = 3, group
	return q
}

func findCode(r kmsg.Response) int16 { return r.(*kmsg.FindCoordinatorResponse).ErrorCode }

// commit is an offset of one partition, by somebody who is no member.
func commit(group, topic string, offset int64, text string) *kmsg.OffsetCommitRequest {
	q := kmsg.NewPtrOffsetCommitRequest()
	q.Version, q.Group, q.Generation = 8, group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.LeaderEpoch, p.Metadata = offset, -1, kmsg.StringPtr(text)
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return q
}

func commitCode(r kmsg.Response) int16 {
	return r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
}
