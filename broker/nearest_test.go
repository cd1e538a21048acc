package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/isr"
	"cordwood/metadata"
)

func TestTheNearestHolderIsTheOneWithTheLongestLog(t *testing.T) {
	holders := []isr.Holder{{ID: 2, End: 10}, {ID: 3, End: 12}, {ID: 4, End: 12}, {ID: 5, End: 20}}
	for _, c := range []struct {
		near []metadata.NodeID
		want metadata.NodeID
	}{{nil, metadata.NoNode}, {[]metadata.NodeID{7}, metadata.NoNode}, {[]metadata.NodeID{2}, 2}, {[]metadata.NodeID{2, 3, 4}, 3}, {[]metadata.NodeID{4, 5, 2}, 5}} {
		if got := nearestHolder(holders, c.near); got != c.want {
			t.Errorf("near %v: %d, not %d", c.near, got, c.want)
		}
	}
}

// 1 leads in rack a; 2 to 8 have something against them, or nothing.
func TestNearAreLiveMembersOfTheISRInTheClientsRack(t *testing.T) {
	img := metadata.Empty()
	change := func(c metadata.Change) {
		t.Helper()
		next, err := img.With(img.Index()+1, []metadata.Change{c})
		if err != nil {
			t.Fatal(err)
		}
		img = next
	}
	for id, rack := range map[metadata.NodeID]string{1: "a", 2: "b", 3: "b", 4: "b", 5: "b", 6: "b", 7: "c", 8: "b"} {
		change(metadata.BrokerRegistered{ID: id, Dirs: []metadata.DirID{{byte(id)}}, Rack: rack})
		if id != 3 {
			change(metadata.BrokerUnfenced{ID: id, Epoch: img.Broker(id).Epoch})
		}
	}
	v := view{img, []metadata.NodeID{4}}
	p := &metadata.Partition{Leader: 1, ISR: []metadata.NodeID{1, 2, 3, 4, 6, 7, 8}} // 5 is not in sync
	reachable := func(b *metadata.Broker) bool { return b.ID != 6 }
	for rack, want := range map[string]string{"": "[]", "a": "[]", "b": "[2 8]", "c": "[7]", "d": "[]"} {
		if got := fmt.Sprint(v.near(rack, p, reachable)); got != want {
			t.Errorf("rack %q: %s, not %s", rack, got, want)
		}
	}
	p.Leader = 2
	if got := v.near("b", p, reachable); len(got) > 0 {
		t.Errorf("the leader is in the rack, and there is %v", got)
	}
}

// racked is three brokers in the racks a, b and c, and one partition of 100 records on all of them.
type racked struct {
	*split
	leader, near int // indexes; near is the follower that rack names
	rack         string
}

func startRacked(t *testing.T) *racked {
	t.Helper()
	r := &racked{split: startSplit(t, 0, func(c *Config) { c.RackAware = true })}
	for i, rack := range []string{"a", "b", "c"} {
		r.brokers = append(r.brokers, nil)
		r.start(t, i, t.TempDir(), func(c *Config) { c.Rack = rack })
	}
	r.create(t, "t", 1)
	r.inSync(t, 0, "t", 0, 3)
	r.leader = int(r.brokers[0].b.image().Topic("t").Partition(0).Leader) - 1
	r.near = (r.leader + 1) % 3
	r.rack = r.brokers[r.near].b.cfg.Rack
	r.produce(t, 100)
	return r
}

func (r *racked) produce(t *testing.T, n int) {
	t.Helper()
	cl := r.client(r.leader, kgo.DefaultProduceTopic("t"))
	for i := range n {
		if err := cl.ProduceSync(testContext(t), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// outOf is how many bytes of records consumers had from a broker.
func (r *racked) outOf(i int) uint64 { return r.brokers[i].b.metrics.bytesOut.Load() }

func TestAConsumerReadsFromTheFollowerInItsRackAndFromTheLeaderWhenThatIsGone(t *testing.T) {
	r := startRacked(t)
	cl := r.client(r.leader, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Rack(r.rack),
		kgo.RecheckPreferredReplicaInterval(500*time.Millisecond)) // that is how kgo finds out that a follower is gone
	if got := consume(t, cl, 100); len(got) != 100 {
		t.Fatalf("%d records", len(got))
	}
	r.produce(t, 10) // each wakes a fetch that is parked at the follower
	consume(t, cl, 10)
	if r.outOf(r.near) == 0 || r.outOf(r.leader) > 0 {
		t.Errorf("%d bytes from the follower, %d from the leader", r.outOf(r.near), r.outOf(r.leader))
	}
	r.brokers[r.near].kill()
	r.produce(t, 10)
	if got := consume(t, cl, 10); got[0].Offset != 110 || got[9].Offset != 119 {
		t.Errorf("offsets %d to %d after the follower's death", got[0].Offset, got[9].Offset)
	}
	if r.outOf(r.leader) == 0 {
		t.Error("nothing came from the leader")
	}
}

// fetchOne is one raw fetch of the topic's partition.
func (r *racked) fetchOne(t *testing.T, from *raw, version int16, offset int64, rack string, session, epoch int32) *kmsg.FetchResponseTopicPartition {
	t.Helper()
	q := fetchOf("t", offset, session, epoch)
	q.SetVersion(version)
	q.Rack = rack
	resp := from.fetch(q)
	if len(resp.Topics) == 0 {
		return nil
	}
	return &resp.Topics[0].Partitions[0]
}

func TestALeaderNamesAFollowerOnlyToThoseWhoCanGoThere(t *testing.T) {
	r := startRacked(t)
	at := r.brokers[r.leader].raw(t)
	eventually(t, func() bool { // the follower's fetch that says so is on its way
		return r.fetchOne(t, at, 11, 100, r.rack, 0, -1).PreferredReadReplica == int32(r.near+1)
	})
	for _, c := range []struct {
		name    string
		version int16
		offset  int64
		rack    string
		named   bool
		code    int16
	}{
		{"in the follower's rack", 11, 0, r.rack, true, 0},
		{"without a rack", 11, 0, "", false, 0},
		{"in the leader's rack", 11, 0, r.brokers[r.leader].b.cfg.Rack, false, 0},
		{"in nobody's rack", 11, 0, "z", false, 0},
		{"before racks", 10, 0, r.rack, false, 0},
		{"out of range", 11, 101, r.rack, false, kerr.OffsetOutOfRange.Code},
	} {
		p := r.fetchOne(t, at, c.version, c.offset, c.rack, 0, -1)
		named := c.version >= 11 && p.PreferredReadReplica >= 0
		if named != c.named || p.ErrorCode != c.code || (len(p.RecordBatches) > 0) != (!c.named && c.code == 0) {
			t.Errorf("%s: replica %d, %d bytes, %v", c.name, p.PreferredReadReplica, len(p.RecordBatches), kerr.ErrorForCode(p.ErrorCode))
		}
		if c.named && p.HighWatermark != 100 {
			t.Errorf("%s: high watermark %d", c.name, p.HighWatermark)
		}
	}
	q := fetchOf("t", 0, 0, 0) // a session says it again each time
	q.Rack = r.rack
	first := at.fetch(q)
	again := fetchOf("", 0, first.SessionID, 1)
	again.Rack = r.rack
	if second := at.fetch(again); len(second.Topics) != 1 || second.Topics[0].Partitions[0].PreferredReadReplica != int32(r.near+1) {
		t.Errorf("the session's second answer is %+v", second.Topics)
	}
}

func TestAFollowerAnswersConsumersThatKnowOfRacks(t *testing.T) {
	r := startRacked(t)
	at := r.brokers[r.near].raw(t)
	eventually(t, func() bool {
		p := r.fetchOne(t, at, 11, 99, "", 0, -1)
		return p.ErrorCode == 0 && p.HighWatermark == 100
	})
	for _, c := range []struct {
		name    string
		version int16
		offset  int64
		code    int16
	}{
		{"there", 11, 0, 0},
		{"below its start", 11, -1, kerr.OffsetOutOfRange.Code},
		{"behind its end", 11, 101, kerr.OffsetNotAvailable.Code},
		{"before racks", 10, 0, kerr.NotLeaderForPartition.Code},
	} {
		p := r.fetchOne(t, at, c.version, c.offset, r.rack, 0, -1)
		if p.ErrorCode != c.code || (len(p.RecordBatches) > 0) != (c.code == 0) || c.version >= 11 && p.PreferredReadReplica != -1 {
			t.Errorf("%s: %d bytes, replica %d, %v", c.name, len(p.RecordBatches), p.PreferredReadReplica, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	if code := latestOffset(testContext(t), t, r.client(r.near).Broker(r.near+1), "t"); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("ListOffsets: %v", kerr.ErrorForCode(code))
	}
	q := fetchOf("t", 0, 0, 0)
	first := at.fetch(q)
	if second := at.fetch(fetchOf("t", 100, first.SessionID, 1)); bytesOf(first) == 0 || len(second.Topics) != 0 {
		t.Errorf("a session: %d bytes, then %+v", bytesOf(first), second.Topics)
	}
	r.produce(t, 1)
	if third := at.fetch(fetchOf("", 0, first.SessionID, 2)); bytesOf(third) == 0 {
		t.Error("the session's new record is not there")
	}
}

// A leader that leaves keeps consumers until it can name the next one; a follower has no such reason.
func TestAFollowerThatLeavesSendsConsumersBackAtOnce(t *testing.T) {
	r := startRacked(t)
	at := r.brokers[r.near].raw(t)
	eventually(t, func() bool {
		p := r.fetchOne(t, at, 11, 99, "", 0, -1)
		return p.ErrorCode == 0 && p.HighWatermark == 100
	})
	r.brokers[r.near].b.lease.leave()
	q := fetchOf("t", 100, 0, -1)
	q.MaxWaitMillis = 20_000
	began := time.Now()
	resp := at.fetch(q)
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != kerr.NotLeaderForPartition.Code || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), kerr.ErrorForCode(p.ErrorCode))
	}
}
