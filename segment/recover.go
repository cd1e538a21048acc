package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// files is what a log directory holds.
type files struct {
	logs      []int64 // bases of .log files, rising
	snapshots []int64 // offsets of .snapshot files, rising
	aux       map[string]bool
}

// list reads the directory, removes what a crash left half done, and refuses what nobody should find there.
func (l *Log) list() (*files, error) {
	entries, err := l.fs.ReadDir(l.Dir())
	if err != nil {
		return nil, err
	}
	r := &files{aux: make(map[string]bool)}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, deletedSuffix), strings.HasSuffix(name, cleanedSuffix), strings.HasSuffix(name, tmpSuffix):
			l.remove(filepath.Join(l.Dir(), name))
			continue
		case strings.HasSuffix(name, swapSuffix):
			return nil, fmt.Errorf("%s: a compaction did not finish", name)
		}
		base, suffix, ok := parseFileName(name)
		if !ok {
			if name != epochFile && name != partitionFile {
				l.log.Warn("file is not the log's", zap.String("event", "CW-0312"), zap.String("log", l.name), zap.String("file", name))
			}
			continue
		}
		if !e.Type().IsRegular() { // bad input 147: above all, not a link to somewhere else
			return nil, fmt.Errorf("%s is no regular file: %w", name, vfs.ErrUnsafe)
		}
		switch suffix {
		case logSuffix:
			r.logs = append(r.logs, base)
		case snapshotSuffix:
			r.snapshots = append(r.snapshots, base)
		default:
			r.aux[name] = true
		}
	}
	l.dropStraySeals(r)
	return r, nil
}

// recover opens the log after an unclean stop: see the package comment for the rules (R16).
func (l *Log) recover(recoveryPoint, start int64) error {
	if err := l.adoptTopicID(); err != nil {
		return err
	}
	have, err := l.list()
	if err != nil {
		return err
	}
	if len(have.logs) == 0 {
		if _, err := l.newActive(start); err != nil {
			return err
		}
		have.logs = []int64{start}
	}
	cache, haveEpochs, err := l.readEpochs()
	if err != nil {
		return err
	}
	segments, err := l.found(have.logs, have.aux)
	if err != nil {
		return err
	}
	recoveryPoint, err = l.sealedTo(segments, have.aux, max(recoveryPoint, l.journal.point(l.journalKey())))
	if err != nil {
		return err
	}
	r := &recovery{l: l, point: recoveryPoint, segments: segments, state: producer.New(), snapshots: have.snapshots,
		walkAll: !haveEpochs}
	r.file = cache
	if len(cache) == 0 || cache[0].Start > max(start, r.segments[0].base) {
		r.walkAll = true // the log start was moved, and the crash took that back
	}
	l.synced.Store(recoveryPoint)
	if err := r.run(start); err != nil {
		return err
	}
	return l.recovered(r, start)
}

// found describes the segments of the directory: base, size, and the end that the next one gives them.
func (l *Log) found(bases []int64, aux map[string]bool) ([]*Segment, error) {
	var segments []*Segment
	for i, base := range bases {
		s := l.newSegment(base)
		info, err := l.fs.Stat(s.log.name())
		if err != nil {
			return nil, err
		}
		faults, err := l.readFaults(base, aux)
		if err != nil {
			return nil, err
		}
		s.setFaults(faults)
		end := base
		if i+1 < len(bases) {
			end = bases[i+1]
		}
		s.created = info.ModTime().UnixMilli()
		s.jitterCut = jitter(l.name, base, l.Config())
		s.tail.set(info.Size(), end)
		segments = append(segments, s)
	}
	return segments, nil
}

// recovered takes the result over and makes the log ready for appends.
func (l *Log) recovered(r *recovery, start int64) error {
	l.recovery.ScannedBytes, l.recovery.Truncated, l.recovery.TruncatedTo = r.scanned, r.truncated, r.truncatedTo
	v := &View{log: l, segments: r.segments}
	_, end := v.active().tail.get()
	l.producers = r.state
	epochs := r.epochs(end)
	l.epochs.Store(&epochs)
	l.epochsSaved = nil // written by the next Sync
	if slices.Equal(epochs, r.file) && !r.walkAll {
		l.epochsSaved = l.epochs.Load()
	}
	l.dirDirty, l.touched = true, true
	// Without a recovery point no Sync is known to have made the directory's own name durable: the process may have ended,
	// or the creation failed, before the first.
	l.parentDirty = r.point <= start
	l.publish(v, max(start, r.segments[0].base), end)
	synced := min(r.point, end)
	l.synced.Store(synced)
	l.durable.Store(synced)
	for _, s := range r.segments {
		for _, x := range s.faults() {
			l.recovery.Faults = append(l.recovery.Faults, Fault{From: x.from, To: x.to, File: filepath.Base(s.log.name())})
		}
	}
	if end < r.point || r.tailFault {
		// What was durable is missing at the end: its offsets are never used again (R16).
		if err := l.skipTo(max(r.point, end)); err != nil {
			return err
		}
	}
	if truncateToHint {
		if err := l.cut(l.HighWatermarkHint()); err != nil {
			return err
		}
	}
	l.dropSnapshots(l.End())
	l.report()
	if start > l.End() {
		return l.startOver(start)
	}
	return l.dropBelow(max(start, l.Start()))
}

// skipTo goes on at offset in a new segment, behind a range that is lost.
func (l *Log) skipTo(offset int64) error {
	s := l.active()
	if _, end := s.tail.get(); end < offset {
		size := s.tail.size.Load()
		x := fault{from: end, to: offset, fromPos: size, toPos: size}
		faults := slices.Clone(s.faults())
		if n := len(faults); n > 0 && faults[n-1].to == end && faults[n-1].toPos == size {
			x.from, x.fromPos = faults[n-1].from, faults[n-1].fromPos
			faults = faults[:n-1]
			l.recovery.Faults = l.recovery.Faults[:len(l.recovery.Faults)-1]
		}
		s.setFaults(append(faults, x))
		s.tail.set(size, offset)
		l.recovery.Faults = append(l.recovery.Faults, Fault{From: x.from, To: x.to, File: filepath.Base(s.log.name())})
	}
	if err := l.writeFaults(s); err != nil {
		return err
	}
	l.end.Store(offset)
	next, err := l.newActive(offset)
	if err != nil {
		return err
	}
	if err := l.seal(s); err != nil {
		return err
	}
	l.mu.Lock()
	l.unsynced = append(l.unsynced, s)
	l.mu.Unlock()
	v := l.view.Load()
	l.publish(&View{log: l, segments: append(slices.Clone(v.segments), next)}, l.Start(), offset)
	return nil
}

// startOver: the log start was moved above everything that is left, as a follower does when its leader trimmed.
func (l *Log) startOver(start int64) error {
	l.log.Warn("log ends below its start", zap.String("event", "CW-0313"), zap.String("log", l.name),
		zap.Int64("end", l.End()), zap.Int64("start", start))
	l.syncing <- struct{}{}
	defer l.release()
	return l.resetLocked(start)
}

// dropBelow removes segments wholly below the log start.
func (l *Log) dropBelow(start int64) error {
	v, n := l.view.Load(), 0
	for n < len(v.segments)-1 && v.segments[n+1].base <= start {
		n++
	}
	l.advance(start, n)
	return nil
}

func (l *Log) report() {
	r := l.recovery
	for _, f := range r.Faults {
		l.log.Error("log is damaged", zap.String("event", "CW-0314"), zap.String("log", l.name), zap.String("file", f.File),
			zap.Int64("from", f.From), zap.Int64("to", f.To))
	}
	if r.Truncated > 0 {
		l.log.Info("torn tail cut off", zap.String("event", "CW-0315"), zap.String("log", l.name),
			zap.Int64("bytes", r.Truncated), zap.Int64("end", r.TruncatedTo))
	}
}

// recovery is one run over the segments.
type recovery struct {
	l         *Log
	point     int64 // recovery point: what begins below it was on disk before the crash
	segments  []*Segment
	snapshots []int64
	file      epochCache // as the checkpoint says
	walkAll   bool       // the epoch checkpoint is lost: read the epochs of all segments

	state       *producer.State
	log         epochCache // as the batches say, from firstScan on
	firstScan   int64
	scanned     int64
	truncated   int64
	truncatedTo int64
	tailFault   bool // the bytes at the end of the last segment are damaged: nothing can be appended to it
}

// run brings the segments into order. Those wholly below the recovery point are not read, if their indexes can be
// believed and they end where the next one begins. A recovery point inside the next one says that a Sync came after the
// roll, and so that the index files are whole; one at its base does not.
func (r *recovery) run(start int64) error {
	n := 0 // the first segment to scan
	for n < len(r.segments)-1 && r.segments[n+1].base < r.point && !r.walkAll {
		good, err := r.trusted(r.segments[n])
		if err != nil {
			return err
		}
		if !good {
			break
		}
		n++
	}
	r.firstScan = r.segments[n].base
	if err := r.loadState(n, start); err != nil {
		return err
	}
	for i := n; i < len(r.segments); i++ {
		upper := int64(math.MaxInt64)
		last := i == len(r.segments)-1
		if !last {
			upper = r.segments[i+1].base
		}
		complete, err := r.segment(r.segments[i], upper, last)
		if err != nil {
			return err
		}
		if !complete {
			r.drop(i + 1)
			break
		}
	}
	return r.finish(n)
}

// segment scans one segment. complete is false when the log ends in it although there are more.
func (r *recovery) segment(s *Segment, upper int64, last bool) (complete bool, err error) {
	if err := r.scan(s, upper, last); err != nil {
		return false, err
	}
	size, end := s.tail.get()
	switch {
	case last || end == upper:
		return true, nil
	case end > upper:
		return false, fmt.Errorf("%s reaches to %d, the next segment begins at %d: %w", s.log.name(), end, upper, ErrCorrupt)
	case upper <= r.point && r.l.Config().Compact:
		s.tail.set(size, upper)
		return true, nil
	case upper <= r.point && !truncateAnywhere:
		s.setFaults(append(s.faults(), fault{from: end, to: upper, fromPos: size, toPos: size}))
		s.tail.set(size, upper)
		return true, nil
	}
	// The end of this segment never reached the disk, though the next one's beginning did: a torn tail.
	return false, nil
}

// drop removes the segments from i on: they lie behind a torn tail.
func (r *recovery) drop(i int) {
	for _, s := range r.segments[i:] {
		size, _ := s.tail.get()
		r.truncated += size
		r.l.dropFiles(s)
	}
	r.segments = r.segments[:i]
}

// finish seals what was scanned and is not the last, as the roll did before the crash.
func (r *recovery) finish(n int) error {
	l := r.l
	for i := n; i < len(r.segments); i++ {
		s := r.segments[i]
		if len(s.faults()) > 0 {
			if err := l.writeFaults(s); err != nil {
				return err
			}
		}
		if i < len(r.segments)-1 {
			if err := l.seal(s); err != nil {
				return err
			}
			l.unsynced = append(l.unsynced, s)
		}
	}
	last := r.segments[len(r.segments)-1]
	size, end := last.tail.get()
	if r.truncated > 0 {
		r.truncatedTo = end
	}
	if faults := last.faults(); len(faults) > 0 {
		r.tailFault = faults[len(faults)-1].toPos == size
	}
	return nil
}

// trusted looks at a segment below the recovery point without reading it: its index leads to its last batch, and that
// ends where the next segment begins. A damaged index is made again from the log.
func (r *recovery) trusted(s *Segment) (bool, error) {
	size, end := s.tail.get()
	if size > maxPosition || size == 0 {
		return false, nil
	}
	if _, err := s.abortedTxns(); err != nil {
		return false, passOn(err)
	}
	if _, _, err := r.l.readIndexes(s, size); err != nil {
		return false, passOn(err)
	}
	f, err := s.log.acquire()
	if err != nil {
		return false, err
	}
	defer s.log.release()
	tail, err := s.lastEnd(f, size)
	return err == nil && tail == end, nil
}

// passOn keeps errors of the disk and drops those of content, which a scan will see again.
func passOn(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errBadIndex) || errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}

// lastEnd is the end offset of a segment's last batch, by its index.
func (s *Segment) lastEnd(f vfs.File, size int64) (int64, error) {
	end, none := s.base, func(offsetEntry) bool { return false }
	for _, x := range s.faults() {
		end = max(end, x.to)
	}
	_, _, err := s.searchFrom(f, size, none, func(h *headers) bool {
		end = max(end, h.batch.NextOffset())
		return false
	}, math.MaxInt64)
	return end, err
}
