package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files anew")

// command runs a command line in this process.
func command(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(&terminal{in: strings.NewReader(in), out: &o, err: &e}, args)
	return code, o.String(), e.String()
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./cmd/broker -update writes it anew):\n%s", path, got)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	var all strings.Builder
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		code, out, errs := command(t, "", args...)
		if code != 0 || errs != "" {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
		all.WriteString("$ " + cmd.CommandPath() + " --help\n" + out + "\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() && c.Name() != "help" {
				walk(c)
			}
		}
	}
	walk(rootCommand(&terminal{}))
	golden(t, "help.txt", all.String())
}

func TestWrongUsageExitsWith2AndSaysWhatIsRight(t *testing.T) {
	var all strings.Builder
	for _, line := range []string{
		"", "serv", "topics", "qqq", "topic", "topic lst", "topic create", "topic create t -p 0", "topic create t -c x", "topic create t --bogus",
		"topic list extra", "topic list --format xml", "topic list -b host:port", "topic list -b host:70000", "topic add-partitions t", "topic config t get", "topic config t put x=1", "topic config t set x",
		"produce", "produce a b", "produce t -z brotli", "produce t --acks 2", "produce t --count -1",
		"consume", "consume t -o yesterday", "consume t -o start:end -g g", "consume t -n -1", "consume t -f %q",
		"cluster", "cluster brokers 1", "cluster safe-to-stop", "cluster safe-to-stop x", "cluster reassign", "cluster reassign --topics t --file f",
		"cluster reassign --file f --to 1", "cluster reassign --cancel --to 1", "cluster reassign --topics t --to x", "cluster reassign --topics t --replicas -1",
		"cluster reassign --topics t --throttle fast", "cluster reassign --topics t --at-once 0", "cluster elect --all", "cluster elect --preferred --unclean --all",
		"cluster elect --preferred", "cluster elect --preferred --all t", "cluster decommission", "cluster decommission 1,2",
		"group", "group seek g", "group seek g --to nowhere", "log dump", "demo 4", "demo --rate 0", "config check", "config explain a b", "serve x", "serve --override x",
		"serve --log-format xml", "serve --log-level loud", "version x",
	} {
		code, out, errs := command(t, "", strings.Fields(line)...)
		if code != 2 || out != "" {
			t.Errorf("%q: exit code %d, %q", line, code, out)
		}
		all.WriteString("$ cordwood " + line + "\n" + errs + "\n")
	}
	golden(t, "usage.txt", all.String())
}

func TestBadConfigurationExits78WithOneLinePerProblem(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte("num.partitons=3\nlog.segment.bytes=many\nssl.key.password=secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "-c", file, "--data-dir", dir}, {"dev", "--data-dir", dir, "--override", "num.partitons=3"}} {
		code, out, errs := command(t, "", args...)
		if code != exitConfig || out != "" {
			t.Errorf("%v: exit code %d, %q", args, code, out)
		}
		if lines := strings.Count(errs, "\n"); args[0] == "serve" && lines != 3 || !strings.Contains(errs, "num.partitons: unknown key; did you mean num.partitions?") {
			t.Errorf("%v: %d lines: %s", args, lines, errs)
		}
		if strings.Contains(errs, "secret") {
			t.Error("a password is shown")
		}
	}
	code, _, errs := command(t, "", "serve", "-c", filepath.Join(dir, "none"))
	if code != exitConfig || !strings.Contains(errs, "leave -c away") {
		t.Errorf("no such file: exit code %d, %s", code, errs)
	}
}

func TestOverridesCountMoreThanTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(file, []byte("node.id=1\nlog.dirs=a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := serverFlags{file: file, dataDir: "b", overrides: []string{"node.id = 2", "x=y=z"}}
	s, err := f.settings()
	if err != nil {
		t.Fatal(err)
	}
	if s["node.id"].Value != "2" || s["node.id"].File != "--override" || s["log.dirs"].Value != "b" || s["x"].Value != "y=z" {
		t.Errorf("%+v", s)
	}
}

func TestConfigCheck(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for name, text := range map[string]string{good: "node.id=3\nnum.io.threads=8\n", bad: "node.id=x\nlisteners=SSL://:1\nnoed.id=3\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, errs := command(t, "", "config", "check", good)
	if want := good + ":2: num.io.threads: Accepted without effect: there are no thread pools to size.\n" + good + ": 2 keys, all right\n"; code != 0 || out != want || errs != "" {
		t.Errorf("exit code %d, %s%s", code, out, errs)
	}
	code, _, errs = command(t, "", "config", "check", bad)
	if code != exitFailed || !strings.Contains(errs, bad+":1: node.id=x: expected a whole number") || !strings.Contains(errs, bad+":3: noed.id: unknown key; did you mean node.id?") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestConfigExplain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("\nnum.partitions=6\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"num.partitions"}, 0, []string{"key      num.partitions", "default  1", "status   applied"}},
		{[]string{"num.partitions", "-c", file}, 0, []string{"static   6      " + file + ":2", "default  1"}},
		{[]string{"num.partitions", "-c", file, "--override", "num.partitions=9"}, 0, []string{"static   9      --override"}},
		{[]string{"retention.ms"}, 0, []string{"its default is the broker's log.retention.ms, else log.retention.minutes, else log.retention.hours"}},
		{[]string{"num.partitions", "--format", "json"}, 0, []string{`"key": "num.partitions"`, `"source": "default"`}},
		{[]string{"ssl.keystore.location"}, 0, []string{"rejected", "unsafe"}},
		{[]string{"num.partition"}, 1, []string{"unknown key; did you mean num.partitions?"}},
		{[]string{"retention.m"}, 1, []string{"did you mean retention.ms?"}},
		{nil, 0, []string{"KEY", "zookeeper.connect", "cordwood.disk.stall.ms"}},
	} {
		code, out, errs := command(t, "", append([]string{"config", "explain"}, c.args...)...)
		if code != c.code {
			t.Errorf("%v: exit code %d, %s", c.args, code, errs)
		}
		for _, w := range c.want {
			if !strings.Contains(out+errs, w) {
				t.Errorf("%v: %q is not in:\n%s%s", c.args, w, out, errs)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := command(t, "", "version")
	if code != 0 || !strings.HasPrefix(out, "cordwood dev go1.") {
		t.Errorf("exit code %d, %q", code, out)
	}
	code, out, _ = command(t, "", "version", "--format", "json")
	if code != 0 || !strings.Contains(out, `"version": "dev"`) || !strings.Contains(out, `"go": "go1.`) {
		t.Errorf("exit code %d, %q", code, out)
	}
	if code, _, _ = command(t, "", "version", "--format", "xml"); code != exitUsage {
		t.Errorf("an unknown format: exit code %d", code)
	}
}
