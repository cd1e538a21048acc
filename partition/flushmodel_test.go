package partition

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// TestFlusherModel lets producers append to many logs, each value acked before the next, while rounds overflow the journal,
// topics are deleted and made again, modes change, logs are trimmed and descriptors run out. No producer may wait for ever
// (a lost request of a sync shows as that), and a power cut may take nothing that was acked.
func TestFlusherModel(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d", seed)
				}
			}()
			m := newFlushModel(t, seed)
			for range 3 {
				m.live()
				m.cut()
				if t.Failed() {
					t.FailNow()
				}
			}
			m.w.crash()
		})
	}
}

// flushModel is some topics of several logs each, and what their producers were told.
type flushModel struct {
	t       *testing.T
	r       *rand.Rand
	w       *world
	disk    *slowDisk
	journal int64
	from    int
	short   atomic.Bool // descriptors have run out
	logs    []*modelLog
	loose   map[string]bool // in page-cache mode at some time: a power cut may take what was acked
	topics  byte            // ids used
}

const (
	modelTopics = 4
	modelLogs   = 12 // of a topic
)

// modelLog is one log and its producer.
type modelLog struct {
	topic string
	index int32
	r     *rand.Rand

	id    metadata.TopicID // whose values are counted
	began int              // the log's end when this life began
	acked int              // values began..acked-1 must be there
}

func newFlushModel(t *testing.T, seed uint64) *flushModel {
	m := &flushModel{t: t, r: rand.New(rand.NewPCG(seed, 7)), loose: map[string]bool{}, topics: modelTopics}
	m.journal = []int64{12 << 10, 40 << 10, 1 << 20}[m.r.IntN(3)]
	m.from = []int{1, 4, 16}[m.r.IntN(3)]
	m.wrap(vfs.NewMem())
	m.w = newWorld(t, m.disk, func(c *Config) { c.JournalLimit, c.MaxOpenFiles, c.Log = m.journal, 20, nil })
	for i := range modelTopics {
		m.w.topic(topicID(byte(i+1)), name("t%d", i), modelLogs, alone())
		for k := range int32(modelLogs) {
			m.logs = append(m.logs, &modelLog{topic: name("t%d", i), index: k, r: rand.New(rand.NewPCG(seed, uint64(i*100)+uint64(k)))})
		}
	}
	m.w.set.dirs[0].flusher.from = m.from
	return m
}

// wrap makes the disk slow, and short of descriptors when told.
func (m *flushModel) wrap(mem *vfs.Mem) {
	r := rand.New(rand.NewPCG(m.r.Uint64(), 1))
	var mu sync.Mutex
	m.disk = newSlowDisk(nil)
	m.disk.mem = mem
	m.disk.Fault = vfs.NewFault(mem, func(op vfs.Op) vfs.Verdict {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case m.short.Load() && (op.Kind == vfs.OpOpen || op.Kind == vfs.OpSyncDir):
			return vfs.Verdict{Err: syscall.EMFILE}
		case op.Kind == vfs.OpSync && r.IntN(4) > 0:
			return vfs.Verdict{Delay: time.Duration(r.IntN(4000)) * time.Microsecond}
		}
		return vfs.Verdict{}
	})
}

// live is one life: producers, and what disturbs them.
func (m *flushModel) live() {
	m.w.run()
	var wg sync.WaitGroup
	var stop atomic.Bool
	for _, l := range m.logs {
		wg.Go(func() {
			for !stop.Load() {
				l.produce(m)
			}
		})
	}
	for range 40 {
		time.Sleep(time.Duration(m.r.IntN(6000)) * time.Microsecond)
		m.disturb()
	}
	m.short.Store(false)
	stop.Store(true)
	wg.Wait()
}

// produce appends the next value, with garbage now and then that is no longer for the journal, and waits for the ack.
func (l *modelLog) produce(m *flushModel) {
	time.Sleep(time.Duration(l.r.IntN(2000)) * time.Microsecond)
	p := m.w.set.Lookup([]byte(l.topic), l.index)
	if p == nil {
		return
	}
	if id := p.topic.id; l.id != id {
		l.id, l.began, l.acked = id, 0, 0
	}
	v := name("%d/", l.acked) + strings.Repeat("x", l.r.IntN(1<<l.r.IntN(12)))
	if l.r.IntN(200) == 0 {
		v += strings.Repeat("y", maxEntry)
	}
	a := produce(p, -1, batch(1, v))
	err := a.Err
	if err == nil {
		err = m.wait(p, a)
	}
	if q := m.w.set.Lookup([]byte(l.topic), l.index); q == nil || q.topic.id != l.id {
		return // deleted meanwhile
	}
	if err == nil && a.Base == int64(l.acked) {
		l.acked++
	} else if err == nil || m.w.set.dirs[0].isFailed() {
		m.t.Errorf("%s: value %d is at %d: %v, directory %v", p.name(), l.acked, a.Base, err, m.w.set.Directories()[0].Err)
	}
}

var errHangs = errors.New("no answer after a minute")

func (m *flushModel) wait(p *Partition, a *Append) error {
	w, woken := newWaiter()
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for {
		if done, err := p.Acked(a.Last, a.Epoch); done {
			return err
		}
		if p.AwaitAck(w, a.Last, a.Epoch) {
			select {
			case <-woken:
			case <-late.C:
				m.t.Errorf("%s: %v; end %d, durable %d, flush state %d", p.name(), errHangs, p.End(), p.Describe().DurableEnd, p.flush.Load())
				return errHangs
			}
		}
	}
}

func (m *flushModel) disturb() {
	i := m.r.IntN(modelTopics)
	of := name("t%d", i)
	id := m.w.img.Topic(of).ID
	l := m.logs[i*modelLogs+m.r.IntN(modelLogs)]
	switch m.r.IntN(6) {
	case 0:
		m.w.change(metadata.TopicDeleted{ID: id})
		m.topics++
		m.w.topic(topicID(m.topics), of, modelLogs, alone())
	case 1:
		m.loose[name("%x/%d", id, l.index)] = true
		m.w.alter(id, l.index, func(p *metadata.Partition) { p.Durable = !p.Durable })
	case 2:
		_, _ = m.w.get(of, l.index).DeleteRecords(-1)
	case 3:
		m.short.Store(!m.short.Load())
	default:
	}
}

// cut cuts the power in the middle of appends nobody waits for, and looks at what is left.
func (m *flushModel) cut() {
	for _, l := range m.logs {
		if m.r.IntN(2) == 0 {
			produce(m.w.get(l.topic, l.index), 1, batch(1, "unacked"))
		}
	}
	time.Sleep(time.Duration(m.r.IntN(3000)) * time.Microsecond)
	left := m.disk.mem.CrashClone(m.r)
	m.w.crash()
	m.wrap(left)
	m.w.reopen(m.disk)
	m.w.set.dirs[0].flusher.from = m.from
	m.w.settle()
	for _, l := range m.logs {
		p := m.w.get(l.topic, l.index)
		if p.topic.id != l.id {
			l.id, l.began, l.acked = p.topic.id, 0, 0
		}
		loose := m.loose[name("%x/%d", l.id, l.index)]
		if !loose && p.End() < int64(l.acked) {
			m.t.Errorf("%s: %d values were acked, the log ends at %d", p.name(), l.acked, p.End())
			continue
		}
		for i, v := range m.w.read(p, p.Start()) {
			if n := p.Start() + int64(i); !loose && n >= int64(l.began) && n < int64(l.acked) && !strings.HasPrefix(v, name("%d/", n)) {
				m.t.Errorf("%s: %.10q at %d", p.name(), v, n)
			}
		}
		l.began, l.acked = int(p.End()), int(p.End())
	}
	m.w.halt()
}
