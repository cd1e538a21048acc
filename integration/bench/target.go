package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// seed is where an ordinary client begins.
type seed interface {
	name() string // the subject in the report
	addr() string // where clients go
}

// target is a broker under measurement: one node, one data directory.
type target interface {
	seed
	start() error                 // on an empty directory; returns when the node answers
	launch() (err error)          // the process alone, on the directory as it is; returns at once
	prepare() error               // an empty directory, ready to launch
	stop() error                  // clean; the data stays
	kill() error                  // kill -9
	wipe() error                  // stops if need be, removes the data
	pid() int                     //
	pageCache() map[string]string // topic settings that acknowledge before the disk has it
	synced() map[string]string    // topic settings that acknowledge after
}

func (b *bench) targets() []target {
	var all []target
	if b.bin != "" {
		all = append(all, newCordwood(b))
	}
	if b.kafka != "" {
		all = append(all, newKafka(b))
	}
	return all
}

// cordwood runs our own binary.
type cordwood struct {
	bin, dir string
	settings []string // beside those of the bench, as key=value
	port     int
	voters   string // of the cluster it belongs to; empty: it is alone
	id       int    // in the cluster
	cmd      *exec.Cmd
	exited   chan error
	log      *os.File
}

func newCordwood(b *bench) *cordwood {
	return &cordwood{bin: b.bin, dir: filepath.Join(b.dir, "cordwood"), settings: b.settings}
}

func (c *cordwood) name() string       { return "Cordwood" }
func (c *cordwood) addr() string       { return loopback(c.port) }
func (c *cordwood) controller() string { return loopback(c.port + controllerPort) }
func (c *cordwood) pid() int           { return c.cmd.Process.Pid }
func (c *cordwood) pageCache() map[string]string {
	return map[string]string{"flush.before.ack": "false"}
}
func (c *cordwood) synced() map[string]string { return nil }

func (c *cordwood) prepare() error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	port, err := freePort()
	c.port = port
	return err
}

func (c *cordwood) launch() error {
	log, err := os.OpenFile(filepath.Join(c.dir, "bench.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_ = os.Remove(c.portFile()) // of the run before; may be missing
	c.log = log
	settings := []string{"cordwood.http.listener=127.0.0.1:0", "listeners=PLAINTEXT://" + c.addr()}
	if c.voters != "" {
		settings[1] += ",CONTROLLER://" + c.controller()
		settings = append(settings, "node.id="+strconv.Itoa(c.id), "controller.quorum.voters="+c.voters)
	}
	args := []string{"serve", "--data-dir", filepath.Join(c.dir, "data"), "--port-file", c.portFile()}
	for _, s := range append(settings, c.settings...) {
		args = append(args, "--override", s)
	}
	c.cmd = exec.Command(c.bin, args...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		log.Close()
		return err
	}
	c.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan error) { exited <- cmd.Wait(); log.Close() }(c.cmd, c.exited)
	return nil
}

func (c *cordwood) portFile() string { return filepath.Join(c.dir, "ports.json") }

func (c *cordwood) start() error {
	if err := c.prepare(); err != nil {
		return err
	}
	if err := c.launch(); err != nil {
		return err
	}
	return c.ready()
}

// ready waits for the port file.
func (c *cordwood) ready() error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-c.exited:
			c.exited <- err
			return fmt.Errorf("cordwood ended at its start (%v): %s", err, c.tail())
		default:
		}
		b, err := os.ReadFile(c.portFile())
		if err != nil {
			continue
		}
		var ports struct {
			Listeners map[string]string `json:"listeners"`
			PID       int               `json:"pid"`
		}
		if json.Unmarshal(b, &ports) != nil {
			continue // half written
		}
		if got := ports.Listeners["PLAINTEXT"]; got != c.addr() {
			return fmt.Errorf("the port file says %q, want %q", got, c.addr())
		}
		return nil
	}
	return fmt.Errorf("cordwood wrote no port file in 30 s: %s", c.tail())
}

// tail is the end of the log, for an error message.
func (c *cordwood) tail() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "bench.log")) // an empty tail will do
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

func (c *cordwood) stop() error { return c.end(syscall.SIGTERM) }
func (c *cordwood) kill() error { return c.end(syscall.SIGKILL) }

func (c *cordwood) end(sig syscall.Signal) error {
	if c.cmd == nil {
		return nil
	}
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.exited:
		c.cmd = nil
		return nil
	case <-time.After(60 * time.Second):
		_ = c.cmd.Process.Kill() // the error below says enough
		return fmt.Errorf("cordwood did not end within 60 s of %v", sig)
	}
}

func (c *cordwood) wipe() error { return errors.Join(c.kill(), os.RemoveAll(c.dir)) }

// kafka runs Apache Kafka through its script, whose defaults are Kafka's.
type kafka struct {
	script string
	port   int
	node   int
}

func newKafka(b *bench) *kafka { return &kafka{script: b.kafka} }

func (k *kafka) name() string                 { return "Kafka" }
func (k *kafka) addr() string                 { return loopback(k.port) }
func (k *kafka) pid() int                     { return k.node }
func (k *kafka) pageCache() map[string]string { return nil }
func (k *kafka) synced() map[string]string    { return map[string]string{"flush.messages": "1"} }

// call runs the script. Its output is kept out of pipes, which the node it leaves behind would hold open.
func (k *kafka) call(args ...string) error {
	out, err := os.CreateTemp("", "kafka-")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd := exec.Command(k.script, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name()) // the error alone will do
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(k.script), strings.Join(args, " "), err, text)
	}
	return nil
}

func (k *kafka) start() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	k.port = port
	if err := k.call("start", "-p", strconv.Itoa(port)); err != nil {
		return err
	}
	return k.findPID()
}

func (k *kafka) findPID() error {
	b, err := exec.Command(k.script, "node", "1", "pid").Output()
	if err != nil {
		return err
	}
	k.node, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return err
}

// prepare leaves a formatted directory that a node has used once: the script formats and starts in one step.
func (k *kafka) prepare() error {
	if err := k.start(); err != nil {
		return err
	}
	return k.stop()
}

// launch starts the node; the script's own wait for its port goes on in the background.
func (k *kafka) launch() error {
	before := k.node
	cmd := exec.Command(k.script, "node", "1", "start")
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // the first acknowledged record is what counts
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if k.findPID() == nil && k.node != before {
			return nil
		}
	}
	return errors.New("the script started no node")
}

func (k *kafka) stop() error { return k.call("node", "1", "stop") }

func (k *kafka) kill() error {
	if err := k.call("node", "1", "kill"); err != nil {
		return err
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if syscall.Kill(k.node, 0) != nil {
			return nil
		}
	}
	return errors.New("the node is still there 10 s after kill -9")
}

// wipe stops the node; the next start of the script removes the data.
func (k *kafka) wipe() error {
	if k.node == 0 || syscall.Kill(k.node, 0) != nil {
		return nil
	}
	return k.stop()
}

// controllerPort is how far above a node's port Kafka's script has that of its controller; ours do the same.
const controllerPort = 101

func freePort() (int, error) { return freePorts(1) }

// freePorts is the first of n ports in a row that were free a moment ago, and with each the one of its controller. All lie
// below those the kernel gives to outgoing connections, which would take them between here and the start.
func freePorts(n int) (int, error) {
	var err error
	for range 100 {
		port := 20000 + rand.IntN(10000)
		err = nil
		for i := range n {
			err = errors.Join(err, bindable(port+i), bindable(port+i+controllerPort))
		}
		if err == nil {
			return port, nil
		}
	}
	return 0, err
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func bindable(port int) error {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	return ln.Close()
}

// firstAck redials every millisecond until a record is acknowledged; create: it makes the topic first.
func firstAck(ctx context.Context, addr, topic string, create bool) error {
	request := produceRequest(topic, 0, -1, newBatch(100, 50))
	for {
		if err := tryAck(ctx, addr, topic, create, request); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return fmt.Errorf("no acknowledged record: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func tryAck(ctx context.Context, addr, topic string, create bool, request []byte) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline) // the write below fails too, if this does
	}
	for create {
		code, err := createTopicRaw(c, topic)
		if err != nil {
			return err
		}
		if code == 0 || code == 36 { // TOPIC_ALREADY_EXISTS: an earlier try
			break
		}
		time.Sleep(time.Millisecond)
	}
	answer := make([]byte, produceAnswerSize(topic))
	for {
		if _, err := c.Write(request); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		code, err := produceCode(answer, topic)
		if err != nil || code == 0 {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}
