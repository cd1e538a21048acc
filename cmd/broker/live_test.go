package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cordwood/broker"
)

// screen is a bytes.Buffer that the server writes while a test reads.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *screen) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *screen) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// server is a serve or dev command that runs in this process until the test ends.
type server struct {
	t         *testing.T
	out, errs screen
	ports     string
	addr      string
	internal  string
	exited    chan int
	stopped   bool
}

// startServer runs a command on free ports and waits for its port file.
func startServer(t *testing.T, name, dir string, args ...string) *server {
	t.Helper()
	s := &server{t: t, ports: filepath.Join(t.TempDir(), "ports.json"), exited: make(chan int, 1)}
	args = append([]string{name, "--data-dir", dir, "--port-file", s.ports, "--override", "listeners=PLAINTEXT://127.0.0.1:0",
		"--override", "cordwood.http.listener=127.0.0.1:0", "--override", "group.initial.rebalance.delay.ms=0",
		"--override", "offsets.topic.num.partitions=2"}, args...)
	go func() { s.exited <- run(&terminal{in: strings.NewReader(""), out: &s.out, err: &s.errs}, args) }()
	t.Cleanup(func() { s.stop() })
	for deadline := time.Now().Add(20 * time.Second); ; {
		var a broker.Addrs
		if text, err := os.ReadFile(s.ports); err == nil {
			if err := json.Unmarshal(text, &a); err != nil {
				t.Fatalf("port file %q: %v", text, err)
			}
			s.addr, s.internal = a.Listeners["PLAINTEXT"], a.Internal
			return s
		}
		select {
		case code := <-s.exited:
			s.stopped = true
			t.Fatalf("exit code %d\n%s", code, s.errs.String())
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no port file\n%s", s.errs.String())
		}
	}
}

// stop sends the signal that an operator sends, and returns the exit code.
func (s *server) stop() int {
	if s.stopped {
		return 0
	}
	s.stopped = true
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	return <-s.exited
}

// ok runs a client command that must succeed and returns what it prints.
func (s *server) ok(in string, args ...string) string {
	s.t.Helper()
	code, out, errs := command(s.t, in, append(args, "-b", s.addr)...)
	if code != 0 {
		s.t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// fails runs a client command that must fail, and say why.
func (s *server) fails(want string, args ...string) {
	s.t.Helper()
	code, out, errs := command(s.t, "", append(args, "-b", s.addr)...)
	if code != exitFailed || !strings.Contains(errs, want) {
		s.t.Errorf("%v: exit code %d, want %q\n%s%s", args, code, want, out, errs)
	}
}

func expect(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("%q does not match:\n%s", pattern, got)
	}
}

func TestTopicsFromTheCommandLine(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	expect(t, s.ok("", "topic", "create", "a", "b", "-p", "3", "-c", "retention.ms=1000"), `created  a  partitions 3  replicas 1\ncreated  b  `)
	expect(t, s.ok("", "topic", "list"), `(?s)^TOPIC.*\na +3 +1\nb +3 +1\n$`)
	s.fails("topic a: ", "topic", "create", "a")
	s.fails("no topic has a config retention.m; did you mean retention.ms?", "topic", "create", "c", "-c", "retention.m=1")
	s.fails("retention.ms", "topic", "create", "c", "-c", "retention.ms=x")
	s.fails("ask for no more replicas than there are brokers", "topic", "create", "c", "-r", "3")
	s.fails("topic nope: there is none of this name", "topic", "describe", "nope")
	expect(t, s.ok("", "topic", "config", "a", "get", "retention.ms"), `^1000\n$`)
	s.ok("", "topic", "config", "a", "set", "retention.ms=2000", "segment.ms=5000")
	s.ok("", "topic", "config", "a", "unset", "retention.ms")
	expect(t, s.ok("", "topic", "config", "a"), `(?s)retention\.ms +604800000 +DEFAULT_CONFIG.*segment\.ms +5000 +DYNAMIC_TOPIC_CONFIG`)
	s.fails("did you mean segment.ms?", "topic", "config", "a", "set", "segment.m=1")
	s.fails("did you mean segment.ms?", "topic", "config", "a", "get", "segment.m")
	s.ok("", "topic", "add-partitions", "a", "-p", "5")
	s.fails("topic a: ", "topic", "add-partitions", "a", "-p", "2")
	out := s.ok("", "topic", "describe", "a")
	expect(t, out, `topic +a\nid +\S{22}\ndns label +a\npartitions +5\nreplicas +1\nrecords +0\nconfig +segment.ms=5000\n`)
	expect(t, out, `(?m)^4 +1 +0 +1 +1 +0 +0 +0$`)
	s.ok("", "topic", "create", "A", "x.y")
	for _, name := range []string{"a", "A", "x.y"} { // two that differ by case only, and one that is no label
		expect(t, s.ok("", "topic", "describe", name), `dns label +t-[a-z2-7]{26}\n`)
	}
	s.ok("", "topic", "delete", "A", "x.y", "--yes")
	expect(t, s.ok("", "topic", "delete", "a", "--dry-run"), `delete  a  partitions 5  records 0`)
	expect(t, s.ok("", "topic", "delete", "a", "--format", "json"), `"deleted": \[\s+"a"`)
	s.fails("topic a: there is none of this name", "topic", "delete", "a")
	expect(t, s.ok("", "topic", "list", "--format", "json"), `^\[\s+{\s+"name": "b",`)
	expect(t, s.ok("", "config", "explain", "num.partitions"), `in effect: DEFAULT_CONFIG +1 +broker 1`)
}

func TestWhatWasProducedIsConsumed(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	expect(t, s.ok("one\ntwo\r\n\nlast without an end", "produce", "lines"), `^4 records, 25 bytes, checksum [0-9a-f]{16}, `)
	if got := s.ok("", "consume", "lines", "-o", "start:end"); got != "one\ntwo\n\nlast without an end\n" {
		t.Errorf("%q", got)
	}
	if got := s.ok("", "consume", "lines", "-n", "1", "-o", "1", "-f", `%t/%p/%o=%v;`); got != "lines/0/1=two;" {
		t.Errorf("%q", got)
	}
	if got := s.ok("", "consume", "lines", "-o", "-1:end"); got != "last without an end\n" {
		t.Errorf("%q", got)
	}
	if got := s.ok("", "consume", "lines", "-o", "end:end"); got != "" {
		t.Errorf("%q", got)
	}
	if got := s.ok("", "consume", "lines", "-o", "@-1h:end", "-n", "2"); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	if got := s.ok("", "consume", "lines", "-o", "@4102444800000:end"); got != "" {
		t.Errorf("%q", got)
	}
	s.fails("topic nope: there is none of this name", "consume", "nope")

	s.ok("", "topic", "create", "load", "-p", "3")
	sum := regexp.MustCompile(`^\d+ records, \d+ bytes, checksum \S+,`)
	for _, args := range [][]string{{}, {"-z", "gzip"}, {"-z", "snappy"}, {"-z", "lz4"}, {"-z", "zstd"}, {"--acks", "1"}} {
		// Page-cache mode: with acks=1 a record is not readable before it is on disk in durable mode.
		s.ok("", "topic", "create", "z", "-p", "2", "-c", "flush.before.ack=false")
		sent := s.ok("", append([]string{"produce", "z", "--count", "500", "--size", "300"}, args...)...)
		got := s.ok("", "consume", "z", "-o", ":end", "--checksum")
		if sum.FindString(sent) != sum.FindString(got) || !strings.HasPrefix(got, "500 records, 150000 bytes") {
			t.Errorf("%v: sent %s, got %s", args, sent, got)
		}
		s.ok("", "topic", "delete", "z")
	}
	s.fails("raise max.message.bytes", "produce", "load", "--count", "3", "--size", "3000000")
}

func TestGroupsFromTheCommandLine(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	s.ok("a\nb\nc\nd\n", "produce", "t")
	for _, c := range []struct{ n, want string }{{"2", "a\nb\n"}, {"1", "c\n"}} {
		if got := s.ok("", "consume", "t", "-g", "g", "-n", c.n); got != c.want {
			t.Errorf("the group goes on with %q, want %q", got, c.want)
		}
	}
	expect(t, s.ok("", "group", "list"), `(?m)^g +Empty +consumer +1$`)
	expect(t, s.ok("", "group", "describe", "g"), `(?s)state +Empty.*lag +1\n.*\nt +0 +3 +4 +1\n`)
	s.fails("group nope: ", "group", "describe", "nope")
	expect(t, s.ok("", "group", "seek", "g", "--to", "start", "--dry-run"), `(?m)^t +0 +3 +0$`)
	expect(t, s.ok("", "group", "describe", "g"), `t +0 +3 +4 +1`)
	s.ok("", "group", "seek", "g", "--to", "start")
	expect(t, s.ok("", "group", "describe", "g"), `t +0 +0 +4 +4`)
	s.ok("", "group", "seek", "g", "--to", "@4102444800000")
	expect(t, s.ok("", "group", "describe", "g"), `t +0 +4 +4 +0`)
	file := filepath.Join(t.TempDir(), "offsets")
	for text, want := range map[string]string{"t 0 9": "topic t partition 0 has offsets 0 to 4, not 9", "t 7 0": "topic t has no partition 7"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.fails(want, "group", "seek", "g", "--to", file)
	}
	if err := os.WriteFile(file, []byte("t 0 2"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("", "group", "seek", "g", "--to", file)
	expect(t, s.ok("", "group", "describe", "g", "--format", "json"), `"committed": 2,\s+"end": 4,\s+"lag": 2`)
	s.fails("group nobody: ", "group", "seek", "nobody", "--to", "start")
	expect(t, s.ok("", "group", "seek", "new", "--to", "end", "--topics", "t"), `(?m)^t +0 +- +4$`)
	expect(t, s.ok("", "group", "delete", "g", "new"), `deleted  g\ndeleted  new\n`)
	s.fails("group g: ", "group", "delete", "g")
}

func TestServeStopsCleanlyAndDevSaysWhatToDoNext(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, "serve", dir)
	s.ok("kept\n", "produce", "t")
	if code := s.stop(); code != 0 || !strings.Contains(s.errs.String(), "stopped cleanly") {
		t.Errorf("exit code %d\n%s", code, s.errs.String())
	}
	if _, err := os.Stat(s.ports); err == nil {
		t.Error("the port file outlives the broker")
	}
	d := startServer(t, "dev", dir)
	if got := d.ok("", "consume", "t", "-n", "1"); got != "kept\n" {
		t.Errorf("%q", got)
	}
	said := d.out.String()
	if lines := strings.Count(said, "\n"); lines > 6 {
		t.Errorf("the banner has %d lines", lines)
	}
	expect(t, said, `serves Kafka clients on 127\.0\.0\.1:\d+; data in `+regexp.QuoteMeta(dir))
	expect(t, said, `(?m)durable mode.*\n.*metrics.*\n +echo hello \| cordwood produce greetings -b 127.0.0.1:\d+\n`)
	code, _, errs := command(t, "", "serve", "--data-dir", t.TempDir(), "--override", "listeners=PLAINTEXT://"+d.addr, "--override", "cordwood.http.listener=none")
	if code != exitConfig || !strings.Contains(errs, "address already in use; stop what uses the port") {
		t.Errorf("a busy port: exit code %d, %s", code, errs)
	}
	code, _, errs = command(t, "", "serve", "--data-dir", dir, "--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override", "cordwood.http.listener=none")
	if code != exitLocked {
		t.Errorf("a directory in use: exit code %d, %s", code, errs)
	}
}

// signalled sends the process a signal and waits until the log has what it asks for.
func (s *server) signalled(sig syscall.Signal, want string) {
	s.t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(s.errs.String(), want); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%v: no %q in\n%s", sig, want, s.errs.String())
		}
	}
}

func TestSignalsThatDoNotStop(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	s.ok("", "topic", "create", "a", "-p", "3")
	s.signalled(syscall.SIGHUP, "SIGHUP: nothing to reload")
	s.signalled(syscall.SIGUSR1, "state ")
	expect(t, s.errs.String(), `state ready=yes uptime=\S+ connections=\d+ topics=1 partitions=3 leaders=3 offline=0`)
	s.ok("", "topic", "list")
}

func TestThePortForBrokersIsNamed(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	code, _, errs := command(t, "", "topic", "list", "-b", s.internal)
	if code != exitFailed || !strings.Contains(errs, "it is the port for other brokers") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}
