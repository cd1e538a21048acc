package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

func write(t testing.TB, fsys vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fsys.Open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	must(t, err)
	_, err = f.WriteAt(data, 0)
	must(t, err)
	must(t, f.Close())
}

func read(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name, 1<<30)
	must(t, err)
	return b
}

func names(t testing.TB, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

const seg0, seg1 = logDir + "/00000000000000000000", logDir + "/00000000000000000027"

// Bad input 148 and its kin: what may lie in a log directory after a crash or a curious operator.
var badInputs = []struct {
	name  string
	spoil func(t *testing.T, m *vfs.Mem)
	point int64 // recovery point; -1: the log's end
	end   int64 // log end after recovery
	lost  int   // faults
	err   error
}{
	{name: "nothing", spoil: func(*testing.T, *vfs.Mem) {}, point: -1, end: 120},
	{name: "no recovery point", spoil: func(*testing.T, *vfs.Mem) {}, point: 0, end: 120},
	{name: "no index files", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		for _, n := range names(t, m, logDir) {
			if strings.HasSuffix(n, "index") {
				must(t, m.Remove(filepath.Join(logDir, n)))
			}
		}
	}},
	{name: "garbage in every side file", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		for _, n := range names(t, m, logDir) {
			if !strings.HasSuffix(n, logSuffix) && n != partitionFile {
				write(t, m, filepath.Join(logDir, n), []byte("garbage, 30 bytes, not a file."))
			}
		}
	}},
	{name: "index longer than the log", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		b := read(t, m, seg0+indexSuffix)
		for i := range int32(100) {
			b = append(b, encodeOffsets([]offsetEntry{{1000 + i, 5000 + i}})...)
		}
		write(t, m, seg0+indexSuffix, b)
	}},
	{name: "index of zeros", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		write(t, m, seg0+indexSuffix, make([]byte, 4096))
		write(t, m, seg0+timeSuffix, make([]byte, 1200))
	}},
	{name: "torn tail", point: 0, end: 117, spoil: func(t *testing.T, m *vfs.Mem) {
		last := lastLog(t, m)
		b := read(t, m, last)
		write(t, m, last, b[:len(b)-1])
	}},
	{name: "zeros behind the end", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		last := lastLog(t, m)
		write(t, m, last, append(read(t, m, last), make([]byte, 10_000)...))
	}},
	{name: "zero length above the recovery point", point: 0, end: 27, spoil: func(t *testing.T, m *vfs.Mem) {
		write(t, m, seg1+logSuffix, nil)
	}},
	{name: "zero length below the recovery point", point: -1, end: 120, lost: 1, spoil: func(t *testing.T, m *vfs.Mem) {
		write(t, m, seg1+logSuffix, nil)
	}},
	{name: "missing above the recovery point", point: 0, end: 27, spoil: func(t *testing.T, m *vfs.Mem) {
		must(t, m.Remove(seg1+logSuffix))
	}},
	{name: "missing below the recovery point", point: -1, end: 120, lost: 1, spoil: func(t *testing.T, m *vfs.Mem) {
		must(t, m.Remove(seg1+logSuffix))
	}},
	{name: "base offset mismatch above the recovery point", point: 0, end: 27, spoil: func(t *testing.T, m *vfs.Mem) {
		must(t, m.Rename(seg1+logSuffix, logDir+"/00000000000000000028.log"))
	}},
	{name: "first segment renamed upwards", point: 0, end: 3, spoil: func(t *testing.T, m *vfs.Mem) {
		must(t, m.Rename(seg0+logSuffix, logDir+"/00000000000000000003.log"))
	}},
	{name: "last segment shorter than the recovery point", point: -1, end: 120, lost: 1, spoil: func(t *testing.T, m *vfs.Mem) {
		last := lastLog(t, m)
		write(t, m, last, read(t, m, last)[:100])
	}},
	{name: "all gone", point: -1, end: 120, lost: 1, spoil: func(t *testing.T, m *vfs.Mem) {
		for _, n := range names(t, m, logDir) {
			must(t, m.Remove(filepath.Join(logDir, n)))
		}
	}},
	{name: "names that are no numbers", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		for _, n := range []string{"x.log", "1.log", "-0000000000000000001.log", "99999999999999999999.log",
			"000000000000000000000.log", "0000000000000000002٣.log", "00000000000000000030.log.bak", ".log", "00000000000000000040.what"} {
			write(t, m, filepath.Join(logDir, n), []byte("x"))
		}
	}},
	{name: "leftovers of a deletion and a compaction", point: -1, end: 120, spoil: func(t *testing.T, m *vfs.Mem) {
		for _, n := range []string{"00000000000000000000.log.deleted", "00000000000000000000.log.cleaned", "leader-epoch-checkpoint.tmp"} {
			write(t, m, filepath.Join(logDir, n), []byte("x"))
		}
	}},
	{name: "a directory in a segment's place", point: -1, err: vfs.ErrUnsafe, spoil: func(t *testing.T, m *vfs.Mem) {
		must(t, m.MkdirAll(logDir+"/00000000000000000500.log", 0o700))
	}},
	{name: "another topic's directory", point: -1, err: ErrTopicID, spoil: func(t *testing.T, m *vfs.Mem) {
		write(t, m, filepath.Join(logDir, partitionFile), encodePartitionFile([16]byte{9}))
	}},
}

func TestRecoveryOfBadInputs(t *testing.T) {
	for _, c := range badInputs {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			l := open(t, options(m))
			want := fill(t, l, 40, 3)
			if l.View().segments[1].base != 27 {
				t.Fatalf("second segment at %d", l.View().segments[1].base)
			}
			_, err := l.Sync()
			must(t, err)
			must(t, l.Close(true))
			c.spoil(t, m)
			o := options(m)
			o.RecoveryPoint = c.point
			if c.point < 0 {
				o.RecoveryPoint = l.RecoveryPoint()
			}
			again, err := Open(o)
			if c.err != nil {
				if !errors.Is(err, c.err) {
					t.Fatalf("error %v, want %v", err, c.err)
				}
				return
			}
			must(t, err)
			defer again.Close(false)
			if again.End() != c.end || len(again.Recovery().Faults) != c.lost {
				t.Fatalf("end %d, %d faults; want %d, %d (%+v)", again.End(), len(again.Recovery().Faults), c.end, c.lost, again.Recovery())
			}
			if c.lost == 0 && again.Start() == 0 {
				sameBatches(t, contents(t, again, 700), bytesBefore(want, c.end))
				checkIndexes(t, again)
				checkEpochs(t, again)
			}
			must(t, again.Append([]record.Batch{batchAt(t, again.End(), 3, 2, 10)}, 3))
			_, err = again.Sync()
			must(t, err)
		})
	}
}

func lastLog(t testing.TB, m *vfs.Mem) string {
	t.Helper()
	last := ""
	for _, n := range names(t, m, logDir) {
		if strings.HasSuffix(n, logSuffix) {
			last = filepath.Join(logDir, n)
		}
	}
	return last
}

// Bad input 147, on a real disk: only there are links and owners.
func TestRecoveryRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	o := options(vfs.OS())
	o.Dir = filepath.Join(dir, "t-0")
	l := open(t, o)
	fill(t, l, 40, 0)
	must(t, l.Close(true))
	name := fileName(o.Dir, 27, logSuffix)
	must(t, os.Rename(name, filepath.Join(dir, "elsewhere")))
	must(t, os.Symlink(filepath.Join(dir, "elsewhere"), name))
	if _, err := Open(o); !errors.Is(err, vfs.ErrUnsafe) {
		t.Fatalf("opened through a link: %v", err)
	}
}

// A hole of 3 GiB costs neither memory nor a panic (bad input 148).
func TestRecoveryOfHugeSegment(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	for _, point := range []int64{0, 500} {
		o := options(vfs.OS())
		o.Dir = filepath.Join(dir, fmt.Sprintf("t-%d", point))
		l := open(t, o)
		want := fill(t, l, 2, 0)
		must(t, l.Close(true))
		must(t, os.Truncate(fileName(o.Dir, 0, logSuffix), 3<<30))
		if point > 0 { // all of it would be searched for a good batch
			must(t, os.Truncate(fileName(o.Dir, 0, logSuffix), 32<<20))
		}
		o.RecoveryPoint = point
		again := open(t, o)
		got, err := readAllBatches(again, 0, 6, 1000)
		must(t, err)
		sameBatches(t, got, want)
		if again.End() != max(6, point) {
			t.Fatalf("end %d", again.End())
		}
	}
}

func TestBatchesLargerThanTheWindowAreChecked(t *testing.T) {
	m := newMem(t)
	o := options(m)
	o.Config.SegmentBytes = 1 << 30
	l := open(t, o)
	huge := batchAt(t, 0, 0, 1, windowSize+100)
	must(t, l.Append([]record.Batch{huge, batchAt(t, 1, 0, 1, 10)}, 0))
	_, err := l.Sync()
	must(t, err)
	again := open(t, withFS(o, m.KillClone()))
	sameBatches(t, contents(t, again, 1), []record.Batch{huge, batchAt(t, 1, 0, 1, 10)})
	image := m.KillClone()
	must(t, image.Corrupt(l.active().log.name(), windowSize+90, 1))
	if again = open(t, withFS(o, image)); again.End() != 0 {
		t.Fatalf("a bad crc in a huge batch: end %d", again.End())
	}
}

func withFS(o Options, fsys vfs.FS) Options {
	o.FS, o.Files = fsys, NewFiles(fsys, 8)
	return o
}

func TestRecoveryReadsOnlyWhatIsAboveTheRecoveryPoint(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	fill(t, l, 200, 0)
	_, err := l.Sync()
	must(t, err)
	point := l.RecoveryPoint()
	tail := fill(t, l, 3, 0)
	o := options(m.KillClone())
	o.RecoveryPoint = point
	again := open(t, o)
	want := int64(len(bytes.Join([][]byte{tail[0], tail[1], tail[2]}, nil)))
	if got := again.Recovery().ScannedBytes; got != want {
		t.Fatalf("%d bytes were checked, %d lie above the recovery point", got, want)
	}
}

func TestCheckpointFilesAreRebuiltFromGarbage(t *testing.T) {
	for _, garbage := range []string{"", "0", "0\n", "1\n0\n", "0\n5\nt 0 1\n", "0\n1\nt 0\n", "0\n1\nt x 1\n", "0\n1\nt 0 -1\n",
		"0\n2\nt 0 1\nt 0 2\n", "0\n1\nt 0 99999999999999999999\n", "\xff\xfe\x00", "0\n1\n\n"} {
		m := newMem(t)
		for _, name := range []string{recoveryFile, startFile, highWatermarkFile} {
			write(t, m, filepath.Join(dataDir, name), []byte(garbage))
		}
		c, err := OpenCheckpoints(m, dataDir, nil)
		must(t, err)
		if r, s, h := c.get("t-0"); r != 0 || s != 0 || h != -1 {
			t.Errorf("%q gives %d %d %d", garbage, r, s, h)
		}
	}
}

func TestNewLogUnderAnOldNameStartsAnew(t *testing.T) {
	m := newMem(t)
	c, err := OpenCheckpoints(m, dataDir, nil)
	must(t, err)
	o := options(m)
	o.Checkpoints = c
	l := open(t, o)
	fill(t, l, 30, 0)
	_, err = l.Sync()
	must(t, err)
	must(t, c.Write(func(yield func(*Log) bool) { yield(l) }))
	path, err := l.Delete()
	must(t, err)
	if deleted, stray := Doomed(filepath.Base(path)); !deleted || stray {
		t.Fatalf("%s is no name of a deleted log", path)
	}
	if _, err := m.Stat(logDir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the directory is still there: %v", err)
	}
	o.TopicID = [16]byte{2}
	l = open(t, o) // at once, with another id (trap 40)
	if l.Start() != 0 || l.End() != 0 {
		t.Fatalf("log [%d, %d)", l.Start(), l.End())
	}
	fill(t, l, 1, 0)
	_, err = l.Sync()
	must(t, err)
	image := m.CrashClone(nil)
	if c, err = OpenCheckpoints(image, dataDir, nil); err != nil {
		t.Fatal(err)
	}
	o = withFS(o, image)
	o.Checkpoints = c
	if again := open(t, o); again.End() != 3 || len(again.Recovery().Faults) != 0 {
		t.Fatalf("the old log's recovery point counts for the new one: end %d, %+v", again.End(), again.Recovery())
	}
}

// A log that was made and written, but never synced before the process was killed: its directory's name was never made
// durable either, and the next life's first Sync has to do that.
func TestSyncAfterAKillMakesTheDirectoryDurable(t *testing.T) {
	mem := newMem(t)
	fill(t, open(t, options(mem)), 3, 0)
	mem = mem.KillClone()
	l := open(t, options(mem))
	fill(t, l, 2, 0)
	want := contents(t, l, 1000)
	_, err := l.Sync()
	must(t, err)
	sameBatches(t, contents(t, open(t, options(mem.CrashClone(nil))), 1000), want)
}

// The same when the first try to make the log failed half way.
func TestSyncAfterAFailedCreationMakesTheDirectoryDurable(t *testing.T) {
	mem := newMem(t)
	o := options(vfs.NewFault(mem, func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpOpen && strings.HasSuffix(op.Name, logSuffix) {
			return vfs.Verdict{Err: syscall.ENOSPC}
		}
		return vfs.Verdict{}
	}))
	if _, err := Open(o); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	l := open(t, options(mem))
	want := fill(t, l, 2, 0)
	_, err := l.Sync()
	must(t, err)
	sameBatches(t, contents(t, open(t, options(mem.CrashClone(nil))), 1000), want)
}
