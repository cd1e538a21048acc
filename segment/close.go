package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"cordwood/segment/vfs"
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
			l.remove(fileName(l.Dir(), offset, snapshotSuffix))
		}
	}
	return nil
}

// Delete closes the log and takes its directory out of the way: NAME.ID-delete, durably. The caller removes path when
// file.delete.delay.ms is over. A log of the same name can be made at once (trap 40).
func (l *Log) Delete() (path string, err error) { return l.moveAway(deleteDirSuffix) }

// Stray is Delete for a log that nobody asked for: NAME.ID-stray. An operator decides about it (R13).
func (l *Log) Stray() (path string, err error) { return l.moveAway(strayDirSuffix) }

// Supersede is Delete for a log whose copy in the data directory of that id is to take its place: NAME.ID-moved. Only the next
// start reads that name: it says that the copy is whole. Everything must be synced. After ErrNoSpace the log goes on as before.
func (l *Log) Supersede(by [16]byte) (path string, err error) {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.disownAll(); err != nil {
		return "", err
	}
	path = filepath.Join(filepath.Dir(l.Dir()), movedName(l.name, by))
	return path, l.moveTo(path)
}

func (l *Log) moveAway(suffix string) (string, error) {
	l.syncing <- struct{}{}
	defer l.release()
	l.deleted.Store(true)
	l.retire()
	err := l.disownAll()
	if errors.Is(err, ErrNoSpace) && suffix == deleteDirSuffix {
		err = nil // a topic id does not come again, and deleting is what makes room
	}
	if err != nil {
		return "", err
	}
	path, err := freeName(l.fs, filepath.Join(filepath.Dir(l.Dir()), l.name), suffix, l.now())
	if err != nil {
		return "", err
	}
	return path, l.moveTo(path)
}

// disownAll voids what the journal has of the log.
func (l *Log) disownAll() error {
	l.mu.Lock()
	l.incarnation = l.journal.next()
	journaled, incarnation := l.journaledIn > 0 && l.journaledIn == l.journal.current(), l.incarnation
	l.mu.Unlock()
	if !journaled {
		return nil
	}
	return l.journal.invalidate(l, incarnation, -1)
}

// moveTo closes the log and renames its directory, durably.
func (l *Log) moveTo(path string) error {
	l.deleted.Store(true)
	l.retire()
	if err := l.fs.Rename(l.Dir(), path); err != nil {
		return err
	}
	if l.checkpoints != nil {
		l.checkpoints.forget(l.name)
	}
	return l.syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable that has happened: it waits for a descriptor if it must (bad input 145).
func (l *Log) syncDir(dir string) error {
	err := l.fs.SyncDir(dir)
	for range 100 {
		if !passes(err) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = l.fs.SyncDir(dir)
	}
	return err
}

// DeleteMoved is Delete for the directory that Supersede left, once nothing asks for it any more.
func DeleteMoved(fsys vfs.FS, dir string, now time.Time) (path string, err error) {
	name, _, _, moved := Moving(filepath.Base(dir))
	if !moved {
		return "", fmt.Errorf("%s: not a directory of a log that has moved", dir)
	}
	if path, err = freeName(fsys, filepath.Join(filepath.Dir(dir), name), deleteDirSuffix, now); err == nil {
		err = fsys.Rename(dir, path)
	}
	if err != nil {
		return "", err
	}
	return path, fsys.SyncDir(filepath.Dir(dir))
}

// freeName is a name of at most 255 bytes that no directory has: NAME.ID and the suffix.
func freeName(fsys vfs.FS, dir, suffix string, now time.Time) (string, error) {
	const maxName = 255
	for n := now.UnixNano(); ; n += int64(time.Microsecond) {
		tail := fmt.Sprintf(".%032x%s", n, suffix)
		name := filepath.Base(dir)
		if len(name)+len(tail) > maxName {
			name = name[:maxName-len(tail)]
		}
		path := filepath.Join(filepath.Dir(dir), name+tail)
		taken, err := Exists(fsys, path)
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
