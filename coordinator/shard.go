package coordinator

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/coordinator/machine"
)

// call is one Do.
type call struct {
	op   Op           // set once
	done chan outcome // buffered, so that nobody waits for a caller that left

	mu   sync.Mutex // held while op runs
	left bool       // the caller is gone: op must not run (C4)
}

type outcome struct {
	reply any
	err   error
}

// leave makes sure that op does not run any more. If it is running, it waits for its end, which is computation only.
func (c *call) leave() {
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
}

// shard runs the machine of one led partition.
type shard struct {
	// Set once.
	cfg              *Config
	count            *counters
	partition, epoch int32
	log              Log
	zap              *zap.Logger
	queue            chan *call
	ended            chan struct{} // closed when the leadership is over
	gone             chan struct{} // closed when the goroutine has returned
	ctx              context.Context
	cancel           context.CancelFunc

	endOnce sync.Once
	refusal atomic.Pointer[kerr.Error] // what Do answers instead of waiting; nil: the shard serves

	// Owned by the goroutine.
	m       machine.Machine
	token   uint64
	waiting map[uint64]*call // parked, by token
	burst   burst
}

// burst is what was decided since the last commit.
type burst struct {
	entries []machine.Entry
	answers []answer
	effects []machine.Effect
}

type answer struct {
	c     *call
	reply any
}

func (b *burst) reset() {
	clear(b.entries)
	clear(b.answers)
	clear(b.effects)
	b.entries, b.answers, b.effects = b.entries[:0], b.answers[:0], b.effects[:0]
}

func newShard(cfg *Config, count *counters, partition, epoch int32, l Log) *shard {
	s := &shard{
		cfg: cfg, count: count, partition: partition, epoch: epoch, log: l,
		zap:   cfg.Log.With(zap.String("topic", cfg.Topic), zap.Int32("partition", partition), zap.Int32("epoch", epoch)),
		queue: make(chan *call, cfg.MaxOps), ended: make(chan struct{}), gone: make(chan struct{}),
		waiting: map[uint64]*call{},
	}
	s.refusal.Store(kerr.CoordinatorLoadInProgress)
	return s
}

func (s *shard) begin(ctx context.Context) { s.ctx, s.cancel = context.WithCancel(ctx) }

// end is called once or more often, from any goroutine.
func (s *shard) end() {
	s.endOnce.Do(func() {
		close(s.ended)
		if s.cancel != nil {
			s.cancel()
		}
	})
}

// do is Runtime.Do.
func (s *shard) do(ctx context.Context, op Op) (any, error) {
	if refusal := s.refusal.Load(); refusal != nil {
		return nil, refusal
	}
	c := &call{op: op, done: make(chan outcome, 1)}
	select {
	case s.queue <- c:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.ended:
		return nil, kerr.NotCoordinator
	}
	var err error
	select {
	case o := <-c.done:
		return o.reply, o.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.ended:
		err = kerr.NotCoordinator
	}
	c.leave()
	select {
	case o := <-c.done: // it was a close race
		return o.reply, o.err
	default:
		return nil, err
	}
}

// run loads and serves until the leadership is over.
func (s *shard) run(before <-chan struct{}) {
	defer close(s.gone)
	defer s.cancel()
	if before != nil {
		<-before // was told to end before this shard was made (C3)
	}
	delay := s.cfg.RetryDelay
	for s.ctx.Err() == nil {
		err := s.guard(s.load)
		if err == nil {
			delay = s.cfg.RetryDelay
			s.refusal.Store(nil)
			err = s.guard(s.serve)
		}
		if s.ctx.Err() != nil {
			return // callers have seen ended
		}
		code := codeFor(err)
		s.zap.Warn("coordinator shard loads again", zap.Error(err), zap.String("answer", code.Message))
		s.refusal.Store(refusalFor(code))
		s.fail(code)
		select {
		case <-time.After(delay):
		case <-s.ctx.Done():
		}
		delay = min(2*delay, longestDelay)
	}
}

// longestDelay bounds how long a shard takes to notice that its log can be read again.
const longestDelay = 2 * time.Second

// refusalFor is what new requests get after a failure: who is not the leader any more says so, the others load.
func refusalFor(code *kerr.Error) *kerr.Error {
	if code == kerr.NotCoordinator {
		return code
	}
	return kerr.CoordinatorLoadInProgress
}

var errPanic = errors.New("coordinator machine failed")

// guard turns a panic of the rules into an error: the machine is thrown away and made anew from the log (C2), which heals
// what a broken rule did to it. The process and the other shards go on.
func (s *shard) guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.zap.Error("coordinator machine panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return f()
}

// fail answers everything that waits in the shard.
func (s *shard) fail(code *kerr.Error) {
	for _, a := range s.burst.answers {
		a.c.done <- outcome{err: code}
	}
	s.burst.reset()
	for _, c := range s.waiting {
		c.done <- outcome{err: code}
	}
	clear(s.waiting)
	for {
		select {
		case c := <-s.queue:
			c.done <- outcome{err: s.refusal.Load()}
		default:
			return
		}
	}
}

// serve runs bursts until something fails.
func (s *shard) serve() error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var armed time.Time
	for {
		if err := s.commit(); err != nil {
			s.count.failures.Add(1)
			return err
		}
		s.release()
		if at, ok := s.m.NextDeadline(); !ok {
			timer.Stop()
			armed = time.Time{}
		} else if !at.Equal(armed) {
			timer.Reset(time.Until(at))
			armed = at
		}
		var first *call
		select {
		case first = <-s.queue:
		case <-timer.C:
			armed = time.Time{}
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		if err := s.gather(first); err != nil {
			return err
		}
	}
}

// gather takes what is queued, then what is due (C5). At most one queue's worth: under overload deadlines have their turn.
func (s *shard) gather(first *call) error {
	if first != nil {
		if err := s.step(first); err != nil {
			return err
		}
	}
	for range cap(s.queue) {
		select {
		case c := <-s.queue:
			if err := s.step(c); err != nil {
				return err
			}
			continue
		default:
		}
		break
	}
	now := time.Now()
	if at, ok := s.m.NextDeadline(); !ok || at.After(now) {
		return nil
	}
	return s.take(s.m.Expire(now))
}

// step runs one request.
func (s *shard) step(c *call) error {
	s.token++
	// Parked until answered, so that a failure of op finds it, too.
	s.waiting[s.token] = c
	r, ran := s.operate(c)
	if !ran {
		delete(s.waiting, s.token)
		return nil
	}
	s.count.ops.Add(1)
	if r.Reply != nil {
		delete(s.waiting, s.token)
		s.burst.answers = append(s.burst.answers, answer{c, r.Reply})
	}
	return s.take(r)
}

func (s *shard) operate(c *call) (r machine.Result, ran bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return r, false
	}
	return c.op(s.m, s.token, time.Now()), true
}

// take replays what a step decided and keeps the rest for after the commit (C1).
func (s *shard) take(r machine.Result) error {
	for _, e := range r.Entries {
		if err := s.m.Replay(e); err != nil {
			return fmt.Errorf("%w: it does not understand its own entry: %w", errPanic, err)
		}
	}
	s.burst.entries = append(s.burst.entries, r.Entries...)
	s.burst.effects = append(s.burst.effects, r.Effects...)
	for _, a := range r.Answers {
		if c := s.waiting[a.Token]; c != nil {
			delete(s.waiting, a.Token)
			s.burst.answers = append(s.burst.answers, answer{c, a.Reply})
		}
	}
	return nil
}

// release lets the answers of a committed burst go.
func (s *shard) release() {
	for _, a := range s.burst.answers {
		a.c.done <- outcome{reply: a.reply}
	}
	if len(s.burst.effects) > 0 {
		if s.cfg.Effects != nil {
			s.cfg.Effects(s.partition, s.burst.effects)
		} else {
			for _, e := range s.burst.effects {
				s.zap.Info(fmt.Sprint(e))
			}
		}
	}
	s.burst.reset()
}
