package protocol

import (
	"math"
	"reflect"
)

// FetchRequest reads a Fetch request, v4-v18, into slices that are used again:
//
//	replica int32 (v15: tag 1) | max wait, min bytes, max bytes int32 | isolation int8
//	v7: session id, session epoch int32 | topics: name (v13: id) | partitions
//	v7: forgotten topics: name (v13: id) | indexes | v11: rack | v12: tags
//
// All byte slices alias the body (P6); whoever keeps a partition beyond the
// frame, as a fetch session does, copies its topic. In steady state nothing is
// allocated (P5).
type FetchRequest struct {
	Version                           int16
	ClusterID                         []byte // nil is null
	ReplicaID                         int32  // -1 a consumer
	ReplicaEpoch                      int64  // -1 unknown
	MaxWaitMillis, MinBytes, MaxBytes int32
	Isolation                         int8
	SessionID, SessionEpoch           int32
	Rack                              []byte
	Partitions                        []FetchPartition // in request order (trap 27)
	Forgotten                         []ForgottenPartition

	budget int64
}

// FetchPartition is one partition to fetch from.
type FetchPartition struct {
	Topic              []byte // before v13
	TopicID            [16]byte
	Index              int32
	CurrentLeaderEpoch int32 // -1 unchecked
	FetchOffset        int64
	LogStart           int64 // a follower's; -1 from a consumer
	LastFetchedEpoch   int32 // -1 none
	MaxBytes           int32
	ReplicaDirectory   [16]byte
	HighWatermark      int64 // a follower's; MaxInt64 if it does not say
	Durable            bool  // a follower's: everything below FetchOffset is on its disk (R3)
}

// TagDurable is our own tag of a partition in a follower's fetch: one byte, 1.
const TagDurable = 20000

// ForgottenPartition leaves a fetch session.
type ForgottenPartition struct {
	Topic   []byte // before v13
	TopicID [16]byte
	Index   int32
}

// What one element takes, for the budget.
var (
	fetchPartitionMemory     = int64(reflect.TypeFor[FetchPartition]().Size())
	forgottenPartitionMemory = int64(reflect.TypeFor[ForgottenPartition]().Size())
)

// keepPartitions is how many partitions a struct holds on to after a request that
// needed less than a quarter of what it has.
const keepPartitions = 1024

// Decode reads and checks the whole body. Its error is a *CloseError, after
// which the request has no partitions.
func (r *FetchRequest) Decode(version int16, body []byte) error {
	c := cursor{b: body}
	*r = FetchRequest{
		Version: version, ReplicaID: -1, ReplicaEpoch: -1, SessionEpoch: -1,
		Partitions: reuse(r.Partitions), Forgotten: reuse(r.Forgotten),
		budget: budgetFactor*int64(len(body)) + budgetBase,
	}
	if version <= 14 {
		r.ReplicaID = c.int32()
	}
	r.MaxWaitMillis, r.MinBytes, r.MaxBytes = c.int32(), c.int32(), c.int32()
	r.Isolation = c.int8()
	if version >= 7 {
		r.SessionID, r.SessionEpoch = c.int32(), c.int32()
	}
	r.topics(&c)
	if version >= 7 {
		r.forgotten(&c)
	}
	if version >= 11 {
		r.Rack = c.text(version >= 12, false)
	}
	if version >= 12 {
		r.tags(&c)
	}
	if !c.bad && c.left() > 0 {
		c.fail(ReasonTrailing)
	}
	if c.bad {
		r.Partitions, r.Forgotten = r.Partitions[:0], r.Forgotten[:0]
		return c.close(int16(Fetch), version)
	}
	return nil
}

// reuse empties a slice, or lets go of one that a single huge request left.
func reuse[T any](s []T) []T {
	if cap(s) > keepPartitions && len(s) < cap(s)/4 {
		return nil
	}
	return s[:0]
}

// room makes room for n more elements, after charging for them (P2).
func room[T any](r *FetchRequest, c *cursor, s []T, n int, memory int64) []T {
	if r.budget -= int64(n) * memory; r.budget < 0 {
		c.fail(ReasonBudget)
		return s
	}
	if need := len(s) + n; need > cap(s) {
		s = append(make([]T, 0, max(need, 2*len(s))), s...)
	}
	return s
}

func (r *FetchRequest) topics(c *cursor) {
	flexible, byID := r.Version >= 12, r.Version >= 13
	for topics := c.array(flexible, false, 3); topics > 0 && !c.bad; topics-- {
		var t topicHead
		t.read(c, flexible, byID)
		n := max(c.array(flexible, false, 16), 0)
		r.Partitions = room(r, c, r.Partitions, n, fetchPartitionMemory)
		for ; n > 0 && !c.bad; n-- {
			r.Partitions = append(r.Partitions, FetchPartition{Topic: t.name, TopicID: t.id})
			r.Partitions[len(r.Partitions)-1].read(c, r.Version)
		}
		if flexible {
			c.skipTags()
		}
	}
}

func (p *FetchPartition) read(c *cursor, version int16) {
	p.Index = c.int32()
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStart, p.HighWatermark = -1, -1, -1, math.MaxInt64
	if version >= 9 {
		p.CurrentLeaderEpoch = c.int32()
	}
	p.FetchOffset = c.int64()
	if version >= 12 {
		p.LastFetchedEpoch = c.int32()
	}
	if version >= 5 {
		p.LogStart = c.int64()
	}
	p.MaxBytes = c.int32()
	if version < 12 {
		return
	}
	before := int64(-1)
	for n := c.tags(); n > 0 && !c.bad; n-- {
		tag, size := c.tag(before)
		before = tag
		end := c.at + size
		switch {
		case tag == 0 && version >= 17 && size == 16:
			p.ReplicaDirectory = c.uuid()
		case tag == 1 && version >= 18 && size == 8:
			p.HighWatermark = c.int64()
		case tag == TagDurable && size == 1:
			p.Durable = c.int8() == 1
		case tag == 0 && version >= 17, tag == 1 && version >= 18:
			c.fail(ReasonLength)
		default:
			c.at = end
		}
	}
}

func (r *FetchRequest) forgotten(c *cursor) {
	flexible, byID := r.Version >= 12, r.Version >= 13
	for topics := c.array(flexible, false, 3); topics > 0 && !c.bad; topics-- {
		var t topicHead
		t.read(c, flexible, byID)
		n := max(c.array(flexible, false, 4), 0)
		r.Forgotten = room(r, c, r.Forgotten, n, forgottenPartitionMemory)
		for ; n > 0 && !c.bad; n-- {
			r.Forgotten = append(r.Forgotten, ForgottenPartition{Topic: t.name, TopicID: t.id, Index: c.int32()})
		}
		if flexible {
			c.skipTags()
		}
	}
}

// tags reads the request's own tags: 0 the cluster id; 1 the replica's state,
// which is id, epoch and a tag section, and means nothing before v15 (trap 34).
func (r *FetchRequest) tags(c *cursor) {
	before := int64(-1)
	for n := c.tags(); n > 0 && !c.bad; n-- {
		tag, size := c.tag(before)
		before = tag
		inside := cursor{b: c.b[:c.at+size], at: c.at}
		switch {
		case tag == 0:
			r.ClusterID = inside.text(true, true)
		case tag == 1 && r.Version >= 15:
			r.ReplicaID, r.ReplicaEpoch = inside.int32(), inside.int64()
			inside.skipTags()
		default:
			inside.at += size
		}
		if !inside.bad && inside.left() > 0 {
			inside.fail(ReasonLength)
		}
		if inside.bad {
			c.fail(inside.why)
			return
		}
		c.at = inside.at
	}
}
