//go:build process

package process

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readmeBlock is the first block of commands below a heading of the README.
func readmeBlock(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), "\n## "+heading+"\n")
	_, block, fenced := strings.Cut(below, "\n```\n")
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !fenced || !ended {
		t.Fatalf("no block below %q", heading)
	}
	return block
}

// The README's three nodes run as they are written there, and outlive what it says they do. The block has ports of its
// own, so it gets a network of its own where the machine allows that.
func TestTheThreeNodesOfTheREADMERun(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	bin, err := filepath.Abs(Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(dir, "bin", "cordwood")); err != nil {
		t.Fatal(err)
	}
	script := "set -e\n" + readmeBlock(t, "Three nodes") + `
kill -9 %1
echo world | bin/cordwood produce orders -b 127.0.0.1:29092,127.0.0.1:39092
bin/cordwood consume orders -n 2 -b 127.0.0.1:29092,127.0.0.1:39092
`
	run := func(attr *syscall.SysProcAttr, prologue string) (string, error) {
		cmd := exec.CommandContext(Context(t, 2*time.Minute), "bash", "-c", prologue+script)
		attr.Setpgid = true
		cmd.Dir, cmd.SysProcAttr = dir, attr
		out, err := os.Create(filepath.Join(dir, "out")) // a file: servers that hold a pipe would be waited for
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			return "", err
		}
		defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }() // the servers, too
		err = cmd.Wait()
		said, _ := os.ReadFile(out.Name())
		return string(said), err
	}
	out, err := run(&syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}, "ip link set lo up || exit 77\n")
	if exit := new(exec.ExitError); errors.Is(err, syscall.EPERM) || errors.As(err, &exit) && exit.ExitCode() == 77 {
		out, err = run(&syscall.SysProcAttr{}, "")
	}
	if err != nil || strings.Count(out, "hello\n") != 2 || !strings.Contains(out, "world\n") {
		for _, log := range []string{"server-1.log", "server-2.log", "server-3.log"} {
			text, _ := os.ReadFile(filepath.Join(dir, log))
			t.Logf("%s\n%s", log, text)
		}
		t.Errorf("%v\n%s", err, out)
	}
}
