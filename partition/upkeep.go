package partition

import (
	"context"
	"iter"
	"time"

	"go.uber.org/zap"

	"cordwood/segment"
)

// upkeep does what is done by the clock: checkpoints, retention, removal of files, forgetting of producers. It is one
// goroutine; a directory that is offline is left alone.
func (s *Set) upkeep(ctx context.Context) {
	var (
		marks   = time.NewTicker(s.cfg.HighWatermarkInterval)
		points  = time.NewTicker(s.cfg.CheckpointInterval)
		expire  = time.NewTicker(s.cfg.ProducerInterval)
		retain  = time.NewTimer(s.cfg.InitialDelay)
		remove  = time.NewTicker(time.Second)
		purging = map[*Partition]*purge{}
	)
	defer func() { marks.Stop(); points.Stop(); expire.Stop(); retain.Stop(); remove.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return
		case <-marks.C:
			s.eachDirectory(s.writeHighWatermarks)
		case <-points.C:
			s.flushCold()
			s.eachDirectory(func(d *directory) { _ = d.checkpoint(s.logs(d)) })
		case <-expire.C:
			s.expireProducers()
		case <-retain.C:
			s.retainAll(purging)
			retain.Reset(s.cfg.RetentionInterval)
		case p := <-s.purging:
			purging[p] = &purge{}
		case <-remove.C:
			s.purge(purging)
			s.removeDue(time.Now())
		}
	}
}

// eachDirectory runs f on each directory that is online, watched for stalls.
func (s *Set) eachDirectory(f func(*directory)) {
	for _, d := range s.dirs {
		if !d.isFailed() {
			d.upkeepSince.Store(s.clock())
			f(d)
			d.upkeepSince.Store(0)
		}
	}
}

// writeHighWatermarks checkpoints the high watermarks if one of them has moved. They are hints (Z31).
func (s *Set) writeHighWatermarks(d *directory) {
	sum := uint64(0)
	for p := range s.Each() {
		if p.dir() == d {
			sum += uint64(p.hw.Load())
		}
	}
	if sum == d.marks {
		return
	}
	err := d.checkpoints.WriteHighWatermarks(func(yield func(string, int64) bool) {
		for p := range s.Each() {
			if hw := p.hw.Load(); p.dir() == d && hw > 0 && !yield(p.name(), hw) {
				return
			}
		}
		for _, l := range d.unclaimed() {
			if hw := l.HighWatermarkHint(); hw > 0 && !yield(l.Name(), hw) {
				return
			}
		}
	})
	if err != nil {
		d.upkeepFailed("checkpoint of high watermarks", err)
		return
	}
	d.marks = sum
}

// checkpoint writes recovery points and log starts of the given logs of a directory; lines of others stay.
func (d *directory) checkpoint(logs iter.Seq[*segment.Log]) error {
	err := d.checkpoints.Write(logs)
	if err != nil {
		d.upkeepFailed("checkpoint of recovery points", err)
	}
	return err
}

// logs goes through the open logs of a directory, also those that no image has claimed yet.
func (s *Set) logs(d *directory) iter.Seq[*segment.Log] {
	return func(yield func(*segment.Log) bool) {
		for p := range s.Each() {
			if l := p.standing.Load().log; p.dir() == d && l != nil && !yield(l) {
				return
			}
			if m := p.move.Load(); m != nil && m.to == d && !yield(m.log) {
				return
			}
		}
		for _, l := range d.unclaimed() {
			if !yield(l) {
				return
			}
		}
	}
}

func (d *directory) upkeepFailed(what string, err error) {
	if isFatal(err) {
		d.fail(err)
		return
	}
	d.log.Error("upkeep failed", zap.String("event", "CW-0509"), zap.String("what", what), zap.Error(err))
}

// flushCold asks for a sync of logs in page-cache mode that have grown, but not since the last pass. One that is
// being written is left to its roll: a sync of a hot segment stalls its writers.
func (s *Set) flushCold() {
	for p := range s.Each() {
		st := p.standing.Load()
		if st.log == nil || st.durable || p.dir().isFailed() {
			continue
		}
		if end := st.log.End(); end != p.checked {
			p.checked = end
		} else if st.log.SyncDue() {
			p.cold.Store(true)
			p.dir().flusher.request(p)
		}
	}
}

func (s *Set) retainAll(purging map[*Partition]*purge) {
	now := s.cfg.Now()
	for p := range s.Each() {
		if p.dir().isFailed() {
			continue
		}
		n, err := p.retain(now)
		if err != nil {
			p.dir().upkeepFailed("retention of "+p.name(), err)
		}
		if n > 0 {
			purging[p] = &purge{}
		}
	}
}

// purgeLater tells upkeep that p has dropped segments; if it cannot be told now, the next retention pass finds them.
func (s *Set) purgeLater(p *Partition) {
	select {
	case s.purging <- p:
	default:
	}
}

// purge renames the files of dropped segments, and removes them when their delay is over.
func (s *Set) purge(purging map[*Partition]*purge) {
	now := s.cfg.Now()
	for p, g := range purging {
		st := p.standing.Load()
		if st.role == Offline || p.dir().isFailed() {
			delete(purging, p)
			continue
		}
		switch {
		case g.due.IsZero():
			g.due = now.Add(p.Config().FileDeleteDelay)
		case now.Before(g.due):
			continue
		default:
			delete(purging, p)
		}
		if err := st.log.Purge(now); err != nil {
			p.dir().upkeepFailed("removal of segments of "+p.name(), err)
		}
	}
}

// purge is what upkeep knows of a log that has dropped segments: when the last of them may go; zero before they are
// renamed.
type purge struct{ due time.Time }

func (s *Set) expireProducers() {
	now := s.cfg.Now().UnixMilli()
	for p := range s.Each() {
		p.expireProducers(now)
	}
}

func (p *Partition) expireProducers(now int64) {
	if p.standing.Load().log == nil || !p.lockUnlessFailed() {
		return
	}
	defer p.mu.Unlock()
	p.enter()
	if st := p.standing.Load(); st.log != nil && st.role != Offline {
		st.log.Producers().Expire(now, p.topic.settings.Load().segment.ProducerExpiry.Milliseconds())
	}
}

// removeLater puts a renamed directory on the list of removals.
func (s *Set) removeLater(d *directory, path string, delay time.Duration) {
	s.mu.Lock()
	s.removed = append(s.removed, removal{dir: d, path: path, due: time.Now().Add(delay)})
	s.mu.Unlock()
}

// removeDue removes the directories whose delay is over.
func (s *Set) removeDue(now time.Time) {
	s.mu.Lock()
	var due []removal
	kept := s.removed[:0]
	for _, r := range s.removed {
		if now.Before(r.due) {
			kept = append(kept, r)
		} else {
			due = append(due, r)
		}
	}
	s.removed = kept
	s.mu.Unlock()
	for _, r := range due {
		if r.dir.isFailed() {
			continue
		}
		if err := s.cfg.FS.RemoveAll(r.path); err != nil {
			r.dir.upkeepFailed("removal of "+r.path, err)
		}
	}
}
