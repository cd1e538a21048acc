package controller

import (
	"context"
	"slices"
	"sort"
	"time"

	"cordwood/metadata"
)

// Feed is what happened after an index: Entries in order, or, if they are no longer at
// hand, the whole Image. Index is that of the newest image either leads to. Late is beside it, and no part of any image:
// the brokers that the active controller has not heard for a while. Do not modify it.
type Feed struct {
	Index   uint64
	Image   *metadata.Image
	Entries []FeedEntry
	Late    []metadata.NodeID
}

// FeedEntry is one committed entry. Do not modify it.
type FeedEntry struct {
	Index   uint64
	Changes []metadata.Change
}

const (
	feedEntries = 4096
	feedBytes   = 1 << 20 // encoded; facts in memory are several times larger
)

// ring keeps the newest entries, bounded in number and bytes.
type ring struct {
	base    uint64 // index of the image before the first entry
	entries []FeedEntry
	sizes   []int
	bytes   int
}

func (r *ring) add(e FeedEntry, before uint64, size int) {
	if len(r.entries) == 0 {
		r.base = before
	}
	r.entries, r.sizes, r.bytes = append(r.entries, e), append(r.sizes, size), r.bytes+size
	n := 0
	for len(r.entries)-n > feedEntries || (r.bytes > feedBytes && len(r.entries)-n > 1) {
		r.bytes -= r.sizes[n]
		n++
	}
	if n > 0 {
		r.base = r.entries[n-1].Index
		r.entries, r.sizes = slices.Delete(r.entries, 0, n), slices.Delete(r.sizes, 0, n)
	}
}

// after returns the entries behind an index; false if some are gone.
func (r *ring) after(from uint64) ([]FeedEntry, bool) {
	if len(r.entries) == 0 || from < r.base {
		return nil, false
	}
	at := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].Index > from })
	return slices.Clone(r.entries[at:]), true
}

// Changes returns what came after an index. If nothing did, and those are late that the caller knows to be, it waits for
// either to change, at most for wait, and then returns an empty feed.
func (n *Node) Changes(ctx context.Context, from uint64, known []metadata.NodeID, wait time.Duration) (Feed, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		late, lateMoved := n.late() // before the image: who is no longer late because it was fenced is told of with the fence
		feed, moved := n.fsm.since(from)
		feed.Late = late
		if feed.Index > from || !slices.Equal(late, known) {
			return feed, nil
		}
		select {
		case <-moved:
		case <-lateMoved:
		case <-timer.C:
			return feed, nil
		case <-ctx.Done():
			return feed, ctx.Err()
		case <-n.gone:
			return feed, notController()
		}
	}
}

func (f *fsm) since(from uint64) (Feed, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	image := f.image.Load()
	feed := Feed{Index: image.Index()}
	if feed.Index > from {
		var kept bool
		if feed.Entries, kept = f.ring.after(from); !kept {
			feed.Image = image
		}
	}
	return feed, f.moved
}

// WaitFor returns once the image has reached an index.
func (n *Node) WaitFor(ctx context.Context, index uint64) error {
	for {
		n.fsm.mu.Lock()
		moved, at := n.fsm.moved, n.fsm.image.Load().Index()
		n.fsm.mu.Unlock()
		if at >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.gone:
			return notController()
		}
	}
}
