package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// Truncate drops everything from the batch that holds offset `to` on, and makes that durable: data, epoch cache, producer
// snapshots, names (R9). At or above the log's end there is nothing to drop but epochs without a record. When `to` lies
// inside a batch the log ends before that batch. It waits for the disk.
//
// What is on disk elsewhere about the dropped offsets gives way first: the recovery point of the checkpoint, and the
// journal's entries. A crash in between then finds the old, longer log, which is as if Truncate had not begun.
func (l *Log) Truncate(to int64) error {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.writable(); err != nil {
		return err
	}
	if to >= l.End() {
		return l.dropUnusedEpochs()
	}
	if to < l.Start() {
		return l.resetLocked(to)
	}
	to, err := l.boundary(to)
	if err != nil {
		return l.ioError(err)
	}
	if err := l.disown(to, to); err != nil {
		return err
	}
	if err := l.cut(to); err != nil {
		return l.fail(err)
	}
	if epochs := l.epochs.Load().truncated(l.End()); len(epochs) != len(*l.epochs.Load()) {
		l.epochs.Store(&epochs)
	}
	if err := l.reloadProducers(); err != nil {
		return l.fail(err)
	}
	return l.settle()
}

// dropUnusedEpochs forgets epochs that never had a record: another leader's history may go on with an older one.
func (l *Log) dropUnusedEpochs() error {
	epochs := l.epochs.Load().truncated(l.End())
	if len(epochs) == len(*l.epochs.Load()) {
		return nil
	}
	l.touched = true
	l.epochs.Store(&epochs)
	return l.writeEpochs()
}

// boundary is where a log truncated to `to` ends: at the batch that holds it.
func (l *Log) boundary(to int64) (int64, error) {
	v := l.view.Load()
	s := v.segments[max(v.at(to), 0)]
	f, err := s.log.acquire()
	if err != nil {
		return 0, err
	}
	defer s.log.release()
	p, found, err := s.find(f, to, s.tail.size.Load())
	if found {
		to = min(to, p.base)
	}
	return to, err
}

// Reset drops everything and goes on at start, durably (R9: a follower whose log ends below the leader's log start). It
// waits for the disk.
func (l *Log) Reset(start int64) error {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.writable(); err != nil {
		return err
	}
	return l.resetLocked(start)
}

func (l *Log) resetLocked(start int64) error {
	if err := l.disown(0, start); err != nil { // a crash may leave no file at all
		return err
	}
	l.touched = true
	l.dropSnapshots(-1)
	// A power cut may take any of the names below. What it leaves must tell its own producers: a snapshot would speak of
	// segments that are gone.
	if err := l.fs.SyncDir(l.Dir()); err != nil {
		return l.fail(err)
	}
	old := l.view.Load()
	for i := len(old.segments) - 1; i >= 0; i-- {
		l.dropFiles(old.segments[i])
	}
	l.mu.Lock()
	dead := l.dead
	l.dead = nil
	l.mu.Unlock()
	for _, d := range dead { // else the new segment would have a hole before it
		l.dropFiles(d.segment)
		l.removeDeleted(d.segment)
	}
	if err := l.fs.SyncDir(l.Dir()); err != nil { // a new segment must not meet an old one again after a crash
		return l.fail(err)
	}
	s, err := l.newActive(start)
	if err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	l.unsynced, l.unsealed, l.unsyncedAux, l.dirDirty = nil, nil, nil, true
	l.mu.Unlock()
	l.epochs.Store(new(epochCache))
	l.producers, l.lazyState = producer.New(), nil
	l.publish(&View{log: l, segments: []*Segment{s}}, start, start)
	if err := l.settle(); err != nil {
		return err
	}
	l.synced.Store(start)
	l.durable.Store(start)
	return nil
}

// disown lowers what is durable elsewhere about offsets from `to` on.
func (l *Log) disown(to, start int64) error {
	l.synced.Store(min(l.synced.Load(), to)) // before the checkpoint: whoever writes it meanwhile must not undo lower
	l.durable.Store(min(l.durable.Load(), to))
	l.mu.Lock()
	journaled := l.journaledIn > 0 && l.journaledIn == l.journal.current()
	l.incarnation = l.journal.next()
	incarnation := l.incarnation
	l.mu.Unlock()
	if journaled {
		if err := l.journal.invalidate(l, incarnation, to); err != nil {
			return l.fail(err)
		}
	}
	if l.checkpoints != nil {
		if err := l.checkpoints.lower(l.name, to, start); err != nil {
			return l.fail(err)
		}
	}
	if err := l.dropSeals(to); err != nil {
		return l.fail(err)
	}
	return nil
}

// settle syncs after a truncation: the file, the epoch cache, the names. Only then is the shorter log durable.
func (l *Log) settle() error {
	s := l.active()
	s.synced = -1 // a size seen before tells nothing now
	if err := s.sync(); err != nil {
		return l.fail(err)
	}
	if l.epochsSaved != l.epochs.Load() {
		if err := l.writeEpochs(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.dirDirty = false
	l.mu.Unlock()
	if err := l.fs.SyncDir(l.Dir()); err != nil {
		return l.fail(err)
	}
	return nil
}

// cut shortens the log to the batches below `to`, at least Start. It syncs only what recovery needs in order: the names of
// removed segments before the file that now ends the log changes, so that no crash leaves a hole.
func (l *Log) cut(to int64) error {
	old := l.view.Load()
	n := max(old.at(to), 0)
	if n > 0 && old.segments[n].base == to && len(old.segments[n-1].faults()) == 0 {
		n-- // nothing of it stays; the one before becomes active again
	}
	l.touched = true
	for i := len(old.segments) - 1; i > n; i-- {
		l.dropFiles(old.segments[i])
	}
	if n < len(old.segments)-1 {
		if err := l.fs.SyncDir(l.Dir()); err != nil {
			return err
		}
	}
	s, err := l.shorten(old.segments[n], to)
	if err != nil {
		return err
	}
	_, end := s.tail.get()
	l.dropSnapshots(end)
	l.mu.Lock()
	gone := old.segments[n:]
	isGone := func(u *Segment) bool { return slices.Contains(gone, u) }
	l.unsynced, l.unsealed = slices.DeleteFunc(l.unsynced, isGone), slices.DeleteFunc(l.unsealed, isGone)
	l.dirDirty = true
	l.mu.Unlock()
	start := l.Start()
	l.publish(&View{log: l, segments: append(slices.Clone(old.segments[:n]), s)}, min(start, end), end)
	return nil
}

// shorten makes the segment that is to be active after a truncation: a new Segment over the same, shorter file.
func (l *Log) shorten(old *Segment, to int64) (*Segment, error) {
	f, err := old.log.acquire()
	if err != nil {
		return nil, err
	}
	defer old.log.release()
	size, end := old.tail.get()
	position, next := size, min(end, to)
	p, found, err := old.find(f, to, size)
	if err != nil {
		return nil, err
	}
	if found {
		position, next = p.position, min(p.base, to)
	}
	x, err := l.loadSparse(old, f, size)
	if err != nil {
		return nil, err
	}
	if old.memory.Load() == nil {
		old.memory.Store(x) // for readers with the old view: the index file goes
	}
	x = x.clone()
	x.cut(position, next-old.base)
	aborted, err := old.abortedTxns()
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(position); err != nil {
		return nil, err
	}
	for _, suffix := range [...]string{indexSuffix, timeSuffix, txnSuffix, sealSuffix} {
		l.remove(fileName(l.Dir(), old.base, suffix)) // in memory again, as for every active segment
	}
	old.index.retire()
	s := &Segment{base: old.base, log: old.log, owner: l, created: old.created, jitterCut: old.jitterCut}
	s.index = l.files.newHandle(&l.dir, old.base, indexSuffix)
	if position == 0 {
		s.created = l.now().UnixMilli()
	}
	if err := l.newestTimestamp(s, x, f, position); err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(slices.Clone(aborted), func(t AbortedTxn) bool { return t.LastOffset >= next })
	s.aborted.Store(&kept)
	s.setFaults(slices.DeleteFunc(slices.Clone(old.faults()), func(x fault) bool { return x.fromPos >= position }))
	s.memory.Store(x)
	s.maxTimestamp.Store(x.maxTimestamp)
	s.tail.set(position, next)
	return s, nil
}

// newestTimestamp finds first and largest timestamp again: from the last entry of the time index on, the batches tell.
func (l *Log) newestTimestamp(s *Segment, x *sparse, f vfs.File, size int64) error {
	x.maxTimestamp, x.maxOffset, x.firstTimestamp, x.empty = noTimestamp, x.base, noTimestamp, true
	if t := x.times.items(); len(t) > 0 {
		last := t[len(t)-1]
		x.maxTimestamp, x.maxOffset = last.timestamp, x.base+int64(last.offset)
	}
	from := int64(0)
	if o := x.offsets.items(); len(o) > 0 {
		from = int64(o[len(o)-1].position)
	}
	first := func(b record.Batch, _, _ int64) error {
		x.firstTimestamp, x.empty = b.MaxTimestamp(), false
		return errEnough
	}
	if err := s.walk(f, 0, size, first); err != nil && !errors.Is(err, errEnough) {
		return err
	}
	return s.walk(f, from, size, func(b record.Batch, _, _ int64) error {
		if b.MaxTimestamp() > x.maxTimestamp {
			x.maxTimestamp, x.maxOffset = b.MaxTimestamp(), b.LastOffset()
		}
		return nil
	})
}

// errEnough ends a walk early.
var errEnough = errors.New("enough")

// loadSparse gives the indexes of a segment as a copy that may be changed: from memory, from its files if they are good,
// else from the log.
func (l *Log) loadSparse(s *Segment, f vfs.File, size int64) (*sparse, error) {
	if m := s.memory.Load(); m != nil {
		return m.clone(), nil
	}
	x := newSparse(s.base)
	if size == 0 {
		return x, nil
	}
	offsets, times, err := l.readIndexes(s, size)
	if err == nil {
		x.offsets.set(offsets)
		x.times.set(times)
		return x, nil
	}
	if errors.Is(err, vfs.ErrUnsafe) || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBadIndex) {
		return nil, err
	}
	return s.buildIndex(f, size)
}

var errBadIndex = errors.New("index is damaged")

func (l *Log) readIndexes(s *Segment, size int64) ([]offsetEntry, []timeEntry, error) {
	b, found, err := l.readAux(s.base, indexSuffix)
	if err != nil || !found {
		return nil, nil, errors.Join(err, notFound(found))
	}
	offsets, err := decodeOffsets(b, size)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	if b, found, err = l.readAux(s.base, timeSuffix); err != nil || !found {
		return nil, nil, errors.Join(err, notFound(found))
	}
	times, err := decodeTimes(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errBadIndex, err)
	}
	return offsets, times, nil
}

func notFound(found bool) error {
	if found {
		return nil
	}
	return fs.ErrNotExist
}

// warm makes the active segment's indexes ready to grow: after a clean start they are in their files.
func (l *Log) warm() error {
	s := l.active()
	if s.memory.Load() != nil {
		return nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return l.unusable(err)
	}
	defer s.log.release()
	size := s.tail.size.Load()
	have, err := f.Size()
	if err == nil && have != size {
		err = fmt.Errorf("%s has %d bytes, the clean stop left %d", s.log.name(), have, size)
	}
	var x *sparse
	if err == nil {
		x, err = l.loadSparse(s, f, size)
	}
	if err == nil {
		// The entry that a clean close put behind the last batch would not be there in a log that never closed; it is
		// right, and stays.
		if o := x.offsets.items(); len(o) > 0 {
			x.since = size - int64(o[len(o)-1].position)
		} else {
			x.since = size
		}
		err = l.newestTimestamp(s, x, f, size)
	}
	if err == nil {
		_, err = s.abortedTxns()
	}
	if err != nil {
		return l.unusable(err)
	}
	s.memory.Store(x)
	s.maxTimestamp.Store(x.maxTimestamp)
	return nil
}

// Trim moves the log start up to start and drops the segments that lie below it (DeleteRecords, or a leader that did).
// Their files go with Purge.
func (l *Log) Trim(start int64) error {
	if err := l.writable(); err != nil {
		return err
	}
	if start > l.End() {
		return ErrOutOfRange
	}
	if start <= l.Start() {
		return nil
	}
	v := l.view.Load()
	n := 0
	for n < len(v.segments)-1 && v.segments[n+1].base <= start {
		n++
	}
	l.advance(start, n)
	return nil
}

// advance moves the log start and takes the first n segments out of the view.
func (l *Log) advance(start int64, n int) {
	l.touched = true
	v := l.view.Load()
	epochs := l.epochs.Load().trimmed(start)
	l.epochs.Store(&epochs)
	l.start.Store(start)
	l.Producers().DropBefore(start)
	if n > 0 {
		l.bury(v.segments[:n])
		l.mu.Lock()
		l.view.Store(&View{log: l, segments: slices.Clone(v.segments[n:])})
		l.mu.Unlock()
		size := int64(0)
		for _, s := range v.segments[n:] {
			size += s.tail.size.Load()
		}
		l.size.Store(size)
	}
}
