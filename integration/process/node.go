//go:build process

package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Node is one broker process.
type Node struct {
	t         testing.TB
	Dir       string // data directory
	work      string // port file, log
	args      []string
	namespace string // of the network the process is in; empty: this one
	cmd       *exec.Cmd
	exited    chan struct{}
	exitErr   error
	Addr      string // of the client listener
	Internal  string // of the internal one
	HTTP      string
	DNS       string // of the name server, where there is one
}

// built is the beginning of a binary's name; behind it is the id of the test process that built it.
const built = "cordwood-process-"

// removeBuilt removes the binaries of test processes that have ended.
func removeBuilt() {
	files, _ := filepath.Glob(filepath.Join(os.TempDir(), built+"*")) // the pattern is not malformed
	for _, f := range files {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(f), built))
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.Remove(f) // another test process may be faster
		}
	}
}

var build = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(os.TempDir(), built+strconv.Itoa(os.Getpid()))
	removeBuilt()
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/broker")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// Binary is the path of the binary under test; CORDWOOD names another one.
func Binary(t testing.TB) string {
	t.Helper()
	if bin := os.Getenv("CORDWOOD"); bin != "" {
		return bin
	}
	began := time.Now()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > time.Second { // or the first test seems to be a slow one
		t.Logf("the binary took %s to build", took.Round(time.Millisecond))
	}
	return bin
}

// New prepares a node; args are further arguments of serve.
func New(t testing.TB, dir string, args ...string) *Node {
	return &Node{t: t, Dir: dir, work: t.TempDir(), args: args}
}

// Start starts the process and waits until it serves.
func (n *Node) Start() {
	n.t.Helper()
	if err := n.TryStart(20 * time.Second); err != nil {
		n.t.Fatalf("%v\n%s", err, n.Log())
	}
}

// TryStart starts the process and waits until it serves, or says why it does not.
func (n *Node) TryStart(wait time.Duration) error {
	n.t.Helper()
	ports := filepath.Join(n.work, "ports.json")
	_ = os.Remove(ports)
	logFile, err := os.OpenFile(filepath.Join(n.work, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	args := append([]string{"serve", "--data-dir", n.Dir, "--port-file", ports,
		"--override", "listeners=PLAINTEXT://127.0.0.1:0", "--override", "cordwood.http.listener=127.0.0.1:0",
		"--override", "group.initial.rebalance.delay.ms=0"}, n.args...)
	args = append([]string{Binary(n.t)}, args...)
	if n.namespace != "" {
		args = append([]string{"ip", "netns", "exec", n.namespace}, args...) // which becomes what it executes
	}
	n.cmd = exec.Command(args[0], args[1:]...)
	n.cmd.Stdout, n.cmd.Stderr = logFile, logFile
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		n.exitErr = cmd.Wait()
		close(exited)
	}(n.cmd, n.exited)
	n.t.Cleanup(n.Kill)
	deadline := time.Now().Add(wait)
	for {
		if b, err := os.ReadFile(ports); err == nil {
			return n.readPorts(b)
		}
		select {
		case <-n.exited:
			return fmt.Errorf("the process ended: %w", n.exitErr)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			return errors.New("not serving in time")
		}
	}
}

func (n *Node) readPorts(b []byte) error {
	var p struct {
		Listeners map[string]string `json:"listeners"`
		Internal  string            `json:"internal"`
		HTTP      string            `json:"http"`
		DNS       string            `json:"dns"`
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	n.Addr, n.Internal, n.HTTP, n.DNS = p.Listeners["PLAINTEXT"], p.Internal, p.HTTP, p.DNS
	return nil
}

// Kill ends the process as kill -9 does. Nothing happens when it is gone already.
func (n *Node) Kill() {
	if n.cmd == nil || n.exited == nil {
		return
	}
	_ = n.cmd.Process.Kill()
	<-n.exited
}

// Pause stops the process where it stands; its connections stay open.
func (n *Node) Pause() { n.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (n *Node) Resume() { n.signal(syscall.SIGCONT) }

func (n *Node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// Stop asks for a clean stop and returns the exit code.
func (n *Node) Stop() int {
	n.t.Helper()
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	return n.Wait(30 * time.Second)
}

// Wait waits for the end of the process and returns its exit code.
func (n *Node) Wait(most time.Duration) int {
	n.t.Helper()
	select {
	case <-n.exited:
	case <-time.After(most):
		_ = n.cmd.Process.Signal(syscall.SIGQUIT)
		<-n.exited
		n.t.Fatalf("the process did not end in %s\n%s", most, n.Log())
	}
	return n.cmd.ProcessState.ExitCode()
}

// Running says that the process was started and has not ended.
func (n *Node) Running() bool {
	if n.exited == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// KeepAddress makes the next start listen where this one does, so that clients find it again.
func (n *Node) KeepAddress() {
	n.args = append(n.args, "--override", "listeners=PLAINTEXT://"+n.Addr)
}

// Admin is an admin client of the node.
func (n *Node) Admin() *kadm.Client { return kadm.NewClient(n.Client()) }

// PID is the process id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// WholeLog is all that the process said.
func (n *Node) WholeLog() []byte {
	b, _ := os.ReadFile(filepath.Join(n.work, "log"))
	return b
}

// Log is the last part of it.
func (n *Node) Log() string {
	lines := strings.Split(string(n.WholeLog()), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// Client is a franz-go client of the node.
func (n *Node) Client(opts ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(n.Addr), kgo.MetadataMinAge(10 * time.Millisecond), kgo.AllowAutoTopicCreation(),
	}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cl.Close)
	return cl
}

// Context ends after the time a test may take.
func Context(t testing.TB, most time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	t.Cleanup(cancel)
	return ctx
}
