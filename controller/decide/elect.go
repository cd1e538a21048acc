package decide

import (
	"slices"

	"cordwood/metadata"
)

// The rules of one partition. They work on a copy of its record; nothing is decided until
// settle has compared it with the old one.

// lost says what becomes of replicas that leave the ISR together.
type lost struct {
	gone    func(metadata.NodeID) bool // leaves the ISR and leadership
	unclean func(metadata.NodeID) bool // may have lost what it acknowledged
}

// withdraw takes replicas out of the ISR, and unclean ones out of the ELR (R1, R10.1).
func withdraw(p *metadata.Partition, l lost) {
	var isr, elr, known []metadata.NodeID
	for _, n := range p.ISR {
		switch {
		case !l.gone(n):
			isr = append(isr, n)
		case l.unclean(n):
			known = append(known, n)
		default:
			elr = append(elr, n)
		}
	}
	for _, n := range p.ELR {
		if l.unclean(n) {
			known = append(known, n)
		} else {
			elr = append(elr, n)
		}
	}
	p.ISR, p.ELR = isr, elr
	p.LastKnownELR = append(slices.Clone(p.LastKnownELR), known...)
	if p.Leader != metadata.NoNode && l.gone(p.Leader) {
		p.Leader = metadata.NoNode
	}
	complete(p)
}

// complete forgets the candidates once the ISR is large enough to need none (I7).
func complete(p *metadata.Partition) {
	if len(p.ISR) >= int(p.MinISR) {
		p.ELR, p.LastKnownELR = nil, nil
	}
}

// candidates is what an election knows about brokers.
type candidates struct {
	live   func(metadata.NodeID) bool
	intact func(metadata.NodeID, metadata.DirID) bool // it has that directory still
}

// elect gives the partition a leader if it has none (R10.2) and somebody may be it. The
// last known leader is not asked for: electing it would be an unclean choice.
func elect(p *metadata.Partition, c candidates) {
	if p.Leader != metadata.NoNode {
		return
	}
	for _, n := range p.Replicas {
		if slices.Contains(p.ISR, n) && c.live(n) {
			p.Leader = n
			return
		}
	}
	if len(p.ISR) > 0 {
		return
	}
	for _, n := range p.Replicas {
		if slices.Contains(p.ELR, n) && c.live(n) {
			install(p, n)
			return
		}
	}
	if len(p.ELR) == 0 {
		reviveLastKnown(p, c)
	}
}

// reviveLastKnown elects from lastKnownElr (R11). When durable mode held throughout, each of its
// members has every acknowledged record on disk, so the first one back will do. Otherwise
// all of them must be asked for their log ends; with a single member there is nobody else
// to ask.
func reviveLastKnown(p *metadata.Partition, c candidates) {
	durable := p.Durable && !p.Relaxed
	if !durable && len(p.LastKnownELR) > 1 {
		return
	}
	for _, n := range p.Replicas {
		if slices.Contains(p.LastKnownELR, n) && c.live(n) && c.intact(n, p.Dir(n)) {
			install(p, n)
			p.Recovering = !durable && len(p.Replicas) > 1
			return
		}
	}
}

// install makes a replica from outside the ISR the leader and the only member.
func install(p *metadata.Partition, n metadata.NodeID) {
	p.Leader, p.ISR = n, []metadata.NodeID{n}
	p.ELR, p.LastKnownELR = without(p.ELR, n), without(p.LastKnownELR, n)
	complete(p)
}

// settle returns the fact that makes p the partition's record, or nil if nothing changed;
// it gives out the epochs (I8).
func settle(t *metadata.Topic, index int32, p metadata.Partition) metadata.Change {
	old := t.Partitions[index]
	if p.Leader != old.Leader {
		p.LeaderEpoch = old.LeaderEpoch + 1
	}
	if same(old, &p) {
		return nil
	}
	p.PartitionEpoch = old.PartitionEpoch + 1
	return metadata.PartitionChanged{Topic: t.ID, Index: index, Partition: p}
}

func same(a, b *metadata.Partition) bool {
	return a.Leader == b.Leader && a.LeaderEpoch == b.LeaderEpoch && a.Recovering == b.Recovering &&
		a.MinISR == b.MinISR && a.Durable == b.Durable && a.Relaxed == b.Relaxed &&
		slices.Equal(a.ISR, b.ISR) && slices.Equal(a.ELR, b.ELR) && slices.Equal(a.LastKnownELR, b.LastKnownELR) &&
		slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Dirs, b.Dirs) &&
		slices.Equal(a.Adding, b.Adding) && slices.Equal(a.Removing, b.Removing)
}

// everywhere runs a rule over every partition that has the broker among its replicas and
// collects what changes.
func everywhere(img *metadata.Image, broker func(metadata.NodeID) bool, rule func(t *metadata.Topic, p *metadata.Partition)) []metadata.Change {
	var out []metadata.Change
	for t := range img.Topics() {
		for n, old := range t.Partitions {
			if !slices.ContainsFunc(old.Replicas, broker) {
				continue
			}
			p := *old // the slices are replaced, never written to
			rule(t, &p)
			if c := settle(t, int32(n), p); c != nil {
				out = append(out, c)
			}
		}
	}
	return out
}

// standing is who may be elected from, given brokers that stop or start in this entry.
func standing(img *metadata.Image, stopped, started func(metadata.NodeID) bool) candidates {
	return candidates{
		live: func(n metadata.NodeID) bool {
			return !stopped(n) && (started(n) || img.Broker(n).Live())
		},
		intact: func(n metadata.NodeID, d metadata.DirID) bool {
			b := img.Broker(n)
			return b != nil && b.HasDir(d)
		},
	}
}

func nobody(metadata.NodeID) bool { return false }

func only(id metadata.NodeID) func(metadata.NodeID) bool {
	return func(n metadata.NodeID) bool { return n == id }
}

func without(members []metadata.NodeID, id metadata.NodeID) []metadata.NodeID {
	i := slices.Index(members, id)
	if i < 0 {
		return members
	}
	if len(members) == 1 {
		return nil
	}
	return append(slices.Clone(members[:i]), members[i+1:]...)
}
