package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// A .seal file beside a sealed segment says what is in it (R16), in a word that no bit of the .log file can change. It is
// written once the segment's files and names are durable, and removed, durably, before a truncation may touch the segment
// (S10). The sum takes of each batch the bytes in front of its own CRC's reach, and that CRC: so together they cover
// every byte.
const (
	sealMagic   = "CWSEAL\x00\x00"
	sealVersion = 1
	sealSize    = len(sealMagic) + 4 + 16 + 4*8 + 4*4
)

// seal is what a .seal file says.
type seal struct {
	topicID              [16]byte // zero: was not known
	base, last           int64    // first offset of the segment, and the last one that it may hold
	size, batches        int64
	sum                  uint32
	firstEpoch, topEpoch int32
}

// add takes one more batch in.
func (x *seal) add(b record.Batch, size int64) {
	if x.batches == 0 {
		x.firstEpoch, x.topEpoch = b.LeaderEpoch(), b.LeaderEpoch()
	}
	x.firstEpoch, x.topEpoch = min(x.firstEpoch, b.LeaderEpoch()), max(x.topEpoch, b.LeaderEpoch())
	x.batches++
	x.size += size
	x.sum = crc32.Update(x.sum, castagnoli, b[:crcStart])
}

func (x *seal) encode() []byte {
	b := be.AppendUint32(append(make([]byte, 0, sealSize), sealMagic...), sealVersion)
	b = append(b, x.topicID[:]...)
	b = appendInts(b, x.base, x.last, x.size, x.batches)
	for _, v := range [...]uint32{x.sum, uint32(x.firstEpoch), uint32(x.topEpoch)} {
		b = be.AppendUint32(b, v)
	}
	return be.AppendUint32(b, checksum(b))
}

var errSeal = errors.New("seal is damaged")

func decodeSeal(b []byte) (*seal, error) {
	if len(b) < len(sealMagic)+4 || !bytes.HasPrefix(b, []byte(sealMagic)) {
		return nil, errSeal
	}
	if v := be.Uint32(b[len(sealMagic):]); v != sealVersion {
		return nil, fmt.Errorf("%w: version %d", errSeal, v)
	}
	if len(b) != sealSize || checksum(b[:sealSize-4]) != be.Uint32(b[sealSize-4:]) {
		return nil, fmt.Errorf("%w: checksum", errSeal)
	}
	d := &decoder{b: b[len(sealMagic)+4:]}
	x := &seal{}
	copy(x.topicID[:], d.take(16))
	x.base, x.last, x.size, x.batches = d.int64(), d.int64(), d.int64(), d.int64()
	x.sum, x.firstEpoch, x.topEpoch = d.uint32(), int32(d.uint32()), int32(d.uint32())
	if x.base < 0 || x.last < x.base || x.size < record.Overhead || x.batches < 1 || x.size/record.Overhead < x.batches {
		return nil, fmt.Errorf("%w: %+v", errSeal, *x)
	}
	return x, nil
}

// of says whether the seal speaks of this segment as it stands between its neighbours. One of another log or of an
// earlier life of these offsets does not: it says nothing about the segment.
func (x *seal) of(s *Segment) bool {
	_, end := s.tail.get()
	id, none := s.owner.topicID, [16]byte{}
	return x.base == s.base && x.last == end-1 && (x.topicID == id || x.topicID == none || id == none)
}

// readSeal gives nil without an error for a seal that is missing, damaged or another segment's; stale tells the latter two.
func (l *Log) readSeal(s *Segment) (x *seal, stale bool, err error) {
	name := fileName(l.Dir(), s.base, sealSuffix)
	b, err := vfs.ReadFile(l.fs, name, 4096)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil && !errors.Is(err, vfs.ErrTooLarge) && !unreadable(err):
		return nil, false, err
	case err == nil:
		if x, err = decodeSeal(b); err == nil && !x.of(s) {
			err = fmt.Errorf("it seals %d to %d of %s", x.base, x.last, encodeID(x.topicID))
		}
	}
	if err != nil {
		l.log.Warn("seal ignored", zap.String("event", "CW-0321"), zap.String("file", name), zap.Error(err))
		return nil, true, nil
	}
	return x, false, nil
}

// SealDue says whether Seal has something to do.
func (l *Log) SealDue() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.unsealed, l.sealable)
}

// sealable: a seal vouches for what a crash cannot take.
func (l *Log) sealable(s *Segment) bool { return s.tail.end.Load() <= l.synced.Load() }

// Seal writes the seals of the segments that were rolled and have been synced since. It may run beside everything but
// itself and a Scrub; it waits for the disk, but nobody waits for it: the names change hands under syncing, the bytes go
// to disk outside. A segment that a stop or an error leaves without a seal gets it from the scrub.
func (l *Log) Seal() error {
	l.mu.Lock()
	var due []*Segment
	l.unsealed = slices.DeleteFunc(l.unsealed, func(s *Segment) bool {
		if l.sealable(s) {
			due = append(due, s)
			return true
		}
		return false
	})
	l.mu.Unlock()
	for _, s := range due {
		x, err := s.sealed()
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !unreadable(err) && l.holds(s) {
				return err
			}
			continue // the scrub will say what is wrong with it, if it is still there
		}
		if err := l.writeSeal(s, x); err != nil {
			return err
		}
	}
	return nil
}

// sealed reads the headers of the segment.
func (s *Segment) sealed() (*seal, error) {
	size, end := s.tail.get()
	x := &seal{topicID: s.owner.topicID, base: s.base, last: end - 1}
	f, err := s.log.acquire()
	if err != nil {
		return nil, err
	}
	defer s.log.release()
	if len(s.faults()) > 0 || size == 0 {
		return nil, fmt.Errorf("%w: %s has no seal", ErrCorrupt, s.log.name())
	}
	err = s.walk(f, 0, size, func(b record.Batch, _, bytes int64) error {
		x.add(b, bytes)
		return nil
	})
	return x, err
}

// holds says whether the segment is in the log and sealed: nothing of it has been truncated or dropped.
func (l *Log) holds(s *Segment) bool {
	v := l.view.Load()
	return !l.closed.Load() && s != v.active() && slices.Contains(v.segments, s)
}

func (l *Log) writeSeal(s *Segment, x *seal) error {
	name := fileName(l.Dir(), s.base, sealSuffix)
	err := vfs.WriteFileSync(l.fs, name+tmpSuffix, x.encode())
	if err == nil {
		l.syncing <- struct{}{}
		if l.holds(s) {
			err = l.fs.Rename(name+tmpSuffix, name)
		} else {
			err = l.fs.Remove(name + tmpSuffix)
		}
		l.release()
	}
	if err == nil {
		err = l.fs.SyncDir(l.Dir())
	}
	if errors.Is(err, fs.ErrNotExist) { // the whole log was deleted meanwhile
		return nil
	}
	return err
}

// dropSeals removes the seals of what a truncation to `to` may touch, durably, before it does.
func (l *Log) dropSeals(to int64) error {
	removed := false
	for _, s := range l.view.Load().segments {
		if _, end := s.tail.get(); end < to { // one that ends there may become active again
			continue
		}
		err := l.fs.Remove(fileName(l.Dir(), s.base, sealSuffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		removed = removed || err == nil
	}
	if !removed {
		return nil
	}
	return l.fs.SyncDir(l.Dir())
}

// dropStraySeals removes seals without a segment, and that of the last segment, which goes on growing: a crash in the
// middle of a truncation left them.
func (l *Log) dropStraySeals(f *files) {
	for name := range f.aux {
		base, suffix, _ := parseFileName(name)
		i, found := slices.BinarySearch(f.logs, base)
		if suffix == sealSuffix && (!found || i == len(f.logs)-1) {
			l.remove(filepath.Join(l.Dir(), name))
			delete(f.aux, name)
		}
	}
}

// sealedTo raises the recovery point to the end of the last segment that has a seal: it was whole on disk, so whatever is
// wrong in it is no crash's doing (R16), even if the checkpoint is old or lost.
func (l *Log) sealedTo(segments []*Segment, aux map[string]bool, point int64) (int64, error) {
	for i := len(segments) - 2; i >= 0 && segments[i+1].base > point; i-- {
		s := segments[i]
		if !aux[filepath.Base(fileName(l.Dir(), s.base, sealSuffix))] {
			continue
		}
		x, _, err := l.readSeal(s)
		if err != nil {
			return 0, err
		}
		if x != nil {
			return segments[i+1].base, nil
		}
	}
	return point, nil
}
