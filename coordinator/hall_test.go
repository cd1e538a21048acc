package coordinator

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// hall is a runtime of groups with one partition, running in a bubble.
type hall struct {
	*Runtime
	t    *testing.T
	log  *memLog
	stop func() // ends Run and waits for it
}

func newHall(t *testing.T, change func(*Config)) *hall {
	h := &hall{t: t, log: newMemLog()}
	cfg := Config{
		Topic: "__consumer_offsets",
		NewMachine: func(int32) machine.Machine {
			return group.New(group.Config{InitialRebalanceDelay: 3 * time.Second, Rand: rand.NewChaCha8([32]byte{})})
		},
	}
	if change != nil {
		change(&cfg)
	}
	h.Runtime = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, s := range h.Led() {
			t.Errorf("partition %d is still led", s)
		}
	}
	return h
}

// elect makes this node the leader of partition 0 and waits until it has loaded.
func (h *hall) elect(epoch int32) {
	h.Elected(0, epoch, h.log.lead(epoch))
	synctest.Wait()
}

func on(f func(m *group.Machine, token uint64, now time.Time) machine.Result) Op {
	return func(m machine.Machine, token uint64, now time.Time) machine.Result {
		return f(m.(*group.Machine), token, now)
	}
}

func (h *hall) do(ctx context.Context, f func(m *group.Machine, token uint64, now time.Time) machine.Result) (any, error) {
	return h.Do(ctx, 0, on(f))
}

func (h *hall) commit(ctx context.Context, name string, at int64) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 9, name, -1
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: at}}}}
	reply, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result { return m.OffsetCommit(req, now) })
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(reply.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}

func (h *hall) fetch(ctx context.Context, name string) (int64, error) {
	reply, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
		return m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{Group: name, Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}}, now)
	})
	if err != nil {
		return 0, err
	}
	return reply.(*kmsg.OffsetFetchResponseGroup).Topics[0].Partitions[0].Offset, nil
}

func (h *hall) join(ctx context.Context, member string) (*kmsg.JoinGroupResponse, error) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = 9, "g", member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10000, 60000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 0, 0, 0, 0, 0}}}
	reply, err := h.do(ctx, func(m *group.Machine, token uint64, now time.Time) machine.Result {
		return m.JoinGroup(req, group.Client{ID: "c", Host: "/h"}, token, now)
	})
	if err != nil {
		return nil, err
	}
	return reply.(*kmsg.JoinGroupResponse), nil
}

func (h *hall) sync(ctx context.Context, member string, generation int32) error {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = "g", member, generation
	reply, err := h.do(ctx, func(m *group.Machine, token uint64, now time.Time) machine.Result {
		return m.SyncGroup(req, token, now)
	})
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(reply.(*kmsg.SyncGroupResponse).ErrorCode)
}

func (h *hall) heartbeat(ctx context.Context, member string, generation int32) error {
	req := &kmsg.HeartbeatRequest{Group: "g", MemberID: member, Generation: generation}
	reply, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result { return m.Heartbeat(req, now) })
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(reply.(*kmsg.HeartbeatResponse).ErrorCode)
}

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// bubble runs a test in virtual time; every goroutine must end with it.
func bubble(t *testing.T, change func(*Config), f func(h *hall, ctx context.Context)) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, change)
		f(h, t.Context())
		h.stop()
	})
}
