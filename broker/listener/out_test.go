package listener

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"
)

// memSlice is a Sender that has no file.
type memSlice string

func (s memSlice) Len() int { return len(s) }
func (s memSlice) SendTo(syscall.RawConn, int64, int64) (int64, error) {
	return 0, errors.ErrUnsupported
}
func (s memSlice) ReadAt(p []byte, off int64) (int, error) { return copy(p, s[off:]), nil }

// fileSlice is a Sender over a file, as the log's slices are; it sends at most part bytes at once. Like them it keeps its
// callback, so that sending allocates nothing.
type fileSlice struct {
	f     *os.File
	fd    int
	n     int
	part  int64
	err   error
	calls atomic.Int64

	off, left int64
	failed    error
	step      func(fd uintptr) bool
}

func newFileSlice(t testing.TB, content []byte, part int64) *fileSlice {
	name := filepath.Join(t.TempDir(), "slice")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s := &fileSlice{f: f, fd: int(f.Fd()), n: len(content), part: part}
	s.step = s.sendfile
	return s
}

func (s *fileSlice) Len() int                                { return s.n }
func (s *fileSlice) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

func (s *fileSlice) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	if s.err != nil {
		return 0, s.err
	}
	s.calls.Add(1)
	n = min(n, s.part)
	s.off, s.left, s.failed = off, n, nil
	err := rc.Write(s.step)
	if err == nil {
		err = s.failed
	}
	return n - s.left, err
}

func (s *fileSlice) sendfile(fd uintptr) bool {
	for s.left > 0 {
		m, err := unix.Sendfile(int(fd), s.fd, &s.off, int(s.left))
		if err == unix.EAGAIN {
			return false
		}
		if err != nil || m == 0 {
			s.failed = err
			return true
		}
		s.left -= int64(m)
	}
	return true
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestLargeSlicesArriveWhole(t *testing.T) {
	content := pattern(5 << 20)
	for name, c := range map[string]struct {
		sender func(t *testing.T) Sender
		hide   bool // the socket has no descriptor to send to, as with TLS
	}{
		"sendfile":                  {func(t *testing.T) Sender { return newFileSlice(t, content, 1<<30) }, false},
		"sendfile in parts":         {func(t *testing.T) Sender { return newFileSlice(t, content, 100_003) }, false},
		"small, copied":             {func(t *testing.T) Sender { return newFileSlice(t, content[:1000], 1<<30) }, false},
		"memory, copied":            {func(t *testing.T) Sender { return memSlice(content) }, false},
		"no descriptor, copied":     {func(t *testing.T) Sender { return newFileSlice(t, content, 1<<30) }, true},
		"empty":                     {func(t *testing.T) Sender { return memSlice("") }, false},
		"at the copy limit":         {func(t *testing.T) Sender { return newFileSlice(t, content[:copyBelow], 1<<30) }, false},
		"just below the copy limit": {func(t *testing.T) Sender { return newFileSlice(t, content[:copyBelow-1], 1<<30) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			h.sender = c.sender(t)
			r := start(t, h, func(cfg *Config) {
				if c.hide {
					cfg.Listen = func(network, addr string) (net.Listener, error) {
						ln, err := net.Listen(network, addr)
						return countingListener{ln, make(chan int, 10_000)}, err
					}
				}
			})
			conn := r.dial()
			mustWrite(t, conn, op(0, 'e'), op(1, 's'), op(2, 'e'), op(3, 'p'), op(4, 's'), op(5, 'e'))
			h.gate(3).open()
			for i := range 6 {
				got, body, err := readAnswer(conn)
				if err != nil || got != int32(i) {
					t.Fatalf("answer %d: %d, %v", i, got, err)
				}
				if (i == 1 || i == 4) && !bytes.Equal(body, content[:h.sender.Len()]) {
					t.Fatalf("answer %d: %d bytes differ from the %d sent", i, len(body), h.sender.Len())
				}
			}
			if f, ok := h.sender.(*fileSlice); ok && f.n >= copyBelow && (f.calls.Load() > 0) == c.hide {
				t.Fatalf("%d calls of sendfile", f.calls.Load())
			}
			eventually(t, func() bool { return r.Stats().BytesOut == int64(6*8+2*h.sender.Len()) }, "all bytes counted")
		})
	}
}

func TestAFailingSliceEndsTheConnection(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		why   reason
		lines int // above debug: a client that leaves is normal life
	}{
		"the disk":                {syscall.EIO, reasonWrite, 1},
		"the client has closed":   {os.NewSyscallError("sendfile", syscall.EPIPE), reasonGone, 0},
		"the client's host reset": {os.NewSyscallError("sendfile", syscall.ECONNRESET), reasonGone, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			s := newFileSlice(t, pattern(1<<20), 1<<30)
			s.err = c.err
			h.sender = s
			logs, lines := observer.New(zapcore.InfoLevel)
			r := start(t, h, func(cfg *Config) { cfg.Log = zap.New(logs) })
			conn := r.dial()
			mustWrite(t, conn, op(0, 's'), op(1, 'e'))
			if _, _, err := readAnswer(conn); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("got %v, want a cut answer", err)
			}
			r.closes(c.why, 1)
			if n := lines.FilterMessage("connection closed").Len(); n != c.lines {
				t.Fatalf("%d lines, want %d: %v", n, c.lines, lines.All())
			}
		})
	}
}

func TestASliceThatShrankEndsTheConnection(t *testing.T) {
	h := newRoom()
	s := newFileSlice(t, pattern(100<<10), 1<<30)
	s.n = 200 << 10
	h.sender = s
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 's'))
	if _, _, err := readAnswer(c); err == nil {
		t.Fatal("a whole answer from half a file")
	}
	r.closes(reasonWrite, 1)
}

func TestAClientThatNeverReadsIsClosed(t *testing.T) { // bad input 15
	for name, letters := range map[string]string{"answers of the reader": "s", "answers of the writer": "ps"} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			h.sender = newFileSlice(t, pattern(64<<20), 1<<30)
			r := start(t, h, func(cfg *Config) { cfg.WriteTimeout = 100 * time.Millisecond })
			c := r.dial()
			for i := range letters {
				mustWrite(t, c, op(int32(i), letters[i]))
			}
			h.gate(0).open()
			r.closes(reasonWriteTimeout, 1)
		})
	}
}

func TestAClientThatNeverReadsSmallAnswersIsClosed(t *testing.T) {
	h := newRoom()
	r := start(t, h, func(cfg *Config) { cfg.WriteTimeout = 100 * time.Millisecond })
	c := r.dial()
	go func() {
		b := bytes.Repeat(op(1, 'e'), 1000)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}()
	r.closes(reasonWriteTimeout, 1)
}

func TestASlowReaderIsNotClosed(t *testing.T) {
	h := newRoom()
	h.sender = memSlice(pattern(8 << 20))
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		go func() { _, _ = c.Write(op(0, 's')) }()
		buf := make([]byte, 64<<10)
		for left := 8 + 8<<20; left > 0; { // 20 minutes in all, every write below 30 s
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%d bytes before the end: %v", left, err)
			}
			left -= n
			time.Sleep(10 * time.Second)
		}
	})
}

func TestAnAnswerThatFailsClosesAfterTheAnswersBeforeIt(t *testing.T) {
	for _, letters := range []string{"eex", "pex"} {
		h := newRoom()
		r := start(t, h, nil)
		c := r.dial()
		var all []byte
		for i := range letters {
			all = append(all, op(int32(i), letters[i])...)
		}
		mustWrite(t, c, all)
		h.gate(0).open()
		wantAnswers(t, c, 0, 2)
		wantEnd(t, c)
		r.closes(reasonRefused, 1)
	}
}
