package protocol

import (
	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
)

// RecordError names one record that was refused, and why.
type RecordError struct {
	Index   int32
	Message string // "" is null
}

// ProduceResult answers for one partition. Start from Clear: a leader of 0 is
// broker 0, not "unknown".
type ProduceResult struct {
	Topic                               []byte // before v13
	TopicID                             [16]byte
	NewTopic                            bool // the first partition of its topic
	Index                               int32
	Code                                int16
	BaseOffset, LogAppendTime, LogStart int64
	Records                             []RecordError
	Message                             string // "" is null
	LeaderID, LeaderEpoch               int32  // written with NOT_LEADER_OR_FOLLOWER only; -1 unknown
}

// Clear sets everything to what an error answer carries.
func (p *ProduceResult) Clear() {
	*p = ProduceResult{BaseOffset: -1, LogAppendTime: -1, LogStart: -1, LeaderID: -1, LeaderEpoch: -1}
}

// NodeEndpoint says where a broker listens, for clients that are sent to another
// leader (KIP-951).
type NodeEndpoint struct {
	NodeID int32
	Host   string
	Port   int32
	Rack   string // "" is null
}

// AppendProduceResponse appends a whole frame, v3-v13. Results of one topic
// follow one another; the first has NewTopic. Leaders and endpoints are left out
// by themselves where they do not belong: before v10, and for other errors than
// NOT_LEADER_OR_FOLLOWER (trap 17). Record errors go out from v8 on.
func AppendProduceResponse(dst []byte, version int16, correlation, throttle int32, results []ProduceResult, nodes []NodeEndpoint) []byte {
	start, flexible := len(dst), version >= 9
	dst = AppendResponseHeader(append(dst, 0, 0, 0, 0), int16(Produce), version, correlation)
	topics := 0
	for i := range results {
		if results[i].NewTopic || i == 0 {
			topics++
		}
	}
	dst = appendArrayLen(dst, flexible, topics)
	for len(results) > 0 {
		n := 1
		for n < len(results) && !results[n].NewTopic {
			n++
		}
		dst = appendTopic(dst, flexible, version >= 13, results[0].Topic, &results[0].TopicID)
		dst = appendArrayLen(dst, flexible, n)
		for i := range results[:n] {
			dst = results[i].append(dst, version)
		}
		if flexible {
			dst = append(dst, 0)
		}
		results = results[n:]
	}
	dst = kbin.AppendInt32(dst, throttle)
	if flexible {
		if version < 10 {
			nodes = nil
		}
		dst = appendNodes(dst, nodes)
	}
	return finish(dst, start)
}

func (p *ProduceResult) append(dst []byte, version int16) []byte {
	flexible := version >= 9
	dst = kbin.AppendInt32(dst, p.Index)
	dst = kbin.AppendInt16(dst, p.Code)
	dst = kbin.AppendInt64(dst, p.BaseOffset)
	dst = kbin.AppendInt64(dst, p.LogAppendTime)
	if version >= 5 {
		dst = kbin.AppendInt64(dst, p.LogStart)
	}
	if version >= 8 {
		dst = appendArrayLen(dst, flexible, len(p.Records))
		for i := range p.Records {
			dst = kbin.AppendInt32(dst, p.Records[i].Index)
			dst = appendNullable(dst, flexible, p.Records[i].Message)
			if flexible {
				dst = append(dst, 0)
			}
		}
		dst = appendNullable(dst, flexible, p.Message)
	}
	if !flexible {
		return dst
	}
	if version < 10 || p.Code != kerr.NotLeaderForPartition.Code || p.LeaderID == -1 && p.LeaderEpoch == -1 {
		return append(dst, 0)
	}
	return appendLeader(append(dst, 1), 0, p.LeaderID, p.LeaderEpoch)
}

// appendLeader appends the tag that names the current leader.
func appendLeader(dst []byte, tag byte, id, epoch int32) []byte {
	dst = append(dst, tag, 9)
	dst = kbin.AppendInt32(dst, id)
	dst = kbin.AppendInt32(dst, epoch)
	return append(dst, 0)
}

// appendNodes appends a response's own tag section: empty, or tag 0 with the
// endpoints of the leaders named in it.
func appendNodes(dst []byte, nodes []NodeEndpoint) []byte {
	if len(nodes) == 0 {
		return append(dst, 0)
	}
	size := kbin.UvarintLen(uint32(len(nodes) + 1))
	for i := range nodes {
		size += 4 + compactLen(nodes[i].Host) + 4 + 1 // an empty rack is null: one byte
		if nodes[i].Rack != "" {
			size += compactLen(nodes[i].Rack) - 1
		}
		size++ // tags
	}
	dst = kbin.AppendUvarint(append(dst, 1, 0), uint32(size))
	dst = kbin.AppendCompactArrayLen(dst, len(nodes))
	for i := range nodes {
		dst = kbin.AppendInt32(dst, nodes[i].NodeID)
		dst = kbin.AppendCompactString(dst, nodes[i].Host)
		dst = kbin.AppendInt32(dst, nodes[i].Port)
		dst = appendNullable(dst, true, nodes[i].Rack)
		dst = append(dst, 0)
	}
	return dst
}

func compactLen(s string) int { return kbin.UvarintLen(uint32(len(s)+1)) + len(s) }

func appendArrayLen(dst []byte, flexible bool, n int) []byte {
	if flexible {
		return kbin.AppendCompactArrayLen(dst, n)
	}
	return kbin.AppendArrayLen(dst, n)
}

// appendTopic appends what names a topic.
func appendTopic(dst []byte, flexible, byID bool, name []byte, id *[16]byte) []byte {
	switch {
	case byID:
		return append(dst, id[:]...)
	case flexible:
		dst = kbin.AppendUvarint(dst, uint32(len(name))+1)
	default:
		dst = kbin.AppendInt16(dst, int16(len(name)))
	}
	return append(dst, name...)
}

// appendNullable appends a string of our own, "" as null.
func appendNullable(dst []byte, flexible bool, s string) []byte {
	switch {
	case s == "" && flexible:
		return append(dst, 0)
	case s == "":
		return kbin.AppendInt16(dst, -1)
	case flexible:
		return kbin.AppendCompactString(dst, s)
	}
	return kbin.AppendString(dst, s)
}
