package broker

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// imageOf has these brokers registered.
func imageOf(t *testing.T, ids ...metadata.NodeID) *metadata.Image {
	t.Helper()
	var changes []metadata.Change
	for _, id := range ids {
		changes = append(changes, metadata.BrokerRegistered{ID: id, Dirs: []metadata.DirID{{byte(id)}}})
	}
	img := metadata.Empty()
	for i, c := range changes {
		next, err := img.With(uint64(i+1), []metadata.Change{c})
		if err != nil {
			t.Fatal(err)
		}
		img = next
	}
	return img
}

// A process that was stopped finds that its lease is over by looking at the clock, not by a timer.
func TestZ36ALeaderWithoutAnAnsweredHeartbeatStopsBeforeItsSessionIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const session = 3 * time.Second
		l := newLease(LeaseStrict, session)
		l.see(imageOf(t, 1, 2), 1)
		if l.over(true) == nil {
			t.Error("a broker serves before its first heartbeat is answered")
		}
		sent := time.Now()
		time.Sleep(500 * time.Millisecond) // the answer takes a while: the lease begins when the heartbeat left
		l.renew(sent)
		time.Sleep(session*8/10 - 501*time.Millisecond)
		if l.over(true) != nil || l.over(false) != nil {
			t.Error("the lease is over too early")
		}
		time.Sleep(time.Millisecond)
		if l.over(true) != kerr.NotLeaderForPartition || l.over(false) != kerr.NotLeaderForPartition {
			t.Error("a leader serves after its lease")
		}
		l.renew(sent) // an answer that comes late changes nothing
		if l.over(true) == nil {
			t.Error("an old heartbeat gave a new lease")
		}
		l.renew(time.Now())
		if l.over(true) != nil {
			t.Error("a new heartbeat gave none")
		}
	})
}

// A producer that is told that its sequence is wrong begins a new epoch, and what it has under way may be there twice then.
func TestZ36ALeaderThatWasStoppedRefusesNoSequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLease(LeaseStrict, 3*time.Second)
		l.see(imageOf(t, 1, 2), 1)
		l.renew(time.Now())
		refused := func(acks int16, err error) error {
			r := &produceReply{s: &session{b: &Broker{lease: l}}, acks: acks, parts: []producePart{{err: err}}}
			if !r.Ready(time.Now()) {
				t.Error("a refusal is parked")
			}
			return r.parts[0].err
		}
		sequence := fmt.Errorf("producer 1 goes from sequence 3 to 5: %w", kerr.OutOfOrderSequenceNumber)
		fenced := fmt.Errorf("producer 1 has epoch 2, the batch 1: %w", kerr.InvalidProducerEpoch)
		if err := refused(-1, sequence); !errors.Is(err, kerr.OutOfOrderSequenceNumber) {
			t.Errorf("a leader says %v", err)
		}
		time.Sleep(5 * time.Second) // after the request was admitted
		for _, acks := range []int16{-1, 1} {
			for _, err := range []error{sequence, fenced} {
				if err := refused(acks, err); !errors.Is(err, kerr.NotLeaderForPartition) {
					t.Errorf("acks %d: after its lease a leader says %v", acks, err)
				}
			}
			if err := refused(acks, kerr.CorruptMessage); !errors.Is(err, kerr.CorruptMessage) {
				t.Errorf("acks %d: a damaged batch is answered with %v", acks, err)
			}
		}
	})
}

func TestHowMuchALeaseIsAskedForIsConfigured(t *testing.T) {
	for _, c := range []struct {
		mode          LeaseMode
		reads, writes bool
	}{{LeaseStrict, false, false}, {LeaseWrites, true, false}, {LeaseOff, true, true}} {
		l := newLease(c.mode, time.Second)
		l.see(imageOf(t, 1, 2), 1)
		if (l.over(false) == nil) != c.reads || (l.over(true) == nil) != c.writes {
			t.Errorf("mode %d without a lease: reads %v, writes %v", c.mode, l.over(false), l.over(true))
		}
	}
}

func TestABrokerThatIsAloneNeedsNoLease(t *testing.T) {
	l := newLease(LeaseStrict, time.Second)
	l.see(imageOf(t, 1), 1)
	if l.over(true) != nil || l.over(false) != nil {
		t.Error("nobody could be elected in its place, yet it does not serve")
	}
	l.see(imageOf(t, 1, 2), 1)
	if l.over(true) == nil {
		t.Error("there is another broker now")
	}
}

// Its successor may be there before it hears of it (R18, B8).
func TestALeaderThatAsksToLeaveShowsNothing(t *testing.T) {
	for _, mode := range []LeaseMode{LeaseStrict, LeaseWrites, LeaseOff} {
		l := newLease(mode, time.Hour)
		l.see(imageOf(t, 1, 2), 1)
		l.renew(time.Now())
		l.leave()
		if l.over(false) != kerr.NotLeaderForPartition || !l.leaving() {
			t.Errorf("mode %v: it answers reads", mode)
		}
		if l.over(true) != nil {
			t.Errorf("mode %v: what it acknowledges is refused", mode)
		}
		l.see(imageOf(t, 1), 1)
		if l.over(false) != nil || l.leaving() {
			t.Errorf("mode %v: a lone broker has no successor, and refuses", mode)
		}
	}
}

// A consumer gets neither records nor an end from a leader that has asked to leave, and no answer before it must have one.
func TestConsumersOfALeaderThatLeavesWaitForTheNextOne(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.create(t, "t", 1)
	cl := s.client(0, kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(ctx, kgo.StringRecord("old")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	leader := s.brokers[0].b.image().Topic("t").Partition(0).Leader
	s.brokers[leader-1].b.lease.leave()
	if code := latestOffset(ctx, t, cl.Broker(int(leader)), "t"); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("an end is told: %v", kerr.ErrorForCode(code))
	}
	q := kmsg.NewPtrFetchRequest()
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes = 200, 1, 1<<20
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rt.TopicID, rp.PartitionMaxBytes = "t", s.brokers[0].b.image().Topic("t").ID, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	q.Topics = append(q.Topics, rt)
	began := time.Now()
	answer, err := cl.Broker(int(leader)).Request(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if took := time.Since(began); got.ErrorCode != kerr.NotLeaderForPartition.Code || len(got.RecordBatches) > 0 || took < 200*time.Millisecond {
		t.Errorf("after %s: %v and %d bytes", took, kerr.ErrorForCode(got.ErrorCode), len(got.RecordBatches))
	}
	if err := cl.ProduceSync(ctx, kgo.StringRecord("new")).FirstErr(); err != nil {
		t.Errorf("a producer is refused: %v", err)
	}
}
