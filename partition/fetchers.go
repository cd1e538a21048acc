package partition

import (
	"context"
	"slices"
	"sync"
	"time"

	"cordwood/metadata"
)

// lane is what one fetcher serves: the replicas of one directory that follow one leader. Directories do not wait for each
// other's disks, and brokers not for each other's answers.
type lane struct {
	leader metadata.NodeID
	dir    *directory
}

// fetchers is all fetchers of a Set. One is made with the first partition of its lane and ends with the last.
type fetchers struct {
	set   *Set
	loops sync.WaitGroup

	mu  sync.Mutex
	ctx context.Context // nil: not running
	all map[lane]*fetcher
	of  map[*Partition]*fetcher
}

func newFetchers(s *Set) *fetchers {
	return &fetchers{set: s, all: map[lane]*fetcher{}, of: map[*Partition]*fetcher{}}
}

// point has p fetched from that leader, by nobody else; from nobody with NoNode. What a fetcher has under way for p comes
// too late then: p itself refuses it, by its role, its epoch and its log end (R4).
func (s *fetchers) point(p *Partition, leader metadata.NodeID) {
	if s.set.cfg.Link == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.of[p]
	if f != nil && (f.lane.leader != leader || f.lane.dir != p.dir()) {
		f.tell(p, false)
		delete(s.of, p)
		p.fetches.Store(nil)
		f = nil
	}
	if leader == metadata.NoNode {
		return
	}
	if f == nil {
		l := lane{leader, p.dir()}
		if f = s.all[l]; f == nil {
			f = newFetcher(s.set, l, slices.Index(s.set.dirs, p.dir()))
			s.all[l] = f
			s.start(f)
		}
		s.of[p] = f
		p.fetches.Store(f)
	}
	f.tell(p, true)
}

// start begins f's loop if the set runs; mu is held.
func (s *fetchers) start(f *fetcher) {
	if ctx := s.ctx; ctx != nil {
		s.loops.Go(func() { f.run(ctx) })
	}
}

// run lets fetchers work until ctx ends, and returns when they are gone.
func (s *fetchers) run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	for _, f := range s.all {
		s.start(f)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.ctx = nil
	s.mu.Unlock()
	s.loops.Wait()
}

// resume has p looked at again by whoever fetches for it now.
func (s *fetchers) resume(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.of[p]; f != nil {
		f.tell(p, true)
	}
}

// retire takes f out of service if it has nothing to do.
func (s *fetchers) retire(f *fetcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.changes) > 0 || len(f.members) > 0 {
		return false
	}
	delete(s.all, f.lane)
	return true
}

func (s *fetchers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// pause is the time between attempts: it doubles up to a limit.
type pause struct{ last time.Duration }

func (p *pause) next(most time.Duration) time.Duration {
	p.last = min(max(2*p.last, 10*time.Millisecond), most)
	return p.last
}

// wait pauses; news ends it early. It reports whether ctx goes on.
func (p *pause) wait(ctx context.Context, most time.Duration, news <-chan struct{}) bool {
	t := time.NewTimer(p.next(most))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-news:
	}
	return true
}

// notify leaves a token in a channel of one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
