package main

import (
	"fmt"
	"slices"
	"time"
)

// clusterView is what a cluster says of itself at one moment: what the rules of the cluster commands judge.
type clusterView struct {
	id         string
	brokers    []clusterBroker // by id
	partitions []clusterPartition
	quorum     quorumView
}

// partitionID names a partition.
type partitionID struct {
	topic string
	index int32
}

func (p partitionID) String() string { return fmt.Sprintf("%s-%d", p.topic, p.index) }

// clusterBroker is a registered broker.
type clusterBroker struct {
	id      int32
	addr    string
	rack    string
	live    bool
	leaves  bool // it is being decommissioned; of a live broker only
	dirs    []logDir
	dirsErr error // a live broker did not say what its directories are like
}

// logDir is a data directory of a broker; sizes are -1 where they are not known.
type logDir struct {
	path        string
	err         error
	free, total int64
}

// room is the most that one directory of the broker can still take; -1 when nobody knows.
func (b *clusterBroker) room() int64 {
	most := int64(-1)
	for _, d := range b.dirs {
		if d.err == nil {
			most = max(most, d.free)
		}
	}
	return most
}

// clusterPartition is a partition's record, as the controller has it, and the sizes of its replicas.
type clusterPartition struct {
	partitionID
	leader           int32 // -1: nobody
	replicas, isr    []int32
	offline          []int32 // replicas whose broker or directory is gone
	adding, removing []int32 // of a reassignment in progress
	eligible         []int32 // who may lead it though it is not in sync (ELR); asked for only where nobody leads
	minISR           int
	sizes            map[int32]int64  // by broker
	halted           map[int32]string // by broker: why its replica stopped until an operator decides
}

// target is the replicas there will be when the reassignment in progress is complete.
func (p *clusterPartition) target() []int32 { return less(p.replicas, p.removing) }

// lagging are the replicas that should be in sync and are not: who comes or goes by a reassignment does not count.
func (p *clusterPartition) lagging() []int32 {
	return less(less(less(p.replicas, p.adding), p.removing), p.isr)
}

func (p *clusterPartition) reassigning() bool { return len(p.adding)+len(p.removing) > 0 }

// halt notes that a broker's replica has stopped.
func (p *clusterPartition) halt(id int32, why string) {
	if p.halted == nil {
		p.halted = map[int32]string{}
	}
	p.halted[id] = why
}

// size is how much a new replica has to copy; -1 when nobody knows.
func (p *clusterPartition) size() int64 {
	if n, ok := p.sizes[p.leader]; ok {
		return n
	}
	most := int64(-1)
	for _, n := range p.sizes {
		most = max(most, n)
	}
	return most
}

// quorumView is the controllers; err says why nobody told.
type quorumView struct {
	leader            int32
	epoch             int32
	voters, observers []quorumMember
	err               error
}

// quorumMember is a controller, or a broker that follows the controllers' log.
type quorumMember struct {
	id     int32
	dir    [16]byte // of its log: a node that lost its disk is another controller
	addr   string
	end    int64
	lag    int64         // entries behind the leader
	silent time.Duration // since the leader last heard of it
	known  bool          // the leader has heard of it since it leads
}

// silentVoter is how long the leader may not hear of a voter that counts as running.
const silentVoter = 2 * time.Second

func (m *quorumMember) up() bool { return m.known && m.silent < silentVoter }

func (v *clusterView) broker(id int32) *clusterBroker {
	for i := range v.brokers {
		if v.brokers[i].id == id {
			return &v.brokers[i]
		}
	}
	return nil
}

func (v *clusterView) live(id int32) bool {
	b := v.broker(id)
	return b != nil && b.live
}

func (v *clusterView) brokerIDs() (ids []int32) {
	for i := range v.brokers {
		ids = append(ids, v.brokers[i].id)
	}
	return ids
}

// partition finds a partition; nil when there is none (any more).
func (v *clusterView) partition(id partitionID) *clusterPartition {
	at, found := slices.BinarySearchFunc(v.partitions, id, func(p clusterPartition, id partitionID) int { return comparePartitions(p.partitionID, id) })
	if !found {
		return nil
	}
	return &v.partitions[at]
}

// less is a without b.
func less(a, b []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(a), func(id int32) bool { return slices.Contains(b, id) })
}

// common is what a has in common with b.
func common(a, b []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(a), func(id int32) bool { return !slices.Contains(b, id) })
}
