package controller

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"
)

func TestRequestsThatComeTogetherShareAnEntry(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(1, 1)
	before := n.Stats()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() { n.mustCreate(fmt.Sprintf("t%d", i), 1) })
	}
	all.Wait()
	s := n.Stats()
	if n.Image().TopicCount() != 200 || s.Decisions-before.Decisions != 200 {
		t.Fatal(n.Image().TopicCount(), s)
	}
	if commits := s.Commits - before.Commits; commits > 150 {
		t.Fatalf("%d entries for 200 requests", commits)
	}
}

func TestLaterRequestsOfARoundSeeTheEarlierOnes(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(1, 1)
	var all sync.WaitGroup
	var mu sync.Mutex
	created, exists := 0, 0
	for range 50 {
		all.Go(func() {
			c, err := n.create("same", 1)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && c.Err == nil {
				created++
			} else if err == nil {
				exists++
			}
		})
	}
	all.Wait()
	if created != 1 || exists != 49 {
		t.Fatal(created, exists)
	}
}

// The epoch of a broker is the index of the entry that registered it, also when other
// requests and registrations come at the same moment.
func TestBrokerEpochsAreUnique(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(1, 1)
	epochs := make(chan int64, 64)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			epoch, err := n.RegisterBroker(ctx, process(2, byte(10+i))) // one disk, sixteen lives
			if err != nil {
				t.Error(err)
			}
			epochs <- epoch
		})
		all.Go(func() { n.mustCreate(fmt.Sprintf("t%d", i), 1) })
		all.Go(func() {
			_, _, err := Do(ctx, n.Node, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AllocateProducerIDsReply], error) {
				return decide.AllocateProducerIDs(img, decide.AllocateProducerIDsRequest{Broker: 1, Epoch: img.Broker(1).Epoch}, now)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(epochs)
	var got []int64
	for e := range epochs {
		got = append(got, e)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != 16 || got[len(got)-1] != n.Image().Broker(2).Epoch || n.Image().NextProducerID() != 16_000 {
		t.Fatal(got, n.Image().Broker(2).Epoch, n.Image().NextProducerID())
	}
}

func TestAnEntryDecidedOnAnotherImageIsRefused(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(1, 1)
	before := n.Image()
	for _, stamp := range []uint64{0, before.Index() - 1, before.Index() + 1} {
		data, err := command{stamp: stamp, changes: []metadata.Change{metadata.ProducerIDsAllocated{Next: 77}}}.encode()
		if err != nil {
			t.Fatal(err)
		}
		f := n.raft.Load().Apply(data, time.Second)
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if err, _ := f.Response().(error); !errors.Is(err, errStamp) {
			t.Fatal(f.Response())
		}
	}
	if n.Image() != before {
		t.Fatal("the image has changed (C1)")
	}
	n.mustCreate("t", 1)
}

func TestAnEntryNobodyUnderstandsStopsTheNode(t *testing.T) {
	for name, data := range map[string][]byte{"empty": {}, "version": {9, 0}, "stamp": {commandVersion, 0xff}, "facts": {commandVersion, 0, 1}} {
		n := start(t, config(vfs.NewMem(), "/raft"))
		_ = n.raft.Load().Apply(data, time.Second).Error()
		if err := <-n.done; err == nil {
			t.Errorf("%s: the node ended without an error", name)
		}
	}
}

func TestTheFeedTellsEveryEntryOnce(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	n.join(1, 1)
	from := n.Image()
	followed := make(chan *metadata.Image)
	go func() {
		img := from
		for img.Topic("last") == nil {
			feed, err := n.Changes(ctx, img.Index(), nil, time.Minute)
			if err != nil {
				t.Error(err)
			}
			for _, e := range feed.Entries {
				if img, err = img.With(e.Index, e.Changes); err != nil {
					t.Error(err)
				}
			}
		}
		followed <- img
	}()
	for i := range 30 {
		n.mustCreate(fmt.Sprintf("t%d", i), 2)
	}
	n.mustCreate("last", 1)
	img := <-followed
	d := metadata.Compare(img, n.Image())
	if !d.Empty() || img.Index() != n.Image().Index() {
		t.Fatalf("%+v", d)
	}
	if feed, err := n.Changes(ctx, n.Image().Index(), nil, 0); err != nil || len(feed.Entries) != 0 || feed.Image != nil {
		t.Fatal(feed, err)
	}
}

func TestWhoeverIsTooFarBehindGetsTheWholeImage(t *testing.T) {
	var r ring
	for i := range uint64(feedEntries + 10) {
		r.add(FeedEntry{Index: 10 + i}, 9+i, 1)
	}
	if _, ok := r.after(18); ok {
		t.Fatal("entries that are gone were told")
	}
	if got, ok := r.after(19); !ok || len(got) != feedEntries || got[0].Index != 20 {
		t.Fatal(ok, len(got))
	}
	if got, ok := r.after(1 << 40); !ok || len(got) != 0 {
		t.Fatal(ok, got)
	}
	for i := range uint64(3) {
		r.add(FeedEntry{Index: 10_000 + i}, 0, feedBytes)
	}
	if got, ok := r.after(10_001); !ok || len(got) != 1 || len(r.entries) != 1 {
		t.Fatal(ok, len(r.entries))
	}

	mem := vfs.NewMem()
	n := start(t, config(mem, "/raft"))
	if err := n.raft.Load().Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n = start(t, config(mem, "/raft"))
	defer n.stop()
	feed, err := n.Changes(ctx, 1, nil, time.Minute)
	if err != nil || feed.Image != n.Image() {
		t.Fatal(feed, err)
	}
}
