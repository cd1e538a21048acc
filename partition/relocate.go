package partition

import (
	"context"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/segment"
)

// maxDirectoryName is what file systems allow; futureOverhead is what a copy's has around topic and index.
const (
	maxDirectoryName = 255
	futureOverhead   = len("-.00000000000000000000000000000000-future")
)

// Move has the replica of a partition moved to another of this broker's directories; to the one that it is in: a move that is
// under way is undone. It returns when the move is on disk, so that the next start goes on with it; Moving tells when it is
// over. The errors are AlterReplicaLogDirs': INVALID_TOPIC_EXCEPTION for a name that the copy's directory has no room for,
// LOG_DIR_NOT_FOUND, KAFKA_STORAGE_ERROR, UNKNOWN_TOPIC_OR_PARTITION. REPLICA_NOT_AVAILABLE: it has no replica on this
// broker; one that comes in this life of the process will be put there.
func (s *Set) Move(ctx context.Context, topic string, index int32, dir string) error {
	if len(topic)+len(strconv.Itoa(int(index)))+futureOverhead > maxDirectoryName {
		return kerr.InvalidTopicException
	}
	to := s.directory(dir)
	switch {
	case to == nil:
		return kerr.LogDirNotFound
	case to.isFailed():
		return kerr.KafkaStorageError
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return kerr.RequestTimedOut
	}
	defer func() { <-s.turn }()
	p := s.Lookup([]byte(topic), index)
	if p == nil {
		return s.prefer(topic, index, to)
	}
	return p.moveTo(to)
}

// directory finds one of log.dirs.
func (s *Set) directory(path string) *directory {
	for _, d := range s.dirs {
		if filepath.Clean(d.path) == filepath.Clean(path) {
			return d
		}
	}
	return nil
}

// prefer remembers where a replica is wanted that this broker may get.
func (s *Set) prefer(topic string, index int32, to *directory) error {
	t := s.image.Topic(topic)
	if t == nil || t.Partition(index) == nil {
		return kerr.UnknownTopicOrPartition
	}
	s.preferred[PartitionID{t.ID, index}] = to
	return kerr.ReplicaNotAvailable
}

// forgetPreferred drops what was wanted of a topic that is gone.
func (s *Set) forgetPreferred(diff *metadata.Diff) {
	if len(s.preferred) == 0 {
		return
	}
	for _, t := range diff.TopicsDeleted {
		for id := range s.preferred {
			if id.Topic == t.ID {
				delete(s.preferred, id)
			}
		}
	}
}

// moveTo is Move for a replica that is here. The caller has Set.turn.
func (p *Partition) moveTo(to *directory) error {
	m := p.move.Load()
	if m != nil && m.to != to {
		if err := p.stopMove(m); err != nil {
			return err
		}
		m = nil // it may have been over before: then there is another way to go
	}
	switch {
	case p.dir().isFailed() || p.standing.Load().role == Offline:
		return kerr.KafkaStorageError
	case p.dir() == to || m != nil:
		return nil
	case p.standing.Load().log == nil:
		return p.settle(to)
	}
	return p.startMove(to)
}

// settle puts a replica that nothing was ever written of into another directory.
func (p *Partition) settle(to *directory) error {
	if !p.lockUnlessFailed() || !p.enterUnlessFailed() {
		return kerr.KafkaStorageError
	}
	st := p.standing.Load()
	if st.log != nil { // meanwhile
		p.mu.Unlock()
		return p.startMove(to)
	}
	from := p.dir()
	p.home.Store(to)
	p.mu.Unlock()
	from.replicas.Add(-1)
	to.replicas.Add(1)
	p.set.fetchers.point(p, st.leaderToFollow())
	if f := p.set.cfg.Moved; f != nil {
		f()
	}
	return nil
}

// startMove makes the empty copy, durably, and gives it to the mover.
func (p *Partition) startMove(to *directory) error {
	var log *segment.Log
	err := to.attempt(func() (err error) {
		log, err = to.makeFuture(p)
		return err
	})
	if err != nil {
		to.complain("CW-0522", "replica cannot be copied to another directory", p, err)
		if isFatal(err) {
			to.fail(err)
		}
		return kerr.KafkaStorageError
	}
	m := newMove(p, to, log)
	p.move.Store(m)
	to.mover.add(m)
	to.log.Info("replica begins to move", zap.String("event", "CW-0524"), zap.String("partition", p.name()), zap.String("from", p.dir().path))
	return nil
}

// makeFuture makes the empty log of a copy. What is in the way is one that nobody knows, an operator's matter, or a copy of an
// earlier life that could not be opened.
func (d *directory) makeFuture(p *Partition) (*segment.Log, error) {
	fsys, name := d.set.cfg.FS, p.name()
	if taken, err := segment.Exists(fsys, filepath.Join(d.path, name)); err != nil || taken {
		return nil, errTaken(err, filepath.Join(d.path, name))
	}
	dir := segment.FutureName(name, d.id)
	if err := fsys.RemoveAll(filepath.Join(d.path, dir)); err != nil {
		return nil, err
	}
	log, err := d.openIn(dir, name, p.topic.id, p.Start(), p.topic.settings.Load().segment, nil)
	if err == nil {
		_, err = log.Sync()
	}
	return log, err
}

// stopMove ends a move and deletes the copy, durably. It may be over instead.
func (p *Partition) stopMove(m *move) error {
	if !m.take() {
		return kerr.KafkaStorageError
	}
	defer m.give()
	if m.over {
		return nil
	}
	m.over = true
	p.move.CompareAndSwap(m, nil)
	path := ""
	err := m.to.attempt(func() (err error) {
		path, err = m.log.Delete()
		return err
	})
	if path != "" {
		p.set.removeLater(m.to, path, p.Config().FileDeleteDelay)
	}
	if err != nil {
		m.to.log.Error("copy of a replica is not deleted", zap.String("event", "CW-0525"), zap.String("partition", p.name()), zap.Error(err))
		if isFatal(err) {
			m.to.fail(err)
		}
		return kerr.KafkaStorageError
	}
	m.to.log.Info("replica stays where it is: its move was undone", zap.String("event", "CW-0526"), zap.String("partition", p.name()))
	return nil
}

// Moving is a replica on its way to another directory.
type Moving struct {
	Dir  string // where it goes
	Size int64  // of what is copied
	Lag  int64  // records that are not
}

// Moving tells of the replica's move; ok is false when there is none.
func (p *Partition) Moving() (f Moving, ok bool) {
	m := p.move.Load()
	if m == nil {
		return f, false
	}
	return Moving{Dir: m.to.path, Size: m.log.Size(), Lag: max(p.End()-m.log.End(), 0)}, true
}

// Placement says in which directory a replica is.
type Placement struct {
	PartitionID
	Dir metadata.DirID
}

// Misplaced lists the replicas that are in another directory than img says, for the controller to be told: what it decides
// when a disk fails depends on it (R16). A broker with one directory has nothing to tell.
func (s *Set) Misplaced(img *metadata.Image) (all []Placement) {
	if len(s.dirs) < 2 {
		return nil
	}
	for p := range s.Each() {
		t := img.TopicByID(p.topic.id)
		if t == nil {
			continue
		}
		m := t.Partition(p.index)
		id := p.dir().id
		if absent := p.absent.Load(); absent != nil {
			id = *absent
		}
		if m != nil && s.isOurs(m) && m.Dir(s.cfg.Self) != id && !id.IsZero() {
			all = append(all, Placement{PartitionID{p.topic.id, p.index}, id})
		}
	}
	return all
}

// superseded is a directory that a replica was in before it moved.
type superseded struct {
	name string         // of the log
	by   metadata.DirID // where it went
	path string
}

// located is a log that was found at start, and where.
type located struct {
	dir *directory
	log *segment.Log
}

// takeOld gives a hosted replica the directories that its moves left, if they are of its topic.
func (s *Set) takeOld(e *topic, name string) (old []superseded, in []*directory) {
	for _, d := range s.dirs {
		for _, o := range d.moved {
			if o.name != name {
				continue
			}
			if id, err := segment.TopicOf(s.cfg.FS, o.path); err == nil && metadata.TopicID(id) == e.id {
				old, in = append(old, o), append(in, d)
			}
		}
	}
	return old, in
}

// takeFutures claims the copies of a hosted replica that are there.
func (s *Set) takeFutures(e *topic, name string) (all []located) {
	for _, d := range s.dirs {
		f := d.claim(segment.FutureName(name, d.id))
		switch {
		case f == nil || f.log == nil: // an unreadable copy is in nobody's way: makeFuture removes it
		case f.log.TopicID() == e.id:
			all = append(all, located{d, f.log})
		case f.isNameless() && f.log.End() == f.log.Start(): // a crash while it was made
			s.deleteCopy(d, f.log)
		default:
			s.setAside(d, f)
		}
	}
	return all
}

// deleteCopy deletes a copy that nobody needs.
func (s *Set) deleteCopy(d *directory, log *segment.Log) {
	path, err := log.Delete()
	if err != nil {
		d.upkeepFailed("deletion of "+log.Dir(), err)
	}
	if path != "" {
		s.removeLater(d, path, s.cfg.Defaults.FileDeleteDelay)
	}
}

// pick is the replica among several of the same topic: the one that metadata names, or else the one with the longer history.
// The others are set aside.
func (s *Set) pick(all []located, named metadata.DirID) (r located) {
	best := 0
	for i, r := range all {
		b := all[best]
		switch {
		case !named.IsZero() && b.dir.id == named:
		case !named.IsZero() && r.dir.id == named,
			r.log.LastEpoch() > b.log.LastEpoch(),
			r.log.LastEpoch() == b.log.LastEpoch() && r.log.End() > b.log.End():
			best = i
		}
	}
	for i, r := range all {
		if i != best {
			s.setAside(r.dir, &found{name: r.log.Name(), log: r.log})
		}
	}
	return all[best]
}

// promote ends a move that a crash stopped between its two renames: the copy is whole.
func (s *Set) promote(name string, futures []located, old []superseded) (r located, rest []located) {
	for i, f := range futures {
		for _, o := range old {
			if o.by != f.dir.id || r.log != nil {
				continue
			}
			if err := f.log.Rename(filepath.Join(f.dir.path, name)); err != nil {
				f.dir.fail(err)
			}
			r, rest = f, append(append(rest, futures[:i]...), futures[i+1:]...)
		}
	}
	if r.log == nil {
		rest = futures
	}
	return r, rest
}

// resume goes on with a move of an earlier life. Of several copies one is enough.
func (p *Partition) resume(futures []located) {
	for _, f := range futures {
		if p.move.Load() != nil || f.dir == p.dir() || p.dir().isFailed() {
			p.set.deleteCopy(f.dir, f.log)
			continue
		}
		m := newMove(p, f.dir, f.log)
		p.move.Store(m)
		f.dir.mover.add(m)
	}
}

// keepOld remembers the directory that the last move left; those of moves before it have been told of.
func (p *Partition) keepOld(old []superseded, in []*directory) {
	for i, o := range old {
		if in[i] == p.dir() || p.former.Load() != nil {
			p.set.removeFormer(&former{in[i], o.path}, p.Config().FileDeleteDelay)
			continue
		}
		p.former.Store(&former{in[i], o.path})
	}
}
