// Package group holds the rules of consumer groups.
package group

import (
	"io"
	"time"

	"cordwood/coordinator/machine"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config is the group rules' settings; zero values mean Kafka's defaults.
type Config struct {
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms, 6 s
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms, 30 min
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms, 3 s; negative: none
	MaxSize               int           // group.max.size
	MaxOffsetMetadata     int           // offset.metadata.max.bytes, 4096
	OffsetsRetention      time.Duration // offsets.retention.minutes, 7 d
	OffsetsRetentionCheck time.Duration // offsets.retention.check.interval.ms, 10 min
	MaxMemberBytes        int           // one member's subscription metadata, names and ids
	MaxEntryBytes         int           // largest entry that the internal topic takes
	MaxUnsavedGroups      int           // groups that exist in memory only
	Rand                  io.Reader     // for member ids; required
	// Wall is the wall time of a moment, for commit timestamps and retention; nil: the moment
	// itself. Deadlines use the moment.
	Wall func(now time.Time) time.Time
}

// Client is who sent a request.
type Client struct {
	ID, Host string
}

// Machine is the state of one shard of groups.
type Machine struct{}

// New makes an empty machine.
func New(cfg Config) *Machine { return &Machine{} }

func (m *Machine) Replay(e machine.Entry) error        { return nil }
func (m *Machine) Loaded(now time.Time) machine.Result { return machine.Result{} }
func (m *Machine) NextDeadline() (time.Time, bool)     { return time.Time{}, false }
func (m *Machine) Expire(now time.Time) machine.Result { return machine.Result{} }

// The requests. Replies are kmsg responses of the request's version, as pointers.

func (m *Machine) JoinGroup(req *kmsg.JoinGroupRequest, c Client, token uint64, now time.Time) machine.Result {
	return machine.Result{}
}
func (m *Machine) SyncGroup(req *kmsg.SyncGroupRequest, c Client, token uint64, now time.Time) machine.Result {
	return machine.Result{}
}
func (m *Machine) Heartbeat(req *kmsg.HeartbeatRequest, now time.Time) machine.Result {
	return machine.Result{}
}
func (m *Machine) LeaveGroup(req *kmsg.LeaveGroupRequest, now time.Time) machine.Result {
	return machine.Result{}
}
func (m *Machine) OffsetCommit(req *kmsg.OffsetCommitRequest, now time.Time) machine.Result {
	return machine.Result{}
}

// OffsetFetch answers one group; topics nil means all. The reply is a *kmsg.OffsetFetchResponseGroup.
func (m *Machine) OffsetFetch(g *kmsg.OffsetFetchRequestGroup, now time.Time) machine.Result {
	return machine.Result{}
}
func (m *Machine) OffsetDelete(req *kmsg.OffsetDeleteRequest, now time.Time) machine.Result {
	return machine.Result{}
}

// ListGroups' reply is a []kmsg.ListGroupsResponseGroup.
func (m *Machine) ListGroups(req *kmsg.ListGroupsRequest, now time.Time) machine.Result {
	return machine.Result{}
}

// DescribeGroup's reply is a *kmsg.DescribeGroupsResponseGroup.
func (m *Machine) DescribeGroup(version int16, group string, now time.Time) machine.Result {
	return machine.Result{}
}

// DeleteGroup's reply is an error code, an int16.
func (m *Machine) DeleteGroup(version int16, group string, now time.Time) machine.Result {
	return machine.Result{}
}

// TopicsDeleted removes the offsets of deleted topics.
func (m *Machine) TopicsDeleted(topics []string, now time.Time) machine.Result {
	return machine.Result{}
}
