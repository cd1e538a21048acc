//go:build process

package process

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Usage is what a process holds.
type Usage struct {
	RSS        int64
	Goroutines int
	Files      int
}

func (u Usage) String() string {
	return fmt.Sprintf("%.1f MiB resident, %d goroutines, %d files", float64(u.RSS)/(1<<20), u.Goroutines, u.Files)
}

// Usage measures the process. The request that asks for the goroutines is not counted.
func (n *Node) Usage() Usage {
	n.t.Helper()
	u := n.Held()
	u.Goroutines = int(n.Metric("go_goroutines"))
	return u
}

// Held measures what the system knows of the process, which need not answer for it.
func (n *Node) Held() Usage {
	n.t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	if err != nil {
		n.t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		n.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		n.t.Fatal(err)
	}
	return Usage{RSS: kib << 10, Files: len(files)}
}

// Settle collects garbage until the process holds no more than limit, and returns what it holds; at most for so long.
// It asks less often as time goes by: a process that collects all the time is not at rest, and keeps what it has.
// The node needs cordwood.pprof.enable.
func (n *Node) Settle(limit Usage, most time.Duration) Usage {
	n.t.Helper()
	pause := 100 * time.Millisecond // for the runtime to give pages back, connections to end
	for deadline := time.Now().Add(most); ; {
		n.get("/debug/pprof/heap?gc=1")
		time.Sleep(pause)
		pause = min(pause*3/2, 5*time.Second)
		u := n.Usage()
		if u.RSS <= limit.RSS && u.Goroutines <= limit.Goroutines && u.Files <= limit.Files || time.Now().After(deadline) {
			return u
		}
	}
}

// Rest is what the idle process holds after garbage collections.
func (n *Node) Rest() Usage {
	n.t.Helper()
	return n.Settle(Usage{}, 2*time.Second)
}

// web keeps no connections, which would be counted.
var web = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

func (n *Node) get(path string) string {
	n.t.Helper()
	resp, err := web.Get("http://" + n.HTTP + path)
	if err != nil {
		n.t.Fatalf("%v\n%s", err, n.Log())
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&b); err != nil {
		n.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		n.t.Fatalf("%s: %s", path, resp.Status)
	}
	return b.String()
}

// Metric sums the values of a metric over its labels; with a label such as {reason="panic"} only those that match.
func (n *Node) Metric(name string) float64 {
	n.t.Helper()
	want, label, _ := strings.Cut(name, "{")
	label = strings.TrimSuffix(label, "}")
	total := 0.0
	for line := range strings.Lines(n.get("/metrics")) {
		f := strings.Fields(line)
		if len(f) != 2 || f[0] != want && !strings.HasPrefix(f[0], want+"{") || !strings.Contains(f[0], label) {
			continue
		}
		v, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			n.t.Fatal(err)
		}
		total += v
	}
	return total
}

// flat checks that a process holds what it held before, after it had time to give back the rest.
func flat(t testing.TB, n *Node, before Usage, what string) Usage {
	t.Helper()
	const memory, goroutines, files = 16 << 20, 4, 4
	limit := Usage{RSS: before.RSS + memory, Goroutines: before.Goroutines + goroutines, Files: before.Files + files}
	after := n.Settle(limit, time.Minute)
	t.Logf("%s: %s, before %s", what, after, before)
	if after.RSS > limit.RSS || after.Goroutines > limit.Goroutines || after.Files > limit.Files {
		t.Errorf("%s: the process holds %s, before %s", what, after, before)
	}
	return after
}
