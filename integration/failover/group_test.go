//go:build process

package failover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator"
)

const (
	offsetsTopic = "__consumer_offsets"
	offsetsCount = 50

	members = 2
	// of a member; the session is the shortest that a broker grants, so that a round shows who is expelled
	memberSession  = 6 * time.Second
	heartbeat      = time.Second
	commitInterval = time.Second
)

// The members of a group go on though the node dies that coordinates it and leads all that they read: nothing is
// skipped or read again, no committed offset goes back, and nobody is expelled, which would be a rebalance.

func TestAGroupOfFranzGoGoesOnThoughItsCoordinatorDiesWithTheLeader(t *testing.T) {
	killCoordinators(t, "franz-go", (*field).franz)
}

func TestAGroupOfLibrdkafkaGoesOnThoughItsCoordinatorDiesWithTheLeader(t *testing.T) {
	needLibrdkafka(t)
	killCoordinators(t, "librdkafka", (*field).librdkafka)
}

// killCoordinators measures how long a group reads nothing, and when it commits again.
func killCoordinators(t *testing.T, name string, join func(*field, *group) member) {
	f := newField(t, nil, members)
	g := f.group(name, func(g *group) member { return join(f, g) })
	var producers []*stream
	for p := range f.partitions {
		producers = append(producers, f.produce(p, quick))
	}
	g.commitsBeyond(f.ends(), 0)
	g.joined = g.stands()
	for i := range *groups {
		victim := f.controller()%3 + 1
		for p := range f.partitions {
			f.c.Lead(f.within(time.Minute), f.adm, topic, p, victim)
		}
		f.c.AwaitInSync(f.within(time.Minute), f.adm, offsetsTopic)
		f.c.Lead(f.within(time.Minute), f.adm, offsetsTopic, g.shard, victim)
		g.commitsBeyond(f.ends(), victim) // what it has read from the victim itself
		killed := time.Now()
		f.c.Node(victim).Kill()
		g.survives(killed)
		t.Logf("round %d: node %d was killed, silence %s, commit after %s", i+1, victim, round(g.silent.times[i]), round(g.committed.times[i]))
		f.c.Node(victim).Start()
		f.settle()
		f.rest(killed)
	}
	for _, s := range producers {
		s.stop()
		if failed := s.failures(); len(failed) > 0 {
			t.Errorf("%d records failed, the first: %v", len(failed), failed[0])
		}
	}
	g.end()
	f.c.Log()
	measured(t, g.silent)
	measured(t, g.committed)
	f.judge()
}

// group is a consumer group of two members, one for each partition, and what is seen of it.
type group struct {
	f                 *field
	name              string
	shard             int32 // its partition of the offsets topic
	members           []member
	joined            string // how its members stood when the load began
	silent, committed *figure
	stopWatching      func()

	mu     sync.Mutex
	read   map[int32][]time.Time // by partition: the record with offset i came at [i]
	stored map[int32][]stored    // by partition: the committed offsets that were told, each once, as they grew
	teller int32                 // the node that coordinates
	astray bool                  // a record came that is not the next one
}

type stored struct {
	offset int64
	told   time.Time
}

// member is one client of a group.
type member struct {
	stop   func()
	joined func() string // tells one membership from the next
}

// group starts a group whose members join as told, with nothing to read yet, and waits until they share the partitions.
func (f *field) group(name string, join func(*group) member) *group {
	f.t.Helper()
	of := "kill -9 of coordinator and leader, a group of " + name
	g := &group{
		f: f, name: name, shard: coordinator.PartitionFor(name, offsetsCount), teller: 1,
		silent: &figure{name: of + ", silence", p99: time.Second}, committed: &figure{name: of + ", next commit", p99: 4 * time.Second},
		read: map[int32][]time.Time{}, stored: map[int32][]stored{},
	}
	for range members {
		g.members = append(g.members, join(g))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { g.watch(ctx) })
	g.stopWatching = func() { cancel(); watching.Wait() }
	f.t.Cleanup(g.stopWatching)
	f.eventually("the members of "+name+" share the partitions", func(ctx context.Context) error {
		_, err := g.membership(ctx)
		return err
	})
	return g
}

// came notes a record that a member has got.
func (g *group) came(partition int32, offset int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if next := int64(len(g.read[partition])); offset != next {
		if !g.astray {
			g.f.t.Errorf("%s got the offset %d of partition %d where %d comes next", g.name, offset, partition, next)
		}
		g.astray = true
		return
	}
	g.read[partition] = append(g.read[partition], time.Now())
}

// position is what each partition is read up to.
func (g *group) position() map[int32]int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := map[int32]int64{}
	for p := range g.f.partitions {
		next[p] = int64(len(g.read[p]))
	}
	return next
}

// watch asks whoever coordinates the group for the committed offsets, all the time: none may go back.
func (g *group) watch(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		told, err := g.offsets(ctx, g.teller)
		g.mu.Lock()
		if err != nil {
			g.teller = g.teller%3 + 1
		}
		for p, offset := range told {
			before := int64(-1)
			if n := len(g.stored[p]); n > 0 {
				before = g.stored[p][n-1].offset
			}
			if offset < before {
				g.f.t.Errorf("%s: the committed offset of partition %d went back from %d to %d", g.name, p, before, offset)
			}
			if offset > before {
				g.stored[p] = append(g.stored[p], stored{offset, time.Now()})
			}
		}
		g.mu.Unlock()
	}
}

// offsets are the committed offsets by partition, if the node coordinates the group.
func (g *group) offsets(ctx context.Context, node int32) (map[int32]int64, error) {
	q := kmsg.NewPtrOffsetFetchRequest()
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = g.name
	one.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, TopicID: g.f.id}}
	for p := range g.f.partitions {
		one.Topics[0].Partitions = append(one.Topics[0].Partitions, p)
	}
	q.Groups = []kmsg.OffsetFetchRequestGroup{one}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	raw, err := g.f.cl.Broker(int(node)).Request(ctx, q)
	if err != nil {
		return nil, err
	}
	told := raw.(*kmsg.OffsetFetchResponse).Groups[0]
	if err := kerr.ErrorForCode(told.ErrorCode); err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for _, p := range told.Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return nil, err
		}
		offsets[p.Partition] = p.Offset
	}
	return offsets, nil
}

// commitsBeyond waits until offsets beyond a position are committed, and says when the last of them was told; by a certain
// node, if it is not 0.
func (g *group) commitsBeyond(position map[int32]int64, node int32) time.Time {
	g.f.t.Helper()
	var last time.Time
	g.f.eventually(g.name+" commits", func(context.Context) error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if node != 0 && g.teller != node {
			return fmt.Errorf("node %d coordinates, not %d", g.teller, node)
		}
		for p, offset := range position {
			i := slices.IndexFunc(g.stored[p], func(s stored) bool { return s.offset > offset })
			if i < 0 {
				return fmt.Errorf("nothing beyond %d of partition %d, which is read up to %d", offset, p, len(g.read[p]))
			}
			if told := g.stored[p][i].told; told.After(last) {
				last = told
			}
		}
		return nil
	})
	return last
}

// survives measures what a kill does to the group: how long the partition that waited longest brought nothing, and how
// long it took until every member had committed something that it got from the next leader.
func (g *group) survives(killed time.Time) {
	g.f.t.Helper()
	committed := g.commitsBeyond(g.position(), 0)
	g.committed.times = append(g.committed.times, committed.Sub(killed))
	g.silent.times = append(g.silent.times, g.silence(killed.Add(-50*time.Millisecond)))
	g.stays()
}

// silence is the longest time without a record of one partition since a moment.
func (g *group) silence(since time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := time.Duration(0)
	for came := range maps.Values(g.read) {
		for i := len(came) - 1; i > 0 && came[i].After(since); i-- {
			longest = max(longest, came[i].Sub(came[i-1]))
		}
	}
	return longest
}

// stays demands that the members are who they were, and have what they had.
func (g *group) stays() {
	g.f.t.Helper()
	if now := g.stands(); now != g.joined {
		g.f.t.Errorf("%s was\n%s and is\n%s", g.name, g.joined, now)
	}
}

// stands waits for a stable group.
func (g *group) stands() (membership string) {
	g.f.t.Helper()
	g.f.eventually("who is in "+g.name, func(ctx context.Context) (err error) {
		membership, err = g.membership(ctx)
		return err
	})
	return membership
}

// membership is what coordinator and members say of a stable group. It is asked itself, as in watch: franz-go goes on dialling
// the coordinator that it knew.
func (g *group) membership(ctx context.Context) (string, error) {
	g.mu.Lock()
	coordinator := g.teller
	g.mu.Unlock()
	q := kmsg.NewPtrDescribeGroupsRequest()
	q.Groups = []string{g.name}
	raw, err := g.f.cl.Broker(int(coordinator)).Request(ctx, q)
	if err != nil {
		return "", err
	}
	is := raw.(*kmsg.DescribeGroupsResponse).Groups[0]
	if err := kerr.ErrorForCode(is.ErrorCode); err != nil {
		return "", err
	}
	if is.State != "Stable" || len(is.Members) != members {
		return "", fmt.Errorf("the group is %s with %d members", is.State, len(is.Members))
	}
	said := ""
	for _, m := range is.Members {
		var has kmsg.ConsumerMemberAssignment
		if err := has.ReadFrom(m.MemberAssignment); err != nil {
			return "", err
		}
		if len(has.Topics) != 1 || len(has.Topics[0].Partitions) != 1 {
			return "", fmt.Errorf("%s has not one partition", m.MemberID)
		}
		said += fmt.Sprintln(m.MemberID, has.Topics[0].Partitions)
	}
	for _, m := range g.members {
		said += fmt.Sprintln(m.joined())
	}
	return said, nil
}

// ends are the ends of the partitions.
func (f *field) ends() map[int32]int64 {
	f.t.Helper()
	ends := map[int32]int64{}
	f.eventually("the ends of the partitions", func(ctx context.Context) error {
		listed, err := f.adm.ListEndOffsets(ctx, topic)
		listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
		return errors.Join(err, listed.Error())
	})
	return ends
}

// end waits until the group has read everything, and stops its members.
func (g *group) end() {
	g.f.t.Helper()
	ends := g.f.ends()
	g.f.eventually(g.name+" reads everything", func(context.Context) error {
		if position := g.position(); !maps.Equal(position, ends) {
			return fmt.Errorf("it has read up to %v of %v", position, ends)
		}
		return nil
	})
	g.stays()
	g.stopWatching()
	for _, m := range g.members {
		m.stop()
	}
}
