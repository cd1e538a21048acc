package partition

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/metadata"
	"cordwood/segment"
	"cordwood/segment/vfs"
)

// Set is all replicas hosted by this broker.
type Set struct {
	cfg   Config
	log   *zap.Logger
	files *segment.Files
	began time.Time
	dirs  []*directory
	table *table
	plain *settings // of topics without overrides

	fetchers  *fetchers
	streams   *streams
	alterer   *alterer
	throttles throttles
	counters  replication

	purging chan *Partition // to upkeep: has segments to remove
	damage  chan struct{}   // to the mender: the scrub found some
	running atomic.Bool

	turn      chan struct{}                  // one token: who has it changes the table
	image     *metadata.Image                // as last applied; with the token
	preferred map[PartitionID]*directory     // where replicas that may come are wanted; with the token
	applied   atomic.Pointer[metadata.Image] // image, for those without the token

	mu      sync.Mutex
	removed []removal  // directories that wait for their removal
	leaving []disposal // are given up now: no longer in the table
}

// removal is a renamed directory and when it may go.
type removal struct {
	dir  *directory
	path string
	due  time.Time
}

// Open locks the directories, takes their clean-shutdown files away and opens the logs that are there; those not
// stopped cleanly are recovered, several at a time. Which of them are ours is decided by the first image applied.
func Open(cfg Config) (*Set, error) {
	cfg = cfg.Defaulted()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Set{cfg: cfg, log: cfg.Log, files: segment.NewFiles(cfg.FS, cfg.MaxOpenFiles), began: time.Now(),
		table: newTable(), image: metadata.Empty(), preferred: map[PartitionID]*directory{}, purging: make(chan *Partition, 1024),
		turn: make(chan struct{}, 1), damage: make(chan struct{}, 1)}
	s.applied.Store(s.image)
	s.fetchers, s.streams, s.alterer = newFetchers(s), newStreams(s), newAlterer(s)
	s.plain = s.settings(cfg.Defaults)
	s.throttles.configure(s.image, &s.cfg)
	for _, path := range cfg.Dirs {
		d := &directory{set: s, path: path, log: cfg.Log.With(zap.String("dir", path)), brokerEpoch: -1, suspects: make(chan suspect, 1),
			found: map[string]*found{}}
		d.flusher, d.mover = newFlusher(d), newMover(d)
		err := vfs.MkdirAllSync(cfg.FS, path)
		if err == nil {
			d.lock, err = cfg.FS.Lock(filepath.Join(path, lockName))
		}
		if err != nil {
			s.unlock()
			return nil, fmt.Errorf("log directory: %w", err)
		}
		s.dirs = append(s.dirs, d)
	}
	if err := s.load(); err != nil {
		s.unlock()
		return nil, err
	}
	return s, nil
}

// load opens what is in the directories; one that cannot be read is offline, all of them are an error.
func (s *Set) load() error {
	p := &progress{tell: s.cfg.Progress}
	var g errgroup.Group
	for _, d := range s.dirs {
		g.Go(func() error {
			if err := d.load(p); err != nil {
				d.fail(fmt.Errorf("open log directory: %w", err))
			}
			return nil
		})
	}
	_ = g.Wait()
	for _, d := range s.dirs {
		if !d.isFailed() {
			return nil
		}
	}
	return fmt.Errorf("no log directory is usable: %w", *s.dirs[0].failed.Load())
}

// progress counts logs over all directories.
type progress struct {
	tell        func(done, total int)
	done, total atomic.Int64
}

func (p *progress) step() {
	if done := p.done.Add(1); p.tell != nil {
		p.tell(int(done), int(p.total.Load()))
	}
}

// load opens the directory's logs. The clean-shutdown files are gone from the disk before the first log is opened:
// left over, they would vouch for what this life is going to write (Z25).
func (d *directory) load(p *progress) error {
	fsys := d.set.cfg.FS
	meta, ok, err := segment.ReadMeta(fsys, d.path)
	if err != nil {
		return err
	}
	if ok {
		d.id = meta.DirectoryID
	}
	clean, err := segment.TakeClean(fsys, d.path, d.log)
	if err != nil {
		return err
	}
	if clean != nil {
		d.brokerEpoch = clean.BrokerEpoch
	}
	if d.checkpoints, err = segment.OpenCheckpoints(fsys, d.path, d.log); err != nil {
		return err
	}
	if d.set.cfg.JournalLimit > 0 {
		if d.journal, err = segment.OpenJournal(fsys, d.path, d.set.cfg.JournalLimit, d.log); err != nil {
			return err
		}
	}
	names, err := d.list()
	if err != nil {
		return err
	}
	p.total.Add(int64(len(names)))
	return d.openAll(names, clean, p)
}

// list finds the partition directories, and puts what an earlier life deleted on the list of removals.
func (d *directory) list() (names []string, err error) {
	entries, err := d.set.cfg.FS.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		_, _, ours := parseDirectory(e.Name())
		name, id, future, moved := segment.Moving(e.Name())
		ours = ours || future
		if ours && e.Type()&fs.ModeSymlink != 0 { // it may lead anywhere (bad input 147)
			return nil, fmt.Errorf("%s is a symbolic link: %w", filepath.Join(d.path, e.Name()), vfs.ErrUnsafe)
		}
		if !e.Type().IsDir() {
			continue
		}
		if ours {
			names = append(names, e.Name())
		} else if moved {
			d.moved = append(d.moved, superseded{name, id, filepath.Join(d.path, e.Name())})
		} else if deleted, _ := segment.Doomed(e.Name()); deleted {
			d.set.removeLater(d, filepath.Join(d.path, e.Name()), d.set.cfg.Defaults.FileDeleteDelay)
		}
	}
	return names, nil
}

func (d *directory) openAll(names []string, clean *segment.Clean, p *progress) error {
	all := make([]found, len(names))
	var g errgroup.Group
	g.SetLimit(d.set.cfg.RecoveryThreads)
	config := d.set.plain.segment // the topic's own comes with the first image
	for i, name := range names {
		g.Go(func() error {
			defer p.step()
			all[i] = d.openFound(name, config, clean)
			if err := all[i].err; err != nil && (isFatal(err) || errors.Is(err, vfs.ErrUnsafe)) {
				return err // also where somebody else can change the data: nothing here is started on (bad input 147)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range all {
		d.found[all[i].name] = &all[i]
	}
	if d.journal == nil {
		return nil
	}
	if err := d.keepJournal(all); err != nil {
		return err
	}
	d.flusher.journal = &journaler{journal: d.journal}
	return d.journal.Reset() // every log that it was replayed onto has been synced
}

// keepJournal refuses to go on where starting the journal over could throw away what was acknowledged: a log cannot be
// opened, and there are entries that no log took over.
func (d *directory) keepJournal(all []found) error {
	n := d.journal.Unreplayed()
	if n == 0 {
		return nil
	}
	for i := range all {
		if f := &all[i]; f.isBroken() && !f.future {
			return fmt.Errorf("log %s cannot be opened (%w), and the journal may hold acknowledged records of it (entries of %d logs); "+
				"mend the log, or move %s away to start without them", f.name, f.why(), n, d.journal.Name())
		}
	}
	return nil
}

func (d *directory) openFound(name string, c segment.Config, clean *segment.Clean) found {
	var entry *segment.CleanLog
	f := found{name: name}
	log, _, future, _ := segment.Moving(name)
	if f.future = future; !future {
		log = name
	}
	if clean != nil {
		entry = clean.Logs[log]
	}
	if f.log, f.err = d.openIn(name, log, metadata.TopicID{}, 0, c, entry); f.err != nil {
		d.log.Error("log cannot be opened", zap.String("event", "CW-0505"), zap.String("partition", name), zap.Error(f.err))
		return f
	}
	if d.journal == nil || future { // a copy has no entries
		return f
	}
	n, err := d.journal.Replay(f.log)
	if err == nil && n > 0 {
		_, err = f.log.Sync()
	}
	f.err = err
	return f
}

// Lookup finds a hosted replica by topic name; nil if there is none.
func (s *Set) Lookup(topic []byte, index int32) *Partition {
	return s.table.byName(topic).partition(index)
}

// ByID finds a hosted replica by topic id.
func (s *Set) ByID(id metadata.TopicID, index int32) *Partition {
	return s.table.byID(id).partition(index)
}

// Each goes through all hosted replicas, in no order.
func (s *Set) Each() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for t := range s.table.topics() {
			for p := range t.partitions() {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// Directory is a log directory as heartbeats and DescribeLogDirs tell it.
type Directory struct {
	Path        string
	ID          metadata.DirID
	BrokerEpoch int64 // of the clean stop before this life; -1: the stop was unclean
	Err         error // not nil: offline
}

// Directories lists the log directories in the order of the configuration.
func (s *Set) Directories() []Directory {
	all := make([]Directory, 0, len(s.dirs))
	for _, d := range s.dirs {
		e := Directory{Path: d.path, ID: d.id, BrokerEpoch: d.brokerEpoch}
		if err := d.failed.Load(); err != nil {
			e.Err = *err
		}
		all = append(all, e)
	}
	return all
}

// Space is the number of bytes that can still be written to a directory, and the size of its disk.
func (s *Set) Space(path string) (free, total uint64, err error) { return s.cfg.FS.Space(path) }

// Run serves until ctx ends: flushers, upkeep, scrubs, watchdog, fetchers and the sender of ISR changes. What was asked of
// the flushers until then is done first.
func (s *Set) Run(ctx context.Context) error {
	if s.running.Swap(true) {
		return errors.New("partition: already running")
	}
	defer s.running.Store(false)
	var wg sync.WaitGroup
	for _, d := range s.dirs {
		d.flusher.start()
	}
	wg.Go(func() { s.upkeep(ctx) })
	wg.Go(func() { s.watch(ctx) })
	for _, d := range s.dirs {
		wg.Go(func() { d.scrub(ctx) })
		wg.Go(func() { d.probe(ctx) })
		wg.Go(func() { d.mover.run(ctx) })
	}
	wg.Go(func() { s.alterer.run(ctx) })
	wg.Go(func() { s.mend(ctx) })
	wg.Go(func() { s.tick(ctx) })
	wg.Go(func() { s.fetchers.run(ctx) })
	wg.Go(func() { s.streams.run(ctx) })
	wg.Wait()
	for _, d := range s.dirs {
		d.flusher.stop()
	}
	return nil
}

// clock is a monotonic time that is never 0.
func (s *Set) clock() int64 { return int64(time.Since(s.began)) + 1 }

func (s *Set) unlock() {
	for _, d := range s.dirs {
		if err := d.lock.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
			d.log.Warn("unlock", zap.Error(err))
		}
	}
}
