package broker

import (
	"cmp"
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/partition"
)

// TagHalted is our own tag in a partition of the answer: why the replica stopped, as text.
const TagHalted = 20000

// DescribeLogDirs (key 35), versions 1-5: directories and the sizes of the logs in them. 4 space, 5 cordoned. A
// replica that stopped until an operator decides says why in a tag of our own.
func (b *Broker) describeLogDirs(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeLogDirsRequest)
	resp := q.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	asked := map[topicPartition]bool{}
	for i := range q.Topics {
		for _, index := range q.Topics[i].Partitions {
			asked[topicPartition{q.Topics[i].Topic, index}] = true
		}
	}
	hosted := map[string][]*partition.Description{}
	for p := range b.partitions.Each() {
		if q.Topics == nil || asked[topicPartition{p.Topic(), p.Index()}] {
			d := p.Describe()
			hosted[d.Dir] = append(hosted[d.Dir], &d)
		}
	}
	for _, dir := range b.partitions.Directories() {
		resp.Dirs = append(resp.Dirs, b.describeLogDir(dir, hosted[dir.Path]))
	}
	return resp, nil
}

func (b *Broker) describeLogDir(dir partition.Directory, logs []*partition.Description) kmsg.DescribeLogDirsResponseDir {
	out := kmsg.NewDescribeLogDirsResponseDir()
	out.Dir, out.TotalBytes, out.UsableBytes = dir.Path, -1, -1
	if dir.Err != nil {
		out.ErrorCode = kerr.KafkaStorageError.Code
		return out
	}
	if free, total, err := b.partitions.Space(dir.Path); err == nil {
		out.TotalBytes, out.UsableBytes = int64(total), int64(free)
	}
	slices.SortFunc(logs, func(x, y *partition.Description) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Index, y.Index))
	})
	for _, l := range logs {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != l.Topic {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = l.Topic
			out.Topics = append(out.Topics, t)
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size = l.Index, l.Size
		p.OffsetLag = max(l.HighWatermark-l.End, 0) // of a follower, as far as it knows
		if l.Halted != "" {
			p.UnknownTags.Set(TagHalted, []byte(l.Halted))
		}
		t := &out.Topics[len(out.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return out
}
