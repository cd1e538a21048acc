package broker

import (
	"context"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// AlterReplicaLogDirs (key 34), versions 1-2: moves this broker's replicas to other directories of its own. An answer without
// an error says that the move has begun, and goes on after a restart; DescribeLogDirs tells how far it is. The directory that the
// replica is in undoes a move. A partition that is named twice is refused: it cannot be in both.
func (b *Broker) alterReplicaLogDirs(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AlterReplicaLogDirsRequest)
	resp := q.ResponseKind().(*kmsg.AlterReplicaLogDirsResponse)
	named := map[topicPartition]int{}
	for i := range q.Dirs {
		for _, t := range q.Dirs[i].Topics {
			for _, p := range t.Partitions {
				named[topicPartition{t.Topic, p}]++
			}
		}
	}
	topics := map[string]int{}
	for i := range q.Dirs {
		dir := b.logDir(q.Dirs[i].Dir)
		for _, t := range q.Dirs[i].Topics {
			at, known := topics[t.Topic]
			if !known {
				at, topics[t.Topic] = len(resp.Topics), len(resp.Topics)
				out := kmsg.NewAlterReplicaLogDirsResponseTopic()
				out.Topic = t.Topic
				resp.Topics = append(resp.Topics, out)
			}
			for _, p := range t.Partitions {
				n := named[topicPartition{t.Topic, p}]
				if n == 0 { // answered before
					continue
				}
				out := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				out.Partition = p
				if n > 1 {
					named[topicPartition{t.Topic, p}] = 0
					out.ErrorCode = kerr.InvalidRequest.Code
				} else {
					out.ErrorCode = codeOf(b.partitions.Move(ctx, t.Topic, p, dir))
				}
				resp.Topics[at].Partitions = append(resp.Topics[at].Partitions, out)
			}
		}
	}
	return resp, nil
}

// logDir is the directory of the configuration that a client means: Kafka's tools name them with their absolute paths.
func (b *Broker) logDir(name string) string {
	for _, d := range b.cfg.LogDirs {
		if abs, err := filepath.Abs(d); err == nil && filepath.IsAbs(name) && abs == filepath.Clean(name) {
			return d
		}
	}
	return name
}
