//go:build process

package process

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Gateway is one `cordwood gateway` process.
type Gateway struct {
	*Node // the process; its Addr is the gateway's first address
	file  string
}

// NewGateway prepares a gateway; lines are those of its file.
func NewGateway(t testing.TB, lines ...string) *Gateway {
	t.Helper()
	g := &Gateway{Node: New(t, "")}
	g.file = filepath.Join(g.work, "gateway.properties")
	g.Write(lines...)
	return g
}

// Write replaces the file.
func (g *Gateway) Write(lines ...string) {
	g.t.Helper()
	text := strings.Join(append([]string{"cordwood.http.listener=127.0.0.1:0"}, lines...), "\n") + "\n"
	if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// Reload sends SIGHUP.
func (g *Gateway) Reload() { g.signal(syscall.SIGHUP) }

// Start starts the process and waits until it has looked at the brokers.
func (g *Gateway) Start() {
	g.t.Helper()
	ports := filepath.Join(g.work, "ports.json")
	if err := g.start(ports); err != nil {
		g.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if b, err := os.ReadFile(ports); err == nil {
			if err := g.readAddrs(b); err != nil {
				g.t.Fatal(err)
			}
			return
		}
		select {
		case <-g.exited:
			g.t.Fatalf("the gateway ended: %v\n%s", g.exitErr, g.Log())
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the gateway does not serve in time\n%s", g.Log())
		}
	}
}

func (g *Gateway) start(ports string) error {
	logFile, err := os.OpenFile(filepath.Join(g.work, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	g.cmd = exec.Command(Binary(g.t), "gateway", "-c", g.file, "--port-file", ports, "--log-level", "debug")
	g.cmd.Stdout, g.cmd.Stderr = logFile, logFile
	if err := g.cmd.Start(); err != nil {
		return err
	}
	g.exited = make(chan struct{})
	go func() {
		g.exitErr = g.cmd.Wait()
		close(g.exited)
	}()
	g.t.Cleanup(g.Kill)
	return nil
}

func (g *Gateway) readAddrs(b []byte) error {
	var p struct {
		Listeners map[string]string `json:"listeners"`
		HTTP      string            `json:"http"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	if len(p.Listeners) != 1 {
		return errors.New("a gateway has one listener")
	}
	g.Addr, g.HTTP = slices.Collect(maps.Values(p.Listeners))[0], p.HTTP
	return nil
}

// Metrics is what /metrics says.
func (g *Gateway) Metrics() string {
	g.t.Helper()
	r, err := http.Get("http://" + g.HTTP + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		g.t.Fatalf("metrics: %s, %v", r.Status, err)
	}
	return string(text)
}

// AwaitMetric waits until a line of the metrics is there.
func (g *Gateway) AwaitMetric(line string) {
	g.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text := g.Metrics()
		if strings.Contains(text, line+"\n") {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%s is not in\n%s", line, text)
		}
	}
}

// Client is a client that knows the gateway's first address only.
func (g *Gateway) Client(opts ...kgo.Opt) *kgo.Client {
	g.t.Helper()
	return g.Node.Client(append([]kgo.Opt{kgo.SeedBrokers(g.Addr), kgo.RecordDeliveryTimeout(time.Minute)}, opts...)...)
}

// upstream is the line that names a cluster's brokers.
func upstream(c *Cluster) string { return "gateway.upstream=" + strings.Join(c.Addrs(), ",") }

// plainGateway is a gateway with a port per broker before a cluster.
func plainGateway(t testing.TB, c *Cluster) *Gateway {
	t.Helper()
	return NewGateway(t, "listeners=PLAINTEXT://127.0.0.1:0", "gateway.port.base=0", "gateway.health.interval.ms=200", upstream(c))
}
