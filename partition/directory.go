package partition

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment"
)

// lockName is the lock file of a data directory: one process at a time (bad input 150).
const lockName = ".lock"

// directory is one of log.dirs.
type directory struct {
	set  *Set
	path string
	id   metadata.DirID // of meta.properties; zero when it has none
	log  *zap.Logger

	lock        io.Closer
	checkpoints *segment.Checkpoints
	journal     *segment.Journal
	flusher     *flusher
	mover       *mover

	suspects chan suspect // to the scrub: could not be read

	failed   atomic.Pointer[error] // not nil: offline for good
	counters counters

	brokerEpoch int64             // of the clean stop before; -1 after an unclean one
	found       map[string]*found // at start, and not claimed by an image yet; under Set.mu

	complained  atomic.Int64 // when complain logged last
	silenced    atomic.Int64 // what it did not log since
	upkeepSince atomic.Int64 // since when upkeep works on this directory; 0: it does not
	probeSince  atomic.Int64 // since when a probe is under way; 0: none is
	attempts    sync.Map     // what attempt waits for: since when
	moved       []superseded // at start: what replicas that moved to other directories left behind
	replicas    atomic.Int64
	marks       uint64 // sum of the high watermarks in the checkpoint; upkeep's
}

// found is a partition directory that was there at start.
type found struct {
	name string
	log  *segment.Log // nil: could not be opened
	err  error

	future bool // a copy on its way
}

// isNameless reports that nobody knows which topic the log belongs to: partition.metadata is missing.
func (f *found) isNameless() bool { return f.log.TopicID() == metadata.TopicID{} }

// isBroken reports that the log cannot be served: its files stay as they are.
func (f *found) isBroken() bool {
	return f.err != nil || f.isNameless() && f.log.End() > f.log.Start()
}

// why is the reason for isBroken.
func (f *found) why() error {
	if f.err != nil {
		return f.err
	}
	return errors.New("partition.metadata is missing")
}

// claim takes a directory that was found at start; nil if there is none of that name, or it was claimed before.
func (d *directory) claim(name string) *found {
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	f := d.found[name]
	delete(d.found, name)
	return f
}

// unclaimed returns the logs found at start that belong to no hosted replica.
func (d *directory) unclaimed() []*segment.Log {
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	var logs []*segment.Log
	for _, f := range d.found {
		if f.log != nil {
			logs = append(logs, f.log)
		}
	}
	return logs
}

func (d *directory) isFailed() bool { return d.failed.Load() != nil }

// fail takes the directory offline, once. Nothing on it is tried again (Z26); all who wait for one of its partitions
// are told.
func (d *directory) fail(err error) {
	if !d.failed.CompareAndSwap(nil, &err) {
		return
	}
	d.log.Error("log directory is offline", zap.String("event", "CW-0501"), zap.Error(err))
	for p := range d.set.Each() {
		if p.dir() == d {
			p.wakeAll()
		}
	}
	if f := d.set.cfg.DirFailed; f != nil {
		f(d.path, d.id, err)
	}
}

// isFull reports whether the disk has no room: appends are refused, nothing is broken (R16).
func isFull(err error) bool {
	return errors.Is(err, segment.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// lacksDescriptor reports that a file could not be opened now (bad input 145): nothing was begun, nothing is broken.
func lacksDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// isFatal reports whether the disk is broken, rather than full or one log damaged.
func isFatal(err error) bool {
	for _, e := range []error{segment.ErrFailed, syscall.EIO, syscall.EROFS, syscall.ENODEV, syscall.ENXIO,
		syscall.EUCLEAN, syscall.ESTALE} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// retryDescriptor is how long a flusher worker waits for a descriptor to become free.
const retryDescriptor = 10 * time.Millisecond

// syncFailed: whatever the error, what was written may be lost, also when the disk said that it was full.
func (d *directory) syncFailed(p *Partition, err error) {
	if errors.Is(err, segment.ErrClosed) { // deleted meanwhile
		return
	}
	if lacksDescriptor(err) { // the sync was not even begun
		d.complain("CW-0511", "no descriptor for a sync, trying again", p, err)
		time.Sleep(retryDescriptor)
		d.flusher.request(p)
		return
	}
	if mutant == 26 {
		d.flusher.request(p)
		return
	}
	d.fail(fmt.Errorf("sync of %s: %w", p.name(), err))
}

// readFailed: an unreadable range is that range's matter (R16), so the directory stays online.
func (d *directory) readFailed(p *Partition, err error) {
	d.counters.readErrors.Add(1)
	d.complain("CW-0504", "read failed", p, err)
}

// complain logs what clients can cause again and again, at most once a second.
func (d *directory) complain(event, what string, p *Partition, err error) {
	now, last := d.set.clock(), d.complained.Load()
	if last != 0 && now-last < int64(time.Second) || !d.complained.CompareAndSwap(last, now) {
		d.silenced.Add(1)
		return
	}
	d.log.Warn(what, zap.String("event", event), zap.String("partition", p.name()), zap.Error(err),
		zap.Int64("silenced", d.silenced.Swap(0)))
}

// createLog makes the partition's directory and log.
func (d *directory) createLog(p *Partition) (*segment.Log, error) {
	return d.openLog(p.name(), p.topic.id, p.topic.settings.Load().segment, nil)
}

func (d *directory) openLog(name string, id metadata.TopicID, c segment.Config, clean *segment.CleanLog) (*segment.Log, error) {
	return d.openIn(name, name, id, 0, c, clean)
}

// openIn opens, or makes at a log start, the log of that name in a directory that may have another one.
func (d *directory) openIn(dir, name string, id metadata.TopicID, start int64, c segment.Config, clean *segment.CleanLog) (*segment.Log, error) {
	s := d.set
	return segment.Open(segment.Options{
		FS: s.cfg.FS, Dir: filepath.Join(d.path, dir), Name: name, LogStart: start, TopicID: id, Config: c, Checkpoints: d.checkpoints, Clean: clean,
		Files: s.files, Journal: d.journal, Codecs: s.cfg.Codecs, Log: d.log, Now: s.cfg.Now,
	})
}

// directoryName is Kafka's: topic-index.
func directoryName(topic string, index int32) string {
	return topic + "-" + strconv.Itoa(int(index))
}

// parseDirectory takes a partition directory's name apart; ok is false for anything else, which is left alone.
func parseDirectory(name string) (topic string, index int32, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || metadata.ValidTopicName(name[:i]) != nil {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[i+1:] {
		return "", 0, false
	}
	return name[:i], int32(n), true
}

// counters is what happened on a directory.
type counters struct {
	appends, batches, bytes      atomic.Int64
	refused                      atomic.Int64 // appends on a full disk
	readErrors                   atomic.Int64
	scrubbed, scrubPasses        atomic.Int64
	scrubFaults, scrubMismatches atomic.Int64
	syncs, syncTime              atomic.Int64
	syncBuckets                  [len(SyncBounds) + 1]atomic.Int64
	rounds, roundLogs, roundTime atomic.Int64
	roundBuckets                 [len(SyncBounds) + 1]atomic.Int64
}

func (c *counters) appended(batches []record.Batch) {
	n := 0
	for _, b := range batches {
		n += len(b)
	}
	c.appends.Add(1)
	c.batches.Add(int64(len(batches)))
	c.bytes.Add(int64(n))
}

func (c *counters) synced(took time.Duration) {
	c.syncs.Add(1)
	c.syncTime.Add(int64(took))
	c.syncBuckets[bucket(took)].Add(1)
}

// bucket is the first of SyncBounds that took is not above.
func bucket(took time.Duration) int {
	i := 0
	for i < len(SyncBounds) && took > SyncBounds[i] {
		i++
	}
	return i
}

func (c *counters) journaled(logs int, took time.Duration) {
	c.rounds.Add(1)
	c.roundLogs.Add(int64(logs))
	c.roundTime.Add(int64(took))
	c.roundBuckets[bucket(took)].Add(1)
}
