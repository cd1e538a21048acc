package coordinator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/coordinator/machine"
	"cordwood/protocol/record"
)

// Log is one partition of an internal topic, led here. It belongs to the leadership that Elected named: when another one has
// begun, Append writes nothing and fails.
type Log interface {
	// Append writes a batch whole or not at all.
	Append(batch record.Batch) (last int64, epoch int32, err error)
	// Await returns nil once last is committed, and an error when it will not be in this leadership.
	Await(ctx context.Context, last int64, epoch int32) error
	// Read returns whole batches from offset on, below the high watermark; empty means end. It may use buf.
	Read(offset int64, buf []byte) ([]byte, error)
	Start() int64
	End() int64 // log end offset
}

// Config is what a Runtime needs; Topic and NewMachine are required.
type Config struct {
	Topic      string
	NewMachine func(partition int32) machine.Machine
	// Effects carries out the effects of committed results on the shard's goroutine; it must not wait and
	// not keep the slice. Nil: they are logged.
	Effects       func(partition int32, effects []machine.Effect)
	Codecs        record.Codecs // for compressed batches in the log
	MaxBatchBytes int           // largest record batch; 0: 1,048,588 (max.message.bytes)
	MaxOps        int           // requests waiting for one shard; 0: 1,024
	CommitTimeout time.Duration // of one burst; 0: 5 s (offsets.commit.timeout.ms)
	RetryDelay    time.Duration // before a failed load is tried again, doubled each time; 0: 100 ms
	Log           *zap.Logger
	Now           func() time.Time // wall time for record timestamps; nil: time.Now
}

func (c *Config) fill() {
	if c.MaxBatchBytes <= 0 {
		c.MaxBatchBytes = 1_048_588
	}
	if c.MaxOps <= 0 {
		c.MaxOps = 1024
	}
	if c.CommitTimeout <= 0 {
		c.CommitTimeout = 5 * time.Second
	}
	if c.RetryDelay <= 0 {
		c.RetryDelay = 100 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Op is one step on a shard's machine. It runs on the shard's goroutine and must not wait.
type Op func(m machine.Machine, token uint64, now time.Time) machine.Result

// Stats counts since the start; Led and Loading are now.
type Stats struct {
	Led, Loading      int
	Ops               uint64 // steps taken for requests
	Entries, Batches  uint64 // committed
	Failures          uint64 // bursts whose append or commit failed
	Loads             uint64
	LoadTime          time.Duration // of all loads together
	Skipped           uint64        // records that loading did not understand
	CorruptionsInLoad uint64        // batches with a wrong checksum
}

type counters struct {
	ops, entries, batches, failures, loads, loadNanos, skipped, corruptions atomic.Uint64
}

// Runtime owns the shards of one internal topic.
type Runtime struct {
	cfg   Config // set once
	count counters

	mu     sync.Mutex
	shards map[int32]*shard
	last   map[int32]<-chan struct{} // ended goroutine of the partition's latest shard (C3)
	ctx    context.Context           // of Run; nil before
	closed bool                      // Run is over

	wg sync.WaitGroup // shards' goroutines
}

// New makes a runtime that leads nothing yet.
func New(cfg Config) *Runtime {
	cfg.fill()
	return &Runtime{cfg: cfg, shards: map[int32]*shard{}, last: map[int32]<-chan struct{}{}}
}

// Run serves until ctx ends, then fails every waiting Do with NOT_COORDINATOR and returns when all shards are gone.
func (r *Runtime) Run(ctx context.Context) error {
	r.mu.Lock()
	r.ctx = ctx
	for _, s := range r.shards {
		r.start(s)
	}
	r.mu.Unlock()

	<-ctx.Done()

	r.mu.Lock()
	r.closed = true
	for _, s := range r.shards {
		s.end()
	}
	clear(r.shards)
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// start runs a shard's goroutine. r.mu is held.
func (r *Runtime) start(s *shard) {
	before := r.last[s.partition]
	r.last[s.partition] = s.gone
	s.begin(r.ctx)
	r.wg.Go(func() { s.run(before) })
}

// Elected starts the shard of a partition that this node began to lead; it loads first. An older leadership's shard ends.
// The same or an older leadership again changes nothing. Before Run it is remembered, after Run forgotten.
func (r *Runtime) Elected(partition, epoch int32, l Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.shards[partition]
	if r.closed || old != nil && old.epoch >= epoch {
		return
	}
	if old != nil {
		old.end()
	}
	s := newShard(&r.cfg, &r.count, partition, epoch, l)
	r.shards[partition] = s
	if r.ctx != nil {
		r.start(s)
	}
}

// Resigned ends the shard of a leadership that is over and fails what waits in it with NOT_COORDINATOR, at once. It does not wait
// for the shard's goroutine.
func (r *Runtime) Resigned(partition, epoch int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.shards[partition]; s != nil && s.epoch <= epoch {
		s.end()
		delete(r.shards, partition)
	}
}

// Do runs op on a partition's machine and returns its reply once it is committed. The error is ctx's or a kerr code:
//
//	NOT_COORDINATOR               another node leads the partition, or will soon
//	COORDINATOR_LOAD_IN_PROGRESS  the shard is loading; Kafka answers a Heartbeat with no error then
//	COORDINATOR_NOT_AVAILABLE     the commit failed or is not known to have happened; for an OffsetFetch clients older than
//	                              Kafka 3.9 understand NOT_COORDINATOR only
//	UNKNOWN_SERVER_ERROR          what op decided does not fit into the log, or the machine failed
//
// After it returned, op does not touch anything any more (C4).
func (r *Runtime) Do(ctx context.Context, partition int32, op Op) (any, error) {
	r.mu.Lock()
	s := r.shards[partition]
	r.mu.Unlock()
	if s == nil {
		return nil, kerr.NotCoordinator
	}
	return s.do(ctx, op)
}

// Led lists the partitions led here, in order, loading ones too.
func (r *Runtime) Led() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.shards))
}

// Stats counts.
func (r *Runtime) Stats() Stats {
	c := &r.count
	s := Stats{
		Ops: c.ops.Load(), Entries: c.entries.Load(), Batches: c.batches.Load(), Failures: c.failures.Load(),
		Loads: c.loads.Load(), LoadTime: time.Duration(c.loadNanos.Load()), Skipped: c.skipped.Load(), CorruptionsInLoad: c.corruptions.Load(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Led = len(r.shards)
	for _, one := range r.shards {
		if one.refusal.Load() != nil {
			s.Loading++
		}
	}
	return s
}
