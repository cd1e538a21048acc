package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// ErrMisfit: the batches do not fit into the damaged range. Nothing was written.
var ErrMisfit = errors.New("batches do not fit into the damaged range")

// Faults lists the damaged ranges, in order.
func (l *Log) Faults() (all []Fault) {
	for _, s := range l.view.Load().segments {
		for _, x := range s.faults() {
			all = append(all, Fault{From: x.from, To: x.to, File: filepath.Base(s.log.name())})
		}
	}
	return all
}

// IsDamaged says whether an offset lies in a damaged range.
func (l *Log) IsDamaged(offset int64) bool {
	v := l.view.Load()
	i := v.at(offset)
	return i >= 0 && slices.ContainsFunc(v.segments[i].faults(), func(x fault) bool { return x.from <= offset && offset < x.to })
}

// SegmentOf is the first offset of the segment that holds an offset, -1 if there is none.
func (l *Log) SegmentOf(offset int64) int64 {
	v := l.view.Load()
	if i := v.at(offset); i >= 0 {
		return v.segments[i].base
	}
	return -1
}

// Mend puts another replica's batches in the place where a damaged range begins, durably, and returns what is left of the
// range: From reaches To when all of it is mended. The batches are whole and good, and what every replica has there (I4); the
// caller has seen to that. Those of a range that is cut out of the middle of a file have the size they had; at the end of a
// file they may take what room they need. Mend may run beside everything; it waits for the disk.
//
// Bytes that nobody is sent are written over, so readers need not notice (S5). They are on disk before the range counts as
// smaller, and a range that needs more room is written down as such before it gets it.
func (l *Log) Mend(f Fault, batches []record.Batch) (Fault, error) {
	l.syncing <- struct{}{}
	defer l.release()
	if err := l.writable(); err != nil {
		return f, err
	}
	v := l.view.Load()
	i := v.at(f.From)
	if i < 0 {
		return f, ErrOutOfRange
	}
	s := v.segments[i]
	k := slices.IndexFunc(s.faults(), func(x fault) bool { return x.from == f.From && x.to == f.To })
	if k < 0 || s == v.active() {
		return f, ErrOutOfRange // truncated, dropped or mended meanwhile
	}
	p := patch{l: l, s: s, k: k, rest: s.faults()[k]}
	if err := p.measure(batches); err != nil {
		return f, err
	}
	l.damaged.Store(true) // the manifest entry speaks of faults that change now
	if err := p.apply(batches); err != nil {
		return f, l.ioError(err)
	}
	f.From = p.rest.from
	if f.From == f.To {
		l.compareWithSeal(s)
	}
	return f, nil
}

// patch is one Mend.
type patch struct {
	l        *Log
	s        *Segment
	k        int   // of the fault in the segment's
	rest     fault // what is left of it
	at, next int64 // position and offset behind the batches
}

// measure checks that the batches fit.
func (p *patch) measure(batches []record.Batch) error {
	size, _ := p.s.tail.get()
	p.rest.toPos = min(p.rest.toPos, size) // a crash may have come between the word and the room
	p.at, p.next = p.rest.fromPos, p.rest.from
	for _, b := range batches {
		if len(b) < record.Overhead {
			return fmt.Errorf("%w: a batch of %d bytes", ErrMisfit, len(b))
		}
		n, err := headerSize(b[:record.Overhead], int64(len(b)))
		if err != nil || n != int64(len(b)) || b.BaseOffset() < p.next || b.NextOffset() > p.rest.to || !p.s.fits(b.LastOffset()) ||
			b.LeaderEpoch() != p.l.EpochAt(b.BaseOffset()) {
			return fmt.Errorf("%w: batch %d to %d of epoch %d, expected %d to %d of epoch %d: %w", ErrMisfit, b.BaseOffset(), b.LastOffset(),
				b.LeaderEpoch(), p.next, p.rest.to, p.l.EpochAt(p.next), err)
		}
		p.at, p.next = p.at+n, b.NextOffset()
	}
	isLast := p.rest.toPos == size
	switch {
	case len(batches) == 0, p.at > maxPosition,
		!isLast && p.at > p.rest.toPos, !isLast && (p.at == p.rest.toPos) != (p.next == p.rest.to):
		return fmt.Errorf("%w: %d bytes up to offset %d for %d bytes up to %d", ErrMisfit, p.at-p.rest.fromPos, p.next,
			p.rest.toPos-p.rest.fromPos, p.rest.to)
	}
	return nil
}

func (p *patch) apply(batches []record.Batch) error {
	size, end := p.s.tail.get()
	if p.at > p.rest.toPos {
		p.rest.toPos = p.at
		faults := p.replaced(p.rest)
		if err := p.l.saveFaults(p.s, faults); err != nil {
			return err
		}
		p.s.setFaults(faults)
		p.s.tail.set(p.at, end)
	}
	f, err := p.s.log.acquire()
	if err != nil {
		return err
	}
	defer p.s.log.release()
	vector := make([][]byte, 0, len(batches))
	for _, b := range batches {
		vector = append(vector, b)
	}
	_, err = f.Writev(vector, p.rest.fromPos)
	done := p.next == p.rest.to
	if have := int64(0); err == nil && done && p.at < p.rest.toPos { // what was damaged at the end was longer than what is right
		if have, err = f.Size(); err == nil && have > p.at {
			err = f.Truncate(p.at)
		}
		p.s.tail.set(p.at, end)
	}
	if err == nil {
		err = f.Datasync()
	}
	if err != nil {
		return err
	}
	p.rest.from, p.rest.fromPos = p.next, p.at
	now, _ := p.s.tail.get()
	p.l.size.Add(now - size)
	var faults []fault
	if done {
		faults = p.replaced()
	} else {
		faults = p.replaced(p.rest)
	}
	p.s.setFaults(faults)
	if len(faults) == 0 {
		if err := p.l.reindex(p.s, f); err != nil {
			return err
		}
	}
	return p.l.saveFaults(p.s, faults)
}

// replaced is the segment's faults with these instead of the one that is mended.
func (p *patch) replaced(with ...fault) []fault {
	return slices.Replace(slices.Clone(p.s.faults()), p.k, p.k+1, with...)
}

// saveFaults writes them down.
func (l *Log) saveFaults(s *Segment, faults []fault) error {
	name := fileName(l.Dir(), s.base, faultSuffix)
	if len(faults) > 0 {
		return vfs.WriteFileAtomic(l.fs, name, encodeFaults(faults))
	}
	if err := l.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.fs.SyncDir(l.Dir())
}

// reindex makes the indexes of a sealed segment anew: those made without the damaged batches do not know of them.
func (l *Log) reindex(s *Segment, f vfs.File) error {
	x, err := s.buildIndex(f, s.tail.size.Load())
	if err == nil {
		_, err = s.abortedTxns() // else the file would be taken for a leftover
	}
	if err != nil {
		return err
	}
	x.addTime()
	if err := l.writeIndexes(s, x); err != nil {
		return err
	}
	s.maxTimestamp.Store(x.maxTimestamp)
	s.memory.Store(x) // the file that readers have open is the old one
	return nil
}

// compareWithSeal reports a segment that is whole again and still not what was sealed.
func (l *Log) compareWithSeal(s *Segment) {
	have, _, err := l.readSeal(s)
	if have == nil || err != nil || len(s.faults()) > 0 {
		return
	}
	found, err := s.sealed()
	if err != nil {
		return // the scrub will say
	}
	if have.topicID = found.topicID; *have != *found {
		l.log.Error("segment is not what was sealed", zap.String("event", "CW-0322"), zap.String("segment", s.log.name()),
			zap.String("sealed", fmt.Sprintf("%+v", *have)), zap.String("found", fmt.Sprintf("%+v", *found)))
	}
}
