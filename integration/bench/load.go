package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// loadSpec is a shape of produce load.
type loadSpec struct {
	batch, record int
	inFlight      int // requests per connection
	conns         int
	partitions    int
	sync          bool // fsync before ack
	acks          int16
}

var (
	load16k   = loadSpec{batch: 16 << 10, record: 1 << 10, inFlight: 50, conns: 1, partitions: 1, acks: -1}
	load64k   = loadSpec{batch: 64 << 10, record: 1 << 10, inFlight: 20, conns: 1, partitions: 1, acks: -1}
	load1m    = loadSpec{batch: 1 << 20, record: 1 << 10, inFlight: 5, conns: 1, partitions: 1, acks: -1}
	loadSmall = loadSpec{batch: 1100, record: 1000, inFlight: 50, conns: 1, partitions: 1, acks: -1}
)

// over spreads the load over connections, each with a partition of its own.
func (s loadSpec) over(conns int) loadSpec { s.conns, s.partitions = conns, conns; return s }

// into sends it to so many partitions.
func (s loadSpec) into(partitions int) loadSpec { s.partitions = partitions; return s }

// synced asks for durable mode.
func (s loadSpec) synced() loadSpec { s.sync = true; return s }

// configs are the topic settings that the load needs on a target.
func (s loadSpec) configs(t target) map[string]string {
	if s.sync {
		return t.synced()
	}
	return t.pageCache()
}

// loadResult is what a load did.
type loadResult struct {
	requests, records, bytes int64 // bytes of record batches
	latency                  histogram
}

func (r *loadResult) merge(o *loadResult) {
	r.requests += o.requests
	r.records += o.records
	r.bytes += o.bytes
	r.latency.merge(&o.latency)
}

// leaders are the addresses of those who lead: partition p is led by number p modulo how many they are.
type leaders []string

func (l leaders) of(partition int) string { return l[partition%len(l)] }

// produce sends the load as fast as answers come, until volume bytes or the time is used up. Where there are several leaders,
// connections and partitions are multiples of their number, or there is one partition.
func produce(to leaders, topic string, s loadSpec, volume int64, limit time.Duration) (*loadResult, error) {
	batch := newBatch(s.batch, s.record)
	quota := max(volume/int64(s.conns)/int64(len(batch)), 1)
	results, failures := make([]loadResult, s.conns), make([]error, s.conns)
	stop := time.Now().Add(limit)
	var all sync.WaitGroup
	for i := range s.conns {
		l := loader{spec: s, topic: topic, quota: quota, stop: stop, result: &results[i]}
		all.Add(1)
		go func() {
			defer all.Done()
			failures[i] = l.run(to.of(i%s.partitions), i, batch)
		}()
	}
	all.Wait()
	total := &loadResult{}
	for i := range results {
		total.merge(&results[i])
	}
	return total, errors.Join(failures...)
}

// loader is one connection: it fills its window, then waits for answers, in one goroutine.
type loader struct {
	spec   loadSpec
	topic  string
	quota  int64 // requests
	stop   time.Time
	result *loadResult

	conn           net.Conn
	stream         []byte // whole requests, one after another
	request        int    // bytes of one
	sent, answered int64
	at             []time.Time // when request n was sent: at[n % inFlight]
	in             []byte
	held           int // bytes of a half answer in in
}

// streamOf is a run of requests of equal size over the partitions of connection i, long enough for one full window.
func streamOf(s loadSpec, topic string, i int, batch []byte) (stream []byte, request int) {
	one := produceRequest(topic, 0, s.acks, batch)
	mine := max(1, s.partitions/s.conns)
	n := mine * ((s.inFlight + mine - 1) / mine)
	if mine == 1 && n*len(one) > 8<<20 {
		n = max(1, 8<<20/len(one))
	}
	var b bytes.Buffer
	for k := range n {
		b.Write(produceRequest(topic, int32((i+k*s.conns)%s.partitions), s.acks, batch))
	}
	return b.Bytes(), len(one)
}

func (l *loader) run(addr string, i int, batch []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	l.conn = c
	l.stream, l.request = streamOf(l.spec, l.topic, i, batch)
	l.at = make([]time.Time, l.spec.inFlight)
	l.in = make([]byte, produceAnswerSize(l.topic)*l.spec.inFlight)
	for {
		now := time.Now()
		if now.After(l.stop) {
			l.quota = l.sent
		}
		if err := l.fill(now); err != nil {
			return err
		}
		if l.sent == l.answered {
			break
		}
		if err := l.drain(); err != nil {
			return err
		}
	}
	l.result.requests = l.answered
	l.result.records = l.answered * int64(batchRecords(batch))
	l.result.bytes = l.answered * int64(len(batch))
	return nil
}

// fill sends requests until the window is full, as many with one write as lie together.
func (l *loader) fill(now time.Time) error {
	for {
		n := min(int64(l.spec.inFlight)-(l.sent-l.answered), l.quota-l.sent)
		if n <= 0 {
			return nil
		}
		inStream := int64(len(l.stream) / l.request)
		from := l.sent % inStream
		n = min(n, inStream-from, max(1, int64(1<<20/l.request)))
		for k := range n {
			l.at[(l.sent+k)%int64(l.spec.inFlight)] = now
		}
		l.sent += n
		if _, err := l.conn.Write(l.stream[from*int64(l.request) : (from+n)*int64(l.request)]); err != nil {
			return err
		}
	}
}

// drain reads once and checks every whole answer.
func (l *loader) drain() error {
	n, err := l.conn.Read(l.in[l.held:])
	if err != nil {
		return fmt.Errorf("after %d of %d answers: %w", l.answered, l.sent, err)
	}
	now := time.Now()
	size := produceAnswerSize(l.topic)
	b := l.in[:l.held+n]
	for len(b) >= size {
		code, err := produceCode(b[:size], l.topic)
		if err != nil {
			return err
		}
		if code != 0 {
			return fmt.Errorf("error code %d to request %d", code, l.answered)
		}
		l.result.latency.add(now.Sub(l.at[l.answered%int64(l.spec.inFlight)]))
		l.answered++
		b = b[size:]
	}
	l.held = copy(l.in, b)
	return nil
}
