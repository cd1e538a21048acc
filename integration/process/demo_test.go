//go:build process

package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var demoState = regexp.MustCompile(`^acked (\d+)  read (\d+)  lost (\d+)   node 1 ([a-z ]+?)  node 2 ([a-z ]+?)  node 3 ([a-z ]+)$`)

// demo is `cordwood demo` at the end of two pipes.
type demo struct {
	t           *testing.T
	keys        io.WriteCloser
	lines       *bufio.Scanner
	acked, read int
}

// until reads lines until the state of all nodes is as wanted, and acked and read have grown beyond.
func (d *demo) until(acked, read int, states ...string) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); d.lines.Scan(); {
		line := d.lines.Text()
		d.t.Log(line)
		m := demoState.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		d.acked, _ = strconv.Atoi(m[1])
		d.read, _ = strconv.Atoi(m[2])
		if m[3] != "0" {
			d.t.Fatalf("records are lost: %s", line)
		}
		if d.acked > acked && d.read > read && strings.Join(m[4:], ",") == strings.Join(states, ",") {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("not more than %d acked and %d read with nodes %v", acked, read, states)
		}
	}
	d.t.Fatal("the demo ended")
}

// press sends keys and waits until the counters have grown by a second's records in the wanted state.
func (d *demo) press(keys string, states ...string) {
	d.t.Helper()
	fmt.Fprintln(d.keys, keys)
	d.until(0, 0, states...)
	d.until(d.acked+1000, d.read+1000, states...)
}

// Nodes are killed, cut off and brought back by keys on standard input; records go on, and none is lost.
func TestADemoThroughPipesLosesNothing(t *testing.T) {
	cmd := exec.CommandContext(Context(t, 4*time.Minute), Binary(t), "demo", "--rate", "1000")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	d := &demo{t: t, keys: keys, lines: bufio.NewScanner(out)}
	d.until(1000, 1000, "up", "up", "up")
	d.press("k1", "killed", "up", "up")
	d.press("r 1", "up", "up", "up")
	d.press("c\n2", "up", "cut off", "up")
	d.press("r2", "up", "up", "up")
	fmt.Fprint(d.keys, "c3", "c3", "r3", "k3", "x9", "r3") // what makes no sense does no harm
	d.press("", "up", "up", "up")
	fmt.Fprint(d.keys, "q")
	last := ""
	for d.lines.Scan() {
		last = d.lines.Text()
		t.Log(last)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	if m := demoState.FindStringSubmatch(last); m == nil || m[1] != m[2] || m[3] != "0" {
		t.Errorf("at the end: %s", last)
	}
	if left, err := os.ReadDir(cmd.Env[len(cmd.Env)-1][len("TMPDIR="):]); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind, %v", left, err)
	}
}
