package broker

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// setQuota sets one key for "user=alice client-id" (a part without a name is the default); 0 removes it.
func (n *node) setQuota(t *testing.T, entity, key string, value float64) {
	t.Helper()
	q := kmsg.NewPtrAlterClientQuotasRequest()
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for _, part := range strings.Fields(entity) {
		kind, name, named := strings.Cut(part, "=")
		p := kmsg.NewAlterClientQuotasRequestEntryEntity()
		if p.Type = kind; named {
			p.Name = &name
		}
		e.Entity = append(e.Entity, p)
	}
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value, op.Remove = key, value, value == 0
	e.Ops = append(e.Ops, op)
	q.Entries = append(q.Entries, e)
	resp, err := q.RequestWith(testContext(t), n.client(kgo.ClientID("operator")))
	if err != nil || resp.Entries[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", resp, err)
	}
}

func TestQuotasAreDescribedAsTheyWereSet(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.setQuota(t, "client-id=c", decide.QuotaProduce, 500000)
	n.setQuota(t, "user client-id", decide.QuotaRequest, 12.5)
	ask := func(components ...kmsg.DescribeClientQuotasRequestComponent) *kmsg.DescribeClientQuotasResponse {
		q := kmsg.NewPtrDescribeClientQuotasRequest()
		q.Components = components
		resp, err := q.RequestWith(testContext(t), n.client())
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	name := "c"
	got := ask(kmsg.DescribeClientQuotasRequestComponent{EntityType: "client-id", Match: &name})
	if got.ErrorCode != 0 || len(got.Entries) != 1 || *got.Entries[0].Entity[0].Name != "c" ||
		got.Entries[0].Values[0].Key != decide.QuotaProduce || got.Entries[0].Values[0].Value != 500000 {
		t.Errorf("%+v", got)
	}
	if got = ask(); len(got.Entries) != 2 {
		t.Errorf("all: %+v", got)
	}
	if got = ask(kmsg.DescribeClientQuotasRequestComponent{EntityType: "ip", MatchType: 2}); got.ErrorCode != 0 || got.Entries == nil || len(got.Entries) != 0 {
		t.Errorf("none: %+v", got)
	}
	if got = ask(kmsg.DescribeClientQuotasRequestComponent{EntityType: "group", MatchType: 2}); got.ErrorCode != kerr.UnsupportedVersion.Code || got.Entries != nil {
		t.Errorf("unknown: %+v", got)
	}
}

func TestQuotasOutliveAStop(t *testing.T) {
	dir := t.TempDir()
	n := startNode(t, dir)
	n.setQuota(t, "user", decide.QuotaFetch, 1000)
	n.close()
	n = startNode(t, dir)
	if n.b.quotas.Load() == nil {
		t.Fatal("no table of quotas")
	}
	n.setQuota(t, "user", decide.QuotaFetch, 0)
	if n.b.quotas.Load() != nil {
		t.Error("a table without quotas")
	}
}

// produceBytes sends one Produce of about size bytes and returns its throttle.
func (r *raw) produceBytes(topic string, size int, acks int16) int32 {
	r.t.Helper()
	q := produceRequest(topic, acks, 5000, batchOf(r.t, strings.Repeat("x", size)))
	r.send(q)
	if acks == 0 {
		return 0
	}
	resp := r.receive(q).(*kmsg.ProduceResponse)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		r.t.Fatal(kerr.ErrorForCode(code))
	}
	return resp.ThrottleMillis
}

func (r *raw) listTopics() { r.t.Helper(); r.ask(kmsg.NewPtrMetadataRequest()) }

func (n *node) createTopic(t *testing.T, name string) {
	t.Helper()
	if _, err := kadm.NewClient(n.client()).CreateTopic(testContext(t), 1, 1, nil, name); err != nil {
		t.Fatal(err)
	}
}

// Raw clients call themselves "raw".
func TestAProducerBeyondItsQuotaIsAnsweredAtOnceAndThenMuted(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "p")
	n.setQuota(t, "client-id=raw", decide.QuotaProduce, 10_000)
	r, other := n.raw(t), n.raw(t)
	if d := r.produceBytes("p", 1000, -1); d != 0 {
		t.Fatalf("within the quota: throttled for %d ms", d)
	}
	began := time.Now()
	d := r.produceBytes("p", 115_000, -1)
	if d < 100 || d > 2500 {
		t.Fatalf("throttled for %d ms", d)
	}
	if took := time.Since(began); took > time.Duration(d)*time.Millisecond {
		t.Errorf("the answer itself took %v", took)
	}
	began = time.Now()
	other.listTopics() // the same client on another connection is not muted
	if took := time.Since(began); took > time.Duration(d)*time.Millisecond/2 {
		t.Errorf("another connection waited %v", took)
	}
	r.listTopics()
	if took := time.Since(began); took < time.Duration(d)*time.Millisecond*3/4 {
		t.Errorf("muted for %v, told %d ms", took, d)
	}
	if got := n.b.metrics.throttles[quotaProduce].Load(); got != 1 {
		t.Errorf("%d throttled answers are counted", got)
	}
	n.setQuota(t, "client-id=raw", decide.QuotaProduce, 0)
	if d := r.produceBytes("p", 115_000, -1); d != 0 {
		t.Errorf("throttled for %d ms without a quota", d)
	}
}

func TestAProducerWithoutAnswersIsMutedToo(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "p")
	n.setQuota(t, "user", decide.QuotaProduce, 10_000)
	r := n.raw(t)
	began := time.Now()
	r.produceBytes("p", 113_000, 0)
	eventually(t, func() bool { return n.b.metrics.throttles[quotaProduce].Load() == 1 })
	r.listTopics()
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("muted for %v", took)
	}
}

func TestAMutedConnectionEndsWithItsClient(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "p")
	n.setQuota(t, "client-id=raw", decide.QuotaProduce, 1000)
	r := n.raw(t)
	if d := r.produceBytes("p", 115_000, -1); d < 60_000 {
		t.Fatalf("throttled for %d ms, less than the test may take", d)
	}
	open := n.b.metrics.connections.Load()
	r.c.Close()
	eventually(t, func() bool { return n.b.metrics.connections.Load() < open })
}

func TestWhatAClientSentBeforeItLeftIsServedAfterTheMute(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "p")
	n.setQuota(t, "client-id=raw", decide.QuotaProduce, 10_000)
	r := n.raw(t)
	r.produceBytes("p", 113_000, 0)
	r.produceBytes("p", 1000, 0)
	r.c.Close()
	if got := consume(t, n.client(kgo.ConsumeTopics("p")), 2); len(got) != 2 {
		t.Errorf("%d records", len(got))
	}
}

func TestAMutedConnectionEndsWithTheBroker(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "p")
	n.setQuota(t, "user", decide.QuotaProduce, 100)
	r := n.raw(t)
	if d := r.produceBytes("p", 200_000, -1); time.Duration(d)*time.Millisecond != throttleMax {
		t.Fatalf("throttled for %d ms", d)
	}
	r.send(kmsg.NewPtrMetadataRequest())
	began := time.Now()
	n.close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
}

func fetchOf(topic string, offset int64, sessionID, sessionEpoch int32) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.SetVersion(11)
	q.MaxBytes, q.MinBytes, q.MaxWaitMillis, q.SessionID, q.SessionEpoch = 50<<20, 1, 100, sessionID, sessionEpoch
	if topic != "" {
		ft, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = offset, 50<<20, -1
		ft.Topic, ft.Partitions = topic, append(ft.Partitions, p)
		q.Topics = append(q.Topics, ft)
	}
	return q
}

func (r *raw) fetch(q *kmsg.FetchRequest) *kmsg.FetchResponse {
	r.t.Helper()
	r.send(q)
	resp := r.receive(q).(*kmsg.FetchResponse)
	if resp.ErrorCode != 0 {
		r.t.Fatal(kerr.ErrorForCode(resp.ErrorCode))
	}
	return resp
}

func bytesOf(resp *kmsg.FetchResponse) int {
	n := 0
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			n += len(p.RecordBatches)
		}
	}
	return n
}

func TestAThrottledFetchIsEmptyAndItsSessionStaysWhereItWas(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "f")
	r := n.raw(t)
	r.produceBytes("f", 60_000, -1)
	r.produceBytes("f", 60_000, -1)
	r.produceBytes("f", 60_000, -1)
	n.setQuota(t, "client-id=raw", decide.QuotaFetch, 10_000) // ten windows hold one batch, not two

	first := r.fetch(fetchOf("f", 0, 0, 0))
	if bytesOf(first) < 60_000 || bytesOf(first) > 100_000 || first.ThrottleMillis != 0 || first.SessionID == 0 {
		t.Fatalf("%d bytes, throttle %d, session %d", bytesOf(first), first.ThrottleMillis, first.SessionID)
	}
	sessions := n.b.sessions.count()
	throttled := r.fetch(fetchOf("f", 1, first.SessionID, 1))
	if throttled.ThrottleMillis == 0 || len(throttled.Topics) != 0 || throttled.SessionID != first.SessionID {
		t.Fatalf("throttle %d, %d topics, session %d", throttled.ThrottleMillis, len(throttled.Topics), throttled.SessionID)
	}
	r = n.raw(t) // the old connection is muted
	fresh := r.fetch(fetchOf("f", 0, 0, 0))
	if fresh.ThrottleMillis == 0 || len(fresh.Topics) != 0 || fresh.SessionID != 0 || n.b.sessions.count() != sessions {
		t.Errorf("a new session under throttle: throttle %d, %d topics, session %d", fresh.ThrottleMillis, len(fresh.Topics), fresh.SessionID)
	}
	n.setQuota(t, "client-id=raw", decide.QuotaFetch, 0)
	r = n.raw(t)
	if again := r.fetch(fetchOf("", 0, first.SessionID, 2)); bytesOf(again) < 120_000 || len(again.Topics) != 1 {
		t.Errorf("after the throttle: %d bytes", bytesOf(again))
	}
}

func TestAConsumerUnderQuotaReadsEverything(t *testing.T) {
	n := startNode(t, t.TempDir(), func(c *Config) { c.Quota.Windows = 2 })
	n.createTopic(t, "f")
	r := n.raw(t)
	for range 4 {
		r.produceBytes("f", 40_000, -1)
	}
	n.setQuota(t, "client-id=slow", decide.QuotaFetch, 50_000)
	began := time.Now()
	got := consume(t, n.client(kgo.ClientID("slow"), kgo.ConsumeTopics("f")), 4)
	if len(got) != 4 || got[3].Offset != 3 {
		t.Errorf("%d records", len(got))
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("160 kB at 50 kB/s took %v", took)
	}
}

func TestABatchLargerThanAllWindowsIsSentAfterASilence(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.createTopic(t, "f")
	r := n.raw(t)
	r.produceBytes("f", 200_000, -1)
	n.setQuota(t, "client-id=raw", decide.QuotaFetch, 1000)
	if resp := r.fetch(fetchOf("f", 0, 0, -1)); bytesOf(resp) < 200_000 {
		t.Errorf("%d bytes, throttle %d", bytesOf(resp), resp.ThrottleMillis)
	}
}

func TestRequestTimeIsLimitedPerClient(t *testing.T) {
	n := startNode(t, t.TempDir())
	n.setQuota(t, "client-id=raw", decide.QuotaRequest, 1e-6)
	r := n.raw(t)
	q := kmsg.NewPtrDescribeClusterRequest()
	r.send(q)
	if resp := r.receive(q).(*kmsg.DescribeClusterResponse); resp.ThrottleMillis != 1000 {
		t.Errorf("throttled for %d ms: one window is the most", resp.ThrottleMillis)
	}
	other := kmsg.NewPtrDescribeClusterRequest()
	if resp, err := other.RequestWith(testContext(t), n.client(kgo.ClientID("other"))); err != nil || resp.ThrottleMillis != 0 {
		t.Errorf("another client: %+v, %v", resp, err)
	}
}

func TestTheMostExactQuotaCounts(t *testing.T) {
	set := map[string]metadata.QuotaEntity{}
	name := map[string]metadata.QuotaName{"-": metadata.NoQuotaName, "*": metadata.DefaultQuotaName, "u": metadata.NamedQuota("u"), "c": metadata.NamedQuota("c")}
	order := []string{"u c", "u *", "u -", "* c", "* *", "* -", "- c", "- *"}
	for _, e := range order {
		user, client, _ := strings.Cut(e, " ")
		set[e] = metadata.QuotaEntity{User: name[user], ClientID: name[client]}
	}
	img := metadata.Empty()
	for i := len(order) - 1; i >= 0; i-- {
		next, err := img.With(img.Index()+1, []metadata.Change{metadata.QuotaChanged{Entity: set[order[i]], Key: decide.QuotaProduce, Value: float64(i + 1)}})
		if err != nil {
			t.Fatal(err)
		}
		img = next
		l := newQuotaTable(img, nil).resolve("u", "c").limits[quotaProduce]
		if l.bound != float64(i+1) {
			t.Errorf("with %s: %v", order[i], l.bound)
		}
		want := meterKey{kind: quotaProduce, byUser: order[i][0] != '-', byClient: order[i][2] != '-'}
		if want.byUser {
			want.user = "u"
		}
		if want.byClient {
			want.client = "c"
		}
		if l.meter != want {
			t.Errorf("with %s: shared by %+v", order[i], l.meter)
		}
	}
	if q := newQuotaTable(img, nil).resolve("x", "y"); q.limits[quotaProduce].bound != 5 || q.limits[quotaFetch].bound != 0 || !q.some {
		t.Errorf("%+v", q)
	}
}

func TestMetersAreBounded(t *testing.T) {
	m := newMeters(QuotaConfig{}, new(metrics))
	m.limit = 10
	for i := range 100 {
		m.get(meterKey{client: "kept"}).rate.record(m.windows, 0, 1)
		m.get(meterKey{client: fmt.Sprint(i)})
	}
	if len(m.byKey) != 10 || m.lru.Len() != 10 {
		t.Errorf("%d and %d meters", len(m.byKey), m.lru.Len())
	}
	if m.get(meterKey{client: "kept"}).rate.total != 100 {
		t.Error("a meter in use was forgotten")
	}
}

func TestRatesAreJudgedOverAllWindows(t *testing.T) {
	w := quotaWindows{num: 11, size: time.Second}
	var r rate
	r.record(w, 0, 1000)
	for _, c := range []struct {
		at    time.Duration
		bound float64
		want  time.Duration
	}{
		{0, 100, 0}, {0, 50, 10 * time.Second}, {500 * time.Millisecond, 50, 9500 * time.Millisecond},
		{10 * time.Second, 50, 10 * time.Second}, {11 * time.Second, 50, 0},
	} {
		probe := rate{used: append([]float64(nil), r.used...), newest: r.newest}
		if got := probe.excess(w, c.at, 0, c.bound); got != c.want {
			t.Errorf("at %v with %v/s: %v, want %v", c.at, c.bound, got, c.want)
		}
	}
	if !r.idle(w, 11*time.Second) || r.idle(w, 11*time.Second) != (r.total == 0) {
		t.Error("use is remembered for ever")
	}
	r.record(w, time.Hour, 7)
	if r.total != 7 {
		t.Errorf("after an hour: %v", r.total)
	}
}

// Whoever waits as long as he is told uses, over a long time, what he may and not much less.
func TestAThrottledClientGetsItsRate(t *testing.T) {
	w := quotaWindows{num: 11, size: time.Second}
	for _, size := range []float64{10, 1000, 10_000} {
		var r rate
		now, sent := time.Duration(0), 0.0
		for now < 1000*time.Second {
			r.record(w, now, size)
			sent += size
			now += max(r.excess(w, now, 0, 1000), time.Millisecond)
		}
		if got := sent / now.Seconds(); math.Abs(got-1000) > 60 {
			t.Errorf("requests of %v: %v/s", size, got)
		}
	}
}

func TestABucketGivesItsWindowsAtOnceAndThenItsRate(t *testing.T) {
	w := quotaWindows{num: 11, size: time.Second}
	var b bucket
	b.take(w, 0, 2, 22)
	if d := b.wait(w, 0, 2); d != 0 {
		t.Errorf("the first windows: %v", d)
	}
	b.take(w, 0, 2, 6)
	if d := b.wait(w, 0, 2); d != 3*time.Second {
		t.Errorf("overdrawn by 6 at 2/s: %v", d)
	}
	if d := b.wait(w, 4*time.Second, 2); d != 0 {
		t.Errorf("later: %v", d)
	}
	b.take(w, time.Hour, 2, 22)
	if d := b.wait(w, time.Hour, 2); d != 0 || b.tokens != 0 {
		t.Errorf("more than full: %v, %v", d, b.tokens)
	}
}
