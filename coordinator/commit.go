package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol/record"
)

// commit writes the entries of the burst and waits until they are committed. Several batches when they do not fit into one:
// a machine's decision may then be in the log in part, which Kafka's coordinator risks, too; each entry is a state of its
// own, and whoever asked is not answered.
func (s *shard) commit() error {
	if len(s.burst.entries) == 0 {
		return nil
	}
	now := s.cfg.Now().UnixMilli()
	b := record.NewBuilder(record.BuilderOptions{})
	for i := range s.burst.entries {
		e := &s.burst.entries[i]
		size := len(e.Key) + len(e.Value) + maxRecordOverhead
		if size+record.Overhead > s.cfg.MaxBatchBytes {
			return fmt.Errorf("an entry of %d bytes: %w", size, kerr.MessageTooLarge)
		}
		if b.Count() > 0 && b.Len()+size > s.cfg.MaxBatchBytes {
			if _, err := s.append(b); err != nil {
				return err
			}
		}
		b.Append(now, e.Key, e.Value, nil)
	}
	last, err := s.append(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.CommitTimeout)
	defer cancel()
	if err := s.log.Await(ctx, last, s.epoch); err != nil {
		return fmt.Errorf("commit up to %d: %w", last, err)
	}
	s.count.entries.Add(uint64(len(s.burst.entries)))
	return nil
}

// maxRecordOverhead is more than what a record needs besides its key and value.
const maxRecordOverhead = 40

func (s *shard) append(b *record.Builder) (last int64, err error) {
	batch, err := b.Build()
	if err != nil {
		return 0, fmt.Errorf("build batch: %w", err)
	}
	last, epoch, err := s.log.Append(batch)
	if err != nil {
		return 0, fmt.Errorf("append %d bytes: %w", len(batch), err)
	}
	if epoch != s.epoch {
		return 0, fmt.Errorf("appended in leadership %d: %w", epoch, kerr.NotLeaderForPartition)
	}
	s.count.batches.Add(1)
	return last, nil
}

// codeFor is what clients get for a failure of the log, as Kafka maps it.
func codeFor(err error) *kerr.Error {
	if errors.Is(err, errPanic) {
		return kerr.UnknownServerError
	}
	var k *kerr.Error
	if !errors.As(err, &k) {
		return kerr.CoordinatorNotAvailable // a timeout, for one: it may have happened
	}
	switch k {
	case kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.KafkaStorageError, kerr.NotCoordinator:
		return kerr.NotCoordinator
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		return kerr.UnknownServerError
	}
	return kerr.CoordinatorNotAvailable
}
