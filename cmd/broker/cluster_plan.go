package main

import (
	"cmp"
	"fmt"
	"slices"
)

// Where replicas shall go. A plan moves as little as it can:
//
//	replicas that may stay, stay          nobody has to copy them
//	a place that is free                  goes to a broker of a rack the partition is not in, then to the one that holds
//	                                      fewest replicas, then to the lowest id; never to one without the room
//	the first of the replicas             is the preferred leader: every broker is it equally often, if that can be had
//	                                      by changing the order alone

// replicaMove gives a partition other replicas, or the same in another order.
type replicaMove struct {
	partitionID
	from, to []int32
	bytes    int64 // each new replica copies so much; -1: nobody knows
}

func (m *replicaMove) adding() []int32 { return less(m.to, m.from) }

// copied is how much travels for the move.
func (m *replicaMove) copied() int64 { return max(0, m.bytes) * int64(len(m.adding())) }

// seat is a broker that may be given replicas, and what it has by now.
type seat struct {
	id       int32
	rack     string
	room     int64 // bytes, -1: nobody knows
	replicas int
	leaders  int // partitions it is the preferred leader of
}

// planner gives out places, partition by partition.
type planner struct {
	v     *clusterView
	seats []*seat // who may be given replicas, by id
	moves []replicaMove
}

// newPlanner lets the named live brokers that stay have replicas. What they hold counts if counts says so of the partition.
func newPlanner(v *clusterView, to []int32, counts func(p *clusterPartition) bool) *planner {
	pl := &planner{v: v}
	for i := range v.brokers {
		b := &v.brokers[i]
		if b.live && !b.leaves && slices.Contains(to, b.id) {
			pl.seats = append(pl.seats, &seat{id: b.id, rack: b.rack, room: b.room()})
		}
	}
	for i := range v.partitions {
		if p := &v.partitions[i]; counts(p) {
			pl.count(p.target(), +1)
		}
	}
	return pl
}

func (pl *planner) seat(id int32) *seat {
	for _, s := range pl.seats {
		if s.id == id {
			return s
		}
	}
	return nil
}

// count adds a partition's replicas to what the brokers hold, or takes them away.
func (pl *planner) count(replicas []int32, n int) {
	for i, id := range replicas {
		s := pl.seat(id)
		if s == nil {
			continue
		}
		if s.replicas += n; i == 0 {
			s.leaders += n
		}
	}
}

// pick is the broker that suits a further replica best, or why there is none.
func (pl *planner) pick(p *clusterPartition, has []int32, first bool) (*seat, error) {
	racks := map[string]bool{}
	for _, id := range has {
		if b := pl.v.broker(id); b != nil {
			racks[b.rack] = true
		}
	}
	var fit []*seat
	free, most := 0, int64(-1)
	for _, s := range pl.seats {
		if slices.Contains(has, s.id) {
			continue
		}
		free++
		most = max(most, s.room)
		if s.room < 0 || p.size() <= s.room || slices.Contains(p.replicas, s.id) {
			fit = append(fit, s)
		}
	}
	switch {
	case free == 0:
		return nil, fmt.Errorf("%s: %d brokers may have replicas of it, and each has one; add a broker, or ask for fewer replicas (cluster reassign --topics %s --replicas N)",
			p, len(pl.seats), p.topic)
	case len(fit) == 0:
		return nil, fmt.Errorf("%s: no broker has room for its %s; the most free space is %s", p, bytesText(p.size()), bytesText(most))
	}
	return slices.MinFunc(fit, func(a, b *seat) int {
		leads := 0
		if first {
			leads = cmp.Compare(a.leaders, b.leaders)
		}
		return cmp.Or(cmp.Compare(count(racks[a.rack]), count(racks[b.rack])), cmp.Compare(a.replicas, b.replicas), leads, cmp.Compare(a.id, b.id))
	}), nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// take gives a replica's place to a broker.
func (s *seat) take(p *clusterPartition) {
	s.replicas++
	if s.room >= 0 && !slices.Contains(p.replicas, s.id) {
		s.room = max(0, s.room-max(0, p.size()))
	}
}

// add notes where a partition's replicas shall be, unless they are there, or on their way, already.
func (pl *planner) add(p *clusterPartition, to []int32) {
	if !slices.Equal(p.target(), to) {
		pl.moves = append(pl.moves, replicaMove{p.partitionID, p.target(), to, p.size()})
	}
}

// evacuate plans that some brokers hold nothing: each replica on them goes to another broker, in its place. So does a
// new replica that was to come from a reassignment in progress to a broker that is gone.
func evacuate(v *clusterView, gone []int32) ([]replicaMove, []error) {
	pl := newPlanner(v, less(v.brokerIDs(), gone), func(*clusterPartition) bool { return true })
	var failed []error
	for i := range v.partitions {
		p := &v.partitions[i]
		to := slices.Clone(p.target())
		for at, id := range to {
			if stays := !slices.Contains(gone, id) && (v.live(id) || !slices.Contains(p.adding, id)); stays {
				continue
			}
			s, err := pl.pick(p, less(less(to, gone), []int32{id}), at == 0) // the racks of who leaves do not count
			if err != nil {
				failed = append(failed, err)
				break
			}
			if to[at] = s.id; at == 0 {
				s.leaders++
			}
			s.take(p)
		}
		if len(failed) == 0 {
			pl.add(p, to)
		}
	}
	return pl.moves, failed
}

// spread plans that topics live on the named brokers alone, evenly, with so many replicas each (0: as many as now).
func spread(v *clusterView, topics []string, to []int32, factor int) ([]replicaMove, []error) {
	chosen := func(p *clusterPartition) bool { return slices.Contains(topics, p.topic) }
	pl := newPlanner(v, to, func(*clusterPartition) bool { return false }) // evenly among themselves
	var failed []error
	var parts []*clusterPartition
	want := map[partitionID][]int32{}
	for i := range v.partitions {
		p := &v.partitions[i]
		if !chosen(p) {
			continue
		}
		n := factor
		if n == 0 {
			n = len(p.target())
		}
		keep := slices.DeleteFunc(slices.Clone(p.target()), func(id int32) bool { return pl.seat(id) == nil })
		keep = keepInSync(p, keep, n)
		pl.count(keep, +1)
		parts, want[p.partitionID] = append(parts, p), keep
	}
	for _, p := range parts {
		n := factor
		if n == 0 {
			n = len(p.target())
		}
		has := want[p.partitionID]
		for len(has) < n {
			s, err := pl.pick(p, has, len(has) == 0)
			if err != nil {
				failed = append(failed, err)
				break
			}
			if has = append(has, s.id); len(has) == 1 {
				s.leaders++
			}
			s.take(p)
		}
		want[p.partitionID] = has
	}
	if len(failed) > 0 {
		return nil, failed
	}
	pl.level(parts, want)
	pl.lead(parts, want)
	for _, p := range parts {
		pl.add(p, want[p.partitionID])
	}
	return pl.moves, nil
}

// keepInSync leaves out replicas until n are left, those that are not in sync first, then the last.
func keepInSync(p *clusterPartition, replicas []int32, n int) []int32 {
	for len(replicas) > n {
		out := len(replicas) - 1
		for i, id := range replicas {
			if !slices.Contains(p.isr, id) {
				out = i
			}
		}
		replicas = slices.Delete(replicas, out, out+1)
	}
	return replicas
}

// level moves replicas from the brokers that hold most to those that hold fewest, while that makes it more even. It
// ends: each step makes the sum of the squares smaller.
func (pl *planner) level(parts []*clusterPartition, want map[partitionID][]int32) {
	for pl.levelOne(parts, want) {
	}
}

func (pl *planner) levelOne(parts []*clusterPartition, want map[partitionID][]int32) bool {
	by := slices.Clone(pl.seats)
	slices.SortStableFunc(by, func(a, b *seat) int { return cmp.Compare(b.replicas, a.replicas) })
	for _, from := range by {
		for _, to := range slices.Backward(by) {
			if from.replicas-to.replicas < 2 {
				break
			}
			for _, p := range parts {
				has := want[p.partitionID]
				at := slices.Index(has, from.id)
				if at < 0 || slices.Contains(has, to.id) || !pl.mayReplace(p, has, from, to) {
					continue
				}
				pl.count(has, -1)
				has[at] = to.id
				pl.count(has, +1)
				return true
			}
		}
	}
	return false
}

// mayReplace reports whether a replica may go from one broker to another: the partition must not be in fewer racks
// than before, and there must be the room.
func (pl *planner) mayReplace(p *clusterPartition, has []int32, from, to *seat) bool {
	racks := func(ids []int32) int {
		seen := map[string]bool{}
		for _, id := range ids {
			seen[pl.v.broker(id).rack] = true
		}
		return len(seen)
	}
	if racks(append(less(has, []int32{from.id}), to.id)) < racks(has) {
		return false
	}
	if to.room < 0 || slices.Contains(p.replicas, to.id) {
		return true
	}
	if p.size() > to.room {
		return false
	}
	to.room -= max(0, p.size())
	return true
}

// lead changes the order of replicas until every broker is equally often the first, or as near to that as can be. It
// ends for the reason level does.
func (pl *planner) lead(parts []*clusterPartition, want map[partitionID][]int32) {
	for again := true; again; {
		again = false
		for _, p := range parts {
			has := want[p.partitionID]
			if len(has) == 0 {
				continue
			}
			first := pl.seat(has[0])
			best := slices.MinFunc(has, func(a, b int32) int { return cmp.Compare(pl.seat(a).leaders, pl.seat(b).leaders) })
			if s := pl.seat(best); first.leaders-s.leaders > 1 {
				first.leaders, s.leaders = first.leaders-1, s.leaders+1
				at := slices.Index(has, best)
				has[0], has[at] = has[at], has[0]
				again = true
			}
		}
	}
}
