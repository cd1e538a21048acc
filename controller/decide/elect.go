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

// candidates is what an election knows about brokers and topics.
type candidates struct {
	may     func(p *metadata.Partition, n metadata.NodeID) bool // n is live and has the replica's directory
	unclean func(t *metadata.Topic) bool                        // the topic takes a leader that may lack records (R12)
	leaves  func(n metadata.NodeID) bool                        // n is being decommissioned: it leads only where nobody else could
}

// elect gives the partition a leader if it has none (R10.2) and somebody may be it. The
// last known leader is not asked for: electing it would be an unclean choice.
func elect(t *metadata.Topic, p *metadata.Partition, c candidates) {
	if p.Leader == metadata.NoNode && !electClean(p, c) && c.unclean(t) {
		electUnclean(p, c)
	}
}

// electClean elects somebody who has every acknowledged record.
func electClean(p *metadata.Partition, c candidates) bool {
	for _, n := range p.Replicas {
		if slices.Contains(p.ISR, n) && c.may(p, n) {
			p.Leader = n
			return true
		}
	}
	if len(p.ISR) > 0 {
		return false
	}
	for _, n := range p.Replicas {
		if slices.Contains(p.ELR, n) && c.may(p, n) {
			install(p, n)
			return true
		}
	}
	return len(p.ELR) == 0 && reviveLastKnown(p, c)
}

// reviveLastKnown elects from lastKnownElr (R11). When durable mode held throughout, each of its
// members has every acknowledged record on disk, so the first one back will do. Otherwise
// all of them must be asked for their log ends; with a single member there is nobody else
// to ask.
func reviveLastKnown(p *metadata.Partition, c candidates) bool {
	if !durable(p) && len(p.LastKnownELR) > 1 {
		return false
	}
	for _, n := range p.Replicas {
		if slices.Contains(p.LastKnownELR, n) && c.may(p, n) {
			revive(p, n)
			return true
		}
	}
	return false
}

// durable reports whether every record ever acknowledged was on disk on all who counted.
func durable(p *metadata.Partition) bool { return p.Durable && !p.Relaxed }

func revive(p *metadata.Partition, n metadata.NodeID) {
	install(p, n)
	if p.Recovering = !durable(p) && len(p.Replicas) > 1; p.Recovering {
		giveUp(p)
	}
}

// giveUp notes for all replicas, also for those that hear of it years later, that what earlier leader epochs committed is
// not binding any more (R9). The election is not settled yet: its epoch will be the next.
func giveUp(p *metadata.Partition) { p.UncleanEpoch = p.LeaderEpoch + 1 }

// electUnclean makes a live replica the leader, whatever it lacks: its log is the truth from now on (R12). Who was
// a candidate is preferred, and is none any more; replicas that are only coming hold nothing yet.
func electUnclean(p *metadata.Partition, c candidates) bool {
	had := append(append(slices.Clone(p.ISR), p.ELR...), p.LastKnownELR...)
	for _, among := range [][]metadata.NodeID{had, p.Replicas} {
		for _, n := range p.Replicas {
			if slices.Contains(among, n) && c.may(p, n) && !slices.Contains(p.Adding, n) {
				p.Leader, p.ISR, p.ELR, p.LastKnownELR = n, []metadata.NodeID{n}, nil, nil
				p.Recovering = true
				giveUp(p)
				return true
			}
		}
	}
	return false
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
	p.UncleanEpoch = min(p.UncleanEpoch, p.LeaderEpoch) // it was bumped before the election already
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
func standing(img *metadata.Image, rules *Rules, stopped, started func(metadata.NodeID) bool) candidates {
	var base *metadata.TopicConfig // made when the first partition finds no leader
	return candidates{
		leaves: img.Decommissioning,
		may: func(p *metadata.Partition, n metadata.NodeID) bool {
			b := img.Broker(n)
			return b != nil && !stopped(n) && (started(n) || b.Live()) && b.HasDir(p.Dir(n))
		},
		unclean: func(t *metadata.Topic) bool {
			if base == nil {
				c := rules.base(img)
				base = &c
			}
			c, err := base.With(img.Config(metadata.ResourceTopic, t.Name))
			return err == nil && c.UncleanElection
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
