package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator"
	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
	"cordwood/metadata"
)

// Consumer groups live in the partitions of offsetsTopic; the leader of a group's partition coordinates it.

const (
	offsetsTopic = "__consumer_offsets"
	// groupIDMax and memberIDMax bound names from the network (bad input 126).
	groupIDMax  = 249
	memberIDMax = 1 << 10
)

// groupOp is one step on the machine of a group's shard.
type groupOp func(m *group.Machine, token uint64, now time.Time) machine.Result

// onGroup runs op where the group is coordinated. Errors are kerr codes: NOT_COORDINATOR when that is elsewhere.
func (b *Broker) onGroup(ctx context.Context, name string, op groupOp) (any, error) {
	if len(name) > groupIDMax {
		return nil, fmt.Errorf("%w: a group id has at most %d bytes", kerr.InvalidGroupID, groupIDMax)
	}
	t := b.image().Topic(offsetsTopic)
	if t == nil {
		return nil, kerr.CoordinatorNotAvailable
	}
	return b.onShard(ctx, coordinator.PartitionFor(name, int32(len(t.Partitions))), op)
}

// onShard runs op on one shard of the offsets topic.
func (b *Broker) onShard(ctx context.Context, partition int32, op groupOp) (any, error) {
	if b.lease.over(true) != nil || b.lease.leaving() {
		return nil, kerr.NotCoordinator
	}
	if p := b.partitions.Lookup([]byte(offsetsTopic), partition); p != nil && b.handover.at(p) != nil {
		return nil, kerr.CoordinatorLoadInProgress // until the former coordinator has stopped (R18)
	}
	reply, err := b.groups.Do(ctx, partition, func(m machine.Machine, token uint64, now time.Time) machine.Result {
		return op(m.(*group.Machine), token, now)
	})
	if err == nil && (b.lease.over(true) != nil || b.lease.leaving()) { // again: it may have been parked for long (R18)
		return nil, kerr.NotCoordinator
	}
	return reply, err
}

// client is the identity a coordinator remembers of a member.
func (r *request) client() group.Client {
	return group.Client{ID: r.clientID(), Host: "/" + r.s.remoteHost()}
}

// named gives the topics of a commit or fetch by id their names, which is what groups store. A topic id that is
// unknown gives false.
func named(img *metadata.Image, version int16, name *string, id [16]byte) bool {
	if version < 10 {
		return true
	}
	t := img.TopicByID(id)
	if t == nil {
		return false
	}
	*name = t.Name
	return true
}

func (b *Broker) joinGroup(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.JoinGroupRequest)
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, token uint64, now time.Time) machine.Result {
		return m.JoinGroup(q, r.client(), token, now)
	})
	if err != nil {
		resp := q.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode, resp.Generation, resp.MemberID = codeOf(err), -1, q.MemberID
		if q.Version < 7 {
			resp.Protocol = kmsg.StringPtr("")
		}
		return resp, nil
	}
	return reply.(*kmsg.JoinGroupResponse), nil
}

func (b *Broker) syncGroup(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.SyncGroupRequest)
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, token uint64, now time.Time) machine.Result {
		return m.SyncGroup(q, token, now)
	})
	if err != nil {
		resp := q.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	return reply.(*kmsg.SyncGroupResponse), nil
}

func (b *Broker) heartbeat(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.HeartbeatRequest)
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.Heartbeat(q, now)
	})
	if err != nil {
		resp := q.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = codeOf(err)
		if resp.ErrorCode == kerr.CoordinatorLoadInProgress.Code {
			resp.ErrorCode = 0 // while a shard loads, a member is not bothered (as Kafka does)
		}
		return resp, nil
	}
	return reply.(*kmsg.HeartbeatResponse), nil
}

func (b *Broker) leaveGroup(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.LeaveGroupRequest)
	reply, err := b.onGroup(ctx, q.Group, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.LeaveGroup(q, now)
	})
	if err != nil {
		resp := q.ResponseKind().(*kmsg.LeaveGroupResponse)
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	return reply.(*kmsg.LeaveGroupResponse), nil
}
