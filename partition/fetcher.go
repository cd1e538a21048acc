package partition

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/protocol/record"
)

const (
	// hurry is how long a fetch that is parked at the leader may stay there when there is something else to ask. It gathers
	// what one image changes.
	hurry = 5 * time.Millisecond
	// overdue is how long beyond its wait a fetch may take that holds a partition which is no longer to be asked for: that
	// one may be why it is not answered (a disk that hangs under it), and the others are waiting.
	overdue = time.Second
)

// fetcher replicates the partitions of one lane: fetch, append all answers, sync them together, fetch again; the next fetch
// is the acknowledgement (R3). What it asks is a session: only what changed is sent, so that the cost of a round is that
// of the partitions with news.
type fetcher struct {
	set  *Set
	lane lane
	id   int // FetchRequest.Lane
	news chan struct{}

	answered atomic.Int64 // when the leader answered last (Set.clock); 0: never

	mu      sync.Mutex
	changes map[*Partition]bool // what the loop was not told yet: follow, or leave
	urgent  bool                // one of them is worth ending a parked fetch
	cancel  context.CancelFunc  // of the fetch under way
	timer   *time.Timer         // will call it ...
	ends    time.Time           // ... then

	// The loop's.
	members   map[PartitionID]*member
	session   int       // members in the leader's session
	full      bool      // the next request opens a new session
	asked     []*member // in the request under way, with a position
	dirty     []*member
	delayed   []*member
	forgotten []PartitionID
	landing   []*Partition // have to be durable before the next request
	request   FetchRequest
	scratch   []record.Batch
}

// member is one partition of a fetcher.
type member struct {
	p     *Partition
	pos   FetchPosition // as the session has it
	sent  bool          // it is in the session
	dirty bool          // in fetcher.dirty
	told  bool          // the answer to fetcher.asked names it
	until time.Time     // in fetcher.delayed: not to be asked for before; zero: not delayed
	pause pause
}

func newFetcher(s *Set, l lane, id int) *fetcher {
	return &fetcher{set: s, lane: l, id: id, news: make(chan struct{}, 1), full: true,
		changes: map[*Partition]bool{}, members: map[PartitionID]*member{}}
}

// tell has the loop follow or leave a partition. A new one does not wait for a fetch that is parked at the leader.
func (f *fetcher) tell(p *Partition, follow bool) {
	f.mu.Lock()
	f.changes[p] = follow
	if follow {
		f.urgent = true
		f.hasten(hurry)
	} else {
		f.hasten(f.set.cfg.FetchWait + overdue)
	}
	f.mu.Unlock()
	notify(f.news)
}

// hasten ends the fetch under way after a while, if it is not to end earlier; mu is held.
func (f *fetcher) hasten(wait time.Duration) {
	ends := time.Now().Add(wait)
	if f.cancel == nil || f.timer != nil && !ends.Before(f.ends) {
		return
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	f.timer, f.ends = time.AfterFunc(wait, f.cancel), ends
}

// run is the loop. After a failure of the leader all partitions pause together; after one of a partition it alone does.
func (f *fetcher) run(ctx context.Context) {
	for failed := (pause{}); ctx.Err() == nil && !f.lane.dir.isFailed(); {
		f.takeChanges()
		f.land(ctx)
		now := time.Now()
		r := f.next(now)
		switch {
		case len(f.members) == 0:
			if f.set.fetchers.retire(f) {
				return
			}
			continue
		case f.session == 0:
			f.full = true
			f.rest(ctx, now)
			continue
		}
		answer, err, interrupted := f.fetch(ctx, r)
		switch {
		case err == nil:
			failed, f.full = pause{}, false
			f.take(answer)
		case interrupted || ctx.Err() != nil:
			f.full = true
		default:
			f.full = true
			f.set.counters.fetchErrors.Add(1)
			if failed.last == 0 {
				f.set.log.Warn("fetch from leader failed", zap.String("event", "CW-0515"), zap.Int32("leader", int32(f.lane.leader)), zap.Error(err))
			}
			failed.wait(ctx, f.set.cfg.FetchBackoff, f.news)
		}
	}
}

// fetch asks the leader; interrupted: it was given up because there is something else to ask.
func (f *fetcher) fetch(ctx context.Context, r *FetchRequest) (answer *FetchResponse, err error, interrupted bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	f.cancel = cancel
	switch {
	case f.urgent:
		f.hasten(hurry)
	case len(f.changes) > 0: // they were told of after this request was made
		f.hasten(f.set.cfg.FetchWait + overdue)
	}
	f.mu.Unlock()
	answer, err = f.set.cfg.Link.Fetch(ctx, f.lane.leader, r)
	f.mu.Lock()
	f.cancel = nil
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.mu.Unlock()
	return answer, err, ctx.Err() != nil
}

// rest waits until a delayed partition is due, or there is news.
func (f *fetcher) rest(ctx context.Context, now time.Time) {
	var due <-chan time.Time
	if at := f.due(); !at.IsZero() {
		t := time.NewTimer(at.Sub(now))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-due:
	case <-f.news:
	}
}

// due is when the first delayed partition is to be asked for; zero: none is delayed.
func (f *fetcher) due() (at time.Time) {
	for _, m := range f.delayed {
		if at.IsZero() || m.until.Before(at) {
			at = m.until
		}
	}
	return at
}

// takeChanges takes in what the loop was told.
func (f *fetcher) takeChanges() {
	f.mu.Lock()
	f.urgent = false
	if len(f.changes) == 0 {
		f.mu.Unlock()
		return
	}
	changes := f.changes
	f.changes = map[*Partition]bool{}
	f.mu.Unlock()
	for p, follow := range changes {
		id := PartitionID{p.topic.id, p.index}
		m := f.members[id]
		switch {
		case follow && (m == nil || m.p != p):
			f.leave(id, m)
			m = &member{p: p}
			f.members[id] = m
			fallthrough
		case follow:
			m.until, m.pause = time.Time{}, pause{}
			f.mark(m)
			f.landing = append(f.landing, p)
		case m != nil && m.p == p:
			f.leave(id, m)
		}
	}
	f.delayed = slices.DeleteFunc(f.delayed, func(m *member) bool { return m.until.IsZero() })
}

func (f *fetcher) leave(id PartitionID, m *member) {
	if m == nil {
		return
	}
	f.forget(m)
	m.until = time.Time{}
	delete(f.members, id)
}

func (f *fetcher) forget(m *member) {
	if m.sent {
		m.sent = false
		f.disagree(m)
		f.session--
		f.forgotten = append(f.forgotten, m.pos.PartitionID)
	}
}

// mark has m's position looked at, and sent if it is another than the session has.
func (f *fetcher) mark(m *member) {
	if !m.dirty {
		m.dirty = true
		f.dirty = append(f.dirty, m)
	}
}

// delay leaves m out for a while.
func (f *fetcher) delay(m *member, until time.Time) {
	if m.until.IsZero() {
		f.delayed = append(f.delayed, m)
	}
	m.until = until
	f.mark(m)
}

// next makes the next request.
func (f *fetcher) next(now time.Time) *FetchRequest {
	f.delayed = slices.DeleteFunc(f.delayed, func(m *member) bool {
		if m.until.After(now) {
			return false
		}
		m.until = time.Time{}
		f.mark(m)
		return true
	})
	c, r := &f.set.cfg, &f.request
	*r = FetchRequest{Lane: f.id, MinBytes: c.FetchMinBytes, MaxBytes: c.FetchResponseBytes, MaxWait: c.FetchWait, Full: f.full,
		Positions: r.Positions[:0], Forgotten: r.Forgotten[:0]}
	if f.full {
		f.session = 0
		for _, m := range f.members {
			m.sent = false
			f.mark(m)
		}
	}
	clear(f.asked)
	f.asked = f.asked[:0]
	for _, m := range f.dirty {
		m.dirty = false
		if f.members[PartitionID{m.p.topic.id, m.p.index}] == m {
			f.enter(m, r, now)
		}
	}
	clear(f.dirty)
	f.dirty = f.dirty[:0]
	if !f.full {
		r.Forgotten = append(r.Forgotten, f.forgotten...)
	}
	f.forgotten = f.forgotten[:0]
	r.Partitions = f.session
	if at := f.due(); !at.IsZero() {
		r.MaxWait = min(r.MaxWait, at.Sub(now))
	}
	return r
}

// enter puts m's position into the request, if the session does not have it, or m out of the session.
func (f *fetcher) enter(m *member, r *FetchRequest, now time.Time) {
	pos, ok := m.p.position()
	if ok && m.until.IsZero() && m.p.isFollowerThrottled() {
		if d := f.set.throttles.follower.delay(now); d > 0 {
			f.delay(m, now.Add(d))
			m.dirty = false // it is looked at again when it is due
		}
	}
	switch {
	case !ok || !m.until.IsZero():
		f.forget(m)
		return
	case m.sent && pos == m.pos:
		return
	case !m.sent:
		m.sent = true
		f.session++
		f.forgotten = slices.DeleteFunc(f.forgotten, func(id PartitionID) bool { return id == pos.PartitionID })
	}
	m.pos, m.told = pos, false
	f.asked = append(f.asked, m)
	r.Positions = append(r.Positions, pos)
}

// take goes through an answer.
func (f *fetcher) take(answer *FetchResponse) {
	f.answered.Store(f.set.clock())
	for i := range answer.Partitions {
		a := &answer.Partitions[i]
		if m := f.members[a.PartitionID]; m != nil && m.sent {
			m.told = true
			f.takeOne(m, a)
		}
	}
	for _, m := range f.asked { // an answer without news of a new position accepts it
		if m.sent && !m.told {
			f.agree(m)
		}
	}
}

func (f *fetcher) takeOne(m *member, a *Fetched) {
	err := a.Err
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange) && a.LogStart > m.pos.Offset: // R9
		err = m.p.startOver(&m.pos, a.LogStart)
	case err != nil:
	case a.DivergingEnd >= 0: // its high watermark belongs to another history (KAFKA-14704)
		err = m.p.truncate(&m.pos, a.DivergingEpoch, a.DivergingEnd, a.LogStart)
		if pos, ok := m.p.position(); err == nil && ok && pos.Offset == m.pos.Offset && pos.LastEpoch == m.pos.LastEpoch {
			err = errors.New("the leader names an end that is ours already")
		}
	case m.p.isHollow(a.LogStart):
		err = m.p.truncate(&m.pos, -1, a.LogStart, a.LogStart)
	default:
		err = m.p.appendFetched(&m.pos, a, &f.scratch)
		if err == nil {
			f.set.streams.consider(f, m.p, &m.pos, a)
		}
		if len(a.Records) > 0 {
			f.landing = append(f.landing, m.p)
			if m.p.isFollowerThrottled() {
				f.set.throttles.follower.took(len(a.Records), time.Now())
			}
		}
	}
	f.mark(m)
	switch {
	case a.Err != nil || a.DivergingEnd >= 0 || err != nil && !errors.Is(err, errLate):
		f.disagree(m)
	case err == nil:
		f.agree(m)
	}
	if err == nil || errors.Is(err, errLate) {
		m.pause = pause{}
		return
	}
	f.set.counters.partitionErrors.Add(1)
	f.lane.dir.complain("CW-0516", "replica cannot follow its leader", m.p, err)
	f.delay(m, time.Now().Add(m.pause.next(f.set.cfg.FetchBackoff)))
}

// isFollowerThrottled reports whether the follower's rate counts this replica: it is named, and not in sync.
func (p *Partition) isFollowerThrottled() bool {
	list := p.Config().FollowerThrottled
	return len(list) > 0 && p.names(list, p.set.cfg.Self) && !slices.Contains(p.standing.Load().isr, p.set.cfg.Self)
}

// land waits until what was appended in durable mode is on the disk: all of it was asked for first, so the flusher syncs it
// together (group commit).
func (f *fetcher) land(ctx context.Context) {
	await(ctx, (*Partition).isLanded, f.landing...)
	clear(f.landing)
	f.landing = f.landing[:0]
}

// await waits until every replica is on its disk as far as `done` wants, or ctx ends.
func await(ctx context.Context, done func(*Partition) bool, all ...*Partition) {
	for _, p := range all {
		if !done(p) {
			p.dir().flusher.request(p)
		}
	}
	woken := make(chan struct{}, 1)
	w := &Waiter{Wake: func() { notify(woken) }}
	for _, p := range all {
		for !done(p) && ctx.Err() == nil {
			p.landed.add(w, 0)
			if !done(p) {
				select {
				case <-woken:
				case <-ctx.Done():
				}
			}
			w.Cancel()
		}
	}
}

// isLanded reports that no fetch has to wait for this replica's disk: it is up to date, or the replica is not fetched for.
func (p *Partition) isLanded() bool {
	return p.isStreaming(p.standing.Load().epoch) || p.isSynced()
}

// isSynced reports that everything a follower has is on its disk, if that is wanted of it.
func (p *Partition) isSynced() bool {
	st := p.standing.Load()
	return st.role != Follower || !st.durable || st.log == nil || st.log.Durable() >= st.log.End() || p.dir().isFailed()
}

// agree notes that the leader found the replica's position in its own log, in the epoch that it was asked in: what is committed
// may be read here. A fetcher that another one has replaced has no say.
func (f *fetcher) agree(m *member) {
	if m.p.fetches.Load() == f {
		m.p.agreed.Store(m.pos.LeaderEpoch)
	}
}

// disagree ends that: nothing of the leader's is heard for this replica.
func (f *fetcher) disagree(m *member) {
	if m.p.fetches.Load() == f {
		m.p.agreed.Store(-1)
	}
}
