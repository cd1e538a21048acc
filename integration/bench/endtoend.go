package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

// endToEnd produces on a schedule to a partition that ends at an offset, and measures when a consumer at the same leader has each record: it
// parks a fetch for one byte and fetches again as soon as there is an answer. Both times count from when the record was due.
func endToEnd(leader, topic string, s pacedSpec, end int) (acked, received *loadResult, err error) {
	c, err := net.Dial("tcp", leader)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	at := s.schedule()
	received = new(loadResult)
	ended := make(chan error, 1)
	go func() { ended <- receive(c, topic, end, s.total(), at, received) }()
	acked, err = producePaced(leaders{leader}, topic, s, at)
	if err == nil { // what is acknowledged can be read
		err = c.SetDeadline(time.Now().Add(10 * time.Second))
	} else {
		c.Close() // ends the consumer; the producer's error counts
	}
	return acked, received, errors.Join(err, <-ended)
}

// receive reads total records, each a batch of its own, from an offset on.
func receive(c net.Conn, topic string, from, total int, at schedule, r *loadResult) error {
	var head [4]byte
	var answer []byte
	for n := 0; n < total; {
		if _, err := c.Write(fetchRequest(topic, 0, int64(from+n), 1<<20)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return fmt.Errorf("before record %d: %w", n, err)
		}
		size := int(be.Uint32(head[:]))
		if fixed := fetchHead(topic) - 4; size < fixed || size > fixed+2<<20 {
			return fmt.Errorf("an answer of %d bytes to Fetch", size)
		}
		answer = slices.Grow(answer[:0], size)[:size]
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		now := time.Now()
		if code := int16(be.Uint16(answer[fetchCode(topic)-4:])); code != 0 {
			return fmt.Errorf("error code %d to a fetch at offset %d", code, from+n)
		}
		for b := answer[fetchHead(topic)-4:]; len(b) >= batchHeader; { // the last one may be cut
			whole := int(be.Uint32(b[8:])) + 12
			if whole > len(b) {
				break
			}
			if got := int(be.Uint64(b)); got != from+n || batchRecords(b) != 1 {
				return fmt.Errorf("a batch of %d records at offset %d, want one at %d", batchRecords(b), got, from+n)
			}
			r.latency.add(now.Sub(at.due(n)))
			r.requests++
			n++
			b = b[whole:]
		}
	}
	return nil
}
