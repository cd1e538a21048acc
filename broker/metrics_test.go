package broker

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMetricsCountRequestsRecordsAndSyncs(t *testing.T) {
	n := startNode(t, t.TempDir())
	cl := n.client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(testContext(t), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + n.b.Addrs().HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\ncordwood_ready 1\n", "\ncordwood_produced_records_total 1\n", "\ncordwood_topics 1\n", "\ncordwood_replicas_halted_total 0\n", `cordwood_kafka_requests_total{api="Produce"} 1`,
		`cordwood_kafka_request_latency_seconds_count{api="Produce"} 1`,
		fmt.Sprintf(`cordwood_log_appends_refused_total{dir=%q} 0`, n.dir),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s", want)
		}
	}
	if !regexp.MustCompile(`cordwood_fsync_seconds_count\{dir="[^"]*",file="log"\} [1-9]`).Match(text) {
		t.Error("no fsync is counted")
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
