package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// A topic has one entry in the answer, whether its partitions were refused at the door or decided by the group: clients
// keep the last one they see.
func TestRefusedAndDecidedPartitionsShareTheirTopicsEntry(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	cl := n.client(kgo.MaxVersions(kversion.V4_0_0()))
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, 1, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", -1
	remove := kmsg.NewPtrOffsetDeleteRequest()
	remove.Group = "g"
	for _, name := range []string{"orders", "unknown"} {
		c, d := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetDeleteRequestTopic()
		c.Topic, d.Topic = name, name
		for _, index := range []int32{7, 0} {
			cp, dp := kmsg.NewOffsetCommitRequestTopicPartition(), kmsg.NewOffsetDeleteRequestTopicPartition()
			cp.Partition, dp.Partition = index, index
			c.Partitions, d.Partitions = append(c.Partitions, cp), append(d.Partitions, dp)
		}
		commit.Topics, remove.Topics = append(commit.Topics, c), append(remove.Topics, d)
	}
	type answer struct {
		topic string
		index int32
	}
	want := map[answer]int16{
		{"orders", 0}: 0, {"orders", 7}: kerr.UnknownTopicOrPartition.Code,
		{"unknown", 0}: kerr.UnknownTopicOrPartition.Code, {"unknown", 7}: kerr.UnknownTopicOrPartition.Code,
	}
	check := func(what string, got map[answer]int16, topics int) {
		t.Helper()
		if topics != 2 || len(got) != len(want) {
			t.Errorf("%s: %d topics, %v", what, topics, got)
		}
		for k, code := range want {
			if got[k] != code {
				t.Errorf("%s: %v is %d, not %d", what, k, got[k], code)
			}
		}
	}
	committed, err := commit.RequestWith(ctx, cl)
	if err != nil {
		t.Fatal(err)
	}
	got := map[answer]int16{}
	for _, topic := range committed.Topics {
		for _, p := range topic.Partitions {
			got[answer{topic.Topic, p.Partition}] = p.ErrorCode
		}
	}
	check("commit", got, len(committed.Topics))
	removed, err := remove.RequestWith(ctx, cl)
	if err != nil || removed.ErrorCode != 0 {
		t.Fatal(removed, err)
	}
	got = map[answer]int16{}
	for _, topic := range removed.Topics {
		for _, p := range topic.Partitions {
			got[answer{topic.Topic, p.Partition}] = p.ErrorCode
		}
	}
	check("removal", got, len(removed.Topics))
}
