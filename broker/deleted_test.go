package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

func TestDeletedNamesAreForgottenInTime(t *testing.T) {
	var d deletedNames
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	d.add([]*metadata.Topic{{Name: "a"}}, at(0))
	d.add([]*metadata.Topic{{Name: "b"}}, at(4))
	for _, c := range []struct {
		seconds float64
		a, b    bool
	}{{0, true, true}, {4, true, true}, {9.9, true, true}, {14.8, true, true}, {14.9, false, false}, {100, false, false}} {
		if a, b := d.has("a", at(c.seconds)), d.has("b", at(c.seconds)); a != c.a || b != c.b {
			t.Errorf("after %v s: a %v, b %v", c.seconds, a, b)
		}
	}
}

// Whoever deletes a topic and looks sees it gone, even if looking makes it again.
func TestATopicJustDeletedIsGoneInTheNextMetadata(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	cl := n.client()
	look := func() kmsg.MetadataResponseTopic {
		t.Helper()
		q := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("orders")
		q.Topics, q.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{topic}, true
		resp, err := q.RequestWith(ctx, cl)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Topics[0]
	}
	if got := look(); got.ErrorCode != 0 || len(got.Partitions) != 1 {
		t.Fatalf("the first Metadata makes the topic and shows it: %+v", got)
	}
	if _, err := kadm.NewClient(cl).DeleteTopics(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	if got := look(); got.ErrorCode != kerr.LeaderNotAvailable.Code || len(got.Partitions) != 0 {
		t.Errorf("after the deletion: %+v", got)
	}
	eventually(t, func() bool { return len(look().Partitions) == 1 })
}
