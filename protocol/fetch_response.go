package protocol

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
)

// AbortedTxn tells a read-committed consumer what to skip.
type AbortedTxn struct{ ProducerID, FirstOffset int64 }

// EpochEnd is where an epoch stops.
type EpochEnd struct {
	Epoch int32
	End   int64
}

// CurrentLeader is who leads a partition now.
type CurrentLeader struct{ ID, Epoch int32 }

// FetchedPartition answers for one partition. Start from Clear: a preferred
// replica of 0 sends the client to broker 0.
type FetchedPartition struct {
	Topic                               []byte // before v13
	TopicID                             [16]byte
	Index                               int32
	Code                                int16
	HighWatermark, LastStable, LogStart int64
	Aborted                             []AbortedTxn // nil is null: not a read-committed fetch
	PreferredReplica                    int32        // -1 none
	Diverging                           EpochEnd     // Epoch -1: none
	CurrentLeader                       CurrentLeader
	RecordsLen                          int // -1 is null
}

// Clear sets everything to what an error answer carries (trap 29).
func (p *FetchedPartition) Clear() {
	*p = FetchedPartition{
		HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReplica: -1,
		Diverging: EpochEnd{-1, -1}, CurrentLeader: CurrentLeader{-1, -1},
	}
}

// FetchEncoder writes Fetch responses, v4-v18, without their record bytes, which
// go from the page cache to the socket on their own:
//
//	Bytes[:Marks[0]] | records of partition 0 | Bytes[Marks[0]:Marks[1]] | records of partition 1 | ... | rest
//
// The frame's length, and each partition's, already count them. Every partition
// has a mark. A used encoder allocates nothing (P5).
type FetchEncoder struct {
	Bytes []byte
	Marks []int
}

// Encode replaces what the encoder holds by one whole frame. Partitions of one
// topic follow one another. Leaders and endpoints are left out by themselves
// where they do not belong: before v16, and for other errors than
// NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH (trap 17). The caller keeps the
// frame below 2 GiB.
func (e *FetchEncoder) Encode(version int16, correlation, throttle int32, code int16, session int32, parts []FetchedPartition, nodes []NodeEndpoint) {
	flexible, records := version >= 12, 0
	e.Marks = e.Marks[:0]
	dst := AppendResponseHeader(append(e.Bytes[:0], 0, 0, 0, 0), int16(Fetch), version, correlation)
	dst = kbin.AppendInt32(dst, throttle)
	if version >= 7 {
		dst = kbin.AppendInt16(dst, code)
		dst = kbin.AppendInt32(dst, session)
	}
	topics := 0
	for i := range parts {
		if i == 0 || !parts[i].sameTopic(&parts[i-1], version) {
			topics++
		}
	}
	dst = appendArrayLen(dst, flexible, topics)
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].sameTopic(&parts[0], version) {
			n++
		}
		dst = appendTopic(dst, flexible, version >= 13, parts[0].Topic, &parts[0].TopicID)
		dst = appendArrayLen(dst, flexible, n)
		for i := range parts[:n] {
			dst = parts[i].append(dst, version)
			e.Marks = append(e.Marks, len(dst))
			dst = parts[i].appendTags(dst, version)
			records += max(parts[i].RecordsLen, 0)
		}
		if flexible {
			dst = append(dst, 0)
		}
		parts = parts[n:]
	}
	if flexible {
		if version < 16 {
			nodes = nil
		}
		dst = appendNodes(dst, nodes)
	}
	e.Bytes = finish(dst, 0)
	kbin.AppendInt32(dst[:0], int32(len(dst)-4+records))
}

func (p *FetchedPartition) sameTopic(q *FetchedPartition, version int16) bool {
	if version >= 13 {
		return p.TopicID == q.TopicID
	}
	return bytes.Equal(p.Topic, q.Topic)
}

// append appends the partition up to and with the length of its records.
func (p *FetchedPartition) append(dst []byte, version int16) []byte {
	flexible := version >= 12
	dst = kbin.AppendInt32(dst, p.Index)
	dst = kbin.AppendInt16(dst, p.code(version))
	dst = kbin.AppendInt64(dst, p.HighWatermark)
	dst = kbin.AppendInt64(dst, p.LastStable)
	if version >= 5 {
		dst = kbin.AppendInt64(dst, p.LogStart)
	}
	n := len(p.Aborted)
	if p.Aborted == nil {
		n = -1
	}
	dst = appendArrayLen(dst, flexible, n)
	for i := range p.Aborted {
		dst = kbin.AppendInt64(dst, p.Aborted[i].ProducerID)
		dst = kbin.AppendInt64(dst, p.Aborted[i].FirstOffset)
		if flexible {
			dst = append(dst, 0)
		}
	}
	if version >= 11 {
		dst = kbin.AppendInt32(dst, p.PreferredReplica)
	}
	return appendArrayLen(dst, flexible, p.RecordsLen) // bytes have the same length forms as arrays
}

// code replaces KAFKA_STORAGE_ERROR, which v5 and older do not know (trap 32).
func (p *FetchedPartition) code(version int16) int16 {
	if version <= 5 && p.Code == kerr.KafkaStorageError.Code {
		return kerr.NotLeaderForPartition.Code
	}
	return p.Code
}

func (p *FetchedPartition) appendTags(dst []byte, version int16) []byte {
	if version < 12 {
		return dst
	}
	diverging := p.Diverging.Epoch != -1 || p.Diverging.End != -1
	leader := version >= 16 && p.CurrentLeader != CurrentLeader{-1, -1} &&
		(p.Code == kerr.NotLeaderForPartition.Code || p.Code == kerr.FencedLeaderEpoch.Code)
	switch {
	case diverging && leader:
		dst = append(dst, 2)
	case diverging, leader:
		dst = append(dst, 1)
	default:
		return append(dst, 0)
	}
	if diverging {
		dst = append(dst, 0, 13)
		dst = kbin.AppendInt32(dst, p.Diverging.Epoch)
		dst = kbin.AppendInt64(dst, p.Diverging.End)
		dst = append(dst, 0)
	}
	if leader {
		dst = appendLeader(dst, 1, p.CurrentLeader.ID, p.CurrentLeader.Epoch)
	}
	return dst
}
