package listener

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestAPanicEndsItsConnectionOnly(t *testing.T) {
	for name, script := range map[string]string{
		"in Burst": "P", "in Burst with answers queued": "pbP", "in Ready on the reader": "R", "in Write on the reader": "W",
		"in Done on the reader": "D", "in Ready on the writer": "pR", "in Write on the writer": "pW", "in Done on the writer": "pD",
	} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			logs, lines := observer.New(zapcore.InfoLevel)
			r := start(t, h, func(cfg *Config) { cfg.Log = zap.New(logs) })
			good, bad := r.dial(), r.dial()
			var all []byte
			for i := range script {
				all = append(all, op(int32(i), script[i])...)
			}
			mustWrite(t, bad, all)
			h.gate(0).open()
			r.closes(reasonPanic, 1)
			mustWrite(t, good, op(7, 'e'))
			wantAnswers(t, good, 7, 1)
			n := 0
			for _, e := range lines.All() {
				if e.Level == zapcore.ErrorLevel && e.Message == "panic on a connection" {
					n++
				}
				for _, v := range e.ContextMap() {
					if s, ok := v.(string); ok && strings.Contains(s, "secret") {
						t.Fatalf("the client's bytes are in the log: %s", s)
					}
				}
			}
			if n != 1 {
				t.Fatalf("%d panics logged", n)
			}
		})
	}
}

func TestAPanicInOpenClosesTheConnection(t *testing.T) {
	h := newRoom()
	h.openBad = true
	r := start(t, h, nil)
	wantEnd(t, r.dial())
	r.closes(reasonPanic, 1)
}

func TestShutdownLetsQueuedAnswersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := newRoom(), newPipes()
		l, err := New(Config{Listen: p.listen, Handler: h})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- l.Run(ctx) }()
		busy, idle, stuck := p.dial(), p.dial(), p.dial()
		_, _ = busy.Write(op(1, 'p'))
		_, _ = busy.Write(op(2, 'b'))
		_, _ = stuck.Write(op(3, 'b'))
		synctest.Wait()
		begin := time.Now()
		cancel()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("the idle connection: %v", err)
		}
		if d := time.Since(begin); d != 0 {
			t.Fatalf("the idle connection lived %v longer", d)
		}
		time.AfterFunc(time.Second, func() { h.gate(1).open(); h.gate(2).open() })
		wantAnswers(t, busy, 1, 2)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 2*time.Second {
			t.Fatalf("Run took %v, want DrainTimeout for the answer that never came", d)
		}
		for _, c := range []net.Conn{busy, idle, stuck} {
			c.Close()
		}
	})
}

func TestDrainOnlyStopsAccepting(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(1, 'e'))
	wantAnswers(t, c, 1, 1)
	r.Drain()
	if late, err := net.Dial("tcp", r.Addr().String()); err == nil {
		late.Close()
		t.Fatal("accepted after Drain")
	}
	mustWrite(t, c, op(2, 'e'))
	wantAnswers(t, c, 2, 1)
}

func TestTheContextEndsWithTheConnection(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(1, 'e'))
	wantAnswers(t, c, 1, 1)
	h.mu.Lock()
	conn := h.sessions[0].c
	h.mu.Unlock()
	if conn.Context().Err() != nil {
		t.Fatal("the context has ended")
	}
	if conn.RemoteAddr().String() != c.LocalAddr().String() || conn.Listener() != r.Listener || conn.ID() != 1 {
		t.Fatal("the connection does not know itself")
	}
	c.Close()
	<-conn.Context().Done()
}

func TestTakeOver(t *testing.T) {
	h := newRoom()
	h.takeOver = func(c net.Conn) { _, _ = io.Copy(c, c) }
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 'p'), op(1, 't'))
	h.gate(0).open()
	wantAnswers(t, c, 0, 2)
	mustWrite(t, c, []byte("not a frame"))
	got := make([]byte, 11)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "not a frame" {
		t.Fatalf("%q, %v", got, err)
	}
	c.Close()
	r.closes(reasonTakenOver, 1)
}

func TestTakeOverRefusesBytesSentTooEarly(t *testing.T) {
	h := newRoom()
	h.takeOver = func(c net.Conn) { t.Error("taken over") }
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 't'), []byte{0, 0})
	wantAnswers(t, c, 0, 1)
	wantEnd(t, c)
}

func TestShutdownEndsATakenOverConnection(t *testing.T) {
	h := newRoom()
	entered := make(chan struct{})
	h.takeOver = func(c net.Conn) { close(entered); _, _ = io.Copy(io.Discard, c) }
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 't'))
	wantAnswers(t, c, 0, 1)
	<-entered
	r.stop()
	wantEnd(t, c)
}

func TestARefusedRequestStillGetsTheAnswersBeforeIt(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 'p'), op(1, 'e'), op(2, 'c'))
	eventually(t, func() bool { return h.handed.Load() == 2 }, "the requests")
	h.gate(0).open()
	wantAnswers(t, c, 0, 2)
	wantEnd(t, c)
	r.closes(reasonRefused, 1)
	if r.Stats().Refused["cut"] != 1 {
		t.Fatalf("refused: %v", r.Stats().Refused)
	}
}

func TestLogLinesAreRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, lines := observer.New(zapcore.InfoLevel)
		p := newReporter(zap.New(logs))
		for range 3000 {
			p.line(reasonLength)
			time.Sleep(time.Millisecond)
		}
		if n := lines.Len(); n < 3 || n > 4 {
			t.Fatalf("%d lines in three seconds", n)
		}
		if m := lines.All()[1].ContextMap()["not_logged"]; m != int64(999) {
			t.Fatalf("not_logged %v", m)
		}
	})
}

func TestTheReadBufferFollowsTheLoad(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		size := func() int64 {
			synctest.Wait()
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.sessions[0].c.Listener().Stats().BufferBytes
		}
		ask := func(n int) {
			go func() { _, _ = c.Write(frame(0, 1, append([]byte{'e'}, make([]byte, n)...))) }()
			wantAnswers(t, c, 1, 1)
		}
		ask(10)
		if size() != 16<<10 {
			t.Fatalf("at first %d", size())
		}
		ask(1 << 20)
		if size() != maxBuffer {
			t.Fatalf("after a frame of 1 MiB %d", size())
		}
		ask(10 << 20)
		ask(10)
		if size() != maxBuffer {
			t.Fatalf("after a frame of 10 MiB %d", size())
		}
		for range 4 * shrinkAfter {
			ask(10)
		}
		if size() != 16<<10 {
			t.Fatalf("after a thousand small frames %d", size())
		}
		time.Sleep(napAfter + time.Second)
		if size() != 0 {
			t.Fatalf("after %v of silence %d", napAfter, size())
		}
		ask(10)
		if size() != 16<<10 {
			t.Fatalf("awake again %d", size())
		}
	})
}
