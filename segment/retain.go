package segment

import (
	"errors"
	"io/fs"
	"time"
)

// deadSegment is a segment that left the view. Its files are renamed first and removed later (file.delete.delay.ms).
type deadSegment struct {
	segment *Segment
	renamed bool
	remove  time.Time
}

// Retain drops segments from the start whose records are all older than RetentionAge, and while the log is larger than
// RetentionBytes (A12). It never drops what is not below highWatermark (Z33). The active segment counts by age: it is rolled
// first. Their files go with Purge; Retain itself touches the disk only to read a largest timestamp that is not known yet,
// and to roll.
func (l *Log) Retain(now time.Time, highWatermark int64) (deleted int, err error) {
	if err := l.writable(); err != nil {
		return 0, err
	}
	c := l.Config()
	if !c.Delete {
		return l.advanceOver(l.belowStart(highWatermark))
	}
	n, err := l.tooOldSegments(now, highWatermark, c)
	if err != nil {
		return 0, err
	}
	n = max(n, l.tooMany(highWatermark, c), l.belowStart(highWatermark))
	if v := l.view.Load(); n == len(v.segments) {
		if err := l.warm(); err != nil {
			return 0, err
		}
		if err := l.roll(l.End()); err != nil {
			return 0, err
		}
	}
	return l.advanceOver(n)
}

func (l *Log) advanceOver(n int) (int, error) {
	if n == 0 {
		return 0, nil
	}
	base := l.view.Load().segments[n].base
	l.advance(max(base, l.Start()), n)
	return n, nil
}

// upTo is the end of segment i, and whether it may go at all: only what is committed may (Z33).
func (v *View) droppable(i int, highWatermark int64) bool {
	size, end := v.segments[i].tail.get()
	if i+1 < len(v.segments) {
		end = v.segments[i+1].base
	} else if size == 0 {
		return false
	}
	return end <= highWatermark
}

func (l *Log) tooOldSegments(now time.Time, highWatermark int64, c *Config) (int, error) {
	if c.RetentionAge < 0 {
		return 0, nil
	}
	v := l.view.Load()
	horizon := now.Add(-c.RetentionAge).UnixMilli()
	for i, s := range v.segments {
		if !v.droppable(i, highWatermark) {
			return i, nil
		}
		newest, err := l.newest(s)
		if err != nil {
			return 0, err
		}
		if newest >= horizon {
			return i, nil
		}
	}
	return len(v.segments), nil
}

// newest is the segment's largest record timestamp; without one the time its file was last written (trap 52).
func (l *Log) newest(s *Segment) (int64, error) {
	ts, err := s.largestTimestamp()
	if err != nil || ts >= 0 {
		return ts, err
	}
	info, err := l.fs.Stat(s.log.name())
	if err != nil {
		return 0, err
	}
	return info.ModTime().UnixMilli(), nil
}

// tooMany counts the segments from the start that the log can lose without getting smaller than RetentionBytes.
func (l *Log) tooMany(highWatermark int64, c *Config) int {
	if c.RetentionBytes < 0 {
		return 0
	}
	v := l.view.Load()
	surplus := l.Size() - c.RetentionBytes
	n := 0
	for n < len(v.segments) && v.droppable(n, highWatermark) {
		size := v.segments[n].tail.size.Load()
		if surplus < size {
			break
		}
		surplus -= size
		n++
	}
	return n
}

func (l *Log) belowStart(highWatermark int64) int {
	v, start := l.view.Load(), l.Start()
	n := 0
	for n < len(v.segments)-1 && v.segments[n+1].base <= start && v.droppable(n, highWatermark) {
		n++
	}
	return n
}

// bury hands segments that left the view to Purge.
func (l *Log) bury(segments []*Segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range segments {
		l.dead = append(l.dead, deadSegment{segment: s})
	}
}

// Purge renames the files of dropped segments to .deleted and removes those whose delay is over. It may run beside everything; it waits for the disk.
//
// The oldest goes first and each name is durable before the next one changes: after a crash the files that are left
// always form one run up to the log's end, so a hole means a lost file.
func (l *Log) Purge(now time.Time) error {
	l.syncing <- struct{}{}
	defer l.release()
	return l.purge(now)
}

func (l *Log) purge(now time.Time) error {
	l.mu.Lock()
	dead := l.dead
	l.dead = nil
	l.mu.Unlock()
	var failed error
	kept := dead[:0]
	for _, d := range dead {
		if failed == nil && !d.renamed {
			if failed = l.markDeleted(d.segment); failed == nil {
				d.renamed, d.remove = true, now.Add(l.Config().DeleteDelay)
			}
		}
		if failed == nil && (!now.Before(d.remove) || now.Equal(farFuture)) {
			l.removeDeleted(d.segment)
			continue
		}
		kept = append(kept, d)
	}
	l.mu.Lock()
	l.dead = append(kept, l.dead...)
	l.mu.Unlock()
	return failed
}

var segmentSuffixes = [...]string{logSuffix, indexSuffix, timeSuffix, txnSuffix, snapshotSuffix, faultSuffix, sealSuffix}

func (l *Log) markDeleted(s *Segment) error {
	s.log.deleted.Store(true) // first: a reader that finds the old name gone tries the new one
	s.index.deleted.Store(true)
	for _, suffix := range segmentSuffixes {
		name := fileName(l.Dir(), s.base, suffix)
		if err := l.fs.Rename(name, name+deletedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.fs.SyncDir(l.Dir())
}

func (l *Log) removeDeleted(s *Segment) {
	for _, suffix := range segmentSuffixes {
		l.remove(fileName(l.Dir(), s.base, suffix) + deletedSuffix)
	}
	s.log.retire()
	s.index.retire()
}
