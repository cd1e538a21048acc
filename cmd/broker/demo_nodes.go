package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"cordwood/broker"
)

// demoNodes is how many there are: the fewest that go on without one of them.
const demoNodes = 3

// demoStart is how long they may take to find each other.
const demoStart = 30 * time.Second

// demoCluster is some nodes in this process, each broker and controller with a directory and ports of its own.
// One goroutine uses it.
type demoCluster struct {
	dir     string
	network *demoNetwork
	log     *os.File
	nodes   []*demoNode // node i has the id i+1
}

// demoNode is one of them. Run is one life of it, nil while it is killed.
type demoNode struct {
	id       int
	client   string // address for clients
	internal string
	settings map[string]broker.Setting
	run      *demoRun
	cut      bool
}

// demoRun is a node that runs.
type demoRun struct {
	b     *broker.Broker
	stop  context.CancelFunc
	ready chan struct{}
	done  chan struct{}
	err   error // once done
}

func newDemoCluster(dir string) (*demoCluster, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	c := &demoCluster{dir: dir, network: newDemoNetwork(), log: log}
	var voters []string
	for i := range demoNodes {
		n := &demoNode{id: i + 1}
		for _, addr := range []*string{&n.client, &n.internal} {
			if *addr, err = c.network.bind(n.id); err != nil {
				c.close()
				return nil, err
			}
		}
		voters = append(voters, fmt.Sprintf("%d@%s", n.id, n.internal))
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.settings = map[string]broker.Setting{}
		for key, value := range map[string]string{
			"node.id": fmt.Sprint(n.id), "log.dirs": filepath.Join(dir, fmt.Sprint(n.id)), "cordwood.http.listener": "none",
			"listeners":                 "PLAINTEXT://" + n.client + ",CONTROLLER://" + n.internal,
			"controller.listener.names": "CONTROLLER", "controller.quorum.voters": strings.Join(voters, ","),
			"default.replication.factor": fmt.Sprint(demoNodes), "min.insync.replicas": "2",
		} {
			n.settings[key] = broker.Setting{Value: value}
		}
	}
	return c, nil
}

// start starts a node and does not wait until it serves.
func (c *demoCluster) start(n *demoNode) error {
	cfg, err := broker.FromProperties(n.settings)
	if err != nil {
		return err
	}
	log, err := newLogger(c.log, "console", "info")
	if err != nil {
		return err
	}
	r := &demoRun{ready: make(chan struct{}), done: make(chan struct{})}
	cfg.Log = log.With(zap.Int("node", n.id))
	cfg.Listen, cfg.Dial, cfg.Ready = c.network.listen(n.id), c.network.dial(n.id), func(broker.Addrs) { close(r.ready) }
	if r.b, err = broker.Open(cfg); err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		r.err = r.b.Run(ctx)
	}()
	n.run = r
	return nil
}

// startAll starts every node and waits until all serve.
func (c *demoCluster) startAll(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := c.start(n); err != nil {
			return err
		}
	}
	late := time.After(demoStart)
	for _, n := range c.nodes {
		select {
		case <-n.run.ready:
		case <-n.run.done:
			return fmt.Errorf("node %d ended: %w", n.id, n.run.err)
		case <-late:
			return fmt.Errorf("node %d does not serve after %s", n.id, demoStart)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// kill ends a node as kill -9 would: its connections end first, so nothing that it still does is seen by anybody, and it
// leaves no sign of a clean stop.
func (c *demoCluster) kill(n *demoNode) string {
	if n.run == nil {
		return fmt.Sprintf("node %d is killed already; r%d starts it", n.id, n.id)
	}
	c.network.take(n.id, syscall.ECONNREFUSED)
	n.run.b.Kill()
	<-n.run.done
	n.run.stop()
	err := n.run.err
	n.run, n.cut = nil, false
	if !errors.Is(err, broker.ErrKilled) {
		return fmt.Sprintf("node %d had ended: %v", n.id, err)
	}
	return fmt.Sprintf("node %d is killed; r%d starts it", n.id, n.id)
}

// restart starts a node that is killed, or connects one that is cut off.
func (c *demoCluster) restart(n *demoNode) string {
	switch {
	case n.run == nil:
		c.network.join(n.id)
		if err := c.start(n); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("node %d starts", n.id)
	case n.cut:
		c.network.join(n.id)
		n.cut = false
		return fmt.Sprintf("node %d is connected again", n.id)
	}
	return fmt.Sprintf("node %d runs; k%d kills it, c%d cuts it off", n.id, n.id, n.id)
}

// cutOff takes a running node off the network.
func (c *demoCluster) cutOff(n *demoNode) string {
	if n.run == nil || n.cut {
		return fmt.Sprintf("node %d is %s already", n.id, n.state())
	}
	c.network.take(n.id, syscall.EHOSTUNREACH)
	n.cut = true
	return fmt.Sprintf("node %d is cut off from nodes and clients; r%d connects it", n.id, n.id)
}

// state is one word for a screen.
func (n *demoNode) state() string {
	switch {
	case n.run == nil:
		return "killed"
	case n.cut:
		return "cut off"
	}
	select {
	case <-n.run.done:
		return "ended"
	case <-n.run.ready:
		return "up"
	default:
		return "starting"
	}
}

// addrs are where clients find the nodes.
func (c *demoCluster) addrs() (out []string) {
	for _, n := range c.nodes {
		out = append(out, n.client)
	}
	return out
}

// close stops all nodes at once, which leaves nobody to hand anything to, and waits for them.
func (c *demoCluster) close() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		if n.run != nil {
			c.network.take(n.id, syscall.ECONNREFUSED)
			n.run.b.Kill()
			all.Go(func() { <-n.run.done; n.run.stop() })
		}
	}
	all.Wait()
	c.network.close()
	_ = c.log.Close()
}
