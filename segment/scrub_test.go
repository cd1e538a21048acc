package segment

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// scrub checks all segments and adds the findings up.
func scrub(t testing.TB, l *Log) (faults []Fault, mismatches, sealed int) {
	t.Helper()
	for from := int64(0); ; {
		x, err := l.Scrub(from)
		must(t, err)
		if x == nil {
			return faults, mismatches, sealed
		}
		from = x.Base() + 1
		for done := false; !done; {
			_, done, err = x.Step()
			must(t, err)
		}
		x.Close()
		faults = append(faults, x.Faults...)
		if x.Mismatch {
			mismatches++
		}
		if x.Sealed {
			sealed++
		}
	}
}

func wantClean(t testing.TB, l *Log) {
	t.Helper()
	if faults, mismatches, sealed := scrub(t, l); len(faults) > 0 || mismatches > 0 || sealed > 0 {
		t.Fatalf("faults %+v, %d mismatches, %d new seals", faults, mismatches, sealed)
	}
}

// sealedLog has several sealed segments, synced and with seals.
func sealedLog(t testing.TB, m *vfs.Mem) (*Log, []record.Batch) {
	t.Helper()
	l := open(t, options(m))
	batches := fill(t, l, 40, 3)
	_, err := l.Sync()
	must(t, err)
	must(t, l.Seal())
	if l.Segments() < 4 || l.SealDue() {
		t.Fatalf("%d segments, seals due: %v", l.Segments(), l.SealDue())
	}
	return l, batches
}

func seals(t testing.TB, m vfs.FS) []string {
	t.Helper()
	return slices.DeleteFunc(names(t, m, logDir), func(n string) bool { return !strings.HasSuffix(n, sealSuffix) })
}

func TestSegmentsAreSealedOnceTheyAreSynced(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 40, 3)
	must(t, l.Seal())
	if got := seals(t, m); len(got) > 0 {
		t.Fatalf("sealed before the sync: %v", got)
	}
	_, err := l.Sync()
	must(t, err)
	if !l.SealDue() {
		t.Fatal("no seal is due")
	}
	must(t, l.Seal())
	if got := seals(t, m); len(got) != l.Segments()-1 {
		t.Fatalf("%d segments, seals %v", l.Segments(), got)
	}
	for _, s := range l.View().segments[:l.Segments()-1] {
		x, err := decodeSeal(read(t, m, fileName(logDir, s.base, sealSuffix)))
		must(t, err)
		size, end := s.tail.get()
		if x.topicID != topicID || x.base != s.base || x.last != end-1 || x.size != size || x.firstEpoch != 3 || x.topEpoch != 3 {
			t.Fatalf("segment %d to %d of %d bytes has seal %+v", s.base, end, size, x)
		}
	}
	wantClean(t, l)
}

func TestSealGoesWithItsSegment(t *testing.T) {
	for name, do := range map[string]func(l *Log) error{
		"truncation":                 func(l *Log) error { return l.Truncate(l.View().segments[1].base + 1) },
		"truncation between two":     func(l *Log) error { return l.Truncate(l.View().segments[1].base) },
		"truncation to the start":    func(l *Log) error { return l.Truncate(0) },
		"reset":                      func(l *Log) error { return l.Reset(1000) },
		"removal of the oldest":      func(l *Log) error { return errors.Join(l.Trim(l.View().segments[2].base), l.Purge(clock)) },
		"removal of all but the end": func(l *Log) error { return errors.Join(l.Trim(l.End()), l.Purge(clock), l.Purge(clock.Add(time.Hour))) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMem(t)
			l, _ := sealedLog(t, m)
			must(t, do(l))
			if got := seals(t, m); len(got) != l.Segments()-1 {
				t.Fatalf("%d segments, seals %v", l.Segments(), got)
			}
			fill(t, l, 20, 4)
			_, err := l.Sync()
			must(t, err)
			must(t, l.Seal())
			wantClean(t, l)
			if n := len(seals(t, m)); n != l.Segments()-1 {
				t.Fatalf("%d segments, %d seals", l.Segments(), n)
			}
		})
	}
}

// TestScrubFindsEveryFlippedBit: whichever bit of a sealed segment flips, the scrub says so. Nothing is cut off, the
// batches that are whole are served, the others answer that they are corrupt, before and after a restart of either kind.
func TestScrubFindsEveryFlippedBit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	rounds := 400
	if testing.Short() {
		rounds = 60
	}
	for round := range rounds {
		m := newMem(t)
		l, batches := sealedLog(t, m)
		s := l.View().segments[rng.IntN(l.Segments()-1)]
		at, bit := rng.Int64N(s.tail.size.Load()), byte(1)<<rng.IntN(8)
		if round%2 == 0 { // headers are a small part of the bytes, and the interesting one
			at = headerByte(rng, l, s)
		}
		must(t, m.Corrupt(s.log.name(), at, bit))
		what := fmt.Sprintf("segment %d, byte %d, bit %x", s.base, at, bit)
		faults, mismatches, _ := scrub(t, l)
		if len(faults)+mismatches != 1 {
			t.Fatalf("%s: faults %+v, %d mismatches", what, faults, mismatches)
		}
		victims := struck(batches, s, at)
		check := func(l *Log) {
			t.Helper()
			if l.Start() != 0 || l.End() != batches[len(batches)-1].NextOffset() {
				t.Fatalf("%s: log is [%d, %d)", what, l.Start(), l.End())
			}
			if mismatches == 0 {
				wantServed(t, l, what, batches, victims)
			}
		}
		check(l)
		if again, _, _ := scrub(t, l); len(again) > 0 {
			t.Fatalf("%s: found again: %+v", what, again)
		}
		if round%4 < 2 {
			l = reopenClean(t, l)
		} else {
			_, err := l.Sync()
			must(t, err)
			must(t, l.Close(false))
			o := options(m)
			o.RecoveryPoint = l.End()
			l = open(t, o)
		}
		check(l)
	}
}

// headerByte is a byte of what a batch's CRC does not cover, or of that CRC.
func headerByte(rng *rand.Rand, l *Log, s *Segment) int64 {
	f, _ := s.log.acquire()
	defer s.log.release()
	var starts []int64
	_ = s.walk(f, 0, s.tail.size.Load(), func(_ record.Batch, position, _ int64) error {
		starts = append(starts, position)
		return nil
	})
	return starts[rng.IntN(len(starts))] + rng.Int64N(crcStart)
}

// struck is the batch that holds the byte.
func struck(batches []record.Batch, s *Segment, at int64) record.Batch {
	for _, b := range batches {
		if b.BaseOffset() < s.base {
			continue
		}
		if at < int64(len(b)) {
			return b
		}
		at -= int64(len(b))
	}
	return nil
}

// wantServed reads at every offset: the victim's are corrupt, all others are there.
func wantServed(t *testing.T, l *Log, what string, batches []record.Batch, victim record.Batch) {
	t.Helper()
	for _, b := range batches {
		x, err := l.View().Slice(b.BaseOffset(), l.End(), 1, true)
		if b.BaseOffset() == victim.BaseOffset() {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: offset %d is served: %d bytes, %v", what, b.BaseOffset(), x.Len(), err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: offset %d, beside the damage at %d: %v", what, b.BaseOffset(), victim.BaseOffset(), err)
		}
		raw := make([]byte, x.Len())
		_, err = x.ReadAt(raw, 0)
		x.Release()
		must(t, err)
		if !slices.Equal(raw, b) {
			t.Fatalf("%s: offset %d is another batch", what, b.BaseOffset())
		}
	}
}

func TestUnreadablePagesAreDamage(t *testing.T) {
	m := newMem(t)
	o := options(m)
	o.Config.SegmentBytes = 200_000
	l := open(t, o)
	var batches []record.Batch
	for l.Segments() < 2 {
		b := stamped(t, l.End(), 1, record.BuilderOptions{}, 1, 1500)
		must(t, l.Append([]record.Batch{b}, 1))
		batches = append(batches, b)
	}
	_, err := l.Sync()
	must(t, err)
	must(t, l.Close(false))

	const from, to = 81_920, 90_112 // two pages
	bad := func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, "00000.log") && op.Off < to && op.Off+op.Len > from {
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	}
	o.FS, o.Files, o.RecoveryPoint = vfs.NewFault(m, bad), nil, l.End()
	l = open(t, o)
	faults, mismatches, sealed := scrub(t, l)
	if len(faults) != 1 || mismatches > 0 || sealed > 0 {
		t.Fatalf("faults %+v, %d mismatches, %d seals", faults, mismatches, sealed)
	}
	size := int64(len(batches[0]))
	if f := faults[0]; f.From != from/size || f.To < to/size || f.To > (to+2*4096)/size+1 {
		t.Fatalf("offsets %d to %d are damaged, of pages that hold %d to %d", f.From, f.To, from/size, to/size)
	}
	for _, offset := range []int64{0, faults[0].From - 1, faults[0].To, l.End() - 1} {
		x, err := l.View().Slice(offset, offset+1, 10_000, true)
		if err != nil || x.Len() == 0 {
			t.Fatalf("offset %d beside the damage: %d bytes, %v", offset, x.Len(), err)
		}
		x.Release()
	}
}

func TestUselessSealsAreWrittenAgain(t *testing.T) {
	m := newMem(t)
	l, _ := sealedLog(t, m)
	segments := l.View().segments
	at := func(i int) string { return fileName(logDir, segments[i].base, sealSuffix) }
	good := read(t, m, at(1))
	foreign, err := decodeSeal(good)
	must(t, err)
	foreign.topicID = [16]byte{9, 9}
	newer := slices.Clone(good)
	newer[len(sealMagic)+3] = 2
	for name, data := range map[string][]byte{
		"empty": nil, "half": good[:30], "flipped bit": append(slices.Clone(good[:40]), append([]byte{good[40] ^ 4}, good[41:]...)...),
		"longer": append(slices.Clone(good), 0), "another segment's": read(t, m, at(2)), "another topic's": foreign.encode(),
		"a newer version": newer, "text": []byte(strings.Repeat("seal", 2000)),
	} {
		write(t, m, at(1), data)
		if faults, mismatches, sealed := scrub(t, l); len(faults) > 0 || mismatches > 0 || sealed != 1 {
			t.Errorf("%s: faults %+v, %d mismatches, %d new seals", name, faults, mismatches, sealed)
		}
		if got := read(t, m, at(1)); !slices.Equal(got, good) {
			t.Errorf("%s: another seal", name)
		}
		write(t, m, at(1), data)
		must(t, l.Close(false))
		l = open(t, options(m))
		if r := l.Recovery(); len(r.Faults) > 0 || r.Truncated > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	must(t, m.Remove(at(1)))
	if _, _, sealed := scrub(t, l); sealed != 1 {
		t.Errorf("%d new seals for one that was missing", sealed)
	}
	wantClean(t, l)
}

func TestSegmentThatIsNotWhatWasSealedIsReportedAndServed(t *testing.T) {
	m := newMem(t)
	l, batches := sealedLog(t, m)
	other := slices.Clone(batches[2])
	other.Stamp(other.BaseOffset(), 1) // a write that was lost, and left what was there before
	f, err := m.Open(fileName(logDir, 0, logSuffix), 2, 0)
	must(t, err)
	_, err = f.WriteAt(other, int64(len(batches[0])+len(batches[1])))
	must(t, errors.Join(err, f.Close()))
	for range 2 {
		if faults, mismatches, sealed := scrub(t, l); len(faults) > 0 || mismatches != 1 || sealed > 0 {
			t.Fatalf("faults %+v, %d mismatches, %d new seals", faults, mismatches, sealed)
		}
	}
	batches[2] = other
	sameBatches(t, contents(t, l, 700), batches)
}

// TestSealsVouchForTheirSegmentsWithoutACheckpoint: what is wrong in a sealed segment is no crash's doing (R16, Z27).
func TestSealsVouchForTheirSegmentsWithoutACheckpoint(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		m := newMem(t)
		l, batches := sealedLog(t, m)
		s := l.View().segments[1]
		must(t, l.Close(false))
		if !sealed {
			for _, n := range seals(t, m) {
				must(t, m.Remove(filepath.Join(logDir, n)))
			}
		}
		must(t, m.Corrupt(fileName(logDir, s.base, logSuffix), 16, 0xff)) // the magic of its first batch
		o := options(m)
		o.RecoveryPoint = 0 // lost
		l = open(t, o)
		r := l.Recovery()
		if sealed {
			faults, _, _ := scrub(t, l) // or recovery, if it had to read the segment
			if faults = append(faults, r.Faults...); len(faults) != 1 || faults[0].From != s.base || r.Truncated > 0 || l.End() != batches[len(batches)-1].NextOffset() {
				t.Errorf("with seals: end %d, %+v, %+v", l.End(), r, faults)
			}
		}
		if !sealed && (len(r.Faults) > 0 || r.TruncatedTo != s.base) { // nobody knows that it was ever whole
			t.Errorf("without seals: end %d, %+v", l.End(), r)
		}
	}
}

func TestLogOfAnotherSystemHasNoSealsAndGetsThem(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	batches := fill(t, l, 40, 3)
	_, err := l.Sync()
	must(t, err)
	must(t, l.Close(false))
	o := options(m)
	o.RecoveryPoint = l.End()
	l = open(t, o)
	if r := l.Recovery(); len(r.Faults) > 0 || r.Truncated > 0 || l.SealDue() {
		t.Fatalf("%+v", r)
	}
	sameBatches(t, contents(t, l, 700), batches)
	if faults, mismatches, sealed := scrub(t, l); len(faults) > 0 || mismatches > 0 || sealed != l.Segments()-1 {
		t.Fatalf("faults %+v, %d mismatches, %d of %d segments sealed", faults, mismatches, sealed, l.Segments())
	}
	wantClean(t, l)
}

func TestShortenedFileIsDamageAtItsEnd(t *testing.T) {
	m := newMem(t)
	l, batches := sealedLog(t, m)
	s := l.View().segments[1]
	f, err := m.Open(s.log.name(), 2, 0)
	must(t, err)
	must(t, errors.Join(f.Truncate(int64(len(batches[0])/2)), f.Close()))
	faults, _, _ := scrub(t, l)
	_, end := s.tail.get()
	if len(faults) != 1 || faults[0].From != s.base || faults[0].To != end {
		t.Fatalf("faults %+v of segment [%d, %d)", faults, s.base, end)
	}
	for _, b := range batches {
		x, err := l.View().Slice(b.BaseOffset(), b.NextOffset(), 1, true)
		if lost := b.BaseOffset() >= s.base && b.BaseOffset() < end; lost != errors.Is(err, ErrCorrupt) {
			t.Fatalf("offset %d of a log without [%d, %d): %v", b.BaseOffset(), s.base, end, err)
		}
		x.Release()
	}
}

func TestScrubOfATruncatedSegmentFindsNothing(t *testing.T) {
	m := newMem(t)
	l, _ := sealedLog(t, m)
	x, err := l.Scrub(0)
	must(t, err)
	defer x.Close()
	must(t, l.Truncate(5))
	fill(t, l, 3, 4)
	for done := false; !done; {
		_, done, err = x.Step()
		must(t, err)
	}
	if len(x.Faults) > 0 || x.Mismatch || x.Sealed {
		t.Fatalf("found %+v", x)
	}
}

func TestScrubPointIsKept(t *testing.T) {
	m := newMem(t)
	log := zap.NewNop()
	for _, want := range []ScrubPoint{{Began: clock}, {Began: clock.Add(time.Hour), Log: "t-12", From: 99}} {
		must(t, WriteScrubPoint(m, dataDir, want))
		got, err := ReadScrubPoint(m, dataDir, clock, log)
		if err != nil || !got.Began.Equal(want.Began) || got.Log != want.Log || got.From != want.From {
			t.Fatalf("wrote %+v, read %+v, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "0\n0\n", "0\n1\nt-1 5\n", "0\n2\nbegan 1\nbegan 2\n", "0\n2\nbegan 1\n../x 5\n", "0\n2\nbegan 1\nt-1 -5\n", "1\n1\nbegan 1\n"} {
		write(t, m, filepath.Join(dataDir, scrubFile), []byte(bad))
		if got, err := ReadScrubPoint(m, dataDir, clock, log); err != nil || got != (ScrubPoint{Began: clock}) {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func FuzzSeal(f *testing.F) {
	f.Add((&seal{topicID: topicID, base: 5, last: 9, size: 300, batches: 2, sum: 7, firstEpoch: 1, topEpoch: 3}).encode())
	f.Add([]byte(sealMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := decodeSeal(data); err == nil && !slices.Equal(x.encode(), data) {
			t.Fatalf("%+v is not %x", x, data)
		}
		if p, err := decodeScrubPoint(data); err == nil {
			if again, err := decodeScrubPoint(p.encode()); err != nil || again != p {
				t.Fatalf("%+v became %+v, %v", p, again, err)
			}
		}
	})
}
