package segment

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Sync makes everything appended before the call durable in the log's own files, and returns the end of that. It may run
// beside Append; several Syncs take turns. It waits for the disk.
//
// The order is what recovery relies on: sealed segments and their side files, the active segment, then the names. Only
// when all of it is down does the end count. After an error nothing is tried again (Z26): the kernel has marked the pages
// clean and a second fsync would say that all is well.
func (l *Log) Sync() (end int64, err error) {
	l.syncing <- struct{}{}
	defer l.release()
	return l.syncLocked(true)
}

// SyncSealed is Sync without the active segment: what a log needs at a roll when nobody waits for the disk. An
// fdatasync of a hot segment would only stall its writer. It moves RecoveryPoint to the active segment's base.
func (l *Log) SyncSealed() error {
	l.syncing <- struct{}{}
	defer l.release()
	_, err := l.syncLocked(false)
	return err
}

// SealedDue says whether SyncSealed has something to do.
func (l *Log) SealedDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.unsynced) > 0 || len(l.unsyncedAux) > 0 || l.dirDirty || l.parentDirty
}

// SyncDue says whether Sync has something to do.
func (l *Log) SyncDue() bool {
	return l.synced.Load() < l.end.Load() || l.SealedDue()
}

func (l *Log) syncLocked(all bool) (int64, error) {
	if l.closed.Load() {
		return l.durable.Load(), ErrClosed
	}
	if err := l.Err(); err != nil && !retryFsync {
		return l.durable.Load(), err
	}
	// A batch below target is in the active segment of this moment or in one sealed before it: the list and the view
	// change together, after the batch was written and before end moves on.
	l.mu.Lock()
	target, active := l.end.Load(), l.view.Load().active()
	if !all {
		target = min(target, active.base)
	}
	sealed, aux := l.unsynced, l.unsyncedAux
	dir, parent := l.dirDirty, l.parentDirty
	l.unsynced, l.unsyncedAux, l.dirDirty, l.parentDirty = nil, nil, false, false
	l.mu.Unlock()

	err := l.syncFiles(target, active, sealed, aux)
	behind := false
	if err == nil && l.epochsSaved != l.epochs.Load() {
		switch err = l.writeEpochs(); {
		case err == nil:
			dir = false // WriteFileAtomic synced it, after all the names were made
		case errors.Is(err, ErrNoSpace):
			// Epochs that have records are found again by a scan from the recovery point, so only that stays behind.
			behind, err = true, nil
		}
	}
	if err == nil && dir && !skipDirSync {
		err = l.fs.SyncDir(l.Dir())
	}
	if err == nil && parent && !skipDirSync {
		err = l.fs.SyncDir(filepath.Dir(l.Dir()))
	}
	if err != nil {
		if retryFsync || passes(err) {
			l.requeue(sealed, aux, dir, parent)
			return l.durable.Load(), err
		}
		return l.durable.Load(), l.fail(err)
	}
	if !behind {
		raise(&l.synced, target)
	}
	raise(&l.durable, target)
	return max(target, l.durable.Load()), nil
}

func (l *Log) syncFiles(target int64, active *Segment, sealed []*Segment, aux []string) error {
	for _, s := range sealed {
		if err := s.sync(); err != nil {
			return err
		}
	}
	for _, name := range aux {
		if err := l.syncAux(name); err != nil {
			return err
		}
	}
	if target > max(l.synced.Load(), active.base) {
		return active.sync()
	}
	return nil
}

// sync is fdatasync of one .log file. Under Log.syncing.
func (s *Segment) sync() error {
	size := s.tail.size.Load()
	if size == s.synced && size > 0 {
		return nil
	}
	f, err := s.log.acquire()
	if errors.Is(err, errRetired) || errors.Is(err, fs.ErrNotExist) && s.log.deleted.Load() {
		return nil // retention was faster
	}
	if err != nil {
		return err
	}
	defer s.log.release()
	s.log.dirty.Store(false)
	if err := f.Datasync(); err != nil {
		return err
	}
	s.synced = size
	if s.tail.size.Load() != size {
		s.log.dirty.Store(true)
	}
	return nil
}

func (l *Log) syncAux(name string) error {
	f, err := l.fs.Open(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed since, with its segment
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// requeue puts back what a Sync could not begin with for want of a descriptor.
func (l *Log) requeue(sealed []*Segment, aux []string, dir, parent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsynced = append(slices.Clone(sealed), l.unsynced...)
	l.unsyncedAux = append(slices.Clone(aux), l.unsyncedAux...)
	l.dirDirty, l.parentDirty = l.dirDirty || dir, l.parentDirty || parent
}

// raise moves a mark up, never down.
func raise(mark interface {
	Load() int64
	CompareAndSwap(old, new int64) bool
}, to int64) {
	for {
		old := mark.Load()
		if old >= to || mark.CompareAndSwap(old, to) {
			return
		}
	}
}

// writebackStep is how many dirty bytes gather before they are sent to the disk (measured: paced writers stall less,
// and a later fdatasync finds little to do).
const writebackStep = 8 << 20

// WritebackDue says that many bytes wait: call Writeback soon, not under a lock. Only for logs that are not synced all
// the time anyway.
func (l *Log) WritebackDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view.Load().active().tail.size.Load()-l.writing >= writebackStep
}

// Writeback tells the disk to begin with what WritebackDue counted. It makes nothing durable.
func (l *Log) Writeback() {
	l.mu.Lock()
	s, from := l.view.Load().active(), l.writing
	to := s.tail.size.Load()
	l.writing = to
	l.mu.Unlock()
	if to <= from {
		return
	}
	if f, err := s.log.acquire(); err == nil {
		f.Writeback(from, to-from)
		s.log.release()
	}
}
