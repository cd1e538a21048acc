package segment

import (
	"errors"
	"iter"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

var errNotDone = errors.New("segment: not written yet")

// Options says which log to open and how. Dir is the partition's directory, DATA/topic-N.
type Options struct {
	FS          vfs.FS
	Dir         string
	TopicID     [16]byte // zero: the log has none (raft's log)
	Config      Config
	Checkpoints *Checkpoints // of the data directory; nil: RecoveryPoint and LogStart below count
	// RecoveryPoint and LogStart are used when Checkpoints is nil.
	RecoveryPoint int64
	LogStart      int64
	Clean         *CleanLog // the log's entry in the clean-shutdown manifest; nil: recover
	Files         *Files    // shared by all logs of the process; nil: an own small one
	Journal       *Journal  // of the data directory; nil: none
	Codecs        record.Codecs
	Log           *zap.Logger
	Now           func() time.Time
}

// Open opens the log in o.Dir, recovering it when o.Clean is nil; it makes the directory and an empty log (starting
// at o.LogStart) when there is none.
func Open(o Options) (*Log, error) { return nil, errNotDone }

// Exists says whether there is a log directory.
func Exists(fs vfs.FS, dir string) (bool, error) { return false, errNotDone }

// Log is one partition's log. Writers (Append, BeginEpoch, Truncate, Reset, Trim, Retain, ApplyConfig, Close, Delete)
// are serialised by the caller. Sync, Unsynced, MarkDurable, Writeback and Purge may run beside them from another
// goroutine. Reads and the plain getters may run at any time from anywhere.
// BeginEpoch, Truncate, Reset, Close(true), Delete and Sync wait for the disk: never call them under a mutex.
type Log struct{}

func (l *Log) Name() string             { return "" }
func (l *Log) Dir() string              { return "" }
func (l *Log) TopicID() [16]byte        { return [16]byte{} }
func (l *Log) Config() Config           { return Config{} }
func (l *Log) Start() int64             { return 0 }
func (l *Log) End() int64               { return 0 }
func (l *Log) Durable() int64           { return 0 } // end of what a crash cannot lose (fsync or journal)
func (l *Log) RecoveryPoint() int64     { return 0 } // end of what is fsynced in the log's own files
func (l *Log) Size() int64              { return 0 }
func (l *Log) Segments() int            { return 0 }
func (l *Log) Err() error               { return nil } // not nil: offline
func (l *Log) Recovery() Recovery       { return Recovery{} }
func (l *Log) HighWatermarkHint() int64 { return 0 } // the checkpointed high watermark, within [Start, End] (Z31)

// Append writes stamped batches that continue the log with one write, rolling before it where needed: all or nothing.
// No batch may have an epoch above leaderEpoch (I12). The producer state must take the batches too: Append applies
// them (again, harmless) itself.
func (l *Log) Append(batches []record.Batch, leaderEpoch int32) error { return errNotDone }

// Sync makes everything appended before the call durable in the log's own files.
func (l *Log) Sync() (end int64, err error) { return 0, errNotDone }

// SyncDue says whether Sync has something to do.
func (l *Log) SyncDue() bool { return false }

// WritebackDue says that several megabytes wait for writeback: call Writeback soon, not under a lock.
func (l *Log) WritebackDue() bool { return false }
func (l *Log) Writeback()         {}

// Unsynced reads [Durable, End) into buf, for the journal. ok is false when only Sync will do (new directory, too much).
func (l *Log) Unsynced(buf []byte, max int) (e Entry, rest []byte, ok bool, err error) {
	return Entry{}, buf, false, errNotDone
}

// MarkDurable says that the journal holds e.
func (l *Log) MarkDurable(e Entry) {}

func (l *Log) View() *View { return nil }

func (l *Log) Producers() *producer.State { return nil }

// LastStable is the first offset that a read_committed consumer may not see (writers' lock needed).
func (l *Log) LastStable(highWatermark int64) int64 { return 0 }

// AbortedIn lists the aborted transactions that overlap [from, to).
func (l *Log) AbortedIn(from, to int64) ([]AbortedTxn, error) { return nil, errNotDone }

// AbortedTxn is one entry of a .txnindex.
type AbortedTxn struct{ ProducerID, FirstOffset, LastOffset, LastStable int64 }

// BeginEpoch enters (epoch, End) in the epoch cache and makes it durable (R7, Z4).
func (l *Log) BeginEpoch(epoch int32) error { return errNotDone }

// LastEpoch is the newest epoch in the cache, -1 if none. EpochAt is the epoch of the record at an offset.
func (l *Log) LastEpoch() int32          { return -1 }
func (l *Log) EpochAt(offset int64) int32 { return -1 }

// EndOffsetFor answers the largest epoch <= the asked one and its end offset; (-1, -1) if there is none, or the asked one is above
// the newest (trap 37).
func (l *Log) EndOffsetFor(epoch int32) (int32, int64) { return -1, -1 }

// EpochEntries lists the cache.
func (l *Log) EpochEntries() []EpochEntry { return nil }

type EpochEntry struct {
	Epoch int32
	Start int64
}

// OffsetForTime finds the first record with a timestamp >= ts (trap 35).
func (l *Log) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, ok bool, err error) {
	return 0, 0, 0, false, errNotDone
}

// MaxTimestamp finds the first record with the largest timestamp.
func (l *Log) MaxTimestamp() (offset, timestamp int64, epoch int32, ok bool, err error) {
	return 0, 0, 0, false, errNotDone
}

// Truncate drops everything from the batch that holds `to` on (R9), durably.
func (l *Log) Truncate(to int64) error { return errNotDone }

// Reset drops everything and goes on at start (R9: a follower below the leader's log start).
func (l *Log) Reset(start int64) error { return errNotDone }

// Trim moves the log start (DeleteRecords, a follower's leader moved its own).
func (l *Log) Trim(start int64) error { return errNotDone }

// Retain drops segments from the start by age and size, never at or above highWatermark. Their files go with Purge.
func (l *Log) Retain(now time.Time, highWatermark int64) (deleted int, err error) { return 0, errNotDone }

// Purge renames dropped segments to .deleted and removes those whose delay is over.
func (l *Log) Purge(now time.Time) error { return errNotDone }

func (l *Log) ApplyConfig(c Config) {}

// Close ends the log. Clean: everything is synced, indexes and producer snapshot written, and Manifest tells the entry.
func (l *Log) Close(clean bool) error { return errNotDone }

// Manifest is the log's entry for WriteClean, after Close(true).
func (l *Log) Manifest() CleanLog { return CleanLog{} }

// Delete closes the log and renames its directory to NAME.ID-delete (Stray: NAME.ID-stray); the caller removes path later.
func (l *Log) Delete() (path string, err error) { return "", errNotDone }
func (l *Log) Stray() (path string, err error)  { return "", errNotDone }

// View is an immutable list of segments.
type View struct{}

// Slice finds the bytes of whole batches from the one that holds offset up to limit (exclusive end offset), at most maxBytes;
// whole: the first batch even if it alone is larger (trap 27). An empty slice is no error. The caller must Release it.
func (v *View) Slice(offset, limit int64, maxBytes int, whole bool) (Slice, error) {
	return Slice{}, errNotDone
}

// Slice is a range of a segment file that stays readable until Release.
type Slice struct{}

func (s *Slice) Len() int   { return 0 }
func (s *Slice) End() int64 { return 0 } // offset behind the last batch
func (s *Slice) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	return 0, errNotDone
}
func (s *Slice) ReadAt(p []byte, off int64) (int, error) { return 0, errNotDone }
func (s *Slice) Release()                                {}

// Files is the bounded set of open segment files.
type Files struct{}

func NewFiles(fs vfs.FS, limit int) *Files { return &Files{} }
func (f *Files) Open() int                 { return 0 }

// Recovery is what Open had to do.
type Recovery struct {
	Clean        bool
	ScannedBytes int64
	Truncated    int64 // bytes of a torn tail
	TruncatedTo  int64
	Replayed     int
	Faults       []Fault
}

// Fault is a damaged range of offsets that is kept, not served (Z27).
type Fault struct {
	From, To int64
	Err      error
}

// Checkpoints is the three offset checkpoints of one data directory.
type Checkpoints struct{}

func OpenCheckpoints(fs vfs.FS, dir string, log *zap.Logger) (*Checkpoints, error) {
	return nil, errNotDone
}

// Write replaces recovery-point-offset-checkpoint and log-start-offset-checkpoint with what logs say.
func (c *Checkpoints) Write(logs iter.Seq[*Log]) error { return errNotDone }

// WriteHighWatermarks replaces replication-offset-checkpoint. It is a hint only (Z31).
func (c *Checkpoints) WriteHighWatermarks(marks iter.Seq2[string, int64]) error { return errNotDone }

// Meta is meta.properties.
type Meta struct {
	ClusterID   string
	NodeID      int32
	DirectoryID [16]byte
}

func ReadMeta(fs vfs.FS, dir string) (Meta, bool, error) { return Meta{}, false, errNotDone }
func WriteMeta(fs vfs.FS, dir string, m Meta) error      { return errNotDone }

// Clean is what a clean stop left: the broker epoch and each log's entry by directory name.
type Clean struct {
	BrokerEpoch int64
	Logs        map[string]*CleanLog
}

// CleanLog is one log's entry in the manifest.
type CleanLog struct{}

// TakeClean reads the clean-shutdown files and removes them durably before it returns (R2, Z25); nil after an unclean stop.
func TakeClean(fs vfs.FS, dir string, log *zap.Logger) (*Clean, error) { return nil, errNotDone }

// WriteClean writes them: the last act of a clean stop.
func WriteClean(fs vfs.FS, dir string, brokerEpoch int64, logs map[string]CleanLog) error {
	return errNotDone
}

// Journal makes a round of many dirty logs durable with one fsync. One per data directory.
type Journal struct{}

// OpenJournal reads what the last life left. Replay it onto each log (before anything else), Sync these, then Reset.
func OpenJournal(fs vfs.FS, dir string, limit int64, log *zap.Logger) (*Journal, error) {
	return nil, errNotDone
}

// Entry is a byte range of one log.
type Entry struct {
	Base, End int64
	Data      []byte
}

func (j *Journal) Replay(l *Log) (batches int, err error) { return 0, errNotDone }
func (j *Journal) Append(l *Log, e Entry) error           { return errNotDone }
func (j *Journal) Commit() error                          { return errNotDone }
func (j *Journal) Reset() error                           { return errNotDone }
func (j *Journal) Size() int64                            { return 0 }
func (j *Journal) Close() error                           { return errNotDone }
