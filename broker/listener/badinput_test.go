package listener

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// Bad inputs of sections A and J over real sockets, each in its own connection, beside one that behaves. Afterwards the
// good connection still works, and TestMain finds no goroutine or descriptor left.

func length(n uint32, rest ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, n), rest...)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(7)).Read(b)
	b[0] |= 0x80 // a length that cannot be
	return b
}

func TestBadLengthsCloseAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		send []byte
		hint string
	}{
		"1 length 0":                    {length(0), ""},
		"2 length -1":                   {length(0xffffffff), ""},
		"3 length 0x80000000":           {length(0x80000000), ""},
		"4 length 2^31-1":               {length(1<<31 - 1), ""},
		"5 length max+1":                {length(1<<20 + 1), ""},
		"7 length 1":                    {length(1, 0), ""},
		"7 length 7":                    {length(7, 0, 0, 0, 0, 0, 0, 0), ""},
		"10 HTTP GET":                   {[]byte("GET / HTTP/1.1\r\n\r\n"), "looks like HTTP"},
		"10 HTTP POST":                  {[]byte("POST / HTTP/1.1\r\n\r\n"), "looks like HTTP"},
		"11 TLS ClientHello":            {[]byte{0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3}, "looks like TLS"},
		"13 SSH banner":                 {[]byte("SSH-2.0-OpenSSH_9.9\r\n"), "looks like SSH"},
		"13 SMB":                        {[]byte("\x00\x00\x00\x02\xffSMBr\x00\x00\x00\x00"), ""},
		"13 Redis inline":               {[]byte("PING\r\n"), ""},
		"13 zeroes":                     {make([]byte, 64<<10), ""},
		"13 ones":                       {bytes.Repeat([]byte{0xff}, 64<<10), ""},
		"13 random":                     {random(1 << 20), ""},
		"a bad frame behind a good one": {append(op(1, 'n'), length(3)...), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			logs, lines := observer.New(zapcore.InfoLevel)
			r := start(t, h, func(cfg *Config) { cfg.MaxFrame, cfg.Log = 1<<20, zap.New(logs) })
			good, bad := r.dial(), r.dial()
			_, _ = bad.Write(c.send) // may fail: the other side closes at the first four bytes
			wantEnd(t, bad)
			r.closes(reasonLength, 1)
			mustWrite(t, good, op(7, 'e'))
			wantAnswers(t, good, 7, 1)
			entries := lines.TakeAll()
			if len(entries) != 1 {
				t.Fatalf("%d log lines, want 1", len(entries))
			}
			cause, _ := entries[0].ContextMap()["cause"].(string)
			if !strings.Contains(cause, c.hint) || strings.Contains(cause, "/1.1") || entries[0].ContextMap()["reason"] != "bad_length" {
				t.Fatalf("log line %v", entries[0].ContextMap())
			}
		})
	}
}

func TestA2GiBLengthAllocatesNothing(t *testing.T) { // bad input 4
	h := newRoom()
	r := start(t, h, func(cfg *Config) { cfg.MaxFrame = 1<<31 - 1 })
	c := r.dial()
	mustWrite(t, c, op(0, 'e'))
	wantAnswers(t, c, 0, 1)
	before := heap()
	mustWrite(t, c, length(1<<31-1, 0, 0, 0, 9))
	eventually(t, func() bool { return r.Stats().BytesIn > 20 }, "the bytes")
	if after := heap(); after > before+1<<20 {
		t.Fatalf("heap grew from %d to %d", before, after)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAFrameOfMaximumSizeIsAccepted(t *testing.T) { // bad input 5
	h := newRoom()
	const size = 9 << 20
	mem := NewMemory(16 << 20)
	r := start(t, h, func(cfg *Config) { cfg.MaxFrame, cfg.Memory = size, mem })
	c := r.dial()
	payload := make([]byte, size-8)
	payload[0] = 'e'
	for i := range 3 {
		mustWrite(t, c, frame(0, int32(i), payload), op(100, 'n'))
		wantAnswers(t, c, i, 1)
	}
	c.Close()
	eventually(t, func() bool { return mem.sem.TryAcquire(16 << 20) }, "all memory given back")
}

func TestLargeFramesLeaveNoMappings(t *testing.T) {
	r := start(t, newRoom(), func(cfg *Config) { cfg.MaxFrame = 9 << 20 })
	whole, cut := frame(0, 0, append([]byte{'e'}, make([]byte, 8<<20)...)), 2<<20
	play := func(times int) {
		for i := range times {
			c := r.dial()
			if i%2 == 0 {
				mustWrite(t, c, whole)
				wantAnswers(t, c, 0, 1)
			} else {
				mustWrite(t, c, whole[:cut]) // and it goes
			}
			c.Close()
		}
		eventually(t, func() bool { return r.Stats().Open == 0 }, "all connections closed")
	}
	play(4)
	before := addressSpace(t)
	play(100)
	if grown := addressSpace(t) - before; grown > 100<<20 && !raceEnabled || grown > 400<<20 { // the race detector takes some, too
		t.Fatalf("the process has %d MiB more of address space", grown>>20)
	}
}

// addressSpace is the size of all mappings of the process, in bytes.
func addressSpace(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	var pages int
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func TestMemoryIsChargedOnlyAsBytesArrive(t *testing.T) { // bad input 6
	h := newRoom()
	const limit = 4 << 20
	mem := NewMemory(limit)
	r := start(t, h, func(cfg *Config) { cfg.FrameTimeout, cfg.Memory = 300*time.Millisecond, mem })
	c := r.dial()
	mustWrite(t, c, length(100<<20), make([]byte, 100<<10)) // key 0 may have such a frame
	eventually(t, func() bool { return r.Stats().BytesIn == 4+100<<10 }, "the bytes")
	if !mem.sem.TryAcquire(limit - 512<<10) {
		t.Fatal("more memory is charged than twice what arrived and a buffer")
	}
	mem.give(limit - 512<<10)
	wantEnd(t, c)
	r.closes(reasonFrameTimeout, 1)
	eventually(t, func() bool { return mem.sem.TryAcquire(limit) }, "all memory given back")
}

func TestALargeFrameWaitsForMemoryAndThenGivesUp(t *testing.T) {
	h := newRoom()
	mem := NewMemory(3 << 20)
	r := start(t, h, func(cfg *Config) { cfg.FrameTimeout, cfg.Memory = 200*time.Millisecond, mem })
	big := frame(0, 1, append([]byte{'e'}, make([]byte, 8<<20)...))
	c := r.dial()
	_, _ = c.Write(big) // refused half-way
	r.closes(reasonMemory, 1)
	small := r.dial()
	mustWrite(t, small, frame(0, 2, append([]byte{'e'}, make([]byte, 1<<20)...)))
	wantAnswers(t, small, 2, 1)
}

func TestALargeFrameOfAKeyThatHasNoneIsRefusedEarly(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	for key, label := range map[int16]string{18: "size", 9999: "key", -1: "key"} {
		c := r.dial()
		mustWrite(t, c, length(90<<20), frame(key, 1, nil)[4:])
		wantEnd(t, c)
		eventually(t, func() bool { return r.Stats().Refused[label] > 0 }, label)
	}
}

func TestAFrameInSingleBytes(t *testing.T) { // bad input 8
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	for i := range 3 {
		for _, b := range frame(0, int32(i), append([]byte{'e'}, make([]byte, 300)...)) {
			mustWrite(t, c, []byte{b})
		}
	}
	wantAnswers(t, c, 0, 3)
}

func TestAHalfClosedClientGetsItsAnswers(t *testing.T) { // bad input 14
	for name, letters := range map[string]string{"ready": "eee", "parked": "epe", "blocking": "ebe"} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			r := start(t, h, nil)
			c := r.dial()
			var all []byte
			for i := range letters {
				all = append(all, op(int32(i), letters[i])...)
			}
			mustWrite(t, c, all)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return h.handed.Load() == 3 }, "the requests")
			h.gate(1).open()
			wantAnswers(t, c, 0, 3)
			wantEnd(t, c)
			r.closes(reasonEOF, 1)
		})
	}
}

func TestAHalfClosedClientDoesNotHoldAConnectionForEver(t *testing.T) {
	h := newRoom()
	r := start(t, h, func(cfg *Config) { cfg.DrainTimeout = 50 * time.Millisecond })
	for _, letter := range []byte("pb") {
		c := r.dial()
		mustWrite(t, c, op(1, letter))
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, c)
	}
	r.closes(reasonEOF, 2)
}

func TestAResetInAFrameServesNothing(t *testing.T) { // bad input 16
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	whole := frame(0, 1, append([]byte{'e'}, make([]byte, 100<<10)...))
	mustWrite(t, c, whole[:60<<10])
	eventually(t, func() bool { return r.Stats().BytesIn == 60<<10 }, "half a frame")
	reset(t, c)
	r.closes(reasonRead, 1)
	if h.bursts.Load() != 0 {
		t.Fatal("half a frame was served")
	}
}

func reset(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAResetWithAnswersPendingDropsThem(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 'p'), op(1, 'b'), op(2, 'e'))
	eventually(t, func() bool { return h.handed.Load() == 3 }, "the requests")
	reset(t, c)
	r.closes(reasonRead, 1) // start's checks find every answer done
}

func TestSlowlorisMeetsTheFrameDeadline(t *testing.T) { // bad input 131
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		begin := time.Now()
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for _, b := range frame(0, 1, make([]byte, 100)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(5 * time.Second)
			}
		}()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("an answer")
		}
		if d := time.Since(begin); d < 29*time.Second || d > 31*time.Second {
			t.Fatalf("closed after %v, want 30 s", d)
		}
		c.Close()
		<-gone
	})
}

func TestAnHonestSlowUploadIsNotCut(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		gone := make(chan struct{})
		go func() { // 20 KiB a second for five minutes
			defer close(gone)
			b := frame(0, 1, append([]byte{'e'}, make([]byte, 6<<20)...))
			for len(b) > 0 {
				n, err := c.Write(b[:min(len(b), 20<<10)])
				if err != nil {
					return
				}
				b = b[n:]
				time.Sleep(time.Second)
			}
		}()
		wantAnswers(t, c, 1, 1)
		<-gone
	})
}

func TestIdleConnectionsEnd(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		silent, spoke := dial(), dial()
		begin := time.Now()
		go func() { time.Sleep(time.Minute); _, _ = spoke.Write(op(1, 'e')) }()
		wantAnswers(t, spoke, 1, 1)
		for c, want := range map[net.Conn]time.Duration{silent: 10 * time.Minute, spoke: 11 * time.Minute} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("got %v", err)
			}
			if d := time.Since(begin); d < want || d > 11*time.Minute+time.Second {
				t.Fatalf("ended after %v, want %v", d, want)
			}
			c.Close()
		}
	})
}

func TestAConnectionWithAnAnswerDueIsNotIdle(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		go func() { _, _ = c.Write(op(1, 'p')) }()
		time.AfterFunc(time.Hour, func() { h.gate(1).open() })
		wantAnswers(t, c, 1, 1)
	})
}

func TestConnectionLimits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Config)
		why    reason
	}{
		"in all":          {func(c *Config) { c.MaxConnections = 3 }, reasonMaxConnections},
		"of one address":  {func(c *Config) { c.MaxPerIP = 3 }, reasonMaxPerIP},
		"per second, 130": {func(c *Config) { c.ConnectionRate = 3 }, reasonRate},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, newRoom(), c.change)
			conns := make([]net.Conn, 3)
			for i := range conns {
				conns[i] = r.dial()
				mustWrite(t, conns[i], op(1, 'e'))
				wantAnswers(t, conns[i], 1, 1)
			}
			wantEnd(t, r.dial())
			r.closes(c.why, 1)
			for _, c := range conns { // the others are not disturbed
				mustWrite(t, c, op(2, 'e'))
				wantAnswers(t, c, 2, 1)
				c.Close()
			}
			eventually(t, func() bool { return r.Stats().Open == 0 }, "the connections to end")
			eventually(t, func() bool { // and there is room again
				c := r.dial()
				defer c.Close()
				_, _ = c.Write(op(1, 'e'))
				_, _, err := readAnswer(c)
				return err == nil
			}, "a connection to be let in")
		})
	}
}

// starved is a listener whose process is out of descriptors for a while.
type starved struct {
	net.Listener
	fails int
	seen  []time.Time
}

func (s *starved) Accept() (net.Conn, error) {
	if s.fails > 0 {
		s.fails--
		s.seen = append(s.seen, time.Now())
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return s.Listener.Accept()
}

// starve runs a listener in virtual time whose first accepts fail, and returns when they were tried.
func starve(t *testing.T, fails, reserve int) (tried []time.Time) {
	ln := &starved{fails: fails}
	h := newRoom()
	bubble(t, h, func(cfg *Config) {
		cfg.ReserveFiles = reserve
		inner := cfg.Listen
		cfg.Listen = func(network, addr string) (net.Listener, error) {
			l, err := inner(network, addr)
			ln.Listener = l
			return ln, err
		}
	}, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		go func() { _, _ = c.Write(op(1, 'e')) }()
		wantAnswers(t, c, 1, 1)
		h.mu.Lock()
		defer h.mu.Unlock()
		if n := h.sessions[0].c.Listener().Stats().AcceptErrors; n != int64(fails) {
			t.Errorf("%d accept errors counted", n)
		}
	})
	return ln.seen
}

func TestAcceptBacksOffWithoutDescriptors(t *testing.T) { // bad input 145
	tried := starve(t, 12, 0)
	for i, want := range []time.Duration{5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000} {
		if d := tried[i+1].Sub(tried[i]); d != want*time.Millisecond {
			t.Errorf("pause %d: %v, want %v ms", i, d, int(want))
		}
	}
}

func TestReservedDescriptorsAreGivenUpFirst(t *testing.T) { // bad input 145
	tried := starve(t, 4, 3)
	if d := tried[2].Sub(tried[0]); d != 0 {
		t.Errorf("backed off for %v with descriptors in reserve", d)
	}
	if d := tried[3].Sub(tried[2]); d != 0 {
		t.Errorf("backed off for %v with one descriptor in reserve", d)
	}
}

func TestTheReserveIsFilledUpAgain(t *testing.T) {
	before := openFiles()
	r := newReserve(3)
	first := r.release()
	if second := r.release(); !first || !second || openFiles() != before+1 {
		t.Error("not released")
	}
	r.refill()
	if openFiles() != before+3 {
		t.Error("not filled")
	}
	r.close()
	r.refill()
	if r.release() || openFiles() != before {
		t.Error("not closed")
	}
}

func TestManyBadClientsLeaveNothing(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	inputs := [][]byte{length(0), []byte("GET / HTTP/1.1\r\n"), op(1, 'c'), op(1, 'x'), length(50, 1, 2), op(1, 'p'), nil,
		append(op(1, 'p'), op(2, 'b')...)}
	var all sync.WaitGroup
	for k := range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range 250 {
				c, err := net.Dial("tcp", r.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Write(inputs[(i+k)%len(inputs)])
				if i%3 == 0 {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
			}
		}()
	}
	all.Wait()
	good := r.dial()
	mustWrite(t, good, op(5, 'e'))
	wantAnswers(t, good, 5, 1)
}
