package listener

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/protocol"
)

// The completion queue is checked three ways: every interleaving of its steps for a few answers, random schedules in
// virtual time where an answer must leave in the very instant it can, and full load with real goroutines.

// interleaving runs reader, writer and completer one step at a time in an order that choose decides.
type interleaving struct {
	q      queue
	done   []bool // answers that may leave
	parked []bool // their wake is registered
	sent   []int

	// reader: answer i at step pc
	i, rpc int
	// writer
	wpc    int
	asleep bool
	// completer: next answer to complete
	next   int
	waking bool
}

func newInterleaving(n int) *interleaving {
	m := &interleaving{done: make([]bool, n), parked: make([]bool, n)}
	m.q.init()
	return m
}

type modelReply struct {
	testReply
	n int
}

// readerStep follows Conn.Reply; false: it has nothing to do.
func (m *interleaving) readerStep() bool {
	if m.i == len(m.done) {
		return false
	}
	switch m.rpc {
	case 0: // look at the queue
		if m.q.length.Load() == 0 {
			m.rpc = 1
		} else {
			m.rpc = 4
		}
	case 1: // Ready
		if m.done[m.i] {
			m.sent = append(m.sent, m.i)
			m.i, m.rpc = m.i+1, 0
		} else {
			m.rpc = 2
		}
	case 2:
		m.q.beginPark()
		m.rpc = 3
	case 3: // Park
		if m.done[m.i] {
			m.rpc = 1
		} else {
			m.parked[m.i] = true
			m.rpc = 5
		}
	case 4, 5:
		m.q.push(&modelReply{n: m.i}, 0, m.rpc == 5)
		m.i, m.rpc = m.i+1, 0
	}
	return true
}

// writerStep follows writer.step.
func (m *interleaving) writerStep() bool {
	if m.asleep {
		select {
		case <-m.q.wake:
			m.asleep = false
			return true
		default:
			return false
		}
	}
	if m.wpc == 1 { // Park
		m.wpc = 0
		r := m.q.peek().(*modelReply)
		if !m.done[r.n] {
			m.parked[r.n] = true
			m.asleep = true
		}
		return true
	}
	r := m.q.peek()
	switch {
	case r == nil && m.q.written > 0:
		m.q.pop()
	case r == nil:
		m.asleep = true
	case m.done[r.(*modelReply).n]:
		m.sent = append(m.sent, r.(*modelReply).n)
		m.q.written++
	default:
		m.q.pop()
		m.wpc = 1
	}
	return true
}

// completerStep makes the next answer ready and, in a step of its own, calls the wake that was registered.
func (m *interleaving) completerStep() bool {
	if m.waking {
		m.waking = false
		signal(m.q.wake)
		return true
	}
	if m.next == len(m.done) {
		return false
	}
	m.done[m.next] = true
	m.waking = m.parked[m.next]
	m.parked[m.next] = false
	m.next++
	return true
}

// state is everything that the next steps depend on.
func (m *interleaving) state() string {
	q := &m.q
	return fmt.Sprint(m.done, m.parked, m.sent, m.i, m.rpc, m.wpc, m.asleep, m.next, m.waking, q.length.Load(), q.head,
		q.written, len(q.wake), q.parking, q.missed)
}

func TestEveryInterleavingOfTheQueueEnds(t *testing.T) {
	for n := 1; n <= 4; n++ {
		t.Logf("%d answers: %d states", n, explore(t, n))
	}
}

// explore visits every state that some schedule leads to, depth first, each schedule run from the start.
func explore(t *testing.T, n int) int {
	seen := map[string]bool{}
	var choices []int // the schedule so far
	for {
		m := newInterleaving(n)
		var widths []int
		for at := 0; ; at++ {
			fresh := at == len(choices)
			if fresh {
				if seen[m.state()] {
					break
				}
				seen[m.state()] = true
				choices = append(choices, 0)
			}
			width, ok := m.step(choices[at])
			if !ok {
				choices = choices[:at]
				if fmt.Sprint(m.sent) != fmt.Sprint(ascending(n)) {
					t.Fatalf("schedule %v: sent %v and everybody sleeps", choices, m.sent)
				}
				break
			}
			widths = append(widths, width)
		}
		for len(choices) > 0 && choices[len(choices)-1]+1 >= widths[len(choices)-1] {
			choices = choices[:len(choices)-1]
		}
		if len(choices) == 0 {
			return len(seen)
		}
		choices[len(choices)-1]++
	}
}

// step runs the k-th of the parties that can move and says how many could.
func (m *interleaving) step(k int) (width int, ok bool) {
	for _, can := range []struct {
		can  bool
		step func() bool
	}{
		{m.i < len(m.done), m.readerStep},
		{!m.asleep || len(m.q.wake) > 0, m.writerStep},
		{m.next < len(m.done) || m.waking, m.completerStep},
	} {
		if !can.can {
			continue
		}
		if width == k {
			ok = can.step()
		}
		width++
	}
	return width, ok
}

func ascending(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

// bubble runs f with a listener over pipes in virtual time.
func bubble(t *testing.T, h Handler, change func(*Config), f func(dial func() net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		cfg := Config{Name: "TEST", Kind: protocol.Client, Listen: p.listen, Handler: h}
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
		f(p.dial)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// timed answers a request after a delay that the request names, in milliseconds; bit 31 makes it blocking, bit 30 gives
// it a deadline instead of a wake.
type timed struct{}

func (timed) Open(c *Conn) Session { return &timedSession{c: c} }

type timedSession struct {
	c    *Conn
	wait sync.WaitGroup
}

const blockingBit, deadlineBit = 1 << 31, 1 << 30

func (s *timedSession) Burst(frames [][]byte) error {
	for _, f := range frames {
		code := binary.BigEndian.Uint32(f[8:])
		d := time.Duration(code&0xffff) * time.Millisecond
		r := &timedReply{s: s, correlation: f[4:8:8], at: time.Now().Add(d), blocking: code&blockingBit != 0}
		r.correlation = append([]byte(nil), r.correlation...)
		if code&deadlineBit != 0 {
			r.deadline = r.at
			d = never
		} else if d > 0 {
			s.wait.Add(1)
			time.AfterFunc(d, func() { defer s.wait.Done(); r.gate.open() })
		} else {
			r.gate.open()
		}
		s.c.Reply(r)
	}
	return nil
}

func (s *timedSession) Close() { s.wait.Wait() }

type timedReply struct {
	s           *timedSession
	correlation []byte
	at          time.Time
	deadline    time.Time
	blocking    bool
	gate        openGate
}

// openGate is a gate without a channel.
type openGate struct {
	mu   sync.Mutex
	is   bool
	wake func()
}

func (g *openGate) open() {
	g.mu.Lock()
	w := g.wake
	g.is, g.wake = true, nil
	g.mu.Unlock()
	if w != nil {
		w()
	}
}

func (r *timedReply) Blocking() bool { return r.blocking }

func (r *timedReply) Ready(now time.Time) bool {
	if r.blocking {
		time.Sleep(time.Until(r.at))
		return true
	}
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	return r.gate.is || !r.deadline.IsZero() && !now.Before(r.deadline)
}

func (r *timedReply) Park(wake func()) bool {
	r.gate.mu.Lock()
	defer r.gate.mu.Unlock()
	if r.gate.is {
		return false
	}
	r.gate.wake = wake
	return true
}

func (r *timedReply) Deadline() time.Time { return r.deadline }
func (r *timedReply) Done()               {}

func (r *timedReply) Write(o *Out) error {
	o.Append([]byte{0, 0, 0, 4})
	o.Append(r.correlation)
	return nil
}

// timedRequest is one step of a schedule: pause before it, then a request that takes so long.
type timedRequest struct {
	pause time.Duration
	code  uint32
}

// checkTimed sends the schedule and demands every answer in the instant in which it and all before it can leave.
func checkTimed(t *testing.T, schedule []timedRequest) {
	bubble(t, timed{}, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		due := make([]time.Time, len(schedule))
		begin := time.Now()
		sentAt := begin
		last := begin
		for i, s := range schedule {
			sentAt = sentAt.Add(s.pause)
			d := time.Duration(s.code&0xffff) * time.Millisecond
			if at := sentAt.Add(d); at.After(last) {
				last = at
			}
			due[i] = last
		}
		go func() {
			for i, s := range schedule {
				time.Sleep(s.pause)
				_, _ = c.Write(frame(0, int32(i), binary.BigEndian.AppendUint32(nil, s.code)))
			}
		}()
		for i := range schedule {
			got, _, err := readAnswer(c)
			if err != nil || got != int32(i) {
				t.Fatalf("answer %d: correlation %d, %v", i, got, err)
			}
			if now := time.Now(); !now.Equal(due[i]) {
				t.Fatalf("answer %d came at %v, due at %v: %v", i, now.Sub(begin), due[i].Sub(begin), schedule)
			}
		}
	})
}

// randomSchedule has at most 90 requests in flight, so that back-pressure does not delay them.
func randomSchedule(r *rand.Rand, n int, pause func() time.Duration) []timedRequest {
	s := make([]timedRequest, n)
	for i := range s {
		code := uint32(0)
		if r.Intn(3) > 0 {
			code = uint32(r.Intn(2000))
		}
		if r.Intn(4) == 0 {
			code |= deadlineBit
		}
		s[i] = timedRequest{pause(), code}
	}
	return s
}

func TestAtOneRequestASecondNoAnswerIsLate(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	checkTimed(t, randomSchedule(r, 500, func() time.Duration { return time.Second }))
}

func TestAtMixedRatesNoAnswerIsLate(t *testing.T) {
	for seed := range int64(30) {
		r := rand.New(rand.NewSource(seed))
		checkTimed(t, randomSchedule(r, 90, func() time.Duration {
			return time.Duration(r.Intn(3)*r.Intn(1500)) * time.Millisecond
		}))
	}
}

func TestBlockingAnswersRunOneAfterAnother(t *testing.T) {
	bubble(t, timed{}, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		begin := time.Now()
		go func() {
			for i := range 5 {
				_, _ = c.Write(frame(0, int32(i), binary.BigEndian.AppendUint32(nil, blockingBit|100)))
			}
		}()
		wantAnswers(t, c, 0, 5)
		// Each may finish 100 ms after it was sent, and all were sent at once.
		if d := time.Since(begin); d != 100*time.Millisecond {
			t.Fatalf("took %v", d)
		}
	})
}

func FuzzAnswersAreOnTime(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 200, 0, 3, 50, 255, 255, 1, 64})
	f.Fuzz(func(t *testing.T, script []byte) {
		var s []timedRequest
		for len(script) >= 2 && len(s) < 90 {
			code := uint32(script[1]>>1) * 16
			if script[1]&1 == 1 {
				code |= deadlineBit
			}
			s = append(s, timedRequest{time.Duration(script[0]/2) * 16 * time.Millisecond, code})
			script = script[2:]
		}
		if len(s) > 0 {
			checkTimed(t, s)
		}
	})
}

func TestAtFullLoadNoAnswerIsLost(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	const conns, requests = 4, 5000
	opens := make(chan int32, 64)
	var openers, clients sync.WaitGroup
	for range 2 { // complete what is parked, from other goroutines, in any order
		openers.Add(1)
		go func() {
			defer openers.Done()
			for id := range opens {
				h.gate(id).open()
			}
		}()
	}
	for k := range conns {
		c := r.dial()
		clients.Add(2)
		go func() {
			defer clients.Done()
			rnd := rand.New(rand.NewSource(int64(k)))
			var out []byte
			for i := range requests {
				id := int32(k*requests + i)
				letter := "eppbp"[rnd.Intn(5)]
				out = append(out, op(id, letter)...)
				if rnd.Intn(20) == 0 || i == requests-1 {
					if _, err := c.Write(out); err != nil {
						t.Error(err)
						return
					}
					out = out[:0]
				}
				if letter != 'e' {
					opens <- id
				}
			}
		}()
		go func() {
			defer clients.Done()
			for i := range requests {
				got, _, err := readAnswer(c)
				if err != nil || got != int32(k*requests+i) {
					t.Errorf("connection %d: answer %d, %v; want %d", k, got, err, k*requests+i)
					return
				}
			}
		}()
	}
	clients.Wait()
	close(opens)
	openers.Wait()
}
