package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"cordwood/protocol/record"
	"cordwood/segment"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

const (
	logDir        = "metadata-0"
	firstIndex    = 1 // of a new raft log
	entryVersion  = 1
	extension     = "ext"
	windowBytes   = 256 << 10
	noLeaderEpoch = -1 // raft's term is in the key: the log's own epochs are not used
)

// errCorrupt is damage where everything had been durable (C4).
var errCorrupt = errors.New("controller: the metadata log is damaged")

// store is raft's log on a segment.Log. raft calls it from several goroutines: writes take
// turns by a channel, because they wait for the disk.
type store struct {
	log    *segment.Log
	zap    *zap.Logger
	guard  *guard
	space  *reserve
	writes chan struct{}

	mu     sync.Mutex
	window []raft.Log // entries read last, in order: raft reads one after another
}

// openStore opens or makes the log and reads all of it once: raft panics at an entry it
// cannot read, so none may be found out later.
func openStore(cfg *Config, g *guard, space *reserve) (*store, error) {
	dir := filepath.Join(cfg.Dir, logDir)
	synced, err := durableEnd(cfg.FS, dir)
	if err != nil {
		return nil, err
	}
	l, err := segment.Open(segment.Options{FS: cfg.FS, Dir: dir, RecoveryPoint: synced, LogStart: firstIndex, Log: cfg.Log,
		Config: segment.Config{SegmentBytes: cfg.SegmentBytes, IndexInterval: 4096, IndexBytes: 10 << 20, RetentionBytes: -1, RetentionAge: -1}})
	if err != nil {
		return nil, fmt.Errorf("controller: open the metadata log: %w", err)
	}
	s := &store{log: l, zap: cfg.Log, guard: g, space: space, writes: make(chan struct{}, 1)}
	if err := s.check(synced); err != nil {
		return nil, errors.Join(err, l.Close(false))
	}
	return s, nil
}

func (s *store) check(synced int64) error {
	if faults := s.log.Recovery().Faults; len(faults) > 0 {
		return fmt.Errorf("%w: entries %d to %d in %s", errCorrupt, faults[0].From, faults[0].To, faults[0].File)
	}
	if s.log.End() < synced {
		return fmt.Errorf("%w: it ends at %d, but %d was written", errCorrupt, s.log.End(), synced)
	}
	for at := s.log.Start(); at < s.log.End(); {
		entries, err := s.read(at)
		if err != nil {
			return err
		}
		at += int64(len(entries))
	}
	return nil
}

// isNew reports whether there was no log before.
func (s *store) isNew() bool { return s.log.Recovery().Created }

func (s *store) close() error { return s.log.Close(false) }

// IsMonotonic tells raft that this log has no gaps.
func (s *store) IsMonotonic() bool { return true }

func (s *store) FirstIndex() (uint64, error) {
	if s.log.Start() == s.log.End() {
		return 0, nil
	}
	return uint64(s.log.Start()), nil
}

func (s *store) LastIndex() (uint64, error) {
	if s.log.Start() == s.log.End() {
		return 0, nil
	}
	return uint64(s.log.End() - 1), nil
}

func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs writes entries and fsyncs them (C3). When the disk is full it gives up the
// reserve, once.
func (s *store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.writes <- struct{}{}
	defer func() { <-s.writes }()
	return s.guard.write(func() error {
		batches, err := encodeLogs(logs)
		if err != nil {
			return err
		}
		if next := int64(logs[0].Index); next > s.log.End() {
			// raft goes on behind a snapshot that reaches further than the log.
			s.zap.Warn("metadata log starts over behind a snapshot", zap.String("event", "CW-0403"), zap.Int64("index", next))
			if err := s.log.Reset(next); err != nil {
				return err
			}
		}
		err = s.log.Append(batches, noLeaderEpoch)
		if errors.Is(err, segment.ErrNoSpace) && s.space.release() {
			err = s.log.Append(batches, noLeaderEpoch)
		}
		if err == nil {
			_, err = s.log.Sync()
		}
		return err
	})
}

// DeleteRange drops entries from one end: raft cuts a diverging tail, or what a snapshot
// has made superfluous.
func (s *store) DeleteRange(low, high uint64) error {
	s.writes <- struct{}{}
	defer func() { <-s.writes }()
	s.mu.Lock()
	s.window = nil
	s.mu.Unlock()
	return s.guard.write(func() error {
		from, to := int64(low), int64(high)+1
		switch {
		case from <= s.log.Start() && to >= s.log.End():
			return s.log.Reset(max(to, s.log.End()))
		case from <= s.log.Start():
			if err := s.log.Trim(to); err != nil {
				return err
			}
			return s.log.Purge(time.Now())
		case to >= s.log.End():
			return s.log.Truncate(from)
		}
		return fmt.Errorf("controller: entries %d to %d lie inside the log", low, high)
	})
}

// GetLog reads one entry. raft panics when that fails, so a damaged disk stops the node
// here, in good order.
func (s *store) GetLog(index uint64, out *raft.Log) error {
	at := int64(index)
	s.mu.Lock()
	if n := len(s.window); n > 0 && index >= s.window[0].Index && index <= s.window[n-1].Index {
		*out = s.window[index-s.window[0].Index]
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if at < s.log.Start() || at >= s.log.End() {
		return raft.ErrLogNotFound
	}
	entries, err := s.read(at)
	if err != nil {
		if errors.Is(err, segment.ErrOutOfRange) {
			return raft.ErrLogNotFound // trimmed meanwhile
		}
		s.guard.halt(fmt.Errorf("controller: read entry %d: %w", index, err))
	}
	*out = entries[0]
	s.mu.Lock()
	s.window = entries
	s.mu.Unlock()
	return nil
}

// read decodes the entries from one index on, as many as fit the window.
func (s *store) read(at int64) ([]raft.Log, error) {
	slice, err := s.log.View().Slice(at, s.log.End(), windowBytes, true)
	if err != nil {
		return nil, err
	}
	defer slice.Release()
	raw := make([]byte, slice.Len())
	if _, err := slice.ReadAt(raw, 0); err != nil {
		return nil, err
	}
	var out []raft.Log
	for len(raw) > 0 {
		var b record.Batch
		if b, raw, err = record.Next(raw); err != nil {
			return nil, fmt.Errorf("%w: %w", errCorrupt, err)
		}
		l, _, err := decodeLog(b)
		if err != nil {
			return nil, err
		}
		if want := uint64(at) + uint64(len(out)); l.Index != want {
			return nil, fmt.Errorf("%w: entry %d where %d is due", errCorrupt, l.Index, want)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no entry %d", errCorrupt, at)
	}
	return out, nil
}

// encodeLogs makes one batch of each entry: what is cut away can only be whole entries.
func encodeLogs(logs []*raft.Log) ([]record.Batch, error) {
	out := make([]record.Batch, len(logs))
	b := record.NewBuilder(record.BuilderOptions{})
	for i, l := range logs {
		key := binary.AppendUvarint([]byte{entryVersion, byte(l.Type)}, l.Term)
		key = binary.AppendUvarint(key, uint64(i))
		var headers []record.Header
		if len(l.Extensions) > 0 {
			headers = []record.Header{{Key: []byte(extension), Value: l.Extensions}}
		}
		b.Append(l.AppendedAt.UnixMilli(), key, l.Data, headers)
		batch, err := b.Build()
		if err != nil {
			return nil, err
		}
		batch.Stamp(int64(l.Index), noLeaderEpoch)
		out[i] = batch
	}
	return out, nil
}

// decodeLog reads an entry and how many of the same write lie before it. The entry's data
// aliases the batch.
func decodeLog(b record.Batch) (l raft.Log, back uint64, err error) {
	damaged := func(what any) error { return fmt.Errorf("%w: entry %d: %v", errCorrupt, b.BaseOffset(), what) }
	if err := b.CheckCRC(); err != nil {
		return l, 0, damaged(err)
	}
	if b.Count() != 1 || b.Codec() != record.None || b.Control() {
		return l, 0, damaged("not a metadata entry")
	}
	it := b.Records(nil, int64(len(b)))
	defer it.Close()
	if !it.Next() {
		return l, 0, damaged(it.Err())
	}
	r := it.Record()
	key := r.Key
	if len(key) < 4 || key[0] != entryVersion {
		return l, 0, damaged("key of another version")
	}
	l.Index, l.Type, l.Data = uint64(b.BaseOffset()), raft.LogType(key[1]), r.Value
	l.AppendedAt = time.UnixMilli(b.BaseTimestamp() + r.TimestampDelta)
	term, n := binary.Uvarint(key[2:])
	if n <= 0 {
		return l, 0, damaged("term")
	}
	back, m := binary.Uvarint(key[2+n:])
	if m <= 0 || 2+n+m != len(key) || back >= l.Index {
		return l, 0, damaged("key")
	}
	l.Term = term
	for h := range r.Headers() {
		if string(h.Key) == extension {
			l.Extensions = h.Value
		}
	}
	return l, back, nil
}
