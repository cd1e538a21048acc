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

// producePaced measures every answer from the time its request was due. One goroutine on a thread of its own keeps the
// schedule (the runtime's timers are a millisecond coarse when the process sleeps); one per connection reads.
func producePaced(addr, topic string, s pacedSpec) (*loadResult, error) {
	batch := newBatch(s.batch, s.record)
	total := int(s.rate * s.time.Seconds())
	conns := make([]net.Conn, s.conns)
	for i := range conns {
		c, err := net.Dial("tcp", addr)
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
	interval := time.Duration(float64(time.Second) / s.rate)
	begin := time.Now().Add(10 * time.Millisecond)
	due := func(n int) time.Time { return begin.Add(time.Duration(n) * interval) }

	results, failures := make([]loadResult, s.conns), make([]error, s.conns+1)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Add(1)
		go func() {
			defer all.Done()
			failures[i] = readPaced(c, topic, i, s.conns, total, due, &results[i])
		}()
	}
	failures[s.conns] = sendPaced(conns, requests, total, due)
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

// sendPaced sends request n on connection n modulo their number when it is due.
func sendPaced(conns []net.Conn, requests [][]byte, total int, due func(int) time.Time) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for n := range total {
		for {
			left := time.Until(due(n))
			if left <= 0 {
				break
			}
			ts := unix.NsecToTimespec(int64(left))
			_ = unix.Nanosleep(&ts, nil) // interrupted: the loop looks again
		}
		if _, err := conns[n%len(conns)].Write(requests[n%len(requests)]); err != nil {
			return err
		}
	}
	return nil
}

// readPaced reads the answers to requests i, i+step, ...
func readPaced(c net.Conn, topic string, i, step, total int, due func(int) time.Time, r *loadResult) error {
	size := produceAnswerSize(topic)
	in := make([]byte, 64<<10)
	held := 0
	for n := i; n < total; {
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
			r.latency.add(now.Sub(due(n)))
			r.requests++
			n += step
		}
		held = copy(in, b)
	}
	return nil
}
