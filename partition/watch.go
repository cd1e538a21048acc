package partition

import (
	"context"
	"fmt"
	"time"
)

// watch takes a directory offline when a write or a sync on it takes longer than DiskStall (R16): a leader whose disk
// hangs would otherwise stop its partitions for ever while its heartbeats go on (Z38). It touches no disk and no lock
// that somebody could hold while waiting for one.
//
// Time in which the whole process was stopped says nothing of the disk: after a tick that comes late everything that is
// outstanding has the full time again.
func (s *Set) watch(ctx context.Context) {
	every := max(s.cfg.DiskStall/4, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	w := wakefulness{most: int64(2 * every), last: s.clock()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := s.clock()
			s.watchOnce(now, w.since(now))
		}
	}
}

// wakefulness knows since when this process has been running.
type wakefulness struct {
	most int64 // between two looks, unless it was stopped
	last int64 // look
	woke int64
}

// since is asked again and again.
func (w *wakefulness) since(now int64) int64 {
	if now-w.last > w.most {
		w.woke = now
	}
	w.last = now
	return w.woke
}

// watchOnce judges what is outstanding; woke is since when the process has been running.
func (s *Set) watchOnce(now, woke int64) {
	limit := int64(s.cfg.DiskStall)
	late := func(since int64) bool { return since != 0 && now-max(since, woke) > limit }
	for _, d := range s.dirs {
		for i := range d.flusher.since {
			if since := d.flusher.since[i].Load(); late(since) {
				d.fail(stalled("sync", now-since))
			}
		}
		d.attempts.Range(func(_, since any) bool {
			if since := since.(int64); late(since) {
				d.fail(stalled("write of a copy", now-since))
			}
			return true
		})
		if since := d.probeSince.Load(); late(since) {
			d.fail(stalled("probe", now-since))
		}
		if since := d.upkeepSince.Load(); late(since) {
			d.fail(stalled("checkpoint", now-since))
		}
	}
	judge := func(p *Partition) {
		if since := p.busy.Load(); late(since) {
			p.dir().fail(stalled("write to "+p.name(), now-since))
		}
	}
	for p := range s.Each() {
		judge(p)
	}
	s.mu.Lock()
	leaving := s.leaving
	s.mu.Unlock()
	for _, d := range leaving {
		judge(d.p)
	}
}

func stalled(what string, d int64) error {
	return fmt.Errorf("stuck i/o: a %s is outstanding for %s", what, time.Duration(d).Round(time.Millisecond))
}
