package coordinator

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
	"cordwood/protocol/compress"
	"cordwood/protocol/record"
)

var plain = record.BuilderOptions{}

// offsetOf is a commit as Kafka writes it.
func offsetOf(name string, at int64) machine.Entry {
	k := kmsg.OffsetCommitKey{Version: 1, Group: name, Topic: "t"}
	v := kmsg.OffsetCommitValue{Version: 3, Offset: at, LeaderEpoch: -1}
	return machine.Entry{Key: k.AppendTo(nil), Value: v.AppendTo(nil)}
}

func tombstoneOf(name string) machine.Entry {
	e := offsetOf(name, 0)
	e.Value = nil
	return e
}

// C6: whatever is in the log, the shard loads and serves.
func TestLoadingALogThatOthersWrote(t *testing.T) {
	txn := func(id int64) record.BuilderOptions {
		return record.BuilderOptions{Transactional: true, Producer: &record.Producer{ID: id}}
	}
	marker := func(c record.ControlType, id int64) record.Batch {
		return record.BuildControl(record.Control{Type: c}, id, 0, 1)
	}
	compressed := record.BuilderOptions{Codec: record.Zstd, Codecs: compress.New()}
	broken := batchOf(t, plain, offsetOf("a", 66))
	broken[len(broken)-1] ^= 1
	short := batchOf(t, plain, offsetOf("a", 77))
	short = recount(short, 5)
	for name, c := range map[string]struct {
		batches          []record.Batch
		want             int64
		skipped, corrupt uint64
	}{
		"nothing":                     {nil, -1, 0, 0},
		"the last one decides":        {[]record.Batch{batchOf(t, plain, offsetOf("a", 1), offsetOf("a", 2)), batchOf(t, plain, offsetOf("a", 3))}, 3, 0, 0},
		"a tombstone":                 {[]record.Batch{batchOf(t, plain, offsetOf("a", 1), tombstoneOf("a"))}, -1, 0, 0},
		"compressed":                  {[]record.Batch{batchOf(t, compressed, offsetOf("a", 4))}, 4, 0, 0},
		"garbage":                     {[]record.Batch{batchOf(t, plain, offsetOf("a", 5), machine.Entry{Key: []byte("x"), Value: []byte("y")}, machine.Entry{})}, 5, 2, 0},
		"a wrong checksum":            {[]record.Batch{batchOf(t, plain, offsetOf("a", 6)), broken}, 6, 0, 1},
		"fewer records than it says":  {[]record.Batch{short, batchOf(t, plain, offsetOf("a", 7))}, 7, 0, 1},
		"a committed transaction":     {[]record.Batch{batchOf(t, plain, offsetOf("a", 1)), batchOf(t, txn(8), offsetOf("a", 8)), marker(record.Commit, 8)}, 8, 0, 0},
		"an aborted transaction":      {[]record.Batch{batchOf(t, plain, offsetOf("a", 1)), batchOf(t, txn(8), offsetOf("a", 8)), marker(record.Abort, 8)}, 1, 0, 0},
		"an open transaction":         {[]record.Batch{batchOf(t, plain, offsetOf("a", 1)), batchOf(t, txn(8), offsetOf("a", 8))}, 1, 0, 0},
		"two transactions":            {[]record.Batch{batchOf(t, txn(8), offsetOf("a", 8)), batchOf(t, txn(9), offsetOf("a", 9)), marker(record.Commit, 9), marker(record.Abort, 8)}, 9, 0, 0},
		"a marker of nothing":         {[]record.Batch{marker(record.Commit, 3), batchOf(t, plain, offsetOf("a", 1))}, 1, 0, 0},
		"a control record of no kind": {[]record.Batch{batchOf(t, record.BuilderOptions{Control: true}, machine.Entry{Key: []byte{1}}), batchOf(t, plain, offsetOf("a", 1))}, 1, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(c *Config) { c.Codecs = compress.New() }, func(h *hall, ctx context.Context) {
				for _, b := range c.batches {
					h.log.put(append(record.Batch{}, b...))
				}
				h.elect(1)
				if at, err := h.fetch(ctx, "a"); at != c.want || err != nil {
					t.Errorf("fetched %d, %v; want %d", at, err, c.want)
				}
				if s := h.Stats(); s.Skipped != c.skipped || s.CorruptionsInLoad != c.corrupt {
					t.Errorf("skipped %d records, %d batches; want %d, %d", s.Skipped, s.CorruptionsInLoad, c.skipped, c.corrupt)
				}
			})
		})
	}
}

// recount makes a batch say that it has n records, with a right checksum.
func recount(b record.Batch, n byte) record.Batch {
	b[60] = n
	b.StampLogAppendTime(1)
	return b
}

func TestLoadingALogWithHoles(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		for i := range 100 {
			h.log.put(batchOf(t, record.BuilderOptions{}, offsetOf("a", int64(i)), offsetOf("b", int64(i))))
		}
		// Compaction took every batch but the last and some in the middle; the log starts behind its first offset.
		h.log.change(func() {
			kept := h.log.batches[:0]
			for i, b := range h.log.batches {
				if i%7 == 3 || i == 99 {
					kept = append(kept, b)
				}
			}
			h.log.batches, h.log.start = kept, 2
		})
		h.elect(1)
		for _, name := range []string{"a", "b"} {
			if at, err := h.fetch(ctx, name); at != 99 || err != nil {
				t.Errorf("group %s: %d, %v", name, at, err)
			}
		}
	})
}

// slowLog takes its time to append, whatever happens meanwhile.
type slowLog struct {
	Log
	release chan struct{}
}

func (l slowLog) Append(b record.Batch) (int64, int32, error) {
	<-l.release
	return l.Log.Append(b)
}

// The successor of a shard that is still busy waits for it (C3).
func TestASuccessorWaitsForItsPredecessor(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		release := make(chan struct{})
		h.Elected(0, 1, slowLog{h.log.lead(1), release})
		synctest.Wait()
		var wg sync.WaitGroup
		wg.Go(func() { want(t, "ended", h.commit(ctx, "g", 1), kerr.NotCoordinator) })
		synctest.Wait()
		h.Elected(0, 2, h.log.lead(2))
		wg.Wait()
		time.Sleep(time.Second)
		if s := h.Stats(); s.Loads != 1 || s.Loading != 1 {
			t.Errorf("stats %+v", s)
		}
		close(release)
		synctest.Wait()
		if s := h.Stats(); s.Loads != 2 || s.Loading != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// cutLog answers half a batch, which no Log may.
type cutLog struct{ Log }

func (l cutLog) Read(offset int64, buf []byte) ([]byte, error) {
	b, err := l.Log.Read(offset, buf)
	return b[:len(b)/2], err
}

// An incomplete load is never taken for a whole one.
func TestALogThatAnswersHalfABatchIsNotServed(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.log.put(batchOf(t, record.BuilderOptions{}, offsetOf("a", 1)))
		h.Elected(0, 1, cutLog{h.log.lead(1)})
		time.Sleep(time.Second)
		if s := h.Stats(); s.Loads != 0 || s.Loading != 1 {
			t.Errorf("stats %+v", s)
		}
		want(t, "loading", h.commit(ctx, "a", 1), kerr.CoordinatorLoadInProgress)
	})
}

// Whatever bytes the log answers, the loader ends and the machine is sound (bad input 128).
func FuzzLoad(f *testing.F) {
	b := record.NewBuilder(record.BuilderOptions{})
	b.Append(1, offsetOf("a", 1).Key, offsetOf("a", 1).Value, nil)
	b.Append(1, nil, nil, nil)
	batch, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(batch))
	f.Add(append([]byte(record.BuildControl(record.Control{Type: record.Commit}, 1, 0, 1)), batch...))
	cfg := Config{}
	cfg.fill()
	f.Fuzz(func(t *testing.T, log []byte) {
		m := group.New(group.Config{Rand: rand.NewChaCha8([32]byte{})})
		s := newShard(&cfg, &counters{}, 0, 1, nil)
		l := loader{shard: s, m: m, open: map[int64][]machine.Entry{}}
		if next, err := l.batches(log, 0); err == nil && next < 0 {
			t.Errorf("next offset %d", next)
		}
		// The checksum stops most garbage; a batch of ours that carries it does not.
		if b, rest, err := record.Next(log); err == nil && len(rest) == 0 {
			l.batch(b)
		}
		m.Loaded(time.Now())
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
