package listener

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cordwood/protocol"
)

// TestMain also checks that no test leaves a goroutine or a descriptor behind.
func TestMain(m *testing.M) {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime's poller keeps descriptors of its own
		ln.Close()
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(code) // the fuzzer keeps goroutines of its own
	}
	deadline := time.Now().Add(5 * time.Second)
	for code == 0 && (runtime.NumGoroutine() > goroutines || openFiles() > files) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			fmt.Printf("left behind: goroutines %d -> %d, files %d -> %d\n%s", goroutines, runtime.NumGoroutine(), files,
				openFiles(), buf[:runtime.Stack(buf, true)])
			code = 1
		}
		runtime.Gosched()
	}
	os.Exit(code)
}

func openFiles() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}

// frame is one request with its length prefix.
func frame(key int16, correlation int32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(payload)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 9)
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	return append(b, payload...)
}

// op is a frame whose payload starts with the letter that the test session acts on.
func op(correlation int32, letter byte) []byte { return frame(0, correlation, []byte{letter}) }

// gate is something a parked or blocking answer waits for.
type gate struct {
	mu   sync.Mutex
	is   bool
	wake func()
	ch   chan struct{}
}

func newGate() *gate { return &gate{ch: make(chan struct{})} }

func (g *gate) open() {
	g.mu.Lock()
	w := g.wake
	if !g.is {
		g.is = true
		close(g.ch)
	}
	g.wake = nil
	g.mu.Unlock()
	if w != nil {
		w()
	}
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.is
}

func (g *gate) park(wake func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.is {
		return false
	}
	g.wake = wake
	return true
}

// room is the handler of the tests: it answers by the letter in a frame.
//
//	e echo   p parked until the gate   b blocking until the gate   s a slice of a file   n no answer   d parked, has a deadline
//	x Write fails   c Burst fails   P Burst panics   R Ready panics   W Write panics   D Done panics
type room struct {
	mu       sync.Mutex
	gates    map[int32]*gate
	sessions []*testSession
	sender   Sender
	delay    time.Duration // of deadline answers
	opened   atomic.Int64
	closed   atomic.Int64
	handed   atomic.Int64 // answers handed over
	done     atomic.Int64 // answers done
	twice    atomic.Int64 // answers done more than once
	bursts   atomic.Int64
	maxBurst atomic.Int64
	openBad  bool
	takeOver func(net.Conn)
}

func newRoom() *room { return &room{gates: map[int32]*gate{}} }

func (h *room) Open(c *Conn) Session {
	if h.openBad {
		panic("no session")
	}
	h.opened.Add(1)
	s := &testSession{h: h, c: c}
	h.mu.Lock()
	h.sessions = append(h.sessions, s)
	h.mu.Unlock()
	return s
}

func (h *room) gate(correlation int32) *gate {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.gates[correlation]
	if g == nil {
		g = newGate()
		h.gates[correlation] = g
	}
	return g
}

type testSession struct {
	h *room
	c *Conn
}

var errRefused = &protocol.CloseError{Reason: protocol.ReasonCut}

func (s *testSession) Burst(frames [][]byte) error {
	s.h.bursts.Add(1)
	s.h.maxBurst.Store(max(s.h.maxBurst.Load(), int64(len(frames))))
	for _, f := range frames {
		correlation := int32(binary.BigEndian.Uint32(f[4:]))
		letter := byte('e')
		if len(f) > 8 {
			letter = f[8]
		}
		switch letter {
		case 'n':
			continue
		case 'c':
			return errRefused
		case 'P':
			panic(fmt.Sprintf("secret %x", f))
		case 't':
			s.c.TakeOver(s.h.takeOver)
		}
		s.h.handed.Add(1)
		s.c.Reply(&testReply{s: s, letter: letter, correlation: correlation, gate: s.h.gate(correlation),
			deadline: time.Now().Add(s.h.delay)})
	}
	return nil
}

func (s *testSession) Close() { s.h.closed.Add(1) }

type testReply struct {
	s           *testSession
	letter      byte
	correlation int32
	gate        *gate
	deadline    time.Time
	isDone      bool
}

func (r *testReply) Blocking() bool { return r.letter == 'b' }

func (r *testReply) Ready(now time.Time) bool {
	switch r.letter {
	case 'p':
		return r.gate.isOpen()
	case 'd':
		return r.gate.isOpen() || !now.Before(r.deadline)
	case 'b':
		select {
		case <-r.gate.ch:
		case <-r.s.c.Context().Done():
		}
	case 'R':
		panic("ready")
	}
	return true
}

func (r *testReply) Park(wake func()) bool { return r.gate.park(wake) }

func (r *testReply) Deadline() time.Time {
	if r.letter == 'd' {
		return r.deadline
	}
	return time.Time{}
}

func (r *testReply) Write(o *Out) error {
	switch r.letter {
	case 'x':
		o.Append([]byte("half an answer"))
		return errors.New("cannot answer")
	case 'W':
		panic("write")
	case 's':
		n := r.s.h.sender.Len()
		buf := o.Buf()
		*buf = binary.BigEndian.AppendUint32(*buf, uint32(4+n))
		*buf = binary.BigEndian.AppendUint32(*buf, uint32(r.correlation))
		return o.Send(r.s.h.sender)
	}
	buf := o.Buf()
	*buf = binary.BigEndian.AppendUint32(*buf, 4)
	*buf = binary.BigEndian.AppendUint32(*buf, uint32(r.correlation))
	return nil
}

func (r *testReply) Done() {
	if r.isDone {
		r.s.h.twice.Add(1)
	}
	r.isDone = true
	r.s.h.done.Add(1)
	if r.letter == 'D' {
		panic("done")
	}
}

// readAnswer returns one answer's correlation id and what follows it.
func readAnswer(c io.Reader) (int32, []byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:], nil
}

// wantAnswers fails unless the next answers are first..first+n-1 in order.
func wantAnswers(t *testing.T, c net.Conn, first, n int) {
	t.Helper()
	for i := range n {
		got, _, err := readAnswer(c)
		if err != nil || got != int32(first+i) {
			t.Fatalf("answer %d of %d: correlation %d, %v; want %d", i, n, got, err, first+i)
		}
	}
}

// wantEnd fails unless the connection ends without another byte.
func wantEnd(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, err := c.Read(make([]byte, 1))
	if n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want the end of the connection", n, err)
	}
}

// running is a started listener.
type running struct {
	*Listener
	t    testing.TB
	room *room
	stop func()
}

// start runs a listener on a loopback socket until the test ends, then checks L6 and L7.
func start(t testing.TB, h *room, change func(*Config)) *running {
	t.Helper()
	cfg := Config{Name: "TEST", Addr: "127.0.0.1:0", Kind: protocol.Client, Handler: h}
	if change != nil {
		change(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	r := &running{Listener: l, t: t, room: h}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if o, c := h.opened.Load(), h.closed.Load(); o != c {
			t.Errorf("%d sessions opened, %d closed", o, c)
		}
		if a, d := h.handed.Load(), h.done.Load(); a != d || h.twice.Load() > 0 {
			t.Errorf("%d answers handed over, %d done, %d more than once", a, d, h.twice.Load())
		}
		if s := l.Stats(); s.Open != 0 || s.BufferBytes != 0 {
			t.Errorf("after Run: %d connections open, %d bytes in buffers", s.Open, s.BufferBytes)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// closes waits until the listener has counted n closes for the reason.
func (r *running) closes(why reason, n int64) {
	r.t.Helper()
	eventually(r.t, func() bool { return r.Stats().Closed[why.String()] >= n }, "a close because of "+why.String())
}

// eventually waits for something that another goroutine is about to do.
func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func mustWrite(t testing.TB, c net.Conn, b ...[]byte) {
	t.Helper()
	var all []byte
	for _, p := range b {
		all = append(all, p...)
	}
	if _, err := c.Write(all); err != nil {
		t.Fatal(err)
	}
}

// pipes is a net.Listener in memory, for bubbles of virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) listen(network, addr string) (net.Listener, error) { return p, nil }
func (p *pipes) Addr() net.Addr                                    { return pipeAddr{} }
func (p *pipes) Close() error                                      { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
