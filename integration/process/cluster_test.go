//go:build process

package process

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWhatAClusterAcknowledgedOutlivesItsLeader(t *testing.T) {
	c := NewCluster(t, 3)
	c.Start()
	ctx := Context(t, 2*time.Minute)
	client := c.Client()
	adm := kadm.NewClient(client)
	if r, err := adm.CreateTopic(ctx, 1, 3, nil, "t"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	leader := c.Leader(ctx, adm, "t", -1)

	const total, half = 2000, 1000
	killed := make(chan struct{})
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var failures []error
	for i := range total {
		if i == half {
			c.Nodes[leader-1].Kill()
			close(killed)
		}
		value := fmt.Sprintf("record-%d", i)
		client.Produce(ctx, &kgo.Record{Topic: "t", Value: []byte(value)}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				return
			}
			acknowledged[value] = true
		})
		if i%100 == 99 { // several requests before and after the kill
			time.Sleep(10 * time.Millisecond)
		}
	}
	<-killed
	began := time.Now()
	if err := client.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("flushed %v after the leader was gone; %d acknowledged, %d failures", time.Since(began), len(acknowledged), len(failures))
	if len(acknowledged) != total {
		t.Errorf("%d of %d records were acknowledged; first failure %v", len(acknowledged), total, failures)
	}
	if now := c.Leader(ctx, adm, "t", leader); now == leader {
		t.Errorf("node %d still leads", now)
	}

	reader := c.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int{}
	for len(seen) < len(acknowledged) {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
	}
	for value := range acknowledged {
		if seen[value] != 1 {
			t.Errorf("%s was acknowledged and is read %d times", value, seen[value])
		}
	}
	// It comes back, catches up and is in sync again.
	c.Nodes[leader-1].Start()
	for {
		topics, err := adm.ListTopics(ctx, "t")
		if err == nil && len(topics["t"].Partitions[0].ISR) == 3 {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("node %d is not in sync again: %+v\n%s", leader, topics["t"].Partitions, c.Nodes[leader-1].Log())
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, n := range c.Nodes {
		if code := n.Stop(); code != 0 {
			t.Errorf("exit code %d\n%s", code, n.Log())
		}
	}
}
