package segment

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// cpu is the CPU time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perGB reports CPU seconds per 10^9 bytes since begin.
func perGB(b *testing.B, begin time.Duration, bytes int64) {
	b.ReportMetric((cpu()-begin).Seconds()/(float64(bytes)/1e9), "cpu-s/GB")
}

// benchDir is a directory on a real disk: CORDWOOD_BENCH_DIR where the default is in memory.
func benchDir(b *testing.B) string {
	dir, err := os.MkdirTemp(os.Getenv("CORDWOOD_BENCH_DIR"), "segment")
	must(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func benchLog(b *testing.B, dir string, i int, files *Files, j *Journal) *Log {
	o := options(vfs.OS())
	o.Dir, o.Files, o.Journal, o.Config = filepath.Join(dir, fmt.Sprintf("t-%d", i)), files, j, DefaultConfig()
	o.Config.SegmentBytes = 256 << 20
	l, err := Open(o)
	must(b, err)
	b.Cleanup(func() { _ = l.Close(false) })
	return l
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			l := benchLog(b, benchDir(b), 0, nil, nil)
			batch := batchAt(b, 0, 0, 1, size-100)
			one := []record.Batch{batch}
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			begin := cpu()
			for b.Loop() {
				batch.Stamp(l.End(), 0)
				if err := l.Append(one, 0); err != nil {
					b.Fatal(err)
				}
				if l.WritebackDue() {
					l.Writeback()
				}
				if l.Size() > 1<<30 { // bounds the page cache that the run touches
					must(b, l.Trim(l.View().segments[1].base))
					must(b, l.Purge(time.Now().Add(time.Hour)))
				}
			}
			perGB(b, begin, int64(b.N)*int64(len(batch)))
		})
	}
}

// BenchmarkWriteLimit is what BenchmarkAppend cannot beat: the same bytes in the same pieces into a fresh file. Compare
// the two within one run only.
func BenchmarkWriteLimit(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			dir := benchDir(b)
			batch := batchAt(b, 0, 0, 1, size-100)
			b.SetBytes(int64(len(batch)))
			var f vfs.File
			at, n := int64(1<<40), 0
			begin := cpu()
			for b.Loop() {
				if at > 256<<20 {
					var err error
					f, err = vfs.OS().Open(filepath.Join(dir, fmt.Sprint(n)), os.O_RDWR|os.O_CREATE, 0o600)
					must(b, err)
					b.Cleanup(func() { _ = f.Close() })
					if n >= 4 {
						must(b, os.Remove(filepath.Join(dir, fmt.Sprint(n-4))))
					}
					at, n = 0, n+1
				}
				if _, err := f.WriteAt(batch, at); err != nil {
					b.Fatal(err)
				}
				at += int64(len(batch))
			}
			perGB(b, begin, int64(b.N)*int64(len(batch)))
		})
	}
}

func BenchmarkSliceAndSend(b *testing.B) {
	for _, size := range []int{16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			l := benchLog(b, benchDir(b), 0, nil, nil)
			for l.Size() < 200<<20 {
				must(b, l.Append([]record.Batch{batchAt(b, l.End(), 0, 10, 1600)}, 0))
			}
			rc := sink(b)
			at, sent := int64(0), int64(0)
			b.ReportAllocs()
			begin := cpu()
			for b.Loop() {
				s, err := l.View().Slice(at, l.End(), size, true)
				if err != nil {
					b.Fatal(err)
				}
				n, err := s.SendTo(rc, 0, int64(s.Len()))
				if err != nil {
					b.Fatal(err)
				}
				sent += n
				if at = s.End(); at >= l.End() {
					at = 0
				}
				s.Release()
			}
			b.SetBytes(sent / int64(b.N))
			perGB(b, begin, sent)
		})
	}
}

// sink is a loopback connection whose other end throws everything away (in this process: its cost counts too).
func sink(b *testing.B) syscall.RawConn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 1<<20))
		}
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	must(b, err)
	b.Cleanup(func() { _ = c.Close(); _ = listener.Close() })
	rc, err := c.(*net.TCPConn).SyscallConn()
	must(b, err)
	return rc
}

func BenchmarkSlice(b *testing.B) {
	l := benchLog(b, benchDir(b), 0, nil, nil)
	for l.Size() < 300<<20 { // a sealed segment and an active one
		must(b, l.Append([]record.Batch{batchAt(b, l.End(), 0, 10, 1600)}, 0))
	}
	for _, c := range []struct {
		name   string
		offset func(i int64) int64
	}{
		{"tail", func(int64) int64 { return l.End() - 10 }},
		{"active", func(i int64) int64 { a := l.active().base; return a + i*7919%(l.End()-a) }},
		{"sealed", func(i int64) int64 { return i * 7919 % l.active().base }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				s, err := l.View().Slice(c.offset(i), l.End(), 64<<10, true)
				if err != nil {
					b.Fatal(err)
				}
				s.Release()
			}
		})
	}
}

// One round makes n logs durable that each got one batch: by an fdatasync of each, 16 at a time, or by the journal. The
// journal's checkpoints are in its figure, if the run is long enough for one.
func BenchmarkSyncRound(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		for _, n := range []int{1, 4, 10, 30, 100, 1000, 5000} {
			if size > 1<<10 && n > 100 {
				continue
			}
			for _, how := range []string{"files", "journal"} {
				b.Run(fmt.Sprintf("%dKB/%d/%s", size>>10, n, how), func(b *testing.B) { syncRounds(b, n, size, how == "journal") })
			}
		}
	}
}

func syncRounds(b *testing.B, n, size int, journaled bool) {
	dir := benchDir(b)
	j, err := OpenJournal(vfs.OS(), dir, DefaultJournalBytes, nil)
	must(b, err)
	files := NewFiles(vfs.OS(), DefaultOpenFiles)
	logs := make([]*Log, n)
	for i := range logs {
		logs[i] = benchLog(b, dir, i, files, j)
	}
	batch := batchAt(b, 0, 0, 1, size-100)
	dirty := func() {
		for _, l := range logs {
			batch.Stamp(l.End(), 0)
			must(b, l.Append([]record.Batch{batch}, 0))
		}
	}
	dirty()
	syncAll(b, logs)
	must(b, j.Reset())
	var buf []byte
	entries := make([]Entry, n)
	begin, used := cpu(), time.Duration(0)
	for b.Loop() {
		b.StopTimer()
		dirty()
		used -= cpu() - begin
		b.StartTimer()
		if !journaled {
			syncAll(b, logs)
			used += cpu() - begin
			continue
		}
		buf = buf[:0]
		for i, l := range logs {
			e, _, ok, err := l.Unsynced(buf, 1<<20)
			if err != nil || !ok {
				b.Fatal(ok, err)
			}
			if err := j.Append(l, e); err == ErrJournalFull {
				syncAll(b, logs)
				must(b, j.Reset())
			} else {
				must(b, err)
			}
			e.Data = nil
			entries[i] = e
		}
		must(b, j.Commit())
		for i, l := range logs {
			l.MarkDurable(entries[i])
		}
		used += cpu() - begin
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/round")
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "acks/s")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N)/float64(n), "cpu-us/log")
}

func syncAll(b *testing.B, logs []*Log) {
	var wg sync.WaitGroup
	next := make(chan *Log)
	for range min(16, len(logs)) {
		wg.Go(func() {
			for l := range next {
				if _, err := l.Sync(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, l := range logs {
		next <- l
	}
	close(next)
	wg.Wait()
}
