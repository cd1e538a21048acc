package coordinator

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/coordinator/machine"
	"cordwood/protocol/record"
)

// memLog is one partition in memory. Each Elected gets a view of it bound to its leadership, as the broker's is.
type memLog struct {
	mu      sync.Mutex
	epoch   int32
	batches []record.Batch // stamped
	start   int64
	high    int64
	held    bool          // nothing is committed while set
	moved   chan struct{} // closed and replaced when something changes
	appends int
	sizes   []int // of appended batches
	fail    func(what string) error
}

func newMemLog() *memLog { return &memLog{moved: make(chan struct{})} }

// lead begins a leadership.
func (l *memLog) lead(epoch int32) Log {
	l.change(func() { l.epoch = epoch })
	return leadership{l, epoch}
}

func (l *memLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	if !l.held {
		l.high = l.end()
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *memLog) end() int64 {
	if n := len(l.batches); n > 0 {
		return l.batches[n-1].NextOffset()
	}
	return l.start
}

func (l *memLog) hold(on bool) { l.change(func() { l.held = on }) }

// failing makes every operation fail that f refuses; nil heals.
func (l *memLog) failing(f func(what string) error) { l.change(func() { l.fail = f }) }

func (l *memLog) broken(what string) error {
	if l.fail == nil {
		return nil
	}
	return l.fail(what)
}

// put appends batches as they are, for logs that others wrote.
func (l *memLog) put(batches ...record.Batch) {
	l.change(func() {
		for _, b := range batches {
			b.Stamp(l.end(), 1)
			l.batches = append(l.batches, b)
		}
	})
}

func (l *memLog) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.appends
}

type leadership struct {
	*memLog
	epoch int32
}

func (l leadership) Append(b record.Batch) (last int64, epoch int32, err error) {
	l.change(func() {
		if err = l.broken("append"); err != nil {
			return
		}
		if l.memLog.epoch != l.epoch {
			err = kerr.NotLeaderForPartition
			return
		}
		b.Stamp(l.end(), l.epoch)
		l.batches = append(l.batches, b)
		l.sizes = append(l.sizes, len(b))
		l.appends++
		last = b.LastOffset()
	})
	return last, l.epoch, err
}

func (l leadership) Await(ctx context.Context, last int64, epoch int32) error {
	for {
		l.mu.Lock()
		high, now, moved, err := l.high, l.memLog.epoch, l.moved, l.broken("await")
		l.mu.Unlock()
		switch {
		case err != nil:
			return err
		case now != epoch:
			return kerr.NotLeaderForPartition
		case high > last:
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l leadership) Read(offset int64, buf []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.broken("read"); err != nil {
		return nil, err
	}
	buf = buf[:0]
	for _, b := range l.batches {
		if b.LastOffset() < offset || b.NextOffset() > l.high {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > 300 { // small, so that loading takes several reads
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

func (l leadership) Start() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start
}

func (l leadership) End() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end()
}

// batchOf builds a batch of entries.
func batchOf(t testing.TB, o record.BuilderOptions, entries ...machine.Entry) record.Batch {
	t.Helper()
	b := record.NewBuilder(o)
	for _, e := range entries {
		b.Append(1, e.Key, e.Value, nil)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return batch
}
