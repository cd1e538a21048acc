package decide

import (
	"fmt"
	"slices"
	"testing"

	"cordwood/metadata"
)

func (w *world) createInternal(name string, partitions int32, factor int16) {
	w.t.Helper()
	out, err := CreateTopics(w.img, CreateTopicsRequest{Internal: true, Rules: w.rules, NewID: w.newID,
		Topics: []NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: factor}}}, w.now)
	if r := do(w, out, err).Topics[0]; r.Err != nil {
		w.t.Fatal(r.Err)
	}
}

// join lets every new replica of a topic catch up.
func (w *world) join(topic string) {
	w.t.Helper()
	for n, p := range w.img.Topic(topic).Partitions {
		w.propose(w.proposal(topic, int32(n), p.Replicas...))
	}
}

func TestInternalTopicsGrowWithTheCluster(t *testing.T) {
	w := newWorld(t, 1)
	w.createInternal(metadata.OffsetsTopic, 12, 1)
	w.create(topic("own", 1, 1))
	preferred := map[metadata.NodeID]int{}
	for b := metadata.NodeID(2); b <= 4; b++ {
		index := w.img.Index()
		w.register(w.process(b, -1))
		w.heartbeat(b, false)
		if w.img.Index() != index+2 {
			t.Fatal("not in the entry that lets the broker in")
		}
		if b == 3 {
			w.join(metadata.OffsetsTopic)
		}
		for n, p := range w.img.Topic(metadata.OffsetsTopic).Partitions {
			if len(p.Replicas) != min(3, int(b)) || p.Leader != 1 {
				t.Fatalf("with %d brokers, partition %d: %+v", b, n, p)
			}
		}
	}
	for n, p := range w.img.Topic(metadata.OffsetsTopic).Partitions {
		preferred[p.Preferred()]++
		if reassigning(p) || p.MinISR != 2 || len(p.ISR) != 3 {
			t.Fatalf("partition %d: %+v", n, p)
		}
	}
	if preferred[1] == 0 || preferred[2] == 0 || preferred[3] == 0 {
		t.Error("preferred leaders", preferred)
	}
	w.replicas("own", 0, "[1] +[] -[]")
}

func TestInternalTopicsObeyAnExplicitFactorAndAnOperator(t *testing.T) {
	w := newWorld(t, 1)
	w.rules = &Rules{InternalFactor: func(topic string) int16 { return map[string]int16{metadata.OffsetsTopic: 1}[topic] }}
	w.createInternal(metadata.OffsetsTopic, 2, 1)
	w.createInternal(metadata.TransactionsTopic, 2, 1)
	w.start(2)
	w.replicas(metadata.OffsetsTopic, 0, "[1] +[] -[]")
	if got := len(w.img.Topic(metadata.TransactionsTopic).Partitions[0].Replicas); got != 2 {
		t.Fatal(got)
	}
	w.reassign(metadata.TransactionsTopic, 0, 2)
	before := fmt.Sprint(w.img.Topic(metadata.TransactionsTopic).Partitions[0])
	w.start(3)
	if after := fmt.Sprint(w.img.Topic(metadata.TransactionsTopic).Partitions[0]); after != before {
		t.Fatal(before, after)
	}
}

func TestReplicasAreAddedWithoutTakingAny(t *testing.T) {
	w := newWorld(t)
	for b := range metadata.NodeID(6) {
		req := w.process(b, -1)
		req.Rack = string('a' + rune(b)%3)
		w.register(req)
		w.heartbeat(b, false)
	}
	p := newPlacer(w.img, metadata.TopicID{}, &dirUse{img: w.img})
	for n := range 60 {
		have := p.place(n/2, 1+n%3)
		got := p.extend(n, have, 3)
		if sorted := slices.Compact(slices.Sorted(slices.Values(got))); len(sorted) != 3 || len(got) != 3 {
			t.Fatal(got)
		}
		for _, b := range have {
			if !slices.Contains(got, b) {
				t.Fatalf("%v lacks %d of %v", got, b, have)
			}
		}
	}
}
