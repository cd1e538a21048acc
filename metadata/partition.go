package metadata

import (
	"fmt"
	"slices"
)

// Partition is the controller's record of one partition. No offsets are in it.
type Partition struct {
	Replicas       []NodeID `cbor:"1,keyasint"`           // assigned, in order: the first is preferred
	Dirs           []DirID  `cbor:"2,keyasint,omitempty"` // one per replica; zero: the broker chooses
	ISR            []NodeID `cbor:"3,keyasint,omitempty"`
	ELR            []NodeID `cbor:"4,keyasint,omitempty"`
	LastKnownELR   []NodeID `cbor:"5,keyasint,omitempty"`
	Leader         NodeID   `cbor:"6,keyasint"`
	LeaderEpoch    int32    `cbor:"7,keyasint"`
	PartitionEpoch int32    `cbor:"8,keyasint"`
	Recovering     bool     `cbor:"9,keyasint,omitempty"` // an unclean election; until isr = {leader} is confirmed
	Adding         []NodeID `cbor:"10,keyasint,omitempty"`
	Removing       []NodeID `cbor:"11,keyasint,omitempty"`
	MinISR         int32    `cbor:"12,keyasint"`           // effective: min(min.insync.replicas, replicas) (Z35)
	Durable        bool     `cbor:"13,keyasint,omitempty"` // flush.before.ack
	Relaxed        bool     `cbor:"14,keyasint,omitempty"` // page-cache mode held at some time: R11 must ask all
	UncleanEpoch   int32    `cbor:"15,keyasint,omitempty"` // leader epoch that the newest unclean election began; 0: there was none
}

// Preferred returns the replica that leads when all are well.
func (p *Partition) Preferred() NodeID {
	if len(p.Replicas) == 0 {
		return NoNode
	}
	return p.Replicas[0]
}

// Dir returns the directory the replica on that node was given; zero if none.
func (p *Partition) Dir(n NodeID) DirID {
	if i := slices.Index(p.Replicas, n); i >= 0 && i < len(p.Dirs) {
		return p.Dirs[i]
	}
	return DirID{}
}

// Orphaned reports that nobody is left who certainly has every acknowledged record, and that the node's log may be the
// longest of what is left (R11).
func (p *Partition) Orphaned(n NodeID) bool {
	return p.Leader == NoNode && len(p.ISR)+len(p.ELR) == 0 && slices.Contains(p.LastKnownELR, n)
}

// Clone returns a record that shares nothing with p.
func (p *Partition) Clone() Partition {
	c := *p
	c.Replicas, c.Dirs = slices.Clone(p.Replicas), slices.Clone(p.Dirs)
	c.ISR, c.ELR, c.LastKnownELR = slices.Clone(p.ISR), slices.Clone(p.ELR), slices.Clone(p.LastKnownELR)
	c.Adding, c.Removing = slices.Clone(p.Adding), slices.Clone(p.Removing)
	return c
}

// Check tells whether the record obeys what can be seen from it alone: I7 and I9.
func (p *Partition) Check() error {
	if len(p.Replicas) == 0 {
		return fmt.Errorf("metadata: no replicas")
	}
	if len(p.Dirs) != 0 && len(p.Dirs) != len(p.Replicas) {
		return fmt.Errorf("metadata: %d directories for %d replicas", len(p.Dirs), len(p.Replicas))
	}
	if err := distinct("replicas", p.Replicas); err != nil {
		return err
	}
	for _, set := range []struct {
		name    string
		members []NodeID
	}{{"isr", p.ISR}, {"elr", p.ELR}, {"lastKnownElr", p.LastKnownELR}, {"adding", p.Adding}, {"removing", p.Removing}} {
		if err := distinct(set.name, set.members); err != nil {
			return err
		}
		if n := stranger(set.members, p.Replicas); n != NoNode {
			return fmt.Errorf("metadata: I7: %s holds %d, which is not one of the replicas %v", set.name, n, p.Replicas)
		}
	}
	for _, n := range p.ELR {
		if slices.Contains(p.ISR, n) {
			return fmt.Errorf("metadata: I7: %d is in isr and elr", n)
		}
	}
	if p.MinISR < 1 || int(p.MinISR) > len(p.Replicas) {
		return fmt.Errorf("metadata: effective min isr %d with %d replicas", p.MinISR, len(p.Replicas))
	}
	if len(p.ISR) >= int(p.MinISR) && len(p.ELR)+len(p.LastKnownELR) > 0 {
		return fmt.Errorf("metadata: I7: isr %v is large enough, yet elr is %v and lastKnownElr %v", p.ISR, p.ELR, p.LastKnownELR)
	}
	if p.Leader != NoNode && !slices.Contains(p.ISR, p.Leader) {
		return fmt.Errorf("metadata: I7: leader %d is not in isr %v", p.Leader, p.ISR)
	}
	if len(p.ISR) == 0 && len(p.ELR) == 0 && len(p.LastKnownELR) == 0 {
		return fmt.Errorf("metadata: I9: nobody is left who could recover the partition")
	}
	if p.LeaderEpoch < 0 || p.PartitionEpoch < 0 {
		return fmt.Errorf("metadata: negative epoch (leader %d, partition %d)", p.LeaderEpoch, p.PartitionEpoch)
	}
	if p.UncleanEpoch < 0 || p.UncleanEpoch > p.LeaderEpoch {
		return fmt.Errorf("metadata: unclean election of leader epoch %d in leader epoch %d", p.UncleanEpoch, p.LeaderEpoch)
	}
	return nil
}

// follows tells whether next may come after p: I8.
func (p *Partition) follows(next *Partition) error {
	if next.PartitionEpoch != p.PartitionEpoch+1 {
		return fmt.Errorf("metadata: I8: partition epoch goes from %d to %d", p.PartitionEpoch, next.PartitionEpoch)
	}
	if next.UncleanEpoch < p.UncleanEpoch {
		return fmt.Errorf("metadata: epoch of the newest unclean election falls from %d to %d", p.UncleanEpoch, next.UncleanEpoch)
	}
	if next.LeaderEpoch < p.LeaderEpoch {
		return fmt.Errorf("metadata: I8: leader epoch falls from %d to %d", p.LeaderEpoch, next.LeaderEpoch)
	}
	if next.Leader != p.Leader && next.LeaderEpoch == p.LeaderEpoch {
		return fmt.Errorf("metadata: I8: leader goes from %d to %d within leader epoch %d", p.Leader, next.Leader, p.LeaderEpoch)
	}
	return nil
}

func distinct(name string, members []NodeID) error {
	for i, n := range members {
		if n < 0 || slices.Contains(members[:i], n) {
			return fmt.Errorf("metadata: %s %v holds %d twice or it is no node", name, members, n)
		}
	}
	return nil
}

// stranger returns a member that is not in the whole, or NoNode.
func stranger(members, whole []NodeID) NodeID {
	for _, n := range members {
		if !slices.Contains(whole, n) {
			return n
		}
	}
	return NoNode
}
