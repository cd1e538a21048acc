package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/segment"
)

// former is the directory of a replica that has moved: it stays, under its last name, until metadata names the new one. Until
// then it is what tells, if the new disk is lost, that the replica was on it.
type former struct {
	dir  *directory
	path string
}

// errAbandoned: the directory went offline while something waited for it.
var errAbandoned = errors.New("the directory is offline")

// attempt does something that waits for the directory's disk. The watchdog measures it, and a disk that hangs is left
// behind with it.
func (d *directory) attempt(f func() error) error {
	if d.isFailed() {
		return errAbandoned
	}
	since := d.set.clock()
	done := make(chan error, 1)
	key := new(int64)
	d.attempts.Store(key, since)
	go func() {
		err := f()
		d.attempts.Delete(key)
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(time.Second):
			if d.isFailed() {
				return errAbandoned
			}
		}
	}
}

// swap lets the copy take the replica's place, with appends waiting: the rest is copied and all of it on disk before the
// first name changes, readers go over to the copy before the replica's files get another name, and no name changes in the new
// directory before the change in the old one is durable (P19). The mover has the move's token.
func (p *Partition) swap(m *move, x *mover) error {
	from := p.dir()
	if !p.lockUnlessFailed() {
		return errLate
	}
	if !p.enterUnlessFailed() {
		return errLate
	}
	old := p.standing.Load()
	if old.role == Offline {
		p.mu.Unlock()
		return errLate
	}
	err := p.exclusive(func() error { return p.settleFor(from, old.log) })
	if err == nil {
		err = p.hold(func() error { return m.finish(x, old.log) })
	}
	if err == nil {
		err = p.exchange(m, old, from)
	}
	p.flush.CompareAndSwap(flushMoving, flushIdle)
	st := p.standing.Load()
	p.mu.Unlock()
	p.dir().flusher.request(p) // whatever was asked for meanwhile
	if err != nil {
		return err
	}
	p.moved(m, st, from)
	return nil
}

// settleFor brings everything that the old directory has of the log into the log's own files, and takes the replica from the
// directory's flusher.
func (p *Partition) settleFor(from *directory, log *segment.Log) error {
	for !from.flusher.detach(p) {
		if from.isFailed() {
			return errAbandoned
		}
		time.Sleep(100 * time.Microsecond)
	}
	if _, err := log.Sync(); err != nil {
		from.syncFailed(p, err)
		return errLate
	}
	return nil
}

// finish copies the rest; nothing is appended meanwhile.
func (m *move) finish(x *mover, src *segment.Log) error {
	for {
		n, err := x.copy(m, movePiece)
		if err != nil { // retention, too, waits until this is over
			return err
		}
		if m.bytes += int64(n); n == 0 {
			break
		}
	}
	m.spoilt = true // until it is the replica: it shares the state of producers
	snapshot := m.log.TakeState(src)
	err := m.to.attempt(func() error {
		m.log.WriteState(snapshot)
		return nil
	})
	if err == nil {
		err = m.sync()
	}
	return err
}

// exchange is the swap itself. mu is held.
func (p *Partition) exchange(m *move, old *standing, from *directory) error {
	next := *old
	next.log = m.log
	p.standing.Store(&next)
	var path string
	err := p.exclusive(func() (err error) {
		path, err = old.log.Supersede(m.to.id)
		return err
	})
	if err != nil {
		p.standing.Store(old)
		if errors.Is(err, segment.ErrNoSpace) && !old.log.Closed() {
			return err
		}
		from.fail(fmt.Errorf("rename of %s: %w", p.name(), err)) // what is on its disk now, only the next start can tell
		return err
	}
	p.home.Store(m.to)
	p.former.Store(&former{from, path})
	m.over = true
	p.move.Store(nil)
	m.log.ApplyConfig(p.topic.settings.Load().segment)
	err = p.exclusive(func() error { return m.log.Rename(filepath.Join(m.to.path, p.name())) })
	if err != nil { // the copy is the replica now, wherever its name is
		m.to.fail(fmt.Errorf("rename of %s: %w", p.name(), err))
	}
	return nil
}

// moved tells everybody of a move that is complete.
func (p *Partition) moved(m *move, st *standing, from *directory) {
	from.replicas.Add(-1)
	m.to.replicas.Add(1)
	s := p.set
	s.counters.moved.Add(1)
	m.to.log.Info("replica moved from another directory", zap.String("event", "CW-0521"), zap.String("partition", p.name()),
		zap.String("from", from.path), zap.Int64("bytes", m.bytes), zap.Duration("took", time.Since(m.began)))
	p.synced()
	s.fetchers.point(p, st.leaderToFollow())
	s.purgeLater(p)
	if t := s.applied.Load().TopicByID(p.topic.id); t != nil {
		p.releaseFormer(t.Partition(p.index))
	}
	if f := s.cfg.Moved; f != nil {
		f()
	}
}

// releaseFormer lets the old directory of a replica that has moved go, once metadata names the new one.
func (p *Partition) releaseFormer(m *metadata.Partition) {
	f := p.former.Load()
	if f != nil && m != nil && m.Dir(p.set.cfg.Self) == p.dir().id && p.former.CompareAndSwap(f, nil) {
		p.set.removeFormer(f, p.Config().FileDeleteDelay)
	}
}

// removeFormer deletes what a move left.
func (s *Set) removeFormer(f *former, delay time.Duration) {
	path := ""
	err := f.dir.attempt(func() (err error) {
		path, err = segment.DeleteMoved(s.cfg.FS, f.path, s.cfg.Now())
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.dir.upkeepFailed("deletion of "+f.path, err)
	}
	if path != "" {
		s.removeLater(f.dir, path, delay)
	}
}
