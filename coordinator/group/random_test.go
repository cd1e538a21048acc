package group

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "the one seed to run")
	seedsFlag = flag.Int("seeds", 60, "how many seeds to run")
)

// TestRandomOperationsKeepTheInvariants lets a few clients do anything at all, with failovers between, and checks
// G1-G13 after every step, M2 now and then, M3 and M5 always.
func TestRandomOperationsKeepTheInvariants(t *testing.T) {
	first, n := uint64(1), *seedsFlag
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Logf("repeat with -seed %d", seed)
			newMob(t, seed).run(1500)
		})
	}
}

// mob is a crowd of clients. Some follow the protocol, some say anything.
type mob struct {
	*world
	r   *rand.Rand
	ids []string // member ids seen, in any group
}

func newMob(t *testing.T, seed uint64) *mob {
	r := rand.New(rand.NewPCG(seed, 2))
	cfg := Config{
		InitialRebalanceDelay: []time.Duration{0, time.Second, 3 * time.Second}[r.IntN(3)],
		MaxSize:               []int{0, 2, 4}[r.IntN(3)],
		MaxPendingMembers:     []int{0, 5}[r.IntN(2)],
		MaxUnsavedGroups:      []int{0, 2}[r.IntN(2)],
		MaxEntryBytes:         []int{0, 400}[r.IntN(2)],
		OffsetsRetention:      []time.Duration{0, 15 * time.Minute}[r.IntN(2)],
	}
	return &mob{world: newWorld(t, cfg), r: r, ids: []string{""}}
}

func (b *mob) run(steps int) {
	for i := range steps {
		switch n := b.r.IntN(100); {
		case n < 30:
			b.join()
		case n < 50:
			b.sync()
		case n < 58:
			b.heartbeat()
		case n < 64:
			b.leave()
		case n < 76:
			b.commit()
		case n < 79:
			b.deleteThings()
		case n < 81:
			b.read()
		case n < 99:
			b.pass(time.Duration(b.r.IntN([]int{2000, 20000, 200000}[b.r.IntN(3)]))*time.Millisecond, nil)
		default:
			b.load(b.log)
		}
		b.learn()
		if i%50 == 0 {
			b.sameAfterReload()
		}
	}
	// Everything ends when nobody does anything any more (M3): nobody waits for ever, and no soft state stays.
	b.pass(24*time.Hour, nil)
	if len(b.waiting) > 0 {
		b.t.Fatalf("%d requests still wait", len(b.waiting))
	}
	for id, g := range b.m.groups {
		if g.state != Empty || len(g.pending) > 0 {
			b.t.Fatalf("group %s is %s with %d pending members", id, g.state, len(g.pending))
		}
	}
	b.sameAfterReload()
}

// learn remembers the member ids that were answered.
func (b *mob) learn() {
	for token, reply := range b.replies {
		b.heard(reply)
		delete(b.replies, token)
	}
}

func (b *mob) heard(reply any) {
	if r, ok := reply.(*kmsg.JoinGroupResponse); ok && r.MemberID != "" {
		b.ids = append(b.ids, r.MemberID)
		b.ids = b.ids[max(0, len(b.ids)-20):]
	}
}

func (b *mob) group() string { return []string{"a", "b", "c"}[b.r.IntN(3)] }

// who picks a member: mostly one that is in the group.
func (b *mob) who(group string) (id string, instance *string, generation int32) {
	g := b.m.groups[group]
	if g == nil || b.r.IntN(8) == 0 {
		id = b.ids[b.r.IntN(len(b.ids))]
		return id, b.instance(), int32(b.r.IntN(5)) - 1
	}
	generation = g.generation
	if b.r.IntN(15) == 0 {
		generation--
	}
	all := g.inOrder()
	if len(g.pending) > 0 && b.r.IntN(3) == 0 || len(all) == 0 {
		for p := range g.pending {
			id = max(id, p)
		}
		return id, nil, generation
	}
	p := all[b.r.IntN(len(all))]
	return p.id, p.instance, generation
}

func (b *mob) instance() *string {
	if b.r.IntN(3) > 0 {
		return nil
	}
	return &[]string{"one", "two", "three"}[b.r.IntN(3)]
}

func (b *mob) join() {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group = int16(b.r.IntN(10)), b.group()
	if b.r.IntN(3) > 0 {
		req.MemberID, req.InstanceID, _ = b.who(req.Group)
	} else {
		req.InstanceID = b.instance()
	}
	req.SessionTimeoutMillis = int32(5000 + b.r.IntN(30000))
	req.RebalanceTimeoutMillis = int32(b.r.IntN(60000) - 1000)
	req.ProtocolType = []string{"consumer", "consumer", "consumer", "connect"}[b.r.IntN(4)]
	for range b.r.IntN(3) + 1 {
		p := kmsg.JoinGroupRequestProtocol{Name: []string{"range", "sticky", "other"}[b.r.IntN(3)], Metadata: subscription("t")}
		if b.r.IntN(5) == 0 {
			p.Metadata = []byte{1}
		}
		req.Protocols = append(req.Protocols, p)
	}
	_, reply := b.do(func(m *Machine, token uint64) machine.Result { return m.JoinGroup(req, Client{"c", "h"}, token, b.now) })
	for i := range req.Protocols { // the request may be reused: nothing of it may be kept
		clear(req.Protocols[i].Metadata)
	}
	b.heard(reply)
}

func (b *mob) sync() {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group = int16(b.r.IntN(6)), b.group()
	req.MemberID, req.InstanceID, req.Generation = b.who(req.Group)
	if g := b.m.groups[req.Group]; g != nil {
		req.ProtocolType, req.Protocol = &g.protocolType, g.protocol
		for id := range g.members {
			if b.r.IntN(10) > 0 {
				req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{
					MemberID: id, MemberAssignment: make([]byte, b.r.IntN(40)),
				})
			}
		}
	}
	b.do(func(m *Machine, token uint64) machine.Result { return m.SyncGroup(req, token, b.now) })
}

func (b *mob) heartbeat() {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group = int16(b.r.IntN(5)), b.group()
	req.MemberID, req.InstanceID, req.Generation = b.who(req.Group)
	b.do(func(m *Machine, _ uint64) machine.Result { return m.Heartbeat(req, b.now) })
}

func (b *mob) leave() {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = int16(b.r.IntN(6)), b.group()
	req.MemberID, _, _ = b.who(req.Group)
	for range b.r.IntN(3) {
		id, instance, _ := b.who(req.Group)
		req.Members = append(req.Members, kmsg.LeaveGroupRequestMember{MemberID: id, InstanceID: instance})
	}
	b.do(func(m *Machine, _ uint64) machine.Result { return m.LeaveGroup(req, b.now) })
}

func (b *mob) commit() {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group = int16(2+b.r.IntN(9)), b.group()
	req.MemberID, req.InstanceID, req.Generation = b.who(req.Group)
	if b.r.IntN(3) == 0 {
		req.MemberID, req.InstanceID, req.Generation = "", nil, -1
	}
	req.RetentionTimeMillis = []int64{-1, 0, 60000, 1<<63 - 1}[b.r.IntN(4)]
	for range b.r.IntN(3) {
		t := kmsg.OffsetCommitRequestTopic{Topic: []string{"t", "u"}[b.r.IntN(2)]}
		t.TopicID[0] = byte(b.r.IntN(3))
		for range b.r.IntN(3) {
			t.Partitions = append(t.Partitions, kmsg.OffsetCommitRequestTopicPartition{
				Partition: int32(b.r.IntN(3)), Offset: int64(b.r.IntN(10)) - 1,
			})
		}
		req.Topics = append(req.Topics, t)
	}
	b.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetCommit(req, b.now) })
}

func (b *mob) deleteThings() {
	id := b.group()
	switch b.r.IntN(3) {
	case 0:
		b.do(func(m *Machine, _ uint64) machine.Result { return m.DeleteGroup(id, b.now) })
	case 1:
		b.do(func(m *Machine, _ uint64) machine.Result {
			return m.TopicsDeleted([]Topic{{Name: "t", ID: [16]byte{1}}, {Name: "u"}}, b.now)
		})
	case 2:
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = id
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "u", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 1}, {Partition: 2}}}}
		b.do(func(m *Machine, _ uint64) machine.Result { return m.OffsetDelete(req, b.now) })
	}
}

func (b *mob) read() {
	id := b.group()
	b.do(func(m *Machine, _ uint64) machine.Result { return m.DescribeGroup(6, id, b.now) })
	b.do(func(m *Machine, _ uint64) machine.Result { return m.ListGroups(kmsg.NewPtrListGroupsRequest(), b.now) })
	b.do(func(m *Machine, _ uint64) machine.Result {
		return m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{Group: id}, b.now)
	})
}
