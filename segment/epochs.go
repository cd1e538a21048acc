package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// EpochEntry says at which offset a leader epoch began.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// epochCache is an immutable list of entries that rise in both fields. Changes make a new list.
type epochCache []EpochEntry

func (c epochCache) last() int32 {
	if len(c) == 0 {
		return -1
	}
	return c[len(c)-1].Epoch
}

// with enters an epoch that begins at start. An entry at or behind start that no record used gives way: its epoch ended
// before it wrote anything.
func (c epochCache) with(epoch int32, start int64) epochCache {
	if epoch <= c.last() {
		return c
	}
	n := len(c)
	for n > 0 && c[n-1].Start >= start {
		n--
	}
	return append(c[:n:n], EpochEntry{epoch, start})
}

// truncated drops the epochs that began at end or later. The newest of several without a record stays out too: its
// leader enters it again.
func (c epochCache) truncated(end int64) epochCache {
	n := len(c)
	for n > 0 && c[n-1].Start >= end {
		n--
	}
	return c[:n:n]
}

// trimmed drops what is below start; the epoch that start lies in begins there (I10).
func (c epochCache) trimmed(start int64) epochCache {
	n := sort.Search(len(c), func(i int) bool { return c[i].Start > start })
	if n == 0 {
		return c
	}
	t := slices.Clone(c[n-1:])
	t[0].Start = start
	return t
}

// endOf answers the largest epoch <= the asked one and its end (trap 37). end is the log end.
func (c epochCache) endOf(epoch int32, end int64) (int32, int64) {
	if epoch < 0 || epoch > c.last() {
		return -1, -1
	}
	n := sort.Search(len(c), func(i int) bool { return c[i].Epoch > epoch })
	switch {
	case n == 0:
		// Everything is of later epochs: the asked one ended where the first of them begins.
		return epoch, c[0].Start
	case n == len(c):
		return c[n-1].Epoch, end
	}
	return c[n-1].Epoch, c[n].Start
}

// at is the epoch of the record at offset, -1 if unknown.
func (c epochCache) at(offset int64) int32 {
	n := sort.Search(len(c), func(i int) bool { return c[i].Start > offset })
	if n == 0 {
		return -1
	}
	return c[n-1].Epoch
}

// encode is Kafka's leader-epoch-checkpoint: version 0, count, one "epoch start" a line.
func (c epochCache) encode() []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(c))
	for _, e := range c {
		b = fmt.Appendf(b, "%d %d\n", e.Epoch, e.Start)
	}
	return b
}

const maxCheckpointFile = 256 << 20

func decodeEpochs(b []byte) (epochCache, error) {
	var c epochCache
	err := decodeCheckpoint(b, 2, func(f []string) error {
		epoch, err := parseInt(f[0], 32)
		if err != nil {
			return err
		}
		start, err := parseInt(f[1], 64)
		if err != nil {
			return err
		}
		if n := len(c); epoch < 0 || start < 0 || n > 0 && (int32(epoch) <= c[n-1].Epoch || start < c[n-1].Start) {
			return fmt.Errorf("epoch %d at %d does not follow", epoch, start)
		} else if n > 0 && start == c[n-1].Start {
			c = c[:n-1] // Kafka may keep an epoch without a record
		}
		c = append(c, EpochEntry{int32(epoch), start})
		return nil
	})
	return c, err
}

// readEpochs reads the checkpoint; ok is false when there is none to believe.
func (l *Log) readEpochs() (c epochCache, ok bool, err error) {
	b, err := vfs.ReadFile(l.fs, filepath.Join(l.Dir(), epochFile), maxCheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err == nil {
		c, err = decodeEpochs(b)
		if err == nil {
			return c, true, nil
		}
	} else if !errors.Is(err, vfs.ErrTooLarge) {
		return nil, false, err
	}
	l.log.Warn("leader epochs are rebuilt from the log", zap.String("event", "CW-0302"), zap.String("log", l.name), zap.Error(err))
	return nil, false, nil
}

// writeEpochs makes the cache durable. Under l.syncing. A full disk leaves the old file, and the next call tries with a new one.
func (l *Log) writeEpochs() error {
	c := l.epochs.Load()
	if err := vfs.WriteFileAtomic(l.fs, filepath.Join(l.Dir(), epochFile), (*c).encode()); err != nil {
		return l.ioError(err)
	}
	l.epochsSaved = c
	return nil
}

// BeginEpoch enters (epoch, End) in the cache and makes it durable before it returns: a leader calls it before its first
// append (R7), so that its epoch has an end even when it never writes a record (Z4). It waits for the disk.
func (l *Log) BeginEpoch(epoch int32) error {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.writable(); err != nil {
		return err
	}
	l.enterEpoch(epoch, l.End())
	l.mu.Lock()
	nameless := l.parentDirty && l.recovery.Created
	l.mu.Unlock()
	if l.epochsSaved == l.epochs.Load() || nameless {
		return nil // the first Sync writes it, and without that nothing of the log survives
	}
	return l.writeEpochs()
}

func (l *Log) enterEpoch(epoch int32, start int64) {
	old := l.epochs.Load()
	if epoch <= old.last() {
		return
	}
	c := old.with(epoch, start)
	l.touched = true
	l.epochs.Store(&c)
}

// LastEpoch is the newest epoch, -1 without one. EpochAt is the epoch of the record at an offset.
func (l *Log) LastEpoch() int32           { return l.epochs.Load().last() }
func (l *Log) EpochAt(offset int64) int32 { return l.epochs.Load().at(offset) }

// EndOffsetFor answers the largest epoch <= the asked one and its end offset; (-1, -1) when the log knows no epoch or the
// asked one is above the newest (trap 37).
func (l *Log) EndOffsetFor(epoch int32) (int32, int64) { return l.epochs.Load().endOf(epoch, l.End()) }

// EpochEntries lists the cache.
func (l *Log) EpochEntries() []EpochEntry { return slices.Clone([]EpochEntry(*l.epochs.Load())) }
