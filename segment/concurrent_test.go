package segment

import (
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// Readers, the flusher and upkeep beside the one writer; most useful under the race detector.
func TestReadersAndFlusherBesideTheWriter(t *testing.T) {
	m := newMem(t)
	o := options(m)
	o.Files = NewFiles(m, 2) // opened and evicted all the time
	o.Config.RetentionBytes = 8000
	l := open(t, o)
	fill(t, l, 1, 0)
	var stop atomic.Bool
	var reads atomic.Int64
	var others sync.WaitGroup
	beside := func(do func() error) {
		others.Add(1)
		go func() {
			defer others.Done()
			for !stop.Load() {
				if err := do(); err != nil {
					t.Error(err)
					return
				}
				runtime.Gosched()
			}
		}()
	}
	for range 2 {
		at := int64(0)
		beside(func() error { return readOn(l, &at, &reads) })
	}
	beside(func() error { _, err := l.Sync(); return err })
	beside(func() error { return l.Purge(time.Now()) })
	beside(func() error { _, _, _, _, err := l.OffsetForTime(stampOf(l.Start())); return ignoreGone(err) })
	beside(func() error { l.Writeback(); _ = l.WritebackDue(); _, _ = l.EndOffsetFor(0); return nil })
	for i := 0; i < 1500 || reads.Load() < 300; i++ {
		fill(t, l, 1, 0)
		if i%10 == 0 {
			_, err := l.Retain(clock, l.End())
			must(t, err)
		}
	}
	stop.Store(true)
	others.Wait()
	_, err := l.Sync()
	must(t, err)
	if l.Durable() != l.End() {
		t.Fatalf("durable %d of %d", l.Durable(), l.End())
	}
}

// readOn reads and checks the next batches from *at.
func readOn(l *Log, at *int64, reads *atomic.Int64) error {
	s, err := l.View().Slice(*at, l.End(), 500, true)
	if errors.Is(err, ErrOutOfRange) {
		*at = l.Start()
		return nil
	}
	if err != nil || s.Len() == 0 {
		return err
	}
	defer s.Release()
	raw := make([]byte, s.Len())
	if _, err := s.ReadAt(raw, 0); err != nil {
		return err
	}
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return err
		}
		raw = rest
		reads.Add(1)
	}
	*at = s.End()
	return nil
}

// ignoreGone: retention may take a segment from under a lookup, which then asks again.
func ignoreGone(err error) error {
	if errors.Is(err, errRetired) || errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return err
}

// What a Slice sends to a socket is what ReadAt reads, also while the segment goes away.
func TestSliceIsSentWhileItsSegmentGoes(t *testing.T) {
	o := options(vfs.OS())
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config.SegmentBytes = 4 << 20
	l := open(t, o)
	var want []record.Batch
	for l.Size() < 3<<20 {
		b := batchAt(t, l.End(), 0, 3, 10_000)
		must(t, l.Append([]record.Batch{b}, 0))
		want = append(want, b)
	}
	s, err := l.View().Slice(0, l.End(), 1<<30, false)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	received := make(chan []byte)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			close(received)
			return
		}
		defer c.Close()
		var all []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			all = append(all, buf[:n]...)
			if err != nil {
				received <- all
				return
			}
		}
	}()
	c, err := net.Dial("tcp", listener.Addr().String())
	must(t, err)
	rc, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	must(t, l.Reset(0)) // unlinks the file
	for sent := int64(0); sent < int64(s.Len()); {
		n, err := s.SendTo(rc, sent, min(int64(s.Len())-sent, 700_000))
		must(t, err)
		sent += n
	}
	must(t, c.Close())
	s.Release()
	raw := <-received
	var got []record.Batch
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		must(t, err)
		got, raw = append(got, b), rest
	}
	sameBatches(t, got, want)
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	o := options(vfs.OS())
	o.Dir = filepath.Join(t.TempDir(), "t-0")
	o.Config = DefaultConfig()
	l := open(t, o)
	b := batchAt(t, 0, 0, 10, 200)
	batches := []record.Batch{b, append(record.Batch(nil), b...)}
	add := func() {
		for _, b := range batches {
			b.Stamp(l.End()+int64(len(batches))*0, 0)
		}
		batches[0].Stamp(l.End(), 0)
		batches[1].Stamp(l.End()+10, 0)
		must(t, l.Append(batches, 0))
	}
	for range 2000 {
		add()
	}
	if n := testing.AllocsPerRun(500, add); n >= 0.1 { // the index doubles its room now and then
		t.Errorf("%v allocations for an append", n)
	}
	at := int64(0)
	buf := make([]byte, 64<<10)
	slice := func() {
		s, err := l.View().Slice(at, l.End()-7, 10_000, true)
		must(t, err)
		_, err = s.ReadAt(buf[:s.Len()], 0)
		must(t, err)
		at = s.End() + 3 // not where the last one ended: no mark helps
		s.Release()
		if at > l.End()-1000 {
			at = 0
		}
	}
	if n := testing.AllocsPerRun(500, slice); n != 0 {
		t.Errorf("%v allocations for a slice", n)
	}
	_, err := l.Sync()
	must(t, err)
	if n := testing.AllocsPerRun(100, func() { add(); _, err = l.Sync() }); n >= 0.1 || err != nil {
		t.Errorf("%v allocations for a sync (%v)", n, err)
	}
}
