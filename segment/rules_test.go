package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// Each test here fails when the rule it is named after is switched off by the build tag of the same name.

func idempotent(t *testing.T, l *Log, id int64, sequence int32) record.Batch {
	t.Helper()
	b := stamped(t, l.End(), 0, record.BuilderOptions{Producer: &record.Producer{ID: id, Sequence: sequence}}, 3, 40)
	must(t, l.Append([]record.Batch{b}, 0))
	return b
}

func TestZ22ProducersSurviveRollAndCrash(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	first := idempotent(t, l, 7, 0)
	fill(t, l, 30, 0) // rolls: the batch of producer 7 is in a sealed segment now
	_, err := l.Sync()
	must(t, err)
	o := options(m.CrashClone(nil))
	o.RecoveryPoint = l.RecoveryPoint()
	again := open(t, o)
	if again.Segments() < 3 {
		t.Fatalf("%d segments, the test wants some", again.Segments())
	}
	dup, err := again.Producers().Check(first, clock.UnixMilli())
	if err != nil || dup == nil || dup.BaseOffset != first.BaseOffset() {
		t.Fatalf("a duplicate would be appended again: %+v, %v", dup, err)
	}
}

func TestZ25CleanFilesAreGoneBeforeLogsAreOpened(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 5, 0)
	must(t, l.Close(true))
	must(t, WriteClean(m, dataDir, 3, map[string]CleanLog{l.Name(): l.Manifest()}))

	c, err := TakeClean(m, dataDir, nil)
	must(t, err)
	if c == nil || c.BrokerEpoch != 3 || c.Logs["t-0"] == nil {
		t.Fatalf("took %+v", c)
	}
	o := options(m)
	o.Clean = c.Logs["t-0"]
	l = open(t, o)
	fill(t, l, 5, 0)
	// The power goes. What the files of the stop before say is not true any more.
	crashed := m.CrashClone(nil)
	if c, err = TakeClean(crashed, dataDir, nil); err != nil || c != nil {
		t.Fatalf("a crash counts as a clean stop: %+v, %v", c, err)
	}
}

func TestZ26FailedFsyncIsNotRetried(t *testing.T) {
	m := newMem(t)
	broken := false
	l := open(t, options(vfs.NewFault(m, func(op vfs.Op) vfs.Verdict {
		if broken && op.Kind == vfs.OpSync {
			broken = false // the next one would say that all is well
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	})))
	fill(t, l, 2, 0)
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 2, 0)
	broken = true
	if _, err := l.Sync(); err == nil {
		t.Fatal("the failed fsync went unnoticed")
	}
	if end, err := l.Sync(); !errors.Is(err, ErrFailed) || end != 6 || l.Durable() != 6 {
		t.Fatalf("the second sync: durable %d, %v", end, err)
	}
	if err := l.Append([]record.Batch{batchAt(t, l.End(), 0, 1, 1)}, 0); !errors.Is(err, ErrFailed) {
		t.Fatalf("an append after it: %v", err)
	}
	if len(contents(t, l, 1000)) != 4 {
		t.Fatal("reads do not go on")
	}
}

func TestZ27DamageIsKeptAndReported(t *testing.T) {
	for _, c := range []struct {
		name     string
		position func(l *Log) (file string, at int64)
		from, to int64
	}{
		{"in the header of a batch of the last segment", func(l *Log) (string, int64) {
			s := l.active()
			p, _, _ := s.find(fileOf(t, s), s.base+3, s.tail.size.Load())
			return s.log.name(), p.position + 16
		}, 111, 114},
		{"at the end of a sealed segment", func(l *Log) (string, int64) {
			s := l.View().segments[1]
			end := s.tail.end.Load()
			p, _, _ := s.find(fileOf(t, s), end-1, s.tail.size.Load())
			return s.log.name(), p.position + 16
		}, 51, 54},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			l := open(t, options(m))
			want := fill(t, l, 40, 0)
			_, err := l.Sync()
			must(t, err)
			image := m.KillClone()
			file, at := c.position(l)
			must(t, image.Corrupt(file, at, 0xff))
			o := options(image)
			o.RecoveryPoint = l.RecoveryPoint()
			for range 2 { // the second recovery knows it from the .fault file
				damaged := open(t, o)
				if damaged.End() != l.End() {
					t.Fatalf("log ends at %d, was %d: data was cut off", damaged.End(), l.End())
				}
				faults := damaged.Recovery().Faults
				if len(faults) != 1 || faults[0].From != c.from || faults[0].To != c.to {
					t.Fatalf("faults %+v, want [%d,%d)", faults, c.from, c.to)
				}
				got, err := readAllBatches(damaged, 0, c.from, 1000)
				must(t, err)
				more, err := readAllBatches(damaged, c.to, l.End(), 1000)
				must(t, err)
				good := append(bytesBefore(want, c.from), from(want, c.to)...)
				sameBatches(t, append(got, more...), good)
				if _, err := damaged.View().Slice(c.from, l.End(), 1000, true); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("the range itself: %v", err)
				}
				must(t, damaged.Append([]record.Batch{batchAt(t, damaged.End(), 0, 1, 1)}, 0))
				must(t, damaged.Truncate(l.End()))
				must(t, damaged.Close(false))
			}
		})
	}
}

func fileOf(t *testing.T, s *Segment) vfs.File {
	t.Helper()
	f, err := s.log.acquire()
	must(t, err)
	t.Cleanup(s.log.release)
	return f
}

func bytesBefore(batches []record.Batch, end int64) []record.Batch {
	var before []record.Batch
	for _, b := range batches {
		if b.NextOffset() <= end {
			before = append(before, b)
		}
	}
	return before
}

func TestZ31LogIsNeverCutToAHighWatermark(t *testing.T) {
	m := newMem(t)
	c, err := OpenCheckpoints(m, dataDir, nil)
	must(t, err)
	o := options(m)
	o.Checkpoints = c
	l := open(t, o)
	want := fill(t, l, 20, 0)
	must(t, l.Trim(10))
	_, err = l.Sync()
	must(t, err)
	must(t, c.Write(func(yield func(*Log) bool) { yield(l) }))

	for name, hw := range map[string]int64{"behind": 30, "below the start": 2, "missing": -1} {
		t.Run(name, func(t *testing.T) {
			image := m.KillClone()
			c, err := OpenCheckpoints(image, dataDir, nil)
			must(t, err)
			if hw >= 0 {
				must(t, c.WriteHighWatermarks(func(yield func(string, int64) bool) { yield("t-0", hw) }))
				c, err = OpenCheckpoints(image, dataDir, nil)
				must(t, err)
			}
			o := options(image)
			o.Checkpoints = c
			again := open(t, o)
			if again.Start() != 10 || again.End() != 60 {
				t.Fatalf("log [%d, %d), was [10, 60)", again.Start(), again.End())
			}
			if got := again.HighWatermarkHint(); got != max(hw, 10) {
				t.Fatalf("hint %d", got)
			}
			sameBatches(t, contents(t, again, 500), from(want, 10))
		})
	}
}

func TestZ34NamesAreDurableBeforeTheirDataCounts(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 2, 0)
	_, err := l.Sync()
	must(t, err)
	first := m.CrashClone(nil)
	fill(t, l, 30, 0) // rolls
	_, err = l.Sync()
	must(t, err)
	for image, end := range map[*vfs.Mem]int64{first: 6, m.CrashClone(nil): l.End()} {
		if _, err := image.Stat(filepath.Join(logDir, partitionFile)); errors.Is(err, fs.ErrNotExist) {
			t.Error("partition.metadata is lost")
		}
		if again := open(t, options(image)); again.End() != end {
			t.Errorf("log ends at %d, %d was durable", again.End(), end)
		}
	}
}

func TestDamagedLengthCostsOneBatch(t *testing.T) {
	// The next good batch is found by its CRC.
	m := newMem(t)
	l := open(t, options(m))
	all := fill(t, l, 6, 0)
	_, err := l.Sync()
	must(t, err)
	image := m.KillClone()
	must(t, image.Corrupt(l.active().log.name(), int64(len(all[0])+len(all[1]))+11, 0x7f))
	o := options(image)
	o.RecoveryPoint = l.End()
	again := open(t, o)
	f := again.Recovery().Faults
	if len(f) != 1 || f[0].From != 6 || f[0].To != 9 {
		t.Fatalf("faults %+v", f)
	}
	got, err := readAllBatches(again, 9, 18, 1000)
	must(t, err)
	if !bytes.Equal(got[0], all[3]) {
		t.Fatal("the batch behind the damage is another one")
	}
}
