package segment

import (
	"bytes"
	"path/filepath"
	"testing"

	"cordwood/segment/vfs"
)

// image is the files of a log with some of everything, for the seeds.
func image(t testing.TB) map[string][]byte {
	t.Helper()
	m := newMem(t)
	o := options(m)
	o.Config.SegmentBytes = 700
	l := open(t, o)
	fill(t, l, 8, 3)
	must(t, l.Close(true))
	files := make(map[string][]byte)
	for _, n := range names(t, m, logDir) {
		files[n] = read(t, m, filepath.Join(logDir, n))
	}
	return files
}

// checkOpen opens a log directory of arbitrary bytes. Whatever is in it: no panic, and what opens can be read, written,
// and opened again with the same result.
func checkOpen(t *testing.T, m *vfs.Mem, point int64) {
	t.Helper()
	o := options(m)
	o.TopicID, o.RecoveryPoint = [16]byte{}, point
	l, err := Open(o)
	if err != nil {
		return
	}
	read := func(l *Log) []byte {
		var all []byte
		for at := l.Start(); at < l.End(); {
			s, err := l.View().Slice(at, l.End(), 300, true)
			if err != nil || s.Len() == 0 {
				s.Release()
				next := l.End()
				for _, f := range l.Recovery().Faults {
					if at >= f.From && at < f.To {
						next = f.To
					}
				}
				at = max(next, at+1)
				continue
			}
			raw := make([]byte, s.Len())
			if n, err := s.ReadAt(raw, 0); err != nil {
				t.Fatalf("slice of %d bytes: %d, %v", s.Len(), n, err)
			}
			all = append(all, raw...)
			if s.End() <= at {
				t.Fatalf("slice at %d ends at %d", at, s.End())
			}
			at = s.End()
			s.Release()
		}
		return all
	}
	_, _, _, _, _ = l.OffsetForTime(stampOf(5))
	_, _ = l.AbortedIn(0, l.End())
	first, end := read(l), l.End()
	if end > 1<<60 {
		return
	}
	if _, err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	must(t, l.Close(false))
	o.RecoveryPoint = max(end, point)
	again, err := Open(o)
	if err != nil {
		t.Fatalf("opened once, not twice: %v", err)
	}
	defer again.Close(false)
	if got := read(again); again.End() != end || !bytes.Equal(got, first) {
		t.Fatalf("end %d then %d, %d bytes then %d", end, again.End(), len(first), len(got))
	}
}

func FuzzRecoverLog(f *testing.F) {
	files := image(f)
	f.Add(files["00000000000000000000.log"], int64(0))
	f.Add(files["00000000000000000000.log"], int64(9))
	f.Add(files["00000000000000000000.log"][:200], int64(1000))
	f.Fuzz(func(t *testing.T, data []byte, point int64) {
		m := newMem(t)
		must(t, m.MkdirAll(logDir, 0o700))
		write(t, m, fileName(logDir, 0, logSuffix), data)
		checkOpen(t, m, min(max(point, 0), 1<<40))
	})
}

func FuzzSideFiles(f *testing.F) {
	files := image(f)
	f.Add(files["00000000000000000000.index"], files["00000000000000000000.timeindex"], []byte{}, files[epochFile], files["00000000000000000009.snapshot"], encodeFaults([]fault{{3, 6, 208, 416}}))
	f.Fuzz(func(t *testing.T, index, times, txns, epochs, snapshot, faults []byte) {
		m := newMem(t)
		must(t, m.MkdirAll(logDir, 0o700))
		for name, data := range files {
			write(t, m, filepath.Join(logDir, name), data)
		}
		for suffix, data := range map[string][]byte{indexSuffix: index, timeSuffix: times, txnSuffix: txns, faultSuffix: faults} {
			write(t, m, fileName(logDir, 0, suffix), data)
		}
		write(t, m, filepath.Join(logDir, epochFile), epochs)
		write(t, m, fileName(logDir, 9, snapshotSuffix), snapshot)
		checkOpen(t, m, 24)
	})
}

func FuzzCheckpoints(f *testing.F) {
	f.Add([]byte("0\n1\nt 0 5\n"))
	f.Add([]byte("0\n2\n1 0\n2 5\n"))
	f.Add(encodePartitionFile(topicID))
	f.Add((Meta{"cluster", 1, topicID}).encode())
	f.Add([]byte(`{"version":0,"brokerEpoch":17}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeOffsetCheckpoint(data); err == nil {
			if again, err := decodeOffsetCheckpoint(encodeOffsetCheckpoint(m)); err != nil || len(again) != len(m) {
				t.Fatalf("%v: %v, %v", m, again, err)
			}
		}
		if c, err := decodeEpochs(data); err == nil {
			if again, err := decodeEpochs(c.encode()); err != nil || len(again) != len(c) {
				t.Fatalf("%v: %v, %v", c, again, err)
			}
		}
		if m, err := decodeMeta(data); err == nil && m.ClusterID == "" && m.DirectoryID == [16]byte{} {
			t.Fatal("neither the cluster nor the directory has an id") // one that was never in a cluster has its own
		}
		_, _ = decodePartitionFile(data)
		_, _ = decodeKafkaClean(data)
		_, _ = decodeFaults(data)
	})
}

func FuzzManifest(f *testing.F) {
	m := newMem(f)
	l := open(f, options(m))
	fill(f, l, 20, 0)
	must(f, l.Close(true))
	whole := encodeManifest(3, map[string]CleanLog{"t-0": l.Manifest()})
	f.Add(whole[:len(whole)-4])
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeManifest(be.AppendUint32(bytes.Clone(data), checksum(data)))
		if err != nil {
			return
		}
		for name, entry := range c.Logs {
			o := options(newMem(t))
			o.Dir, o.TopicID, o.Clean = filepath.Join(dataDir, "x"), [16]byte{}, entry
			l, err := Open(o)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := l.View().Slice(l.Start(), l.End(), 1000, true); err == nil && l.End() > l.Start() && l.Size() > 0 {
				t.Fatal("there are no files, and a slice all the same")
			}
			must(t, l.Close(false))
		}
	})
}

func FuzzJournal(f *testing.F) {
	t := new(testing.T)
	d := newDirectory(t, newMem(f), 1)
	d.named()
	fill(f, d.logs[0], 2, 0)
	d.commit(d.logs[0])
	must(f, d.logs[0].Truncate(3))
	f.Add(read(f, d.mem, filepath.Join(dataDir, journalFile))[journalBegin:], true)
	f.Add([]byte("garbage"), false)
	f.Fuzz(func(t *testing.T, data []byte, fix bool) {
		if n := len(data); fix && n > recordHead+recordFields {
			be.PutUint32(data, uint32(n-recordHead))
			be.PutUint64(data[recordHead:], 1)
			be.PutUint32(data[4:], checksum(data[recordHead:]))
		}
		m := newMem(t)
		j, err := OpenJournal(m, dataDir, 1<<20, nil)
		must(t, err)
		must(t, j.start())
		must(t, j.Close())
		b := make([]byte, journalBegin, journalBegin+len(data))
		b = append(append(b[:0], header()...), data...)
		write(t, m, filepath.Join(dataDir, journalFile), b)
		j, err = OpenJournal(m, dataDir, 1<<20, nil)
		if err != nil {
			return
		}
		o := options(m)
		o.Journal = j
		l := open(t, o)
		_, _ = j.Replay(l)
		_, _ = readAllBatches(l, l.Start(), l.End(), 1000)
	})
}

// header is the first 4096 bytes of a journal of generation 1.
func header() []byte {
	b := make([]byte, journalBegin)
	s := append(b[journalSlot:journalSlot], journalMagic...)
	s = be.AppendUint32(s, journalVersion)
	s = be.AppendUint64(s, 1)
	be.AppendUint32(s, checksum(s))
	return b
}
