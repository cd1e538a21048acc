package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
	"cordwood/protocol/record"
)

func TestNobodyElsesPartitionIsServed(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		want(t, "before", h.commit(ctx, "g", 1), kerr.NotCoordinator)
		h.elect(1)
		want(t, "leading", h.commit(ctx, "g", 1), nil)
		h.Resigned(0, 1)
		want(t, "after", h.commit(ctx, "g", 1), kerr.NotCoordinator)
	})
}

func TestAGroupFormsAndLosesASilentMember(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		began := time.Now()
		r, err := h.join(ctx, "")
		if err != nil || r.ErrorCode != kerr.MemberIDRequired.Code {
			t.Fatal(r, err)
		}
		id := r.MemberID
		if r, err = h.join(ctx, id); err != nil || r.ErrorCode != 0 || r.Generation != 1 {
			t.Fatal(r, err)
		}
		if d := time.Since(began); d != 3*time.Second {
			t.Errorf("the first rebalance took %v", d)
		}
		want(t, "sync", h.sync(ctx, id, 1), nil)
		for range 10 {
			time.Sleep(9 * time.Second)
			want(t, "heartbeat", h.heartbeat(ctx, id, 1), nil)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		want(t, "too late", h.heartbeat(ctx, id, 1), kerr.UnknownMemberID)
	})
}

// C1: what is not committed is not told to anybody, readers included.
func TestRepliesWaitForTheCommit(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		want(t, "first", h.commit(ctx, "g", 1), nil)
		h.log.hold(true)
		var wg sync.WaitGroup
		wg.Go(func() { want(t, "commit", h.commit(ctx, "g", 2), nil) })
		synctest.Wait()
		wg.Go(func() {
			began := time.Now()
			at, err := h.fetch(ctx, "g")
			if at != 2 || err != nil || time.Since(began) != 2*time.Second {
				t.Errorf("fetched %d, %v after %v", at, err, time.Since(began))
			}
		})
		time.Sleep(2 * time.Second)
		h.log.hold(false)
		wg.Wait()
	})
}

func TestABurstIsOneBatch(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		h.log.hold(true)
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() { want(t, "commit", h.commit(ctx, fmt.Sprint("g", i), int64(i)), nil) })
		}
		time.Sleep(time.Second)
		h.log.hold(false)
		wg.Wait()
		// The first one or few went alone; all others waited for their commit and went together.
		if n := h.log.count(); n > 3 {
			t.Errorf("%d batches", n)
		}
		if s := h.Stats(); s.Entries != 100 || s.Ops != 100 || s.Loads != 1 || s.Led != 1 || s.Loading != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestAnotherLeaderReadsWhatWasCommitted(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		for i := range 50 {
			want(t, "commit", h.commit(ctx, fmt.Sprint("g", i%10), int64(i)), nil)
		}
		r, _ := h.join(ctx, "")
		id := r.MemberID
		_, _ = h.join(ctx, id)
		want(t, "sync", h.sync(ctx, id, 1), nil)
		h.elect(3)
		want(t, "heartbeat", h.heartbeat(ctx, id, 1), nil)
		for i := range 10 {
			if at, err := h.fetch(ctx, fmt.Sprint("g", i)); at != int64(40+i) || err != nil {
				t.Errorf("group %d: %d, %v", i, at, err)
			}
		}
		// The session began anew with the load.
		time.Sleep(10*time.Second + time.Millisecond)
		want(t, "silent", h.heartbeat(ctx, id, 1), kerr.UnknownMemberID)
	})
}

func TestResigningFailsParkedRequestsAtOnce(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		r, _ := h.join(ctx, "")
		h.log.hold(true)
		var wg sync.WaitGroup
		began := time.Now()
		wg.Go(func() {
			_, err := h.join(ctx, r.MemberID)
			want(t, "parked", err, kerr.NotCoordinator)
		})
		synctest.Wait()
		wg.Go(func() { want(t, "not committed", h.commit(ctx, "g2", 1), kerr.NotCoordinator) })
		synctest.Wait()
		wg.Go(func() { want(t, "queued", h.commit(ctx, "g2", 2), kerr.NotCoordinator) })
		time.Sleep(time.Second)
		h.Resigned(0, 1)
		wg.Wait()
		if d := time.Since(began); d != time.Second {
			t.Errorf("they waited %v", d)
		}
	})
}

func TestEndOfRunFailsParkedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHall(t, nil)
		h.elect(1)
		r, _ := h.join(t.Context(), "")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := h.join(t.Context(), r.MemberID)
			want(t, "parked", err, kerr.NotCoordinator)
		})
		synctest.Wait()
		h.stop()
		wg.Wait()
		h.Elected(0, 9, h.log.lead(9)) // too late: forgotten
		want(t, "after the end", h.commit(t.Context(), "g", 1), kerr.NotCoordinator)
	})
}

// C3, R7: a load is not finished before what is in the log is committed.
func TestLoadingWaitsForTheEndOfTheLog(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		want(t, "commit", h.commit(ctx, "g", 1), nil)
		h.log.hold(true)
		go func() { _ = h.commit(ctx, "g", 2) }() // in the log, not committed, when leadership moves
		synctest.Wait()
		h.elect(2)
		want(t, "loading", h.commit(ctx, "g", 3), kerr.CoordinatorLoadInProgress)
		if s := h.Stats(); s.Loading != 1 {
			t.Errorf("stats %+v", s)
		}
		h.log.hold(false)
		synctest.Wait()
		if at, err := h.fetch(ctx, "g"); at != 2 || err != nil {
			t.Errorf("fetched %d, %v", at, err)
		}
	})
}

func TestAFailedAppendIsForgotten(t *testing.T) {
	for name, c := range map[string]struct{ failure, want error }{
		"leadership lost":         {kerr.NotLeaderForPartition, kerr.NotCoordinator},
		"disk failed":             {kerr.KafkaStorageError, kerr.NotCoordinator},
		"too few replicas":        {kerr.NotEnoughReplicas, kerr.CoordinatorNotAvailable},
		"too large":               {kerr.MessageTooLarge, kerr.UnknownServerError},
		"no reason clients know":  {errors.New("out of paper"), kerr.CoordinatorNotAvailable},
		"wrapped, as rooms do it": {fmt.Errorf("append: %w", kerr.NotLeaderForPartition), kerr.NotCoordinator},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(h *hall, ctx context.Context) {
				h.elect(1)
				want(t, "commit", h.commit(ctx, "offsets only", 1), nil)
				r, _ := h.join(ctx, "")
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := h.join(ctx, r.MemberID)
					want(t, "parked", err, c.want)
				})
				synctest.Wait()
				h.log.failing(func(what string) error {
					if what == "append" {
						return c.failure
					}
					return nil
				})
				want(t, "refused", h.commit(ctx, "offsets only", 2), c.want)
				wg.Wait()
				h.log.failing(nil)
				time.Sleep(time.Second)
				if at, err := h.fetch(ctx, "offsets only"); at != 1 || err != nil {
					t.Errorf("fetched %d, %v", at, err)
				}
				if s := h.Stats(); s.Failures != 1 || s.Loads != 2 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func TestAShardSurvivesFailureAfterFailure(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		for i := range 5 {
			var wg sync.WaitGroup
			wg.Go(func() {
				r, err := h.join(ctx, "")
				if err == nil {
					_, err = h.join(ctx, r.MemberID)
				}
				want(t, "parked", err, kerr.CoordinatorNotAvailable)
			})
			synctest.Wait()
			h.log.failing(func(string) error { return kerr.NotEnoughReplicas })
			want(t, "refused", h.commit(ctx, "offsets only", int64(i)), kerr.CoordinatorNotAvailable)
			wg.Wait()
			h.log.failing(nil)
			time.Sleep(2 * longestDelay)
			want(t, "healed", h.commit(ctx, "offsets only", int64(i)), nil)
		}
	})
}

// The outcome of a commit that takes too long is not known: the client tries again, and the log decides.
func TestACommitThatTakesTooLongIsNotKnown(t *testing.T) {
	bubble(t, func(c *Config) { c.CommitTimeout = 2 * time.Second }, func(h *hall, ctx context.Context) {
		h.elect(1)
		h.log.hold(true)
		began := time.Now()
		want(t, "slow", h.commit(ctx, "g", 5), kerr.CoordinatorNotAvailable)
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("answered after %v", d)
		}
		synctest.Wait()
		want(t, "loading", h.commit(ctx, "g", 6), kerr.CoordinatorLoadInProgress)
		h.log.hold(false)
		time.Sleep(time.Second)
		if at, err := h.fetch(ctx, "g"); at != 5 || err != nil {
			t.Errorf("fetched %d, %v", at, err)
		}
	})
}

func TestALoadThatFailsIsTriedAgain(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.log.failing(func(what string) error { return kerr.KafkaStorageError })
		h.log.put(batchOf(t, record.BuilderOptions{}, machine.Entry{Key: []byte{9}}))
		h.elect(1)
		time.Sleep(5 * time.Second)
		if err := h.commit(ctx, "g", 1); err == nil {
			t.Error("served")
		}
		h.log.failing(nil)
		time.Sleep(longestDelay)
		want(t, "healed", h.commit(ctx, "g", 1), nil)
	})
}

// C5: heartbeats that a slow commit kept waiting count before sessions end.
func TestASlowCommitEndsNoSession(t *testing.T) {
	bubble(t, func(c *Config) { c.CommitTimeout = time.Minute }, func(h *hall, ctx context.Context) {
		h.elect(1)
		r, _ := h.join(ctx, "")
		_, _ = h.join(ctx, r.MemberID)
		want(t, "sync", h.sync(ctx, r.MemberID, 1), nil)
		h.log.hold(true)
		var wg sync.WaitGroup
		wg.Go(func() { want(t, "commit", h.commit(ctx, "other", 1), nil) })
		time.Sleep(8 * time.Second)
		wg.Go(func() { want(t, "heartbeat", h.heartbeat(ctx, r.MemberID, 1), nil) })
		time.Sleep(8 * time.Second) // 16 s since the last sign of life that was served
		h.log.hold(false)
		wg.Wait()
		want(t, "and goes on", h.heartbeat(ctx, r.MemberID, 1), nil)
	})
}

// C4: the request belongs to the caller again when Do has returned.
func TestACallerThatLeftIsNotServed(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxOps = 1 }, func(h *hall, ctx context.Context) {
		h.elect(1)
		h.log.hold(true)
		go func() { _ = h.commit(ctx, "g", 1) }()
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		ran := make(chan bool, 2)
		op := func(m *group.Machine, _ uint64, now time.Time) machine.Result {
			ran <- true
			return m.DeleteGroup("x", now)
		}
		var wg sync.WaitGroup
		for range 2 { // one waits in the queue, one for a place in it
			wg.Go(func() {
				_, err := h.do(short, op)
				want(t, "left", err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		h.log.hold(false)
		synctest.Wait()
		if len(ran) > 0 {
			t.Error("an op ran after its caller had left")
		}
		want(t, "others", h.commit(ctx, "g", 2), nil)
	})
}

func TestAParkedCallerMayLeave(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		r, _ := h.join(ctx, "")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := h.join(short, r.MemberID)
		want(t, "left", err, context.DeadlineExceeded)
		time.Sleep(5 * time.Second)
		// Its join was completed all the same, and its session runs.
		want(t, "heartbeat", h.heartbeat(ctx, r.MemberID, 1), nil)
	})
}

func TestOlderNewsOfLeadershipIsIgnored(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(5)
		want(t, "commit", h.commit(ctx, "g", 1), nil)
		h.Resigned(0, 4)
		h.Elected(0, 5, nil)
		h.Elected(0, 3, nil)
		synctest.Wait()
		want(t, "goes on", h.commit(ctx, "g", 2), nil)
		if s := h.Stats(); s.Loads != 1 {
			t.Errorf("stats %+v", s)
		}
		h.Resigned(0, 6)
		want(t, "over", h.commit(ctx, "g", 3), kerr.NotCoordinator)
	})
}

// A shard whose leadership is over, unnoticed, writes nothing: its log refuses.
func TestADeposedShardWritesNothing(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		want(t, "commit", h.commit(ctx, "g", 1), nil)
		h.log.lead(2) // somewhere else
		want(t, "deposed", h.commit(ctx, "g", 2), kerr.NotCoordinator)
		synctest.Wait()
		want(t, "still", h.commit(ctx, "g", 2), kerr.NotCoordinator)
		h.elect(3)
		if at, err := h.fetch(ctx, "g"); at != 1 || err != nil {
			t.Errorf("fetched %d, %v", at, err)
		}
	})
}

func TestElectionsBeforeRunAreServedByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newMemLog()
		r := New(Config{NewMachine: func(int32) machine.Machine { return group.New(group.Config{Rand: rand.NewChaCha8([32]byte{})}) }})
		r.Elected(0, 1, l.lead(1))
		r.Elected(0, 2, l.lead(2))
		r.Elected(1, 1, newMemLog().lead(1))
		r.Resigned(1, 1)
		h := &hall{Runtime: r, t: t, log: l}
		want(t, "early", h.commit(t.Context(), "g", 1), kerr.CoordinatorLoadInProgress)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		want(t, "served", h.commit(ctx, "g", 1), nil)
		cancel()
		wg.Wait()
	})
}

func TestLargeDecisionsAreSplitIntoBatches(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxBatchBytes = 2000 }, func(h *hall, ctx context.Context) {
		h.elect(1)
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 9, "g", -1
		text := strings.Repeat("x", 500)
		topic := kmsg.OffsetCommitRequestTopic{Topic: "t"}
		for i := range 20 {
			topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: int32(i), Offset: 7, Metadata: &text})
		}
		req.Topics = append(req.Topics, topic)
		if _, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result { return m.OffsetCommit(req, now) }); err != nil {
			t.Fatal(err)
		}
		for _, n := range h.log.sizes {
			if n > 2000 {
				t.Errorf("a batch of %d bytes", n)
			}
		}
		if h.log.count() != 7 {
			t.Errorf("%d batches", h.log.count())
		}
		text = strings.Repeat("x", 3000)
		topic.Partitions = topic.Partitions[:1]
		req.Topics[0] = topic
		_, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result { return m.OffsetCommit(req, now) })
		want(t, "one entry too large", err, kerr.UnknownServerError)
		time.Sleep(time.Second)
		h.elect(2)
		reply, err := h.do(ctx, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
			return m.OffsetFetch(&kmsg.OffsetFetchRequestGroup{Group: "g"}, now)
		})
		if err != nil || len(reply.(*kmsg.OffsetFetchResponseGroup).Topics[0].Partitions) != 20 {
			t.Errorf("fetched %+v, %v", reply, err)
		}
	})
}

// A rule that fails costs one reload; other requests get an answer, later ones are served.
func TestAPanicOfTheRulesIsOneReload(t *testing.T) {
	bubble(t, nil, func(h *hall, ctx context.Context) {
		h.elect(1)
		want(t, "commit", h.commit(ctx, "g", 1), nil)
		_, err := h.do(ctx, func(*group.Machine, uint64, time.Time) machine.Result { panic("broken rule") })
		want(t, "broken", err, kerr.UnknownServerError)
		time.Sleep(time.Second)
		want(t, "later", h.commit(ctx, "g", 2), nil)
	})
}

func TestEffectsFollowTheCommit(t *testing.T) {
	var got []string
	var mu sync.Mutex
	bubble(t, func(c *Config) {
		c.Effects = func(partition int32, effects []machine.Effect) {
			mu.Lock()
			defer mu.Unlock()
			for _, e := range effects {
				got = append(got, fmt.Sprint(partition, " ", e.(group.Event).What))
			}
		}
	}, func(h *hall, ctx context.Context) {
		h.elect(1)
		r, _ := h.join(ctx, "")
		_, _ = h.join(ctx, r.MemberID)
	})
	if want := "0 rebalance begins,0 generation begins"; strings.Join(got, ",") != want {
		t.Errorf("got %q", got)
	}
}

// Many clients at once, leadership changes and failures between. What was answered is there in the end (P7).
func TestConcurrentUseLosesNoCommit(t *testing.T) {
	bubble(t, func(c *Config) { c.MaxOps = 8 }, func(h *hall, ctx context.Context) {
		h.elect(1)
		const clients = 16
		var acked [clients]int64
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := int64(1); i <= 200; i++ {
					short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
					if h.commit(short, fmt.Sprint("g", c), i) == nil {
						acked[c] = i
					}
					cancel()
					if i%10 == 0 {
						time.Sleep(time.Duration(c) * time.Millisecond)
					}
				}
			})
		}
		wg.Go(func() {
			for epoch := int32(2); epoch < 30; epoch++ {
				time.Sleep(7 * time.Millisecond)
				switch epoch % 4 {
				case 0:
					h.log.hold(true)
					time.Sleep(time.Millisecond)
					h.log.hold(false)
				case 1:
					h.log.failing(func(string) error { return kerr.NotEnoughReplicas })
					time.Sleep(time.Millisecond)
					h.log.failing(nil)
				case 2:
					h.Resigned(0, epoch)
					h.Elected(0, epoch, h.log.lead(epoch))
				case 3:
					h.Elected(0, epoch, h.log.lead(epoch))
				}
			}
		})
		wg.Wait()
		time.Sleep(time.Second)
		h.elect(100)
		for c := range clients {
			at, err := h.fetch(ctx, fmt.Sprint("g", c))
			if err != nil || at < acked[c] {
				t.Errorf("client %d: %d was acknowledged, %d is there, %v", c, acked[c], at, err)
			}
			if acked[c] == 0 {
				t.Errorf("client %d: nothing was acknowledged", c)
			}
		}
	})
}
