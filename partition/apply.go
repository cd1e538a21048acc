package partition

import (
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/metadata"
	"cordwood/segment"
)

// Apply makes the hosted replicas what img says: hosts, changes roles and configurations, gives replicas up. It is
// level-triggered: what lies between img and the image before does not matter. img is committed metadata. It returns
// when all of it is done; of several callers one works at a time.
func (s *Set) Apply(img *metadata.Image) {
	s.turn <- struct{}{} // not a mutex: whoever has it may wait for the disk
	defer func() { <-s.turn }()
	diff := metadata.Compare(s.image, img)
	s.image = img
	s.applied.Store(img)       // before any role that it gives: followers are judged by it
	s.dispose(s.unhost(&diff)) // first: a name may be hosted again only when its old directory is out of the way
	s.forgetPreferred(&diff)
	changed := s.takeDefaults(img, &diff)
	now := time.Now()
	for i := range diff.Partitions {
		if d := &diff.Partitions[i]; d.New != nil && s.isOurs(d.New) {
			s.host(img, d, now)
		}
	}
	if mutant == 28 {
		s.deleteUnknown()
	}
	for _, c := range diff.ConfigsChanged {
		if c.Type == metadata.ResourceTopic && !changed {
			s.reconfigure(img, c.Name)
		}
	}
	if changed {
		for t := range s.table.topics() {
			s.reconfigure(img, t.name)
		}
	}
}

// takeDefaults works out anew what a topic without a config of its own has, if the dynamic configs of the brokers
// changed: this broker's own count before the cluster's, and both before the property file's.
func (s *Set) takeDefaults(img *metadata.Image, diff *metadata.Diff) bool {
	self := strconv.Itoa(int(s.cfg.Self))
	if !slices.ContainsFunc(diff.ConfigsChanged, func(c metadata.ConfigRef) bool {
		return c.Type == metadata.ResourceBroker && (c.Name == "" || c.Name == self)
	}) {
		return false
	}
	s.throttles.configure(img, &s.cfg)
	next := s.cfg.Defaults
	for _, name := range []string{"", self} {
		c, err := next.With(metadata.FromBroker(img.Config(metadata.ResourceBroker, name)))
		if err != nil { // the controller validates; an image of a newer version may know more
			s.log.Error("broker config is not understood, the former defaults are kept", zap.String("broker", name), zap.Error(err))
			return false
		}
		next = c
	}
	s.plain = s.settings(next)
	return true
}

func (s *Set) isOurs(p *metadata.Partition) bool {
	for _, id := range p.Replicas {
		if id == s.cfg.Self {
			return true
		}
	}
	return false
}

// disposal is a replica to be given up.
type disposal struct {
	p       *Partition
	deleted bool // the topic is deleted; else only this replica is removed
}

// unhost takes deleted topics and replicas that were given to others out of the table. Both are committed facts
// about a topic id; a topic id that an image does not know says nothing (R13, Z28).
func (s *Set) unhost(diff *metadata.Diff) (gone []disposal) {
	for _, t := range diff.TopicsDeleted {
		e := s.table.byID(t.ID)
		if e == nil {
			continue
		}
		s.table.remove(e)
		for p := range e.partitions() {
			gone = append(gone, disposal{p: p, deleted: true})
		}
	}
	for i := range diff.Partitions {
		d := &diff.Partitions[i]
		if d.New == nil || s.isOurs(d.New) {
			continue
		}
		e := s.table.byID(d.Topic.ID)
		if p := e.partition(d.Index); p != nil && d.Old != nil && d.New.PartitionEpoch > d.Old.PartitionEpoch {
			gone = append(gone, disposal{p: p})
			e.put(d.Index, nil, 0)
		}
	}
	return gone
}

// dispose ends the replicas and renames their directories, several at a time, since each rename waits for the disk.
func (s *Set) dispose(gone []disposal) {
	if len(gone) == 0 {
		return
	}
	leaving := func(are []disposal) {
		s.mu.Lock()
		s.leaving = are // for the watchdog
		s.mu.Unlock()
	}
	leaving(gone)
	defer leaving(nil)
	var g errgroup.Group
	g.SetLimit(maxSyncs)
	for _, d := range gone {
		g.Go(func() error {
			s.disposeOne(d)
			return nil
		})
	}
	_ = g.Wait()
}

func (s *Set) disposeOne(d disposal) {
	p := d.p
	answer := kerr.NotLeaderForPartition
	if d.deleted {
		answer = kerr.UnknownTopicOrPartition
	}
	usable := p.retreat(answer)
	p.dir().replicas.Add(-1)
	s.disposeMove(p)
	if !usable {
		return
	}
	log := p.standing.Load().log
	if log == nil { // nothing was ever written
		return
	}
	rename := log.Stray
	if d.deleted {
		rename = log.Delete
	}
	p.busy.Store(s.clock())
	path, err := rename()
	p.busy.Store(0)
	if err != nil {
		p.dir().log.Error("replica is given up but its directory stays", zap.String("event", "CW-0508"),
			zap.String("partition", p.name()), zap.Error(err))
		if isFatal(err) {
			p.dir().fail(err)
		}
	}
	if path == "" {
		return
	}
	s.removeLater(p.dir(), path, p.Config().FileDeleteDelay)
}

// disposeMove ends what a replica that is given up has in other directories. A copy on a disk that does not work stays.
func (s *Set) disposeMove(p *Partition) {
	if m := p.move.Load(); m != nil {
		_ = p.stopMove(m)
	}
	if f := p.former.Swap(nil); f != nil {
		s.removeFormer(f, p.Config().FileDeleteDelay)
	}
}

// host brings one replica to where the image has it.
func (s *Set) host(img *metadata.Image, d *metadata.PartitionDiff, now time.Time) {
	e := s.table.byID(d.Topic.ID)
	if e == nil {
		e = &topic{id: d.Topic.ID, name: d.Topic.Name}
		e.settings.Store(s.settingsOf(img, e.name))
		s.table.add(e)
	}
	p := e.partition(d.Index)
	if p == nil {
		p = s.open(e, d.Index, d.New)
		e.put(d.Index, p, len(d.Topic.Partitions))
	}
	delete(s.preferred, PartitionID{e.id, d.Index})
	p.become(d.New, now)
	p.releaseFormer(d.New)
}

// open makes a Partition of what was found at start, or one without a log. A directory of that name with another
// topic id belongs to a topic that committed metadata no longer has: it is set aside, never opened as ours (Z20).
func (s *Set) open(e *topic, index int32, m *metadata.Partition) *Partition {
	name := directoryName(e.name, index)
	old, in := s.takeOld(e, name)
	futures := s.takeFutures(e, name)
	var here []located
	for _, d := range s.dirs {
		f := d.claim(name)
		switch {
		case f == nil:
		case f.isBroken():
			return s.broken(e, index, d)
		case f.log.TopicID() == e.id || mutant == 20:
			here = append(here, located{d, f.log})
		default:
			s.setAside(d, f)
		}
	}
	switch {
	case len(here) > 0:
		here[0] = s.pick(here, m.Dir(s.cfg.Self))
	case len(old) > 0:
		r, rest := s.promote(name, futures, old)
		if futures = rest; r.log == nil {
			return s.lost(e, index, in[0], old[0].by)
		}
		here = []located{r}
	default:
		d := s.place(m)
		if to := s.preferred[PartitionID{e.id, index}]; to != nil && !to.isFailed() {
			d = to
		}
		d.replicas.Add(1)
		return newPartition(s, e, index, d, nil)
	}
	r := here[0]
	p := newPartition(s, e, index, r.dir, r.log)
	r.log.ApplyConfig(e.settings.Load().segment)
	r.dir.replicas.Add(1)
	p.keepOld(old, in)
	p.resume(futures)
	return p
}

// lost is a replica that has moved to a directory which is not here any more: nothing is made in its place that could pass
// for it, and the controller is told where it was.
func (s *Set) lost(e *topic, index int32, d *directory, by metadata.DirID) *Partition {
	p := s.broken(e, index, d)
	p.absent.Store(&by)
	d.log.Error("replica is in a directory that this broker does not have", zap.String("event", "CW-0527"), zap.String("partition", p.name()),
		zap.Stringer("directory", by))
	return p
}

// broken is a replica whose log cannot be opened: it answers KAFKA_STORAGE_ERROR and its files stay as they are.
func (s *Set) broken(e *topic, index int32, d *directory) *Partition {
	p := newPartition(s, e, index, d, nil)
	st := *p.standing.Load()
	st.role, st.err = Offline, kerr.KafkaStorageError
	p.standing.Store(&st)
	return p
}

// setAside renames a directory of another topic of the same name. It is not removed.
func (s *Set) setAside(d *directory, f *found) {
	path, err := f.log.Stray()
	if err != nil {
		d.log.Error("directory of another topic id is in the way", zap.String("event", "CW-0506"), zap.String("partition", f.name), zap.Error(err))
		return
	}
	d.log.Warn("directory of another topic id is set aside", zap.String("event", "CW-0507"), zap.String("partition", f.name),
		zap.String("path", path))
}

// place chooses the directory that metadata names, or else the one with the fewest replicas.
func (s *Set) place(m *metadata.Partition) *directory {
	id := m.Dir(s.cfg.Self)
	var best *directory
	for _, d := range s.dirs {
		switch {
		case !id.IsZero() && d.id == id:
			return d
		case best == nil, best.isFailed() && !d.isFailed():
			best = d
		case !d.isFailed() && d.replicas.Load() < best.replicas.Load():
			best = d
		}
	}
	return best
}

// deleteUnknown is what Z28 forbids; only a mutant does it.
func (s *Set) deleteUnknown() {
	for _, d := range s.dirs {
		for _, l := range d.unclaimed() {
			_, _ = d.claim(l.Name()).log.Delete()
		}
	}
}

// reconfigure gives a topic's partitions their new configuration.
func (s *Set) reconfigure(img *metadata.Image, name string) {
	e := s.table.byName([]byte(name))
	if e == nil {
		return
	}
	next := s.settingsOf(img, name)
	e.settings.Store(next)
	for p := range e.partitions() {
		p.configure(next.segment)
	}
}

func (p *Partition) configure(c segment.Config) {
	if !p.lockUnlessFailed() || !p.enterUnlessFailed() {
		return
	}
	defer p.mu.Unlock()
	if l := p.standing.Load().log; l != nil {
		l.ApplyConfig(c)
	}
}
