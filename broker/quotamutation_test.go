package broker

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
)

// create asks for topics of ten partitions.
func (r *raw) create(version int16, names ...string) *kmsg.CreateTopicsResponse {
	r.t.Helper()
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version = version
	for _, name := range names {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 10, 1
		q.Topics = append(q.Topics, topic)
	}
	return r.ask(q).(*kmsg.CreateTopicsResponse)
}

func TestAnExhaustedMutationQuotaRefusesNewVersionsAndSlowsOldOnes(t *testing.T) {
	n := startNode(t, t.TempDir(), func(c *Config) { c.Quota.ControllerWindows = 1 })
	n.setQuota(t, "client-id=raw", decide.QuotaMutation, 15)
	r := n.raw(t)
	got := r.create(7, "a", "b", "c") // 15 tokens: a leaves 5, b takes them and more, c finds none
	for i, want := range map[string]int16{"a": 0, "b": 0, "c": kerr.ThrottlingQuotaExceeded.Code} {
		for _, topic := range got.Topics {
			if topic.Topic == i && topic.ErrorCode != want {
				t.Errorf("%s: %v", i, kerr.ErrorForCode(topic.ErrorCode))
			}
		}
	}
	if len(got.Topics) != 3 || got.ThrottleMillis < 200 || got.ThrottleMillis > 400 {
		t.Fatalf("%d topics, throttled for %d ms", len(got.Topics), got.ThrottleMillis)
	}
	if n.b.image().Topic("c") != nil || n.b.image().Topic("b") == nil {
		t.Error("what was refused was made")
	}
	began := time.Now()
	if again := r.create(7, "a", "b"); again.Topics[0].ErrorCode != kerr.TopicAlreadyExists.Code || again.ThrottleMillis != 0 {
		t.Errorf("what changes nothing costs: %+v", again)
	}
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Errorf("muted for %v", took)
	}
	old := r.create(5, "d", "e", "f")
	for _, topic := range old.Topics {
		if topic.ErrorCode != 0 {
			t.Errorf("version 5: %s: %v", topic.Topic, kerr.ErrorForCode(topic.ErrorCode))
		}
	}
	if old.ThrottleMillis < 900 {
		t.Errorf("version 5 is throttled for %d ms", old.ThrottleMillis)
	}
	if n.b.metrics.throttles[quotaMutation].Load() != 2 {
		t.Errorf("%d throttled answers", n.b.metrics.throttles[quotaMutation].Load())
	}
}

func TestGrowingAndDeletingTopicsCostMutations(t *testing.T) {
	n := startNode(t, t.TempDir(), func(c *Config) { c.Quota.ControllerWindows = 1 })
	r := n.raw(t)
	r.create(7, "a", "b")
	n.setQuota(t, "client-id=raw", decide.QuotaMutation, 1e-3) // one window holds next to nothing
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Version = 3
	for _, name := range []string{"a", "b"} {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = name, 11
		grow.Topics = append(grow.Topics, topic)
	}
	grown := r.ask(grow).(*kmsg.CreatePartitionsResponse)
	codes := map[string]int16{}
	for _, topic := range grown.Topics {
		codes[topic.Topic] = topic.ErrorCode
	}
	if codes["a"] != 0 || codes["b"] != kerr.ThrottlingQuotaExceeded.Code || time.Duration(grown.ThrottleMillis)*time.Millisecond != throttleMax {
		t.Errorf("%v, throttled for %d ms", codes, grown.ThrottleMillis)
	}
	r = n.raw(t) // the other connection is muted
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Version, remove.TopicNames = 5, []string{"a", "nobody"}
	codes = map[string]int16{}
	for _, topic := range r.ask(remove).(*kmsg.DeleteTopicsResponse).Topics {
		codes[*topic.Topic] = topic.ErrorCode
	}
	if codes["a"] != kerr.ThrottlingQuotaExceeded.Code || codes["nobody"] != kerr.UnknownTopicOrPartition.Code || n.b.image().Topic("a") == nil {
		t.Errorf("deleted: %v", codes)
	}
}

func TestAnAddressBeyondItsRateOfConnectionsIsRefused(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.setQuota(t, "ip", decide.QuotaConnections, 1000)
	n.setQuota(t, "ip=::ffff:127.0.0.1", decide.QuotaConnections, 3)
	apiVersions := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}
	served := 0
	for range 10 {
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			continue
		}
		defer c.Close()
		_, _ = c.Write(apiVersions) // a refused one may be closed before
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, _ := c.Read(make([]byte, 4)); got == 4 {
			served++
		}
	}
	if served < 2 || served > 6 {
		t.Errorf("%d of 10 connections at once were served at 3 a second", served)
	}
	if got := fmt.Sprint(n.b.connectionRate(netip.MustParseAddr("127.0.0.1")), n.b.connectionRate(netip.MustParseAddr("10.0.0.1"))); got != "3 1000" {
		t.Errorf("rates %s", got)
	}
}
