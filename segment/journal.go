package segment

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// The journal makes a round of many dirty logs durable with one write and one fdatasync, where each log's own file would
// need one each. An entry is a copy of a log's bytes; the log's file has them too, in the page cache. After a crash the
// entries are appended again to the logs that lost them. Once the logs themselves are synced (a checkpoint) the journal
// starts over in the same file, which is never shortened: overwriting is half as dear as growing.
//
//	0      slot: magic "CWJOURN\0", version uint32, generation uint64, crc32c of these
//	512    slot; the one with the higher generation counts, so that a torn one leaves the other
//	4096   records of this generation, one behind another; the first that is not ends the journal
//
//	record: length uint32 of what follows the crc | crc32c of it
//	      | generation uint64 | kind uint8 | topic id 16 bytes | partition int32 | incarnation uint64 | base int64 | end int64
//	      | log start int64 | fsynced end int64 | bytes                                        (kind 1: record batches)
//
// Kind 2 voids: it says that the log was truncated to base, and clips every entry of an older incarnation there, wherever
// it stands. So a round that was gathered before a truncation and written after it restores nothing.
const (
	journalFile    = "cordwood-journal"
	journalMagic   = "CWJOURN\x00"
	journalVersion = 1
	journalSlot    = 512
	journalBegin   = 4096

	recordHead   = 8
	recordFields = 8 + 1 + 16 + 4 + 5*8

	kindData = 1
	kindVoid = 2

	// DefaultJournalBytes is when a checkpoint is due.
	DefaultJournalBytes = 256 << 20
	journalStep         = 16 << 20
)

type journalKey struct {
	topic     [16]byte
	partition int32
}

// Journal is the journal of one data directory. Append, Commit and Reset belong to the directory's flusher; truncations
// of logs write to it from elsewhere.
type Journal struct {
	fs    vfs.FS
	name  string
	limit int64
	log   *zap.Logger

	incarnations atomic.Uint64
	generation   atomic.Uint64

	turn     chan struct{} // held while the file is written: a channel, because that waits for the disk
	file     vfs.File
	position int64 // end of what is committed
	reserved int64
	failure  error
	round    []byte // of the flusher

	mu   sync.Mutex
	logs map[*Log]int64 // logs with entries of this generation, and the end of the last

	left map[journalKey]*leftover // what the last life committed; nil after Reset
}

// OpenJournal reads what the last life left. Open the logs with it, Replay it onto each, Sync them,
// write the Checkpoints (a log start may have come back with it), then Reset.
func OpenJournal(fsys vfs.FS, dir string, limit int64, log *zap.Logger) (*Journal, error) {
	if log == nil {
		log = zap.NewNop()
	}
	j := &Journal{fs: fsys, name: filepath.Join(dir, journalFile), limit: max(limit, journalBegin), log: log,
		turn: make(chan struct{}, 1), logs: make(map[*Log]int64), left: make(map[journalKey]*leftover)}
	f, err := fsys.Open(j.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		j.left = nil
		return j, nil // made by the first Append
	}
	if err != nil {
		return nil, err
	}
	j.file = f
	if err := j.read(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", j.name, err)
	}
	return j, nil
}

// Name is the path of the file.
func (j *Journal) Name() string { return j.name }

// next is a new incarnation number. A nil journal has none.
func (j *Journal) next() uint64 {
	if j == nil {
		return 0
	}
	return j.incarnations.Add(1)
}

// current is the generation; 0 before the first entry.
func (j *Journal) current() uint64 {
	if j == nil {
		return 0
	}
	return j.generation.Load()
}

// Size is the number of bytes committed since the last Reset.
func (j *Journal) Size() int64 {
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	return max(j.position-journalBegin, 0)
}

// Logs lists the logs that have entries: those to Sync before Reset.
func (j *Journal) Logs() []*Log {
	j.mu.Lock()
	defer j.mu.Unlock()
	logs := make([]*Log, 0, len(j.logs))
	for l := range j.logs {
		logs = append(logs, l)
	}
	return logs
}

func appendRecord(b []byte, generation uint64, kind uint8, k journalKey, e Entry) []byte {
	at := len(b)
	b = be.AppendUint32(b, uint32(recordFields+len(e.Data)))
	b = be.AppendUint32(b, 0)
	b = be.AppendUint64(b, generation)
	b = append(b, kind)
	b = append(b, k.topic[:]...)
	b = be.AppendUint32(b, uint32(k.partition))
	b = be.AppendUint64(b, e.incarnation)
	b = appendInts(b, e.Base, e.End, e.start, e.synced)
	b = append(b, e.Data...)
	be.PutUint32(b[at+4:], crc32.Checksum(b[at+recordHead:], castagnoli))
	return b
}

// Append puts an entry of l into the round, unless l was truncated since it was gathered. ErrJournalFull asks for a
// checkpoint; the entry is then not in the round.
func (j *Journal) Append(l *Log, e Entry) error {
	if e.Base >= e.End {
		return nil
	}
	if j.left != nil {
		return errors.New("journal: entries of the last life were not replayed and reset")
	}
	if err := j.start(); err != nil {
		return err
	}
	generation := j.generation.Load()
	if j.Size()+int64(len(j.round)+recordHead+recordFields+len(e.Data)) > j.limit {
		return ErrJournalFull
	}
	l.mu.Lock()
	stale := e.incarnation != l.incarnation
	if !stale {
		l.journaledIn = generation // before the entry can be in the file: a truncation from now on voids it
	}
	l.mu.Unlock()
	if stale {
		return nil // truncated since it was gathered: this generation may hold no void for it (S7)
	}
	j.mu.Lock()
	j.logs[l] = max(j.logs[l], e.End)
	j.mu.Unlock()
	j.round = appendRecord(j.round, generation, kindData, l.journalKey(), e)
	return nil
}

// start makes the file and its first generation.
func (j *Journal) start() error {
	if j.generation.Load() > 0 {
		return nil
	}
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	if j.file == nil {
		f, err := j.fs.Open(j.name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if !skipDirSync {
			if err := j.fs.SyncDir(filepath.Dir(j.name)); err != nil {
				_ = f.Close()
				if passes(err) {
					return err
				}
				return j.fail(err)
			}
		}
		j.file = f
	}
	return j.begin(1)
}

// begin starts a generation, durably: until then the entries of the one before count. Under turn.
func (j *Journal) begin(generation uint64) error {
	b := append(make([]byte, 0, journalSlot), journalMagic...)
	b = be.AppendUint32(b, journalVersion)
	b = be.AppendUint64(b, generation)
	b = be.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if _, err := j.file.WriteAt(b[:journalSlot], int64(generation%2)*journalSlot); err != nil {
		return j.fail(err)
	}
	if err := j.file.Datasync(); err != nil {
		return j.fail(err)
	}
	j.generation.Store(generation)
	j.position = journalBegin
	return nil
}

func (j *Journal) fail(err error) error {
	if j.failure == nil {
		j.failure = fmt.Errorf("%w: %s: %w", ErrFailed, j.name, err)
	}
	return j.failure
}

// Commit makes the round durable: one write, one fdatasync. Then MarkDurable its entries. An error is final (Z26).
func (j *Journal) Commit() error {
	if len(j.round) == 0 {
		return nil
	}
	err := j.commit(j.round)
	j.round = j.round[:0]
	if cap(j.round) > journalStep {
		j.round = nil
	}
	return err
}

func (j *Journal) commit(records []byte) error {
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	return j.write(records)
}

// write appends records and syncs. Under turn.
func (j *Journal) write(records []byte) error {
	if j.failure != nil {
		return j.failure
	}
	end := j.position + int64(len(records))
	if end > j.reserved {
		step := max(journalStep, int64(len(records)))
		_ = j.file.Preallocate(j.position, step) // a hint
		j.reserved = j.position + step
	}
	if _, err := j.file.WriteAt(records, j.position); err != nil {
		// A full disk leaves a torn record, which ends the journal; the round was never acknowledged.
		if isNoSpace(err) {
			return fmt.Errorf("%w: %s: %w", ErrNoSpace, j.name, err)
		}
		return j.fail(err)
	}
	if err := j.file.Datasync(); err != nil {
		return j.fail(err)
	}
	j.position = end
	return nil
}

// invalidate voids the entries of l that are older than incarnation from offset `to` on, durably. A Reset may come first:
// then there are none any more, and a record of the former generation would end the journal where it stands.
func (j *Journal) invalidate(l *Log, incarnation uint64, to int64) error {
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	l.mu.Lock()
	generation := l.journaledIn
	l.mu.Unlock()
	if generation != j.generation.Load() {
		return nil
	}
	return j.write(appendRecord(nil, generation, kindVoid, l.journalKey(), Entry{Base: to, End: to, incarnation: incarnation}))
}

// Reset starts over. Every log with entries must have been synced past them, or truncated or closed since.
func (j *Journal) Reset() error {
	j.mu.Lock()
	for l, end := range j.logs {
		if l.synced.Load() < min(end, l.End()) && !l.closed.Load() {
			j.mu.Unlock()
			return fmt.Errorf("journal reset: %s is synced to %d, its entries end at %d", l.name, l.synced.Load(), end)
		}
	}
	clear(j.logs)
	j.mu.Unlock()
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	if j.failure != nil {
		return j.failure
	}
	j.left = nil
	j.round = j.round[:0]
	if j.file == nil || j.generation.Load() == 0 {
		return nil
	}
	return j.begin(j.generation.Load() + 1)
}

// Close closes the file. After a Reset with nothing behind it the file is removed: a clean stop leaves none.
func (j *Journal) Close() error {
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	if err == nil && j.failure == nil && j.left == nil && j.position == journalBegin {
		err = j.fs.Remove(j.name)
	}
	return err
}

// Entry is a byte range of one log that is not durable in the log's own files yet.
type Entry struct {
	Base, End   int64
	Data        []byte
	incarnation uint64
	start       int64 // log start
	synced      int64 // end of what is fsynced in the log's own files
}

func (l *Log) journalKey() journalKey { return journalKey{l.topicID, l.partition} }

// Unsynced copies the batches of [Durable, End) behind buf, at most max bytes. ok is false when only Sync will do: the log
// has no id, its directory was never synced, or there is too much. It may run beside Append.
func (l *Log) Unsynced(buf []byte, max int) (e Entry, rest []byte, ok bool, err error) {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.writable(); err != nil {
		return Entry{}, buf, false, err
	}
	l.mu.Lock()
	e = Entry{Base: l.durable.Load(), End: l.end.Load(), incarnation: l.incarnation}
	v, nameless := l.view.Load(), l.parentDirty
	l.mu.Unlock()
	e.start, e.synced = l.start.Load(), l.synced.Load()
	if first := v.segments[0].base; e.Base < first {
		e.Base = first // trimmed before it was durable
	}
	if nameless || l.topicID == [16]byte{} || l.partition < 0 || l.journal == nil {
		return Entry{}, buf, false, nil
	}
	begin := len(buf)
	for i := v.at(e.Base); i >= 0 && i < len(v.segments); i++ {
		if buf, ok, err = v.segments[i].copyFrom(buf, e.Base, e.End, max-(len(buf)-begin)); err != nil || !ok {
			return Entry{}, buf[:begin], false, err
		}
	}
	e.Data = buf[begin:len(buf):len(buf)]
	return e, buf, true, nil
}

// copyFrom appends the batches of [from, to) to buf. ok is false when they are more than max bytes.
func (s *Segment) copyFrom(buf []byte, from, to int64, max int) ([]byte, bool, error) {
	size, end := s.tail.get()
	if from >= end || s.base >= to {
		return buf, true, nil
	}
	f, err := s.log.acquire()
	if err != nil {
		return buf, false, err
	}
	defer s.log.release()
	position, known := s.marked(from)
	if !known {
		p, ok, err := s.find(f, from, size)
		if err != nil || !ok {
			return buf, err == nil, err
		}
		position = p.position
	}
	stop, _, err := s.stop(f, to, size, end)
	if err != nil || stop-position > int64(max) {
		return buf, false, err
	}
	at := len(buf)
	buf = append(buf, make([]byte, stop-position)...)
	if n, err := f.ReadAt(buf[at:], position); n < len(buf)-at {
		return buf[:at], false, fmt.Errorf("%w: read of %d bytes at %d: %w", ErrCorrupt, len(buf)-at, position, err)
	}
	return buf, true, nil
}

// MarkDurable says that the journal has committed e. An entry from before a truncation counts for nothing.
func (l *Log) MarkDurable(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.incarnation == l.incarnation && e.Base <= max(l.durable.Load(), l.start.Load()) {
		raise(&l.durable, e.End)
	}
}
