package listener

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestIdleConnectionsAreCheap(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		memory := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // the second one empties the pools
			runtime.ReadMemStats(&m)
			return m.HeapAlloc + m.StackInuse
		}
		const n = 2000
		before := memory()
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = dial()
			go func() { _, _ = conns[i].Write(op(1, 'e')) }()
			wantAnswers(t, conns[i], 1, 1)
		}
		time.Sleep(napAfter + time.Second)
		each := int64(memory()-before) / n
		t.Logf("%d bytes for an idle connection", each)
		if each > 12<<10 && !raceEnabled || each > 14<<10 { // with the race detector stacks are larger
			t.Errorf("%d bytes for an idle connection", each)
		}
		for _, c := range conns {
			c.Close()
		}
	})
}

// steady answers every request with the same reply object, so that allocations are the listener's own.
type steady struct{ sender Sender }

func (h steady) Open(c *Conn) Session { return &steadySession{c: c, sender: h.sender} }

type steadySession struct {
	c       *Conn
	sender  Sender
	replies [256]steadyReply
	next    int
}

func (s *steadySession) Burst(frames [][]byte) error {
	for _, f := range frames {
		r := &s.replies[s.next&255]
		s.next++
		r.s, r.correlation, r.ready = s, binary.BigEndian.Uint32(f[4:]), f[8] != 'p'
		s.c.Reply(r)
	}
	return nil
}

func (s *steadySession) Close() {}

type steadyReply struct {
	s           *steadySession
	correlation uint32
	ready       bool
}

func (r *steadyReply) Blocking() bool        { return false }
func (r *steadyReply) Ready(time.Time) bool  { was := r.ready; r.ready = true; return was } // the writer finds it ready
func (r *steadyReply) Park(wake func()) bool { wake(); return true }
func (r *steadyReply) Deadline() time.Time   { return time.Time{} }
func (r *steadyReply) Done()                 {}

func (r *steadyReply) Write(o *Out) error {
	b := o.Buf()
	n := 0
	if r.s.sender != nil {
		n = r.s.sender.Len()
	}
	*b = binary.BigEndian.AppendUint32(*b, uint32(4+n))
	*b = binary.BigEndian.AppendUint32(*b, r.correlation)
	if n > 0 {
		return o.Send(r.s.sender)
	}
	return nil
}

// load sends n requests of the payload over one connection, depth at a time, and reads the answers of answer bytes.
func load(tb testing.TB, l *Listener, n, depth int, payload []byte, answer int) {
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	one := frame(0, 1, payload)
	var many []byte
	for range depth {
		many = append(many, one...)
	}
	in := make([]byte, 256<<10)
	for n > 0 {
		k := min(n, depth)
		if _, err := c.Write(many[:k*len(one)]); err != nil {
			tb.Fatal(err)
		}
		for left := k * answer; left > 0; {
			m, err := c.Read(in[:min(left, len(in))])
			if err != nil && err != io.EOF {
				tb.Fatal(err)
			}
			left -= m
		}
		n -= k
	}
}

func startSteady(tb testing.TB, sender Sender) *Listener {
	l, err := New(Config{Addr: "127.0.0.1:0", Handler: steady{sender}})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-ended })
	return l
}

func TestARequestAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector makes sync.Pool drop buffers: only the run is checked")
	}
	for name, c := range map[string]struct {
		payload string
		sender  int
	}{"answered by the reader": {"e", 0}, "answered by the writer": {"p", 0}, "sent from a file": {"e", 64 << 10}} {
		t.Run(name, func(t *testing.T) {
			var sender Sender
			if c.sender > 0 {
				sender = newFileSlice(t, pattern(c.sender), 1<<30)
			}
			l := startSteady(t, sender)
			const n = 20_000
			load(t, l, 2000, 50, []byte(c.payload), 8+c.sender)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			load(t, l, n, 50, []byte(c.payload), 8+c.sender)
			runtime.ReadMemStats(&after)
			if allocs := float64(after.Mallocs-before.Mallocs) / n; allocs > 0.05 && !raceEnabled {
				t.Fatalf("%.3f allocations for a request", allocs)
			}
		})
	}
}

func BenchmarkRequests(b *testing.B) {
	for _, c := range []struct {
		name    string
		payload int
		depth   int
		letter  byte
		sender  int
	}{
		{"100B/depth1", 100, 1, 'e', 0}, {"100B/depth50", 100, 50, 'e', 0}, {"1KB/depth50", 1100, 50, 'e', 0},
		{"1KB/depth50/parked", 1100, 50, 'p', 0}, {"16KB/depth50", 16 << 10, 50, 'e', 0}, {"64KB/depth20", 64 << 10, 20, 'e', 0},
		{"1MB/depth5", 1 << 20, 5, 'e', 0}, {"fetch64KB/depth1", 100, 1, 'e', 64 << 10}, {"fetch1MB/depth1", 100, 1, 'e', 1 << 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			var sender Sender
			if c.sender > 0 {
				sender = newFileSlice(b, pattern(c.sender), 1<<30)
			}
			l := startSteady(b, sender)
			payload := make([]byte, c.payload)
			payload[0] = c.letter
			load(b, l, 1000, c.depth, payload, 8+c.sender)
			b.ReportAllocs()
			b.SetBytes(int64(c.payload + c.sender))
			var r0, r1 syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r0)
			b.ResetTimer()
			load(b, l, b.N, c.depth, payload, 8+c.sender)
			b.StopTimer()
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r1)
			cpu := r1.Utime.Nano() + r1.Stime.Nano() - r0.Utime.Nano() - r0.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N)/1e3, "cpu-us/op") // client and server
			s := l.Stats()
			b.ReportMetric(float64(s.Requests)/float64(s.Bursts), "frames/burst")
		})
	}
}
