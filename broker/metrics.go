package broker

import (
	"math/bits"
	"sync/atomic"
	"time"

	"cordwood/partition"
)

// requestStats counts one API. The hot path adds to plain atomics; Prometheus is met only on a scrape.
type requestStats struct {
	requests atomic.Uint64
	bytes    atomic.Uint64
	answers  atomic.Uint64
	nanos    atomic.Uint64
	buckets  [latencyBuckets]atomic.Uint64
}

// latencyBuckets are powers of two of microseconds: 1 µs, 2 µs, … ~67 s.
const latencyBuckets = 27

// metrics is what the broker itself counts; the rooms have their own Stats.
type metrics struct {
	apis            [128]requestStats
	batchesIn       atomic.Uint64
	bytesIn         atomic.Uint64
	recordsIn       atomic.Uint64
	failedAppends   atomic.Uint64
	duplicates      atomic.Uint64
	bytesOut        atomic.Uint64
	connections     atomic.Int64
	connectionsDone atomic.Uint64
	throttles       [quotaKinds]atomic.Uint64 // throttled answers
	throttleTime    [quotaKinds]atomic.Int64  // nanoseconds their clients were told to wait
}

// api maps own keys (20000 and up) behind Kafka's.
func (m *metrics) api(key int16) *requestStats {
	if key >= 20000 {
		return &m.apis[100+(key-20000)%28]
	}
	return &m.apis[key&127]
}

func (m *metrics) request(key int16, size int) {
	a := m.api(key)
	a.requests.Add(1)
	a.bytes.Add(uint64(size))
}

func (m *metrics) answered(key int16, took time.Duration) {
	a := m.api(key)
	a.answers.Add(1)
	a.nanos.Add(uint64(max(took, 0)))
	a.buckets[min(bits.Len64(uint64(max(took, 0)/time.Microsecond)), latencyBuckets-1)].Add(1)
}

func (m *metrics) produced(items []*partition.Append) {
	var bytes, records uint64
	for _, a := range items {
		switch {
		case a.Err != nil:
			m.failedAppends.Add(1)
		case a.Duplicate:
			m.duplicates.Add(1)
		default:
			bytes += uint64(len(a.Batch))
			records += uint64(a.Batch.Count())
		}
	}
	m.batchesIn.Add(uint64(len(items)))
	m.bytesIn.Add(bytes)
	m.recordsIn.Add(records)
}

func (m *metrics) throttled(kind quotaKind, d time.Duration) {
	m.throttles[kind].Add(1)
	m.throttleTime[kind].Add(int64(d))
}

func (m *metrics) fetched(n int)     { m.bytesOut.Add(uint64(n)) }
func (m *metrics) connectionOpened() { m.connections.Add(1) }
func (m *metrics) connectionClosed() { m.connections.Add(-1); m.connectionsDone.Add(1) }
