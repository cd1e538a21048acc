package partition

import (
	"context"
	"fmt"
	"time"
)

// watch takes a directory offline when a write or a sync on it takes longer than DiskStall (R16): a leader whose disk
// hangs would otherwise stop its partitions for ever while its heartbeats go on (Z38). It touches no disk and no lock
// that somebody could hold while waiting for one.
func (s *Set) watch(ctx context.Context) {
	tick := time.NewTicker(max(s.cfg.DiskStall/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.watchOnce(s.clock())
		}
	}
}

func (s *Set) watchOnce(now int64) {
	limit := int64(s.cfg.DiskStall)
	for _, d := range s.dirs {
		for i := range d.flusher.since {
			if since := d.flusher.since[i].Load(); since != 0 && now-since > limit {
				d.fail(stalled("sync", now-since))
			}
		}
		if since := d.probeSince.Load(); since != 0 && now-since > limit {
			d.fail(stalled("probe", now-since))
		}
		if since := d.upkeepSince.Load(); since != 0 && now-since > limit {
			d.fail(stalled("checkpoint", now-since))
		}
	}
	for p := range s.Each() {
		if since := p.busy.Load(); since != 0 && now-since > limit {
			p.dir.fail(stalled("write to "+p.name(), now-since))
		}
	}
}

func stalled(what string, d int64) error {
	return fmt.Errorf("stuck i/o: a %s is outstanding for %s", what, time.Duration(d).Round(time.Millisecond))
}
