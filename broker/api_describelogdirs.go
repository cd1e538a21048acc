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

// DescribeLogDirs (key 35), versions 1-5: directories and the sizes of the logs in them. 4 space, 5 cordoned. A replica on its
// way to another directory is told there too, as a future one, with what its copy lacks. A replica that stopped until an
// operator decides says why in a tag of our own.
func (b *Broker) describeLogDirs(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeLogDirsRequest)
	resp := q.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	asked := map[topicPartition]bool{}
	for i := range q.Topics {
		for _, index := range q.Topics[i].Partitions {
			asked[topicPartition{q.Topics[i].Topic, index}] = true
		}
	}
	hosted := map[string][]kept{}
	for p := range b.partitions.Each() {
		if q.Topics == nil || asked[topicPartition{p.Topic(), p.Index()}] {
			d := p.Describe()
			hosted[d.Dir] = append(hosted[d.Dir], kept{d.Topic, d.Index, d.Size, max(d.HighWatermark-d.End, 0), d.Halted, false})
			if f, ok := p.Moving(); ok {
				hosted[f.Dir] = append(hosted[f.Dir], kept{d.Topic, d.Index, f.Size, f.Lag, "", true})
			}
		}
	}
	for _, dir := range b.partitions.Directories() {
		resp.Dirs = append(resp.Dirs, b.describeLogDir(dir, hosted[dir.Path]))
	}
	return resp, nil
}

// kept is one log in a directory.
type kept struct {
	topic  string
	index  int32
	size   int64
	lag    int64 // of a follower, as far as it knows; of a future replica behind the one it is made of
	halted string
	future bool
}

func (b *Broker) describeLogDir(dir partition.Directory, logs []kept) kmsg.DescribeLogDirsResponseDir {
	out := kmsg.NewDescribeLogDirsResponseDir()
	out.Dir, out.TotalBytes, out.UsableBytes = dir.Path, -1, -1
	if dir.Err != nil {
		out.ErrorCode = kerr.KafkaStorageError.Code
		return out
	}
	if free, total, err := b.partitions.Space(dir.Path); err == nil {
		out.TotalBytes, out.UsableBytes = int64(total), int64(free)
	}
	slices.SortFunc(logs, func(x, y kept) int { return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.index, y.index)) })
	for _, l := range logs {
		if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != l.topic {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = l.topic
			out.Topics = append(out.Topics, t)
		}
		p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		p.Partition, p.Size, p.OffsetLag, p.IsFuture = l.index, l.size, l.lag, l.future
		if l.halted != "" {
			p.UnknownTags.Set(TagHalted, []byte(l.halted))
		}
		t := &out.Topics[len(out.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	return out
}
