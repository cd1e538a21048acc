package controller

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// ErrDiskStalled ends a node whose log could not be written in time; ErrDiskFailed one
// whose write or fsync failed. The process must exit (74): hashicorp/raft would go on
// sending heartbeats while nothing it says is durable (R17).
var (
	ErrDiskStalled = errors.New("controller: the disk does not answer")
	ErrDiskFailed  = errors.New("controller: the disk failed")
)

// guard stands between raft and the disk: it reports a write that hangs while it still
// hangs, and lets nothing be written after the first failure.
type guard struct {
	stall time.Duration

	once  sync.Once
	fatal chan struct{} // closed when the node must stop
	cause error         // set before that
}

func newGuard(stall time.Duration) *guard {
	return &guard{stall: stall, fatal: make(chan struct{})}
}

// fail stops the node; the first cause counts.
func (g *guard) fail(err error) {
	g.once.Do(func() {
		g.cause = err
		close(g.fatal)
	})
}

func (g *guard) failed() error {
	select {
	case <-g.fatal:
		return g.cause
	default:
		return nil
	}
}

// write runs one operation on the disk under the deadline. After a failure it is never
// repeated, nor is anything else tried (Z26).
func (g *guard) write(do func() error) error {
	if err := g.failed(); err != nil {
		return err
	}
	w := g.watch()
	err := do()
	w.stop()
	if err != nil {
		g.fail(fmt.Errorf("%w: %w", ErrDiskFailed, err))
		return err
	}
	return g.failed()
}

// quarters of the deadline are counted one by one: time in which the whole process was stopped says nothing of the disk, so
// that a quarter that ends late begins the count anew.
const quarters = 4

// watch is the deadline of one write.
type watch struct {
	g       *guard
	quarter time.Duration

	mu    sync.Mutex
	timer *time.Timer // nil: the write has ended
	due   time.Time
	left  int
}

func (g *guard) watch() *watch {
	w := &watch{g: g, quarter: g.stall / quarters, left: quarters}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due = time.Now().Add(w.quarter)
	w.timer = time.AfterFunc(w.quarter, w.fire)
	return w
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
	w.timer = nil
}

func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	if w.over(time.Now()) {
		w.g.fail(fmt.Errorf("%w: a write has taken more than %v", ErrDiskStalled, w.g.stall))
		return
	}
	w.timer.Reset(w.quarter)
}

// over counts a quarter and says whether it was the last one.
func (w *watch) over(now time.Time) bool {
	if now.Sub(w.due) > w.quarter {
		w.left = quarters + 1
	}
	w.left--
	w.due = now.Add(w.quarter)
	return w.left == 0
}

// halt stops the node where raft would panic instead. It ends the goroutine it is called
// on, which is raft's: raft's own clean-up runs, and a Shutdown does not wait for it.
func (g *guard) halt(err error) {
	g.fail(fmt.Errorf("%w: %w", ErrDiskFailed, err))
	runtime.Goexit()
}
