//go:build process

package process

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestCleanStopExitsZeroAndStartsAgainWithItsRecords(t *testing.T) {
	n := New(t, t.TempDir())
	n.Start()
	cl := n.Client(kgo.DefaultProduceTopic("t"))
	if err := cl.ProduceSync(Context(t, 10*time.Second), kgo.StringRecord("kept")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if code := n.Stop(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, n.Log())
	}
	if _, err := os.Stat(filepath.Join(n.Dir, ".kafka_cleanshutdown")); err != nil {
		t.Errorf("a clean stop leaves its file: %v", err)
	}
	n.Start()
	fetches := n.Client(kgo.ConsumeTopics("t")).PollFetches(Context(t, 10*time.Second))
	if r := fetches.Records(); len(r) != 1 || string(r[0].Value) != "kept" {
		t.Errorf("read back %v, %v", r, fetches.Err())
	}
}

func TestSecondProcessOnADirectoryExits75AndNamesTheFirst(t *testing.T) {
	first := New(t, t.TempDir())
	first.Start()
	second := New(t, first.Dir)
	if err := second.TryStart(10 * time.Second); err == nil {
		t.Fatal("two processes serve one directory")
	}
	if code := second.Wait(10 * time.Second); code != 75 {
		t.Errorf("exit code %d", code)
	}
	if want := fmt.Sprintf("process %d", first.PID()); !strings.Contains(second.Log(), want) {
		t.Errorf("%q is not in:\n%s", want, second.Log())
	}
}

func TestForeignDirectoryStopsTheStartWith78(t *testing.T) {
	n := New(t, t.TempDir())
	n.Start()
	n.Stop()
	other := New(t, n.Dir, "--override", "node.id=7")
	if err := other.TryStart(10 * time.Second); err == nil {
		t.Fatal("node 7 serves the directory of node 1")
	}
	if code := other.Wait(10 * time.Second); code != 78 || !strings.Contains(other.Log(), "belongs to node 1") {
		t.Errorf("exit code %d\n%s", code, other.Log())
	}
}

func TestBadConfigurationExits78WithOneLinePerProblem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	text := "num.partitons=3\nlog.segment.bytes=many\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(Binary(t), "serve", "-c", file, "--data-dir", t.TempDir()).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 78 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{file + ":1", "did you mean num.partitions?", file + ":2", "log.segment.bytes"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

func TestHTTPTellsReadinessAndMetrics(t *testing.T) {
	n := New(t, t.TempDir())
	n.Start()
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + n.HTTP + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if code, body := get(path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	cl := n.Client(kgo.DefaultProduceTopic("m"))
	if err := cl.ProduceSync(Context(t, 10*time.Second), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	_, body := get("/metrics")
	for _, want := range []string{"cordwood_produced_records_total 1", `cordwood_kafka_requests_total{api="Produce"} 1`, "cordwood_ready 1"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in the metrics", want)
		}
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("the profiler answers without its key: %d", code)
	}
}
