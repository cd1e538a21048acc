package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"cordwood/partition"
)

// replicaMetrics tell of the copies that brokers make of each other's logs.
type replicaMetrics struct {
	lag, streams, streamed, refused, truncations, halted *prometheus.Desc
	damaged, mended, unmended                            *prometheus.Desc
	moving, moved, copied                                *prometheus.Desc
}

func newReplicaMetrics(d func(name, help string, labels ...string) *prometheus.Desc) replicaMetrics {
	return replicaMetrics{
		lag:         d("replica_lag_records", "Records that the replicas here are behind their leaders at most."),
		streams:     d("replica_streams", "Replicas that take sealed segments from their leaders now."),
		streamed:    d("replica_streamed_bytes_total", "Bytes of sealed segments taken from leaders."),
		refused:     d("replica_damaged_answers_total", "Answers of other replicas with damaged batches; they are not appended."),
		truncations: d("replica_truncations_total", "Logs cut because their leader has another history."),
		halted:      d("replicas_halted_total", "Replicas that stopped because their leader lacks committed records: an operator decides."),
		damaged:     d("log_damaged_ranges", "Damaged ranges of offsets that are not served.", "dir"),
		mended:      d("log_damaged_ranges_mended_total", "Damaged ranges put right from another replica."),
		unmended:    d("log_damaged_ranges_failures_total", "Tries to put a damaged range right that failed."),
		moving:      d("replica_moves", "Replicas on their way to another directory of this broker now."),
		moved:       d("replica_moves_total", "Replicas that have moved to another directory of this broker."),
		copied:      d("replica_moved_bytes_total", "Bytes of replicas copied to another directory of this broker."),
	}
}

func (m *replicaMetrics) collect(ch chan<- prometheus.Metric, s *partition.Stats) {
	gauge(ch, m.lag, float64(s.MaxLag))
	gauge(ch, m.streams, float64(s.Replication.Streams))
	counter(ch, m.streamed, float64(s.Replication.StreamBytes))
	counter(ch, m.refused, float64(s.Replication.Damaged))
	counter(ch, m.truncations, float64(s.Replication.Truncations))
	counter(ch, m.halted, float64(s.Replication.Halted))
	counter(ch, m.mended, float64(s.Replication.Mended))
	counter(ch, m.unmended, float64(s.Replication.MendErrors))
	gauge(ch, m.moving, float64(s.Moving))
	counter(ch, m.moved, float64(s.Replication.Moved))
	counter(ch, m.copied, float64(s.Replication.CopyBytes))
	for _, d := range s.Dirs {
		gauge(ch, m.damaged, float64(d.DamagedRanges), d.Path)
	}
}
