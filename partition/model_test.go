package partition

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// TestModel plays random operations on one partition and on a slice of values, through elections, clean stops, kill -9
// and power cuts, in both modes.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			m := newModel(t, seed)
			for range 150 {
				op := m.step()
				m.check(op)
				if t.Failed() {
					t.Fatalf("seed %d, after %s", seed, op)
				}
			}
			m.w.crash()
		})
	}
}

// model is what the partition should be.
type model struct {
	t       *testing.T
	w       *world
	mem     *vfs.Mem
	r       *rand.Rand
	durable bool

	start  int64
	values []string // by offset, from 0 on; those below start are deleted
	acked  int64    // everything below was acked in durable mode, or is in the page cache
	epochs []int32  // by offset
	epoch  int32
	starts map[int32]int64 // log end at the election

	sequence int32 // of producer 1, the next
	recent   []*Append
	n        int
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, mem: vfs.NewMem(), r: rand.New(rand.NewPCG(seed, 1)), durable: seed%3 > 0, starts: map[int32]int64{0: 0}}
	m.w = newWorld(t, m.mem, func(c *Config) { c.Log = nil })
	p := alone()
	p.Durable = m.durable
	m.w.topic(topicID(1), "t", 1, p)
	m.w.config("t", "segment.bytes", "1048576")
	m.w.config("t", "retention.ms", "-1")
	m.w.run()
	return m
}

func (m *model) p() *Partition { return m.w.get("t", 0) }

func (m *model) step() string {
	switch k := m.r.IntN(100); {
	case k < 40:
		return m.appendPlain()
	case k < 60:
		return m.appendSequenced()
	case k < 68:
		return m.resend()
	case k < 78:
		m.epoch += int32(1 + m.r.IntN(3))
		m.starts[m.epoch] = int64(len(m.values))
		m.w.alter(topicID(1), 0, func(p *metadata.Partition) { p.LeaderEpoch = m.epoch })
		return "election"
	case k < 84:
		return m.trim()
	case k < 90:
		time.Sleep(time.Duration(m.r.IntN(100)) * time.Second)
		return "time"
	case k < 94:
		m.w.close(int64(m.n))
		m.w.reopen(m.mem)
		m.w.run()
		return "clean restart"
	default:
		return m.crash()
	}
}

func (m *model) appendPlain() string {
	var items []*Append
	for range 1 + m.r.IntN(4) {
		v := fmt.Sprintf("%d-%s", m.n, make([]byte, m.r.IntN(1<<m.r.IntN(18))))
		m.n++
		items = append(items, &Append{Batch: batch(1+m.r.IntN(3), v), Acks: -1})
	}
	m.p().Append(items)
	for _, a := range items {
		m.appended(a, true)
	}
	return "append"
}

func (m *model) appendSequenced() string {
	records := 1 + m.r.IntN(3)
	a := &Append{Batch: produced(&record.Producer{ID: 1, Sequence: m.sequence}, records, fmt.Sprint("s", m.n)), Acks: -1}
	m.n++
	m.sequence += int32(records)
	m.p().Append([]*Append{a})
	m.appended(a, true)
	if m.recent = append(m.recent, a); len(m.recent) > 5 {
		m.recent = m.recent[1:]
	}
	return "sequenced append"
}

// resend sends one of the last five batches again, which changes nothing, or one that cannot be next.
func (m *model) resend() string {
	if len(m.recent) == 0 {
		return "nothing"
	}
	if m.r.IntN(3) == 0 {
		a := produce(m.p(), -1, produced(&record.Producer{ID: 1, Sequence: m.sequence + 7}, 1, "gap"))
		if !errors.Is(a.Err, kerr.OutOfOrderSequenceNumber) {
			m.t.Errorf("a gap: %+v", a.Err)
		}
		return "gap"
	}
	old := m.recent[m.r.IntN(len(m.recent))]
	again := produce(m.p(), -1, slices.Clone(old.Batch))
	if again.Err != nil || !again.Duplicate || again.Base != old.Base || again.Last != old.Last {
		m.t.Errorf("duplicate of %d: base %d, duplicate %v, %v", old.Base, again.Base, again.Duplicate, again.Err)
	}
	if err := wait(m.p(), again); err != nil {
		m.t.Errorf("duplicate: %v", err)
	}
	return "duplicate"
}

// appended takes an append into the model and waits for its ack.
func (m *model) appended(a *Append, ack bool) {
	if a.Err != nil || a.Base != int64(len(m.values)) {
		m.t.Errorf("append at %d, want %d: %v", a.Base, len(m.values), a.Err)
		return
	}
	it := a.Batch.Records(nil, 1<<20)
	for it.Next() {
		m.values = append(m.values, string(it.Record().Value))
		m.epochs = append(m.epochs, m.epoch)
	}
	it.Close()
	if !ack {
		return
	}
	if err := wait(m.p(), a); err != nil {
		m.t.Errorf("ack: %v", err)
	}
	m.acked = int64(len(m.values))
}

func (m *model) trim() string {
	to := m.start + m.r.Int64N(int64(len(m.values))-m.start+1)
	if m.r.IntN(2) == 0 {
		to = -1
	}
	got, err := m.p().DeleteRecords(to)
	if to == -1 {
		to = int64(len(m.values))
	}
	if err != nil || got != to {
		m.t.Errorf("delete to %d: %d, %v", to, got, err)
	}
	m.start = to
	// A producer whose last batch is deleted is forgotten, and starts anew with any sequence.
	if n := len(m.recent); n > 0 && m.recent[n-1].Last < to {
		m.recent = nil
	}
	m.recent = slices.DeleteFunc(m.recent, func(a *Append) bool { return a.Last < to })
	return fmt.Sprint("delete records to ", to)
}

// crash kills the process, or cuts the power: in page-cache mode that loses what was not synced.
func (m *model) crash() string {
	if !m.durable {
		m.w.halt()
		m.mem = m.mem.KillClone()
		m.w.reopen(m.mem)
		m.w.run()
		return "kill -9"
	}
	if m.r.IntN(2) == 0 { // something on its way
		a := produce(m.p(), 1, batch(2, fmt.Sprint("u", m.n)))
		m.n++
		m.appended(a, false)
	}
	var rng *rand.Rand
	if m.r.IntN(2) == 0 {
		rng = rand.New(rand.NewPCG(m.r.Uint64(), 1))
	}
	disk := m.mem.CrashClone(rng) // while the flusher may be at work
	m.w.crash()
	m.mem = disk
	m.w.reopen(m.mem)
	m.w.settle()
	end := m.p().End()
	if end < m.acked || end > int64(len(m.values)) {
		m.t.Errorf("log end %d after a power cut, %d acked, %d written", end, m.acked, len(m.values))
		return "power cut"
	}
	m.values, m.epochs = m.values[:end], m.epochs[:end]
	m.acked = end
	return "power cut"
}

func (m *model) check(op string) {
	p := m.p()
	if p.Start() != m.start || p.End() != int64(len(m.values)) || p.HighWatermark() != p.End() {
		m.t.Errorf("%s: [%d, %d) with high watermark %d, want [%d, %d)", op, p.Start(), p.End(), p.HighWatermark(), m.start, len(m.values))
		return
	}
	from := m.start + m.r.Int64N(int64(len(m.values))-m.start+1)
	if got := m.w.read(p, from); !slices.Equal(got, m.values[from:]) {
		m.t.Errorf("%s: read from %d gives %d records, want %d", op, from, len(got), int64(len(m.values))-from)
	}
	m.checkEpoch(p, op)
}

// checkEpoch asks for the end of an epoch that has records: where the next begins.
func (m *model) checkEpoch(p *Partition, op string) {
	if len(m.values) == 0 || m.start == int64(len(m.values)) {
		return
	}
	at := m.start + m.r.Int64N(int64(len(m.values))-m.start)
	asked := m.epochs[at]
	end := at
	for end < int64(len(m.epochs)) && m.epochs[end] == asked {
		end++
	}
	e, got, err := p.EpochEnd(-1, asked)
	if err != nil || e != asked || got != end {
		m.t.Errorf("%s: epoch %d ends at (%d, %d) %v, want %d", op, asked, e, got, err, end)
	}
}
