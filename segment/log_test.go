package segment

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"cordwood/protocol/compress"
	"cordwood/protocol/record"
	"cordwood/segment/producer"
	"cordwood/segment/vfs"
)

// dataDir and logDir are where the logs of the tests live.
const (
	dataDir = "/data"
	logDir  = dataDir + "/t-0"
)

var topicID = [16]byte{0xc0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}

// clock is the wall clock of the tests.
var clock = time.UnixMilli(1_700_000_000_000)

func newMem(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	must(t, vfs.MkdirAllSync(m, dataDir))
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func options(fs vfs.FS) Options {
	return Options{
		FS: fs, Dir: logDir, TopicID: topicID, Config: smallConfig(), Files: NewFiles(fs, 8),
		Codecs: compress.New(), Now: func() time.Time { return clock },
	}
}

// smallConfig makes segments roll and indexes fill within a few batches.
func smallConfig() Config {
	c := DefaultConfig()
	c.SegmentBytes, c.IndexInterval = 2000, 150
	return c
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close(false)) })
	return l
}

// batchAt builds a stamped batch of n records of the given value size.
func batchAt(t testing.TB, base int64, epoch int32, n, size int) record.Batch {
	t.Helper()
	return stamped(t, base, epoch, record.BuilderOptions{}, n, size)
}

func stamped(t testing.TB, base int64, epoch int32, o record.BuilderOptions, n, size int) record.Batch {
	t.Helper()
	b := record.NewBuilder(o)
	for i := range n {
		at := base + int64(i)
		b.Append(stampOf(at), fmt.Appendf(nil, "k%d", at), bytes.Repeat([]byte{byte('a' + at%26)}, size), nil)
	}
	batch, err := b.Build()
	must(t, err)
	batch.Stamp(base, epoch)
	return batch
}

// stampOf is the timestamp of the record at an offset: rising, with a dent every seventh.
func stampOf(offset int64) int64 {
	ts := clock.UnixMilli() - 1_000_000 + offset*10
	if offset%7 == 3 {
		ts -= 500
	}
	return ts
}

// fill appends count batches of three records each.
func fill(t testing.TB, l *Log, count int, epoch int32) []record.Batch {
	t.Helper()
	var all []record.Batch
	for range count {
		b := batchAt(t, l.End(), epoch, 3, 40)
		must(t, l.Append([]record.Batch{b}, epoch))
		all = append(all, b)
	}
	return all
}

// contents reads the log from its start with slices of at most maxBytes.
func contents(t testing.TB, l *Log, maxBytes int) []record.Batch {
	t.Helper()
	all, err := readAllBatches(l, l.Start(), l.End(), maxBytes)
	must(t, err)
	return all
}

func readAllBatches(l *Log, from, to int64, maxBytes int) ([]record.Batch, error) {
	var all []record.Batch
	for from < to {
		s, err := l.View().Slice(from, to, maxBytes, true)
		if err != nil {
			return all, fmt.Errorf("slice at %d: %w", from, err)
		}
		if s.Len() == 0 {
			return all, fmt.Errorf("empty slice at %d of %d", from, to)
		}
		raw := make([]byte, s.Len())
		_, err = s.ReadAt(raw, 0)
		next := s.End()
		s.Release()
		if err != nil {
			return all, err
		}
		for len(raw) > 0 {
			b, rest, err := record.Next(raw)
			if err != nil {
				return all, fmt.Errorf("batch behind %d: %w", from, err)
			}
			if err := b.CheckCRC(); err != nil {
				return all, err
			}
			all, raw = append(all, b), rest
		}
		if got := all[len(all)-1].NextOffset(); got != next {
			return all, fmt.Errorf("slice says %d, its last batch ends at %d", next, got)
		}
		from = next
	}
	return all, nil
}

// sameBatches compares batches byte by byte.
func sameBatches(t testing.TB, got, want []record.Batch) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d batches, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("batch %d: [%d,%d) of %d bytes, want [%d,%d) of %d", i, got[i].BaseOffset(), got[i].NextOffset(), len(got[i]),
				want[i].BaseOffset(), want[i].NextOffset(), len(want[i]))
		}
	}
}

// digest covers everything that a log is made of: offsets, bytes, epochs, producers.
func digest(t testing.TB, l *Log) string {
	t.Helper()
	sum := crc32.NewIEEE()
	for _, b := range contents(t, l, 1<<20) {
		sum.Write(b)
	}
	var producers []producer.Info
	for _, p := range l.Producers().Producers() {
		if p.TxnFirstOffset >= 0 && p.TxnFirstOffset < l.Start() {
			continue // began below the log start: a snapshot may still tell of it, the log alone does not
		}
		if p.LastSequence >= 0 { // of one that has a marker only, a snapshot does not tell where that is
			p.LastTimestamp, p.CoordinatorEpoch = 0, 0 // nor what a marker said
			producers = append(producers, p)
		}
	}
	return fmt.Sprintf("start %d end %d crc %08x epochs %v producers %v", l.Start(), l.End(), sum.Sum32(), l.EpochEntries(), producers)
}

// checkIndexes compares every index entry with what is in the log (A10).
func checkIndexes(t testing.TB, l *Log) {
	t.Helper()
	for _, s := range l.View().segments {
		checkIndex(t, l, s)
	}
}

func checkIndex(t testing.TB, l *Log, s *Segment) {
	t.Helper()
	size, _ := s.tail.get()
	f, err := s.log.acquire()
	must(t, err)
	defer s.log.release()
	x, err := l.loadSparse(s, f, size)
	must(t, err)
	last := make(map[int64]int64)   // position -> last offset
	newest := make(map[int64]int64) // last offset -> newest timestamp so far
	most := noTimestamp
	must(t, s.walk(f, 0, size, func(b record.Batch, position, _ int64) error {
		last[position] = b.LastOffset()
		most = max(most, b.MaxTimestamp())
		newest[b.LastOffset()] = most
		return nil
	}))
	for _, e := range x.offsets.items() {
		if got, ok := last[int64(e.position)]; !ok || got != s.base+int64(e.offset) {
			t.Fatalf("segment %d: index entry (%d, %d), the batch there ends with %d (%v)", s.base, s.base+int64(e.offset), e.position, got, ok)
		}
	}
	for _, e := range x.times.items() {
		if got := newest[s.base+int64(e.offset)]; got != e.timestamp {
			t.Fatalf("segment %d: time index entry (%d, %d), newest is %d", s.base, e.timestamp, s.base+int64(e.offset), got)
		}
	}
	if got, err := s.largestTimestamp(); err != nil || got != most {
		t.Errorf("segment %d: largest timestamp %d, want %d (%v)", s.base, got, most, err)
	}
}

func TestAppendedBatchesAreRead(t *testing.T) {
	for _, maxBytes := range []int{1, 200, 1000, 1 << 20} {
		l := open(t, options(newMem(t)))
		want := fill(t, l, 60, 1)
		if l.Segments() < 4 {
			t.Fatalf("%d segments, the test wants some", l.Segments())
		}
		sameBatches(t, contents(t, l, maxBytes), want)
		checkIndexes(t, l)
	}
}

func TestSliceRules(t *testing.T) {
	l := open(t, options(newMem(t)))
	all := fill(t, l, 40, 1)
	one, two := len(all[0]), len(all[0])+len(all[1])
	for _, c := range []struct {
		name          string
		offset, limit int64
		max           int
		whole         bool
		want          int // bytes
		end           int64
		err           error
	}{
		{name: "at the end", offset: 120, limit: 120, max: 100, end: 120},
		{name: "behind the end", offset: 121, limit: 130, max: 100, err: ErrOutOfRange},
		{name: "below the start", offset: -1, limit: 130, max: 100, err: ErrOutOfRange},
		{name: "limit below the offset", offset: 9, limit: 3, max: 100, end: 9},
		{name: "whole batches only", offset: 0, limit: 120, max: two + 50, want: two, end: 6},
		{name: "inside a batch gives the batch", offset: 4, limit: 120, max: len(all[1]), want: len(all[1]), end: 6},
		{name: "first batch too large", offset: 0, limit: 120, max: one - 1, end: 0},
		{name: "first batch too large but whole", offset: 0, limit: 120, max: one - 1, whole: true, want: one, end: 3},
		{name: "limit inside a batch", offset: 0, limit: 5, max: 10 * one, want: one, end: 3},
		{name: "limit inside the first batch", offset: 0, limit: 2, max: 10 * one, whole: true, end: 0},
		{name: "up to the limit", offset: 3, limit: 9, max: 10 * one, want: len(all[1]) + len(all[2]), end: 9},
		{name: "no bytes at all", offset: 3, limit: 9, max: 0, end: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second time marks are set
				s, err := l.View().Slice(c.offset, c.limit, c.max, c.whole)
				if !errors.Is(err, c.err) {
					t.Fatalf("error %v, want %v", err, c.err)
				}
				if s.Len() != c.want || err == nil && s.End() != c.end {
					t.Fatalf("%d bytes to %d, want %d to %d", s.Len(), s.End(), c.want, c.end)
				}
				s.Release()
			}
		})
	}
}

func TestSegmentsRoll(t *testing.T) {
	big := clock.UnixMilli()
	build := func(base int64, ts ...int64) record.Batch {
		b := record.NewBuilder(record.BuilderOptions{})
		for _, at := range ts {
			b.Append(at, nil, make([]byte, 50), nil)
		}
		batch, err := b.Build()
		must(t, err)
		batch.Stamp(base, 0)
		return batch
	}
	for _, c := range []struct {
		name    string
		config  func(*Config)
		batches []record.Batch
		want    []int64 // bases
	}{
		{"by size", func(c *Config) { c.SegmentBytes = 300 },
			[]record.Batch{build(0, big), build(1, big), build(2, big), build(3, big)}, []int64{0, 2}},
		{"a batch larger than the segment gets its own", func(c *Config) { c.SegmentBytes = 130 },
			[]record.Batch{build(0, big, big, big), build(3, big), build(4, big)}, []int64{0, 3, 4}},
		{"by the first timestamp, not the largest", func(c *Config) { c.SegmentAge = time.Second },
			[]record.Batch{build(0, big), build(1, big+900), build(2, big+1001), build(3, big+1500)}, []int64{0, 2}},
		{"by relative offset", func(*Config) {},
			[]record.Batch{build(0, big), build(1<<31-1, big), build(1<<31, big)}, []int64{0, 1 << 31}},
		{"by a gap that no segment spans", func(*Config) {},
			[]record.Batch{build(0, big), build(1<<33, big)}, []int64{0, 1 << 33}},
		{"by a full index", func(c *Config) { c.IndexInterval, c.IndexBytes = 1, 36 },
			[]record.Batch{build(0, big), build(1, big+1), build(2, big+2), build(3, big+3)}, []int64{0, 3}},
	} {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, together), func(t *testing.T) {
				o := options(newMem(t))
				o.Config = DefaultConfig()
				c.config(&o.Config)
				l := open(t, o)
				if together && c.name != "by a full index" {
					must(t, l.Append(c.batches, 0))
				} else {
					for _, b := range c.batches {
						must(t, l.Append([]record.Batch{b}, 0))
					}
				}
				var bases []int64
				for _, s := range l.View().segments {
					bases = append(bases, s.base)
				}
				if fmt.Sprint(bases) != fmt.Sprint(c.want) {
					t.Fatalf("segments %v, want %v", bases, c.want)
				}
				sameBatches(t, contents(t, l, 1), c.batches)
			})
		}
	}
}

func TestAppendRefusesWhatDoesNotContinue(t *testing.T) {
	l := open(t, options(newMem(t)))
	fill(t, l, 2, 5)
	for _, c := range []struct {
		name  string
		batch record.Batch
		epoch int32
	}{
		{"offset below the end", batchAt(t, 3, 5, 1, 1), 5},
		{"epoch above the leader's", batchAt(t, 6, 6, 1, 1), 5},
		{"epoch below the log's", batchAt(t, 6, 4, 1, 1), 5},
		{"cut short", batchAt(t, 6, 5, 1, 1)[:70], 5},
		{"no batch", record.Batch("short"), 5},
	} {
		if err := l.Append([]record.Batch{batchAt(t, 6, 5, 0+1, 1), c.batch}[1:], c.epoch); !errors.Is(err, ErrNotContiguous) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if l.End() != 6 {
		t.Fatalf("end %d", l.End())
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	m := newMem(t)
	files := NewFiles(m, 10)
	var logs []*Log
	for i := range 50 {
		o := options(m)
		o.Dir = filepath.Join(dataDir, fmt.Sprintf("t-%d", i))
		o.Files = files
		logs = append(logs, open(t, o))
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		l := logs[rng.IntN(len(logs))]
		fill(t, l, 1, 0)
		if rng.IntN(3) == 0 {
			_, err := l.Sync()
			must(t, err)
		}
		contents(t, l, 300)
		if n := files.Open(); n > 10 {
			t.Fatalf("%d files are open", n)
		}
	}
}

func TestSliceOutlivesItsSegment(t *testing.T) {
	for name, end := range map[string]func(l *Log) error{
		"retention":  func(l *Log) error { must(t, l.Trim(l.End())); return l.Purge(clock.Add(time.Hour)) },
		"reset":      func(l *Log) error { return l.Reset(500) },
		"closing":    func(l *Log) error { return l.Close(true) },
		"truncation": func(l *Log) error { return l.Truncate(60) },
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, options(newMem(t)))
			all := fill(t, l, 40, 1)
			s, err := l.View().Slice(0, l.End(), len(all[0]), true)
			must(t, err)
			must(t, end(l))
			raw := make([]byte, s.Len())
			_, err = s.ReadAt(raw, 0)
			must(t, err)
			sameBatches(t, []record.Batch{raw}, all[:1])
			s.Release()
			s.Release()
		})
	}
}

func TestATruncationAtTheEndForgetsEpochsWithoutARecord(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 2, 1)
	_, err := l.Sync()
	must(t, err)
	must(t, l.BeginEpoch(5))
	more := batchAt(t, l.End(), 2, 3, 40)
	if err := l.Append([]record.Batch{more}, 6); !errors.Is(err, ErrNotContiguous) {
		t.Fatalf("a batch of epoch 2 behind epoch 5: %v", err)
	}
	must(t, l.Truncate(l.End()))
	if l.End() != 6 || l.LastEpoch() != 1 {
		t.Fatalf("log end %d, last epoch %d", l.End(), l.LastEpoch())
	}
	again := open(t, options(m.CrashClone(nil))) // it is on the disk
	if again.LastEpoch() != 1 {
		t.Errorf("last epoch %d after a power cut", again.LastEpoch())
	}
	must(t, l.Append([]record.Batch{more}, 6))
}
