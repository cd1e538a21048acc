//go:build process

package process

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A consumer in rack b reads from the follower there while records are produced; it loses and doubles nothing when that is killed,
// when it comes back, and when the leader is killed.
func TestAConsumerReadsInItsRackThroughKills(t *testing.T) {
	c := NewCluster(t, 3, "--override", "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector")
	for i, n := range c.Nodes {
		n.args = append(n.args, "--override", "broker.rack="+string(rune('a'+i)))
	}
	c.Start()
	ctx := Context(t, 3*time.Minute)
	client := c.Client()
	adm := kadm.NewClient(client)
	if r, err := adm.CreateTopic(ctx, 1, 3, nil, "t"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	c.AwaitInSync(ctx, adm, "t")
	c.Lead(ctx, adm, "t", 0, 1)
	consumer := c.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.Rack("b"),
		kgo.RecheckPreferredReplicaInterval(time.Second), kgo.FetchMaxWait(500*time.Millisecond))
	next := int64(0)
	step := func(what string) { // 200 records are produced, and come once and in order
		t.Helper()
		began := time.Now()
		for i := range 200 {
			client.Produce(ctx, &kgo.Record{Topic: "t", Value: fmt.Append(nil, next+int64(i))}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		until := next + 200
		readTo(ctx, t, consumer, &next, until)
		t.Logf("%s: 200 records after %s", what, time.Since(began))
	}
	const metric = "cordwood_fetched_bytes_total"
	step("all nodes")
	if near, leader := c.Node(2).Metric(metric), c.Node(1).Metric(metric); near == 0 || leader > 0 {
		t.Errorf("%v bytes from the follower in the rack, %v from the leader", near, leader)
	}
	c.Node(2).Kill()
	before := c.Node(1).Metric(metric)
	step("the follower is killed")
	if c.Node(1).Metric(metric) == before {
		t.Error("nothing came from the leader")
	}
	c.Node(2).Start()
	c.AwaitInSync(ctx, adm, "t")
	for began := time.Now(); c.Node(2).Metric(metric) == 0; { // sent there again after the next recheck
		if time.Since(began) > time.Minute {
			t.Fatal("nothing comes from the follower that is back")
		}
		step("the follower is back")
	}
	c.Node(1).Kill()
	step("the leader is killed")
}

// readTo reads up to an offset; each record holds its own.
func readTo(ctx context.Context, t *testing.T, cl *kgo.Client, next *int64, until int64) {
	t.Helper()
	for *next < until {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("at %d of %d: %v", *next, until, err)
		}
		fetches.EachError(func(topic string, _ int32, err error) { t.Logf("%s: %v", topic, err) })
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != *next || string(r.Value) != fmt.Sprint(*next) {
				t.Fatalf("offset %d with %q, where %d is next", r.Offset, r.Value, *next)
			}
			*next++
		})
	}
}
