package segment

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// roll seals the active segment and begins a new one at base. It writes the index files and a producer snapshot, and
// syncs nothing: the next Sync covers the sealed segment's files and the new name before it calls anything behind base
// durable (Z34).
func (l *Log) roll(base int64) error {
	v := l.view.Load()
	old := v.active()
	size, end := old.tail.get()
	if size == 0 && old.base == base {
		return nil
	}
	next, err := l.newActive(base)
	if err != nil {
		return l.ioError(err)
	}
	segments := append(slices.Clone(v.segments), next)
	if size == 0 {
		// An empty segment in the middle would look like a lost one.
		segments = append(segments[:len(segments)-2], next)
	} else if err := l.seal(old); err != nil {
		l.dropFiles(next)
		return err
	}
	l.mu.Lock()
	if size > 0 {
		l.unsynced = append(l.unsynced, old)
		l.unsealed = append(l.unsealed, old)
	}
	l.dirDirty = true
	l.writing = 0
	l.view.Store(&View{log: l, segments: segments})
	l.mu.Unlock()
	if size > 0 {
		l.snapshot(end)
	} else {
		l.dropFiles(old)
	}
	return nil
}

// seal writes a segment's index files, frees the room behind its end and drops what only an active segment needs.
func (l *Log) seal(s *Segment) error {
	x := s.memory.Load()
	x.addTime()
	if err := l.writeIndexes(s, x); err != nil {
		return l.ioError(err)
	}
	l.freeReserve(s)
	s.entries.Store(int32(x.offsets.len()) + 1)
	s.memory.Store(nil)
	s.marks.Store(nil)
	return nil
}

func (l *Log) writeIndexes(s *Segment, x *sparse) error {
	write := l.writeAux
	if _, end := s.tail.get(); end < l.synced.Load() {
		write = l.replaceAux
	}
	if err := write(s.base, indexSuffix, encodeOffsets(x.offsets.items())); err != nil {
		return err
	}
	if err := write(s.base, timeSuffix, encodeTimes(x.times.items())); err != nil {
		return err
	}
	if p := s.aborted.Load(); p != nil && len(*p) > 0 {
		return write(s.base, txnSuffix, encodeAborted(*p))
	}
	l.remove(fileName(l.Dir(), s.base, txnSuffix)) // a crash may have left one
	return nil
}

// replaceAux is writeAux for a segment below the recovery point. After a crash its files are believed, so they are never
// half written.
func (l *Log) replaceAux(offset int64, suffix string, data []byte) error {
	return vfs.WriteFileAtomic(l.fs, fileName(l.Dir(), offset, suffix), data)
}

// writeAux replaces a file that can be made again from the log. It is synced by the next Sync.
func (l *Log) writeAux(offset int64, suffix string, data []byte) error {
	name := fileName(l.Dir(), offset, suffix)
	f, err := l.fs.Open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	l.mu.Lock()
	if len(data) > 0 { // of an empty file only the name counts
		l.unsyncedAux = append(l.unsyncedAux, name)
	}
	l.dirDirty = true
	l.mu.Unlock()
	return nil
}

// freeReserve gives preallocated blocks behind the end back.
func (l *Log) freeReserve(s *Segment) {
	if s.reserved == 0 {
		return
	}
	s.reserved = 0
	f, err := s.log.acquire()
	if err != nil {
		return // only room is lost, until the file goes
	}
	defer s.log.release()
	if err := f.Truncate(s.tail.size.Load()); err != nil {
		l.log.Warn("preallocated room not freed", zap.String("event", "CW-0306"), zap.String("segment", s.log.name()), zap.Error(err))
	}
}

// snapshot writes the producer state at end beside the segments. A log that cannot is whole all the same: recovery then
// reads from the snapshot before it (Z22).
func (l *Log) snapshot(end int64) {
	l.writeSnapshot(l.Producers().Encode(end), end)
}

func (l *Log) writeSnapshot(data []byte, end int64) {
	if data == nil {
		return // the partition already gave it batches that are not written yet
	}
	if err := l.writeAux(end, snapshotSuffix, data); err != nil {
		l.log.Warn("no producer snapshot", zap.String("event", "CW-0307"), zap.String("log", l.name), zap.Int64("end", end), zap.Error(err))
		_ = l.fs.Remove(fileName(l.Dir(), end, snapshotSuffix))
	}
}

// dropFiles removes a segment's files at once. Readers that have them open go on.
func (l *Log) dropFiles(s *Segment) {
	for _, suffix := range [...]string{logSuffix, indexSuffix, timeSuffix, txnSuffix, faultSuffix, sealSuffix} {
		l.remove(fileName(l.Dir(), s.base, suffix))
	}
	s.log.retire()
	s.index.retire()
}

func (l *Log) remove(name string) {
	err := l.fs.Remove(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("file not removed", zap.String("event", "CW-0308"), zap.String("file", name), zap.Error(err))
	}
}

// readAux reads a small file of the log; missing is not an error.
func (l *Log) readAux(offset int64, suffix string) (data []byte, found bool, err error) {
	err = l.dir.find(func(dir string) (err error) {
		data, err = vfs.ReadFile(l.fs, fileName(dir, offset, suffix), maxIndexFile)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return data, err == nil, err
}
