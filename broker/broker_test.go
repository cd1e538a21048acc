package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"cordwood/protocol"
)

// node is a broker in this process, on real sockets and real files.
type node struct {
	t    *testing.T
	dir  string
	b    *Broker
	stop context.CancelFunc
	done chan error
	addr string
}

// testConfig is a broker on free loopback ports.
func testConfig(t *testing.T, dir string) Config {
	c := Defaults()
	c.LogDirs = []string{dir}
	c.Listeners = []ListenerConfig{
		{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Client},
		{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal},
	}
	c.HTTPAddr = "127.0.0.1:0"
	c.Group.InitialRebalanceDelay = 0
	c.Offsets.Partitions = 5
	c.Log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	return c
}

func startNode(t *testing.T, dir string, change ...func(*Config)) *node {
	t.Helper()
	cfg := testConfig(t, dir)
	for _, f := range change {
		f(&cfg)
	}
	ready := make(chan Addrs, 1)
	cfg.Ready = func(a Addrs) { ready <- a }
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n := &node{t: t, dir: dir, b: b, stop: stop, done: make(chan error, 1)}
	go func() { n.done <- b.Run(ctx) }()
	select {
	case a := <-ready:
		n.addr = a.Listeners["PLAINTEXT"]
	case err := <-n.done:
		t.Fatalf("broker ended at its start: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("broker not ready")
	}
	t.Cleanup(n.close)
	return n
}

// close stops the broker cleanly; a second call does nothing.
func (n *node) close() {
	if n.stop == nil {
		return
	}
	n.stop()
	n.stop = nil
	if err := <-n.done; err != nil {
		n.t.Errorf("broker: %v", err)
	}
}

// kill ends the broker as a crash does.
func (n *node) kill() {
	n.t.Helper()
	n.b.Kill()
	if err := <-n.done; !errors.Is(err, ErrKilled) {
		n.t.Errorf("broker: %v", err)
	}
	n.stop()
	n.stop = nil
}

func (n *node) client(opts ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(n.addr), kgo.MetadataMinAge(10 * time.Millisecond), kgo.AllowAutoTopicCreation(),
	}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cl.Close)
	return cl
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// consume reads n records.
func consume(t *testing.T, cl *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx := testContext(t)
	var got []*kgo.Record
	for len(got) < n {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d records: %v", len(got), err)
		}
		got = append(got, fetches.Records()...)
	}
	return got
}

func TestRecordsOfEveryCodecAreReadBackAsWritten(t *testing.T) {
	n := startNode(t, t.TempDir())
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			const count = 500
			cl := n.client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("codec-"+name))
			var records []*kgo.Record
			for i := range count {
				records = append(records, &kgo.Record{
					Key: fmt.Appendf(nil, "k%d", i), Value: []byte(strings.Repeat(fmt.Sprintf("value %d ", i), 20)),
					Headers: []kgo.RecordHeader{{Key: "h", Value: []byte{byte(i)}}},
				})
			}
			if err := cl.ProduceSync(testContext(t), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			reader := n.client(kgo.ConsumeTopics("codec-" + name))
			for i, r := range consume(t, reader, count) {
				want := records[i]
				if r.Offset != int64(i) || string(r.Key) != string(want.Key) || string(r.Value) != string(want.Value) || len(r.Headers) != 1 {
					t.Fatalf("record %d: offset %d, key %q", i, r.Offset, r.Key)
				}
			}
		})
	}
}

func TestRecordsOutliveAStop(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	cl := n.client(kgo.DefaultProduceTopic("kept"))
	for i := range 100 {
		if err := cl.ProduceSync(testContext(t), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cluster := n.b.image().ClusterID()
	n.close()
	n = startNode(t, dir)
	if got := n.b.image().ClusterID(); got != cluster {
		t.Errorf("cluster id %q became %q", cluster, got)
	}
	if n.b.previousEpoch < 0 {
		t.Error("the stop was clean and is taken for a crash")
	}
	for i, r := range consume(t, n.client(kgo.ConsumeTopics("kept")), 100) {
		if string(r.Value) != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, r.Value)
		}
	}
}

func TestGroupSharesPartitionsAndGoesOnWhereItStopped(t *testing.T) {
	n := startNode(t, t.TempDir())
	admin := kadm.NewClient(n.client())
	if _, err := admin.CreateTopic(testContext(t), 4, 1, nil, "shared"); err != nil {
		t.Fatal(err)
	}
	producer := n.client(kgo.DefaultProduceTopic("shared"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	produce := func(from, to int) {
		for i := from; i < to; i++ {
			if err := producer.ProduceSync(testContext(t), kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	produce(0, 40)
	first := n.client(kgo.ConsumeTopics("shared"), kgo.ConsumerGroup("g"), kgo.DisableAutoCommit())
	got := consume(t, first, 40)
	if err := first.CommitRecords(testContext(t), got...); err != nil {
		t.Fatal(err)
	}
	if err := first.LeaveGroupContext(testContext(t)); err != nil {
		t.Fatal(err)
	}
	produce(40, 60)
	second := n.client(kgo.ConsumeTopics("shared"), kgo.ConsumerGroup("g"), kgo.DisableAutoCommit())
	var values []string
	for _, r := range consume(t, second, 20) {
		values = append(values, string(r.Value))
	}
	slices.Sort(values)
	if values[0] != "40" || values[19] != "59" {
		t.Errorf("the group went on with %v", values)
	}
	described, err := admin.DescribeGroups(testContext(t), "g")
	if err != nil || described["g"].State != "Stable" || len(described["g"].Members) != 1 {
		t.Errorf("described: %+v, %v", described["g"], err)
	}
}

func TestTopicsAreCreatedDescribedConfiguredGrownAndDeleted(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	admin := kadm.NewClient(n.client())
	retention := "3600000"
	created, err := admin.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": &retention}, "orders")
	if err != nil || created.NumPartitions != 3 {
		t.Fatalf("%+v, %v", created, err)
	}
	if again, err := admin.CreateTopic(ctx, 3, 1, nil, "orders"); codeOf(firstOf(err, again.Err)) != kerr.TopicAlreadyExists.Code {
		t.Errorf("created twice: %v, %v", err, again.Err)
	}
	if _, err := admin.CreatePartitions(ctx, 2, "orders"); err != nil {
		t.Fatal(err)
	}
	topics, err := admin.ListTopics(ctx, "orders")
	if err != nil || len(topics["orders"].Partitions) != 5 {
		t.Fatalf("%+v, %v", topics, err)
	}
	set := "7200000"
	if _, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &set}}, "orders"); err != nil {
		t.Fatal(err)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "retention.ms" && c.MaybeValue() != set {
			t.Errorf("retention.ms is %s", c.MaybeValue())
		}
	}
	if _, err := admin.DeleteTopics(ctx, "orders"); err != nil {
		t.Fatal(err)
	}
	if left, err := admin.ListTopics(ctx); err != nil || left.Has("orders") {
		t.Errorf("after the deletion: %v, %v", left.Names(), err)
	}
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "orders"); err != nil {
		t.Errorf("the name is not free at once: %v", err)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestDynamicBrokerDefaultsReachRunningTopics(t *testing.T) {
	n := startNode(t, t.TempDir())
	ctx := testContext(t)
	admin := kadm.NewClient(n.client())
	own := "2000"
	for name, configs := range map[string]map[string]*string{"plain": nil, "own": {"max.message.bytes": &own}} {
		if _, err := admin.CreateTopic(ctx, 1, 1, configs, name); err != nil {
			t.Fatal(err)
		}
	}
	most := "5000"
	if _, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "message.max.bytes", Value: &most}}); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]int{"plain": 5000, "own": 2000} {
		if got := n.b.partitions.Lookup([]byte(topic), 0).Config().MaxMessageBytes; got != want {
			t.Errorf("%s takes batches of %d bytes, want %d", topic, got, want)
		}
	}
	if _, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "message.max.bytes"}}); err != nil {
		t.Fatal(err)
	}
	if got := n.b.partitions.Lookup([]byte("plain"), 0).Config().MaxMessageBytes; got != n.b.cfg.Topic.MaxMessageBytes {
		t.Errorf("after the removal: %d", got)
	}
}
