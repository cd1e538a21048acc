package segment

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// Scrub is the check of one sealed segment (R16): every batch whole, and all of them against the seal. It reads a piece at
// a time, beside everything else, with a descriptor of its own, and leaves the page cache as it was.
//
//	Log.Scrub -> Step, Step, ... done: what is damaged becomes the segment's faults; a missing seal is written
//
// A segment that is truncated or dropped meanwhile has no findings.
type Scrub struct {
	log *Log
	s   *Segment
	f   vfs.File
	checker
	known []fault // not passed yet
	size  int64   // of the file; the checker's is the stretch's up to the next known fault
	end   int64

	position, next int64
	jump           *place // the batch before, if it left out offsets: perhaps its own is what is wrong
	lost           *loss  // damage whose end is still looked for
	seal           seal   // of what was read

	found  []fault
	causes []error // of found

	// Findings, when Step has said done.
	Faults   []Fault // new ones
	Mismatch bool    // every batch is good, but together they are not what was sealed
	Sealed   bool    // a seal was missing or useless, and was written
}

// loss is damage that begins at a position; up to `at` no good batch begins behind it.
type loss struct {
	position, next int64
	at             int64
	cause          error
}

// Scrub begins with the first segment from the offset on that is sealed and synced; nil when there is none.
func (l *Log) Scrub(from int64) (*Scrub, error) {
	v := l.view.Load()
	for _, s := range v.segments[:len(v.segments)-1] {
		size, end := s.tail.get()
		if s.base < from || size == 0 || !l.sealable(s) {
			continue
		}
		f, err := l.fs.Open(s.log.name(), os.O_RDONLY, 0)
		if err != nil {
			if !l.holds(s) {
				continue // retention was faster
			}
			return nil, err
		}
		have, err := f.Size()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		x := &Scrub{log: l, s: s, f: f, known: s.faults(), size: min(size, have), end: end, next: s.base}
		x.checker = checker{s: s, w: window{read: f.ReadOnce}}
		x.seal = seal{topicID: l.topicID, base: s.base, last: end - 1}
		x.stretch()
		return x, nil
	}
	return nil, nil
}

// Base is the segment's first offset; the next one's is above it.
func (x *Scrub) Base() int64 { return x.s.base }

// Close gives the descriptor back. It may be called at any time.
func (x *Scrub) Close() { _ = x.f.Close() }

// stretch sets the checker's bounds to the next known fault, behind those that lie here.
func (x *Scrub) stretch() {
	for len(x.known) > 0 && x.known[0].fromPos <= x.position {
		k := x.known[0]
		x.known = x.known[1:]
		x.position, x.next = max(x.position, k.toPos), max(x.next, k.to)
	}
	x.checker.size, x.checker.upper = x.size, x.end
	if len(x.known) > 0 {
		x.checker.size, x.checker.upper = x.known[0].fromPos, x.known[0].from
	}
}

// Step reads about a window's worth, and says how much it was and whether the segment is done. After an error the segment
// is left unchecked.
func (x *Scrub) Step() (n int64, done bool, err error) {
	if !x.log.holds(x.s) {
		return 0, true, nil
	}
	before := x.w.got
	for err == nil && !done && x.w.got-before < windowSize {
		if x.position >= x.checker.size && x.lost == nil {
			x.stretch()
		}
		switch {
		case x.lost != nil:
			err = x.search()
		case x.position >= x.size:
			done, err = true, x.finish()
		default:
			err = x.batch()
		}
	}
	return x.w.got - before, done, err
}

// batch takes one batch, or notes that here is none.
func (x *Scrub) batch() error {
	b, size, err := x.checker.batch(x.position, x.next)
	if errors.Is(err, ErrCorrupt) || unreadable(err) {
		x.w.lo, x.w.hi = 0, 0
		b, size, err = x.checker.batch(x.position, x.next) // read again: what is written down here stays
	}
	if errors.Is(err, ErrCorrupt) || unreadable(err) {
		return x.damaged(err)
	}
	if err != nil {
		return err
	}
	x.jump = nil
	if b.BaseOffset() > x.next {
		x.jump = &place{position: x.position, base: x.next}
	}
	x.seal.add(b, size)
	x.position += size
	x.next = b.NextOffset()
	return nil
}

// damaged notes where the damage begins: with this batch, or with the one before if this one is good behind what came
// before that.
func (x *Scrub) damaged(cause error) error {
	x.lost = &loss{position: x.position, next: x.next, at: x.position + 1, cause: cause}
	if x.jump == nil {
		return nil
	}
	good, err := x.good(x.position, x.jump.base)
	if good {
		*x.lost = loss{position: x.jump.position, next: x.jump.base, at: x.position, cause: cause}
	}
	x.jump = nil
	return err
}

// search looks on for the first good batch behind the damage.
func (x *Scrub) search() error {
	p := x.lost
	until := min(x.checker.size, p.at+windowSize/2)
	to, resume, found, err := x.resync(p.at, until, p.next)
	if err != nil {
		return err
	}
	if p.at = until; !found {
		if until < x.checker.size {
			return nil
		}
		to, resume = x.checker.upper, x.checker.size
		if resume == x.size {
			resume = x.s.tail.size.Load() // and what the file lost at its end
		}
	}
	x.find(fault{from: p.next, to: to, fromPos: p.position, toPos: resume}, p.cause)
	x.position, x.next, x.lost = resume, to, nil
	return nil
}

func (x *Scrub) find(f fault, cause error) {
	x.found, x.causes = append(x.found, f), append(x.causes, cause)
}

// finish makes the findings count.
func (x *Scrub) finish() error {
	if size := x.s.tail.size.Load(); x.size < size && x.position < size {
		x.find(fault{from: x.next, to: x.end, fromPos: x.position, toPos: size}, fmt.Errorf("%w: the file ends at %d", ErrCorrupt, x.size))
	}
	if len(x.found) > 0 {
		return x.condemn()
	}
	if len(x.s.faults()) > 0 {
		return nil // what it was cannot be compared
	}
	have, _, err := x.log.readSeal(x.s)
	if err != nil || !x.log.holds(x.s) {
		return err
	}
	if have == nil {
		x.Sealed = true
		return x.log.writeSeal(x.s, &x.seal)
	}
	have.topicID = x.seal.topicID // perhaps it was not known then
	if x.Mismatch = *have != x.seal; x.Mismatch {
		// Which bytes are wrong nobody can say, and each batch is good: it is reported and goes on being served.
		x.log.log.Error("segment is not what was sealed", zap.String("event", "CW-0322"), zap.String("segment", x.s.log.name()),
			zap.String("sealed", fmt.Sprintf("%+v", *have)), zap.String("found", fmt.Sprintf("%+v", x.seal)))
	}
	return nil
}

// condemn writes the damaged ranges down. Truncate, Purge and Delete wait meanwhile, so the segment is what was read, or
// gone from the view.
func (x *Scrub) condemn() error {
	l, s := x.log, x.s
	l.syncing <- struct{}{}
	defer l.release()
	if !l.holds(s) {
		return nil
	}
	faults := append(slices.Clone(s.faults()), x.found...)
	slices.SortFunc(faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.fromPos, b.fromPos), cmp.Compare(a.from, b.from))
	})
	s.setFaults(faults) // from now on nobody is sent these bytes
	l.damaged.Store(true)
	for i, f := range x.found {
		file := filepath.Base(s.log.name())
		x.Faults = append(x.Faults, Fault{From: f.from, To: f.to, File: file})
		l.log.Error("log is damaged", zap.String("event", "CW-0314"), zap.String("log", l.name), zap.String("file", file),
			zap.Int64("from", f.from), zap.Int64("to", f.to), zap.Int64("position", f.fromPos), zap.Error(x.causes[i]))
	}
	return l.writeFaults(s)
}
