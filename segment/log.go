package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// Options says which log to open and how.
type Options struct {
	FS      vfs.FS
	Dir     string   // the log's directory, DATA/TOPIC-N
	Name    string   // TOPIC-N, where the directory has another name: a copy in the making; empty: the directory's
	TopicID [16]byte // zero: adopt what partition.metadata says
	Config  Config   // zero: DefaultConfig
	// Checkpoints of the data directory. Without it RecoveryPoint and LogStart below count.
	Checkpoints   *Checkpoints
	RecoveryPoint int64
	LogStart      int64         // also where a new log starts
	Clean         *CleanLog     // the log's entry in the clean-shutdown manifest; nil: recover
	Files         *Files        // shared by all logs of the process; nil: an own small set
	Journal       *Journal      // of the data directory; nil: none
	Codecs        record.Codecs // for lookups by time in compressed batches
	Log           *zap.Logger
	Now           func() time.Time
}

// Log is one partition's log. See the package comment for who may call what when.
type Log struct {
	// Set once.
	fs          vfs.FS
	name        string // in checkpoints, journal and messages
	topicID     [16]byte
	partition   int32
	checkpoints *Checkpoints
	journal     *Journal
	files       *Files
	codecs      record.Codecs
	log         *zap.Logger
	now         func() time.Time
	recovery    Recovery
	highHint    int64 // checkpointed high watermark, -1 if none

	// Read from anywhere.
	dir     dirName // changed by Rename
	view    atomic.Pointer[View]
	start   atomic.Int64
	end     atomic.Int64
	durable atomic.Int64 // what a crash cannot take: fsynced or journaled
	synced  atomic.Int64 // fsynced in the log's own files
	size    atomic.Int64
	config  atomic.Pointer[Config]
	epochs  atomic.Pointer[epochCache]
	failure atomic.Pointer[error]
	closed  atomic.Bool
	deleted atomic.Bool
	damaged atomic.Bool // the scrub found something that the manifest entry does not know

	// The writer's.
	producers *producer.State // nil: still encoded in lazyState
	lazyState []byte
	vector    [][]byte
	touched   bool // since the manifest entry was made
	clean     *CleanLog

	// syncing is held by whoever changes or syncs files at rest: Sync, Truncate, Close... It is a channel because they
	// wait for the disk. epochsSaved is what leader-epoch-checkpoint holds.
	syncing     chan struct{}
	epochsSaved *epochCache

	mu          sync.Mutex // only memory is touched under it
	unsynced    []*Segment // sealed since the last Sync
	unsealed    []*Segment // rolled, and without a seal yet
	unsyncedAux []string   // index files, snapshots
	dirDirty    bool       // names in dir (Z34)
	parentDirty bool       // dir's own name
	dead        []deadSegment
	incarnation uint64 // changes with every truncation; tells the journal which entries are void
	journaledIn uint64 // the journal's generation that may hold entries of this log
	writing     int64  // position up to which Writeback was asked for, in the active segment
}

// Recovery is what Open had to do.
type Recovery struct {
	Clean        bool
	Created      bool
	ScannedBytes int64   // read because of the crash
	Truncated    int64   // bytes of a torn tail
	TruncatedTo  int64   // log end after it
	Faults       []Fault // damage that is kept (Z27)
	Replayed     int     // batches that the journal brought back
}

// Fault is a range of offsets that is damaged on disk. It is never cut off and never served: the partition fetches the
// replica again or reports the range (R16).
type Fault struct {
	From, To int64
	File     string
}

// Open opens the log in o.Dir. Without a manifest entry it recovers it; it makes a new, empty log when there is none.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	if o.Clean != nil {
		if err := l.openClean(o.Clean); err != nil {
			return nil, fmt.Errorf("open log %s: %w", l.name, err)
		}
		return l, nil
	}
	recoveryPoint, start := o.RecoveryPoint, o.LogStart
	if l.checkpoints != nil {
		recoveryPoint, start, l.highHint = l.checkpoints.get(l.name)
	}
	info, err := l.fs.Stat(l.Dir())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = l.create(o.LogStart)
	case err != nil:
	case !info.IsDir():
		err = fmt.Errorf("%s is no directory: %w", l.Dir(), vfs.ErrUnsafe)
	case info.Mode().Perm()&0o002 != 0:
		err = fmt.Errorf("%s is writable by everybody: %w", l.Dir(), vfs.ErrUnsafe)
	default:
		err = l.recover(recoveryPoint, start)
	}
	if err != nil {
		l.retire()
		return nil, fmt.Errorf("open log %s: %w", l.name, err)
	}
	return l, nil
}

func newLog(o Options) *Log {
	l := &Log{
		fs: o.FS, name: o.Name, topicID: o.TopicID, partition: -1,
		checkpoints: o.Checkpoints, journal: o.Journal, files: o.Files, codecs: o.Codecs, log: o.Log, now: o.Now,
		highHint: -1, syncing: make(chan struct{}, 1),
	}
	l.dir.set(filepath.Clean(o.Dir), "")
	if l.name == "" {
		l.name = filepath.Base(l.Dir())
	}
	if _, n, ok := splitName(l.name); ok {
		l.partition = n
	}
	if l.files == nil {
		l.files = NewFiles(o.FS, 64)
	}
	if l.log == nil {
		l.log = zap.NewNop()
	}
	if l.now == nil {
		l.now = time.Now
	}
	if o.Config.SegmentBytes == 0 {
		o.Config = DefaultConfig()
	}
	l.config.Store(&o.Config)
	l.epochs.Store(new(epochCache))
	l.epochsSaved = l.epochs.Load()
	l.incarnation = l.journal.next()
	return l
}

// Exists says whether there is a log directory.
func Exists(fsys vfs.FS, dir string) (bool, error) {
	_, err := fsys.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// create makes an empty log. Nothing is synced: the first Sync makes the names durable together with the first records,
// and a log that a crash takes before that held nothing.
func (l *Log) create(start int64) error {
	if l.checkpoints != nil {
		if err := l.checkpoints.lower(l.name, start, start); err != nil {
			return err
		}
	}
	l.highHint = -1
	if err := vfs.MkdirAllSync(l.fs, filepath.Dir(l.Dir())); err != nil {
		return err
	}
	if err := l.fs.MkdirAll(l.Dir(), 0o700); err != nil {
		return err
	}
	if err := l.writePartitionFile(); err != nil {
		return err
	}
	s, err := l.newActive(start)
	if err != nil {
		return err
	}
	l.producers = producer.New()
	l.recovery.Created = true
	l.dirDirty, l.parentDirty = true, true
	l.publish(&View{log: l, segments: []*Segment{s}}, start, start)
	l.synced.Store(start)
	l.durable.Store(start)
	return nil
}

// newActive makes the files of an empty segment. Its name is not durable yet: see dirDirty.
func (l *Log) newActive(base int64) (*Segment, error) {
	s := l.newSegment(base)
	if _, err := s.log.create(); err != nil {
		return nil, err
	}
	s.log.release()
	s.memory.Store(newSparse(base))
	s.aborted.Store(new([]AbortedTxn))
	s.maxTimestamp.Store(noTimestamp)
	s.created = l.now().UnixMilli()
	s.jitterCut = jitter(l.name, base, l.Config())
	if c := l.Config(); c.Preallocate {
		l.preallocate(s, c.SegmentBytes)
	}
	return s, nil
}

// publish replaces view, start and end after files changed.
func (l *Log) publish(v *View, start, end int64) {
	size := int64(0)
	for _, s := range v.segments {
		size += s.tail.size.Load()
	}
	l.mu.Lock()
	l.writing = v.active().tail.size.Load()
	l.view.Store(v)
	l.mu.Unlock()
	l.size.Store(size)
	l.start.Store(start)
	l.end.Store(end)
}

func (l *Log) active() *Segment { return l.view.Load().active() }

// The plain getters may be called from anywhere at any time.

func (l *Log) Name() string         { return l.name }
func (l *Log) Dir() string          { return l.dir.get() }
func (l *Log) TopicID() [16]byte    { return l.topicID }
func (l *Log) Config() *Config      { return l.config.Load() }
func (l *Log) Start() int64         { return l.start.Load() }
func (l *Log) End() int64           { return l.end.Load() }
func (l *Log) Size() int64          { return l.size.Load() }
func (l *Log) Segments() int        { return len(l.view.Load().segments) }
func (l *Log) View() *View          { return l.view.Load() }
func (l *Log) Recovery() Recovery   { return l.recovery }
func (l *Log) ApplyConfig(c Config) { l.config.Store(&c) }

// Durable is the end of what a crash cannot take any more: fsynced here or in the journal.
func (l *Log) Durable() int64 { return l.durable.Load() }

// RecoveryPoint is the end of what is fsynced in the log's own files.
func (l *Log) RecoveryPoint() int64 { return l.synced.Load() }

// Closed says that the log was closed, deleted or superseded.
func (l *Log) Closed() bool { return l.closed.Load() }

// HighWatermarkHint is the checkpointed high watermark, moved into [Start, End]. Without a checkpoint it is Start. It is a
// hint: nothing is ever truncated to it (Z31).
func (l *Log) HighWatermarkHint() int64 { return min(max(l.highHint, l.Start()), l.End()) }

// Err is not nil once a write or a sync failed: the log is offline until it is opened again (R16).
func (l *Log) Err() error {
	if p := l.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// fail takes the log offline after a write or sync that failed: its disk cannot be trusted any more.
func (l *Log) fail(err error) error {
	return l.offline(fmt.Errorf("%w: %s: %w", ErrFailed, l.name, err))
}

// unusable takes the log alone offline: what a clean stop vouched for is not what is on disk, and nothing was written
// (bad inputs 147, 148). A failed log is in no manifest, so the next start recovers it.
func (l *Log) unusable(err error) error {
	if errors.Is(err, errRetired) || passes(err) {
		return l.ioError(err)
	}
	return l.offline(fmt.Errorf("%w: %s: %w", ErrCorrupt, l.name, err))
}

func (l *Log) offline(err error) error {
	if l.failure.CompareAndSwap(nil, &err) {
		l.log.Error("log is offline", zap.String("event", "CW-0304"), zap.String("log", l.name), zap.Error(err))
	}
	return err
}

func (l *Log) writable() error {
	if l.closed.Load() {
		return ErrClosed
	}
	return l.Err()
}

func (l *Log) release() { <-l.syncing }

// retire gives all files back.
func (l *Log) retire() {
	l.closed.Store(true)
	if v := l.view.Load(); v != nil {
		for _, s := range v.segments {
			s.log.retire()
			s.index.retire()
		}
	}
}
