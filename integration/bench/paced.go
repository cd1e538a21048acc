package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pacedSpec sends one request after another on a fixed schedule, whatever the answers do.
type pacedSpec struct {
	loadSpec
	rate float64 // requests per second, over all connections
	time time.Duration
}

// schedule says when each request is due.
type schedule struct {
	begin    time.Time
	interval time.Duration
}

// schedule begins when everybody has connected.
func (s pacedSpec) schedule() schedule {
	return schedule{time.Now().Add(50 * time.Millisecond), time.Duration(float64(time.Second) / s.rate)}
}

func (s schedule) due(n int) time.Time { return s.begin.Add(time.Duration(n) * s.interval) }

// connOf is the connection that request n takes: partitions take turns, and so do the connections to the leader of each.
// Connections are a multiple of the leaders, connection i is one to leader i modulo their number.
func (s pacedSpec) connOf(n, leaders int) int {
	return n%s.partitions%leaders + leaders*(n/leaders%(s.conns/leaders))
}

// total is the number of requests.
func (s pacedSpec) total() int { return int(s.rate * s.time.Seconds()) }

// producePaced measures every answer from the time its request was due. One goroutine on a thread of its own keeps the
// schedule (the runtime's timers are a millisecond coarse when the process sleeps); one per connection reads.
func producePaced(to leaders, topic string, s pacedSpec, at schedule) (*loadResult, error) {
	batch := newBatch(s.batch, s.record)
	conns := make([]net.Conn, s.conns)
	for i := range conns {
		c, err := net.Dial("tcp", to.of(i))
		if err != nil {
			return nil, err
		}
		defer c.Close()
		conns[i] = c
	}
	requests := make([][]byte, s.partitions)
	for p := range requests {
		requests[p] = produceRequest(topic, int32(p), s.acks, batch)
	}
	results, failures := make([]loadResult, s.conns), make([]error, s.conns+1)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Add(1)
		go func() {
			defer all.Done()
			next := func(n int) int { // the request after n on this connection
				for n++; n < s.total() && s.connOf(n, len(to)) != i; n++ {
				}
				return n
			}
			failures[i] = readPaced(c, topic, next, s.total(), at, &results[i])
		}()
	}
	failures[s.conns] = sendPaced(func(n int) net.Conn { return conns[s.connOf(n, len(to))] }, requests, s.total(), at)
	if failures[s.conns] != nil {
		for _, c := range conns {
			c.Close() // ends the readers; the send error counts
		}
	}
	all.Wait()
	sum := &loadResult{}
	for i := range results {
		sum.merge(&results[i])
	}
	sum.records = sum.requests * int64(batchRecords(batch))
	sum.bytes = sum.requests * int64(len(batch))
	return sum, errors.Join(failures...)
}

// sendPaced sends request n on its connection when it is due.
func sendPaced(conn func(n int) net.Conn, requests [][]byte, total int, at schedule) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range total {
		for {
			left := time.Until(at.due(n))
			if left <= 0 {
				break
			}
			ts := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&ts, nil) // interrupted: the loop looks again
		}
		if _, err := conn(n).Write(requests[n%len(requests)]); err != nil {
			return err
		}
	}
	return nil
}

// readPaced reads the answers to the requests of one connection: next(-1), and so on.
func readPaced(c net.Conn, topic string, next func(n int) int, total int, at schedule, r *loadResult) error {
	size := produceAnswerSize(topic)
	in := make([]byte, 64<<10)
	held := 0
	for n := next(-1); n < total; {
		m, err := c.Read(in[held:])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("before answer %d: %w", n, err)
		}
		now := time.Now()
		b := in[:held+m]
		for ; len(b) >= size; b = b[size:] {
			code, err := produceCode(b[:size], topic)
			if err != nil {
				return err
			}
			if code != 0 {
				return fmt.Errorf("error code %d to request %d", code, n)
			}
			r.latency.add(now.Sub(at.due(n)))
			r.requests++
			n = next(n)
		}
		held = copy(in, b)
	}
	return nil
}
