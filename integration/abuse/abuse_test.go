package abuse

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"cordwood/broker"
	"cordwood/protocol"
)

// ground starts a broker in this process, on real sockets and real files.
func ground(t testing.TB) (*Ground, string, *observer.ObservedLogs) {
	t.Helper()
	dir := t.TempDir()
	core, logs := observer.New(zap.InfoLevel)
	cfg := broker.Defaults()
	cfg.LogDirs = []string{dir}
	cfg.Listeners = []broker.ListenerConfig{
		{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Client},
		{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal},
	}
	cfg.HTTPAddr, cfg.RequestMaxBytes, cfg.FetchMaxBytes, cfg.Log = "", 8<<20, 1<<20, zap.New(core)
	cfg.Group.InitialRebalanceDelay, cfg.Offsets.Partitions = 0, 5
	ready := make(chan broker.Addrs, 1)
	cfg.Ready = func(a broker.Addrs) { ready <- a }
	b, err := broker.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("broker: %v", err)
		}
	})
	g := &Ground{MaxFrame: cfg.RequestMaxBytes, MaxFetch: cfg.FetchMaxBytes}
	select {
	case a := <-ready:
		g.Addr, g.Internal = a.Listeners["PLAINTEXT"], a.Internal
	case <-time.After(20 * time.Second):
		t.Fatal("broker not ready")
	}
	prepare, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := g.Prepare(prepare); err != nil {
		t.Fatal(err)
	}
	return g, dir, logs
}

func TestEveryBadInputHasItsOutcome(t *testing.T) {
	g, dir, logs := ground(t)
	before, err := g.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Cases(g) {
		if c.Cost == Slow { // half a minute each: package listener has them in virtual time, integration/process has them here
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			if err := g.Play(c); err != nil {
				t.Error(err)
			}
		})
	}
	after, err := g.Digest()
	if err != nil || after != before {
		t.Errorf("the stored records are not what they were: %v", err)
	}
	onlyTopics(t, dir)
	for _, line := range logs.All() {
		if line.ContextMap()["reason"] == "panic" || strings.Contains(line.Message, "panic") {
			t.Errorf("a panic: %v", line.ContextMap())
		}
	}
}

// onlyTopics checks that no name from the network became one on disk but those of topics.
func onlyTopics(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == dir {
			return err
		}
		name := d.Name()
		for _, p := range []string{"raft", "victim-", "compacted-", "small-", "window-", "plain-", "wide-", "sink-", "__consumer_offsets-", "abuse.a_b-"} {
			if strings.HasPrefix(name, p) {
				return fs.SkipDir
			}
		}
		t.Errorf("directory %q", path)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestACaseThatDoesNotHoldIsReported(t *testing.T) {
	g, _, _ := ground(t)
	for name, play := range map[string]func(*Conn) error{
		"closed, although it must answer":      accepts(ask(commit("g", "victim", 1, strings.Repeat("x", 40_000))), commitCode),
		"answered, although it must be closed": closes(request(metadata(false, "victim"), 1)),
		"another code":                         refuses(nil, ask(create("..")), createCode),
	} {
		if err := g.Play(Case{Name: name, Play: play}); err == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}
