package decide

import (
	"fmt"
	"testing"
	"time"

	"cordwood/metadata"
)

// large is a cluster in which each broker has 5,000 partitions of three replicas.
func large(t testing.TB, brokers int) *world {
	w := newWorld(t)
	for b := range brokers {
		w.start(metadata.NodeID(b + 1))
	}
	for n := range brokers * 5000 / 3 / 500 {
		out, err := CreateTopics(w.img, CreateTopicsRequest{Topics: []NewTopic{topic(fmt.Sprintf("topic-%d", n), 500, 3)}, Rules: w.rules,
			NewID: func() metadata.UUID { return metadata.UUID{1, byte(n), byte(n >> 8), byte(n * 7), 15: byte(n)} }}, w.now)
		if err == nil {
			w.img, err = w.img.With(w.img.Index()+1, out.Changes)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// outcomeCosts is everything the active controller does with a decision before and after it waits for the disks: decide
// twice (beside the queue, and in it), apply to the scratch image, encode, decode and apply to the image.
func outcomeCosts(t testing.TB, img *metadata.Image, decide func() []metadata.Change) int {
	decide()
	changes := decide()
	next := func(changes []metadata.Change) {
		if _, err := img.With(img.Index()+1, changes); err != nil {
			t.Fatal(err)
		}
	}
	next(changes)
	b, err := metadata.EncodeChanges(changes)
	if err != nil {
		t.Fatal(err)
	}
	if changes, err = metadata.DecodeChanges(b); err != nil {
		t.Fatal(err)
	}
	next(changes)
	return len(changes)
}

func BenchmarkFencingABrokerWith5000Partitions(b *testing.B) {
	for _, brokers := range []int{12, 120} {
		b.Run(fmt.Sprintf("brokers=%d", brokers), func(b *testing.B) {
			w := large(b, brokers)
			w.now = w.now.Add(time.Hour)
			for o := range w.img.Brokers() {
				if o.ID != 1 {
					w.s.Touch(o.ID, w.img.Index(), w.now)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				outcomeCosts(b, w.img, func() []metadata.Change { return FenceExpired(w.img, w.s, w.rules, w.now).Changes })
			}
		})
	}
}

func BenchmarkRegisteringABrokerWith5000Partitions(b *testing.B) {
	w := large(b, 12)
	req := w.process(1, -1)
	b.ReportAllocs()
	for b.Loop() {
		outcomeCosts(b, w.img, func() []metadata.Change {
			out, err := RegisterBroker(w.img, w.s, req, w.now)
			if err != nil {
				b.Fatal(err)
			}
			return out.Changes
		})
	}
}

func BenchmarkJoiningISRsOf1000Partitions(b *testing.B) {
	w := large(b, 12)
	req := AlterPartitionRequest{Rules: w.rules}
	for t := range w.img.Topics() {
		for n, p := range t.Partitions {
			if p.Leader == 1 && len(req.Changes) < 1000 {
				one := w.proposal(t.Name, int32(n), 1, p.Replicas[1])
				req.Broker, req.Epoch, req.Changes = one.Broker, one.Epoch, append(req.Changes, one.Changes...)
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		outcomeCosts(b, w.img, func() []metadata.Change {
			out, err := AlterPartition(w.img, req, w.now)
			if err != nil {
				b.Fatal(err)
			}
			return out.Changes
		})
	}
}
