package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Close ends the log. Clean: everything is synced, the index files and a producer snapshot are written, and Manifest has
// the entry that lets the next Open do without recovery. It waits for the disk. Readers that hold a Slice go on.
func (l *Log) Close(clean bool) error {
	l.syncing <- struct{}{}
	defer l.release()
	if l.closed.Load() {
		return nil
	}
	defer l.retire()
	if !clean {
		return nil
	}
	if err := l.Err(); err != nil {
		return err
	}
	if !l.touched && !l.damaged.Load() && l.clean != nil {
		return nil // as it was opened; the entry still holds
	}
	l.clean = nil
	if err := l.purge(farFuture); err != nil { // the manifest does not know them
		return l.ioError(err)
	}
	if err := l.settleIndexes(); err != nil {
		return err
	}
	if _, err := l.syncLocked(true); err != nil {
		return err
	}
	c, err := l.manifest()
	if err != nil {
		return err
	}
	l.clean = c
	return nil
}

// farFuture is when every delay is over.
var farFuture = time.Unix(1<<40, 0)

// settleIndexes writes what is in memory only: the active segment's indexes, those that were rebuilt, the producer state.
func (l *Log) settleIndexes() error {
	v := l.view.Load()
	for _, s := range v.segments {
		x := s.memory.Load()
		if x == nil {
			continue
		}
		if s == v.active() {
			x.addTime()
		}
		if err := l.writeIndexes(s, x); err != nil {
			return l.ioError(err)
		}
	}
	l.freeReserve(v.active())
	if l.Producers().Len() == 0 {
		return nil
	}
	offsets, err := l.snapshots()
	if err != nil {
		return l.ioError(err)
	}
	if slices.Contains(offsets, l.End()) {
		return nil
	}
	l.snapshot(l.End())
	for _, offset := range offsets { // those of earlier stops; each segment keeps its own
		if i := v.at(offset); i >= 0 && v.segments[i].base != offset {
			l.remove(fileName(l.dir, offset, snapshotSuffix))
		}
	}
	return nil
}

// Delete closes the log and takes its directory out of the way: NAME.ID-delete, durably. The caller removes path when
// file.delete.delay.ms is over. A log of the same name can be made at once (trap 40).
func (l *Log) Delete() (path string, err error) { return l.moveAway(deleteDirSuffix) }

// Stray is Delete for a log that nobody asked for: NAME.ID-stray. An operator decides about it (R13).
func (l *Log) Stray() (path string, err error) { return l.moveAway(strayDirSuffix) }

func (l *Log) moveAway(suffix string) (string, error) {
	l.syncing <- struct{}{}
	defer l.release()
	l.deleted.Store(true)
	l.retire()
	l.mu.Lock()
	l.incarnation = l.journal.next()
	journaled, incarnation := l.journaledIn > 0 && l.journaledIn == l.journal.current(), l.incarnation
	l.mu.Unlock()
	if journaled {
		err := l.journal.invalidate(l, incarnation, -1)
		if errors.Is(err, ErrNoSpace) && suffix == deleteDirSuffix {
			err = nil // a topic id does not come again, and deleting is what makes room
		}
		if err != nil {
			return "", err
		}
	}
	path, err := l.freeName(suffix)
	if err != nil {
		return "", err
	}
	if err := l.fs.Rename(l.dir, path); err != nil {
		return "", err
	}
	if l.checkpoints != nil {
		l.checkpoints.forget(l.name)
	}
	return path, l.fs.SyncDir(filepath.Dir(l.dir))
}

// freeName is a name of at most 255 bytes that no directory has.
func (l *Log) freeName(suffix string) (string, error) {
	const maxName = 255
	for n := l.now().UnixNano(); ; n += int64(time.Microsecond) {
		tail := fmt.Sprintf(".%032x%s", n, suffix)
		name := l.name
		if len(name)+len(tail) > maxName {
			name = name[:maxName-len(tail)]
		}
		path := filepath.Join(filepath.Dir(l.dir), name+tail)
		taken, err := Exists(l.fs, path)
		if err != nil {
			return "", errors.Join(errors.New("find a free name"), err)
		}
		if !taken {
			return path, nil
		}
	}
}

// Doomed says whether a directory name is one that Delete or Stray gave.
func Doomed(name string) (deleted, stray bool) {
	return hasDirSuffix(name, deleteDirSuffix), hasDirSuffix(name, strayDirSuffix)
}

func hasDirSuffix(name, suffix string) bool {
	n := len(name) - len(suffix)
	return n > 33 && name[n:] == suffix && name[n-33] == '.'
}
