package listener

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswersLeaveInOrder(t *testing.T) {
	for _, letters := range []string{
		"e", "eeee", "pe", "ep", "pepe", "be", "eb", "bpbe", "epbepb", "pppp", "bbbb", "ebp", "nene", "pnbn", "de", "pde", "sese",
	} {
		t.Run(letters, func(t *testing.T) {
			h := newRoom()
			h.sender = memSlice("0123456789")
			r := start(t, h, nil)
			c := r.dial()
			var want []int32
			for i, l := range []byte(letters) {
				mustWrite(t, c, op(int32(i), l))
				if l != 'n' {
					want = append(want, int32(i))
				}
			}
			// Gates open from the last to the first: order must not follow them.
			for i := len(letters) - 1; i >= 0; i-- {
				h.gate(int32(i)).open()
			}
			for _, w := range want {
				if got, _, err := readAnswer(c); err != nil || got != w {
					t.Fatalf("got %d, %v; want %d", got, err, w)
				}
			}
		})
	}
}

func TestReadyAnswerWaitsForTheParkedOneBeforeIt(t *testing.T) {
	h := newRoom()
	bubble(t, h, nil, func(dial func() net.Conn) {
		c := dial()
		defer c.Close()
		go func() { _, _ = c.Write(append(op(0, 'p'), op(1, 'e')...)) }()
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := readAnswer(c); err == nil {
			t.Fatal("an answer left before its turn")
		}
		_ = c.SetReadDeadline(time.Time{})
		h.gate(0).open()
		wantAnswers(t, c, 0, 2)
	})
}

func TestReadyAnswersLeaveBeforeABlockingOneFinishes(t *testing.T) {
	h := newRoom()
	r := start(t, h, nil)
	c := r.dial()
	mustWrite(t, c, op(0, 'p'), op(1, 'e'), op(2, 'b'))
	h.gate(0).open()
	wantAnswers(t, c, 0, 2)
	h.gate(2).open()
	wantAnswers(t, c, 2, 1)
}

func TestABurstIsAnsweredWithOneWrite(t *testing.T) {
	h := newRoom()
	writes := make(chan int, 1000)
	r := start(t, h, func(cfg *Config) {
		cfg.Listen = func(network, addr string) (net.Listener, error) {
			ln, err := net.Listen(network, addr)
			return countingListener{ln, writes}, err
		}
	})
	c := r.dial()
	var all []byte
	for i := range 50 {
		all = append(all, op(int32(i), 'e')...)
	}
	mustWrite(t, c, all)
	wantAnswers(t, c, 0, 50)
	if h.bursts.Load() > 3 || len(writes) > 3 {
		t.Fatalf("50 requests took %d bursts and %d writes", h.bursts.Load(), len(writes))
	}
}

type countingListener struct {
	net.Listener
	writes chan int
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.writes}, nil
}

// countingConn hides the descriptor too: everything goes through Write.
type countingConn struct {
	net.Conn
	writes chan int
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes <- len(b)
	return c.Conn.Write(b)
}

func TestQueueIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		payload, requests int
		inFlight          int64 // and one more waits for room
	}{
		"by number, bad input 9": {1, 1000, maxReplies},
		"by bytes":               {8 << 20, 20, 7}, // eight do not fit into 64 MiB with their headers
	} {
		t.Run(name, func(t *testing.T) {
			h := newRoom()
			payload := make([]byte, c.payload)
			payload[0] = 'p'
			bubble(t, h, nil, func(dial func() net.Conn) {
				conn := dial()
				defer conn.Close()
				go func() {
					for i := range c.requests {
						if _, err := conn.Write(frame(0, int32(i), payload)); err != nil {
							t.Error(err)
						}
					}
				}()
				synctest.Wait()
				if got := h.handed.Load(); got != c.inFlight+1 {
					t.Errorf("%d requests in flight, want %d and one waiting", got, c.inFlight)
				}
				for i := range c.requests {
					h.gate(int32(i)).open()
				}
				wantAnswers(t, conn, 0, c.requests)
			})
		})
	}
}

func TestARequestAboveTheByteBoundIsQueuedAlone(t *testing.T) {
	var q queue
	q.init()
	if q.push(&testReply{}, maxReplyBytes+1, false) != pushOK {
		t.Fatal("refused")
	}
	if q.push(&testReply{}, 1, false) != pushFull {
		t.Fatal("a second one was let in")
	}
}
