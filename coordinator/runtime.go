package coordinator

import (
	"context"
	"time"

	"cordwood/coordinator/machine"
	"cordwood/protocol/record"

	"go.uber.org/zap"
)

// Log is one partition of an internal topic, led here.
type Log interface {
	Append(batch record.Batch) (last int64, epoch int32, err error)
	// Await returns nil once last is below the high watermark.
	Await(ctx context.Context, last int64, epoch int32) error
	// Read returns whole batches from offset on, below the high watermark; empty means end.
	// It may use buf.
	Read(offset int64, buf []byte) ([]byte, error)
	Start() int64
	HighWatermark() int64
}

// Config is what a Runtime needs; Topic, NewMachine are required.
type Config struct {
	Topic      string
	NewMachine func(partition int32) machine.Machine
	// Effects carries out the effects of committed results; it must not block. May be nil.
	Effects func(partition int32, effects []machine.Effect)
	// Rejected maps an error of a machine's entries; see Do.
	Codecs        record.Codecs
	MaxBatchBytes int           // largest record batch; 0: 1,000,000
	MaxOps        int           // operations waiting for one shard; 0: 4,096
	CommitTimeout time.Duration // for one batch; 0: 5 s
	Log           *zap.Logger
	Now           func() time.Time // wall time for record timestamps; nil: time.Now
}

// Op is one step on a shard's machine. It runs on the shard's goroutine.
type Op func(m machine.Machine, token uint64, now time.Time) machine.Result

// Runtime owns the shards of one internal topic.
type Runtime struct{}

// New makes a runtime that leads nothing yet.
func New(cfg Config) *Runtime { return &Runtime{} }

// Run serves until ctx ends; then every waiting Do fails with NOT_COORDINATOR.
func (r *Runtime) Run(ctx context.Context) error { panic("not yet") }

// Elected starts the shard of a partition that this node began to lead; it loads first.
func (r *Runtime) Elected(partition, epoch int32, l Log) {}

// Resigned ends the shard and fails what waits in it with NOT_COORDINATOR, at once.
func (r *Runtime) Resigned(partition, epoch int32) {}

// Do runs op on a partition's machine and returns its reply once it is committed. Errors are
// kerr codes: NOT_COORDINATOR, COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE; or ctx's.
func (r *Runtime) Do(ctx context.Context, partition int32, op Op) (any, error) { panic("not yet") }

// Led lists the partitions led here, in order.
func (r *Runtime) Led() []int32 { return nil }

// PartitionFor is the partition of an internal topic that coordinates a key.
func PartitionFor(key string, count int32) int32 { return 0 }
