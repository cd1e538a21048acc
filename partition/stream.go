package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/protocol/record"
	"cordwood/segment"
)

// A replica that lags by sealed segments takes them in large pieces beside its fetcher, which would make every other
// replica of its lane wait for them.
//
//	fetch: a full answer, more to come, not in sync ──▶ consider ──▶ streamer of the lane ──▶ Link.ReadRange ─┐
//	                                                                    ▲    check, append, sync now and then ◀┘
//	fetch again ◀── resume ◀── finish: no sealed segment left, an error, another leader or epoch
//
// Every piece is asked for by the log's end and the epoch, and appended under the same rules as a fetched one (P12), so
// there is nothing to remember: whatever ended a stream, the next one goes on behind what the log holds. A stream never
// tries again by itself: what went wrong is the fetcher's to find out and to wait for.
const (
	streamAgain = 5 * time.Second // after a stream there is none for the same replica, which may still get full answers
	streamNever = time.Minute     // after the leader has said that it does not know streams
)

// errDone ends a stream: the leader has nothing sealed that this replica lacks.
var errDone = errors.New("no sealed segment is left")

// streams is all streamers of a Set. One is made with the first stream of its lane and ends with the last.
type streams struct {
	set   *Set
	loops sync.WaitGroup

	mu  sync.Mutex
	ctx context.Context // nil: not running
	all map[lane]*streamer
}

// streamer takes the sealed segments of one lane, one replica after another.
type streamer struct {
	set     *Set
	lane    lane
	id      int // as fetcher.id
	news    chan struct{}
	queue   []*stream // guarded by streams.mu; the loop alone takes away
	scratch []record.Batch
}

// stream is one replica that catches up in one leader epoch.
type stream struct {
	p        *Partition
	epoch    int32
	began    time.Time
	due      time.Time // a throttle wants nothing asked before
	bytes    int64
	unsynced int // bytes since the last sync
}

func newStreams(s *Set) *streams { return &streams{set: s, all: map[lane]*streamer{}} }

// run lets streamers work until ctx ends, and returns when they are gone.
func (s *streams) run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.loops.Wait()
}

// isStreaming reports whether the replica takes sealed segments in this leader epoch. A stream of another epoch has ended,
// whether it has noticed or not.
func (p *Partition) isStreaming(epoch int32) bool { return p.stream.Load() == epoch+1 }

// consider starts a stream if an answer that was appended shows how far behind the replica is: it was full, there is more,
// and nobody waits for this replica. Called by the fetcher's loop.
func (s *streams) consider(f *fetcher, p *Partition, pos *FetchPosition, a *Fetched) {
	st := p.standing.Load()
	if s.set.cfg.StreamBytes < 0 || len(a.Records) < pos.MaxBytes/2 || a.HighWatermark <= st.end() ||
		st.epoch != pos.LeaderEpoch || slices.Contains(st.isr, s.set.cfg.Self) || s.set.clock() < p.fetchFor.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || !p.stream.CompareAndSwap(p.stream.Load(), st.epoch+1) {
		return
	}
	s.set.counters.streams.Add(1)
	r := s.all[f.lane]
	if r == nil {
		r = &streamer{set: s.set, lane: f.lane, id: f.id, news: make(chan struct{}, 1)}
		s.all[f.lane] = r
		ctx := s.ctx
		s.loops.Go(func() { r.run(ctx) })
	}
	r.queue = append(r.queue, &stream{p: p, epoch: st.epoch, began: time.Now()})
	notify(r.news)
}

// run is the loop.
func (r *streamer) run(ctx context.Context) {
	for {
		x, wait := r.next(time.Now())
		switch {
		case ctx.Err() != nil:
			r.abandon()
			return
		case x != nil:
			if err := r.step(ctx, x); err != nil {
				r.finish(x, err)
			}
		case wait <= 0: // retired
			return
		default:
			r.rest(ctx, wait)
		}
	}
}

// next is the first stream that is not throttled, or how long all of them are. Without any the streamer is out of service.
func (r *streamer) next(now time.Time) (x *stream, wait time.Duration) {
	s := r.set.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range r.queue {
		d := x.due.Sub(now)
		if d <= 0 {
			return x, 0
		}
		if wait == 0 || d < wait {
			wait = d
		}
	}
	if len(r.queue) == 0 {
		delete(s.all, r.lane)
	}
	return nil, wait
}

func (r *streamer) rest(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-r.news:
	}
}

// step takes one piece. An error ends the stream.
func (r *streamer) step(ctx context.Context, x *stream) error {
	pos, ok := x.p.stand()
	if !ok || pos.LeaderEpoch != x.epoch {
		return errLate
	}
	throttled, now := x.p.isFollowerThrottled(), time.Now()
	most := r.set.cfg.StreamBytes
	if throttled {
		if d := r.set.throttles.follower.delay(now); d > 0 {
			x.due = now.Add(d)
			return nil
		}
		most = r.set.throttles.follower.piece(most)
	}
	a, err := r.set.cfg.Link.ReadRange(ctx, r.lane.leader, &RangeRequest{PartitionID: pos.PartitionID, Lane: r.id,
		LeaderEpoch: pos.LeaderEpoch, Offset: pos.Offset, LastEpoch: pos.LastEpoch, Until: -1, MaxBytes: most})
	switch {
	case err != nil:
		return err
	case a.Err != nil:
		return a.Err
	case a.Delay > 0:
		x.due = now.Add(a.Delay)
		return nil
	case len(a.Records) == 0:
		return errDone
	}
	if err := x.p.appendRange(&pos, a, &r.scratch); err != nil {
		return err
	}
	if throttled {
		r.set.throttles.follower.took(len(a.Records), time.Now())
	}
	r.set.counters.streamBytes.Add(int64(len(a.Records)))
	x.bytes += int64(len(a.Records))
	if x.unsynced += len(a.Records); x.unsynced >= r.set.cfg.StreamSync {
		x.unsynced = 0
		await(ctx, (*Partition).isSynced, x.p)
	}
	return nil
}

// appendRange appends a piece, if every byte of it is as it was sent.
func (p *Partition) appendRange(pos *FetchPosition, a *Range, scratch *[]record.Batch) error {
	batches, err := checkRange(a, (*scratch)[:0])
	*scratch = batches[:0]
	defer clear(batches)
	if err != nil {
		p.set.counters.damaged.Add(1)
		return fmt.Errorf("%w: sealed segment from %d: %w", kerr.CorruptMessage, pos.Offset, err)
	}
	return p.takeOver(pos, &Fetched{HighWatermark: a.HighWatermark, LogStart: a.LogStart}, batches)
}

// checkRange takes a range apart: whole batches, their CRCs, and the sum over what those leave out.
func checkRange(a *Range, to []record.Batch) ([]record.Batch, error) {
	n := 0
	batches, err := cutFetched(a.Records, to)
	for _, b := range batches {
		n += len(b)
	}
	switch {
	case err != nil:
		return batches, err
	case n < len(a.Records):
		return batches, errors.New("the last batch is cut off")
	case segment.HeaderSum(batches) != a.Sum:
		return batches, errors.New("the headers have another sum than was sent")
	}
	return batches, nil
}

// finish gives the replica back to its fetcher, whichever that is now.
func (r *streamer) finish(x *stream, why error) {
	r.release(x)
	pause := streamAgain
	log := r.lane.dir.log.With(zap.String("partition", x.p.name()), zap.Int32("leader", int32(r.lane.leader)),
		zap.Int64("bytes", x.bytes), zap.Int64("end", x.p.End()), zap.Duration("took", time.Since(x.began)))
	switch {
	case errors.Is(why, ErrNotServed):
		pause = streamNever
	case errors.Is(why, errDone) && x.bytes > 0:
		log.Info("sealed segments taken from the leader", zap.String("event", "CW-0517"))
	case errors.Is(why, errDone), errors.Is(why, errLate), errors.Is(why, context.Canceled):
	default:
		log.Warn("sealed segments not taken, the replica goes on with fetches", zap.String("event", "CW-0518"), zap.Error(why))
	}
	x.p.fetchFor.Store(r.set.clock() + int64(pause))
	x.p.stream.CompareAndSwap(x.epoch+1, 0)
	r.set.fetchers.resume(x.p)
}

// release takes a stream out of the queue.
func (r *streamer) release(x *stream) {
	s := r.set.streams
	s.mu.Lock()
	r.queue = slices.DeleteFunc(r.queue, func(y *stream) bool { return y == x })
	s.mu.Unlock()
	s.set.counters.streams.Add(-1)
}

// abandon ends all streams with the Set.
func (r *streamer) abandon() {
	s := r.set.streams
	s.mu.Lock()
	queue := r.queue
	r.queue = nil
	delete(s.all, r.lane)
	s.mu.Unlock()
	s.set.counters.streams.Add(-int64(len(queue)))
	for _, x := range queue {
		x.p.stream.CompareAndSwap(x.epoch+1, 0)
	}
}
