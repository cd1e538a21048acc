package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// clusterSize is the number of nodes of a cluster; their ids are 1 to clusterSize.
const clusterSize = 3

// cluster is three nodes on this machine under measurement, each of them broker and controller.
type cluster interface {
	seed
	start() error                 // on empty directories; returns when every node answers
	kill(node int32) error        // kill -9
	restart(node int32) error     // on its directory as it is; returns when the node answers
	wipe() error                  // stops what runs, removes the data
	leaders() leaders             // the addresses of nodes 1, 2, ...
	pids() []int                  // in the same order
	pageCache() map[string]string // topic settings that acknowledge before the disks have it
	synced() map[string]string    // topic settings that acknowledge after
}

func (b *bench) clusters() []cluster {
	var all []cluster
	if b.bin != "" {
		all = append(all, newCordwoods(b))
	}
	if b.kafka != "" {
		all = append(all, newKafkas(b))
	}
	return all
}

// eachCluster starts every cluster, runs f, and removes them and their data.
func (b *bench) eachCluster(f func(all []cluster) error) (err error) {
	all := b.clusters()
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.wipe())
		}
	}()
	for _, c := range all {
		if err := c.start(); err != nil {
			return err
		}
	}
	return f(all)
}

// cordwoods are three nodes of our own binary.
type cordwoods struct{ nodes []*cordwood }

func newCordwoods(b *bench) *cordwoods {
	c := new(cordwoods)
	for i := range clusterSize {
		n := newCordwood(b)
		n.id, n.dir = i+1, filepath.Join(b.dir, fmt.Sprintf("cordwood-%d", i+1))
		c.nodes = append(c.nodes, n)
	}
	return c
}

func (c *cordwoods) name() string                 { return c.nodes[0].name() }
func (c *cordwoods) addr() string                 { return c.nodes[0].addr() }
func (c *cordwoods) pageCache() map[string]string { return c.nodes[0].pageCache() }
func (c *cordwoods) synced() map[string]string    { return c.nodes[0].synced() }

func (c *cordwoods) start() error {
	first, err := freePorts(clusterSize)
	if err != nil {
		return err
	}
	var voters []string
	for i, n := range c.nodes {
		if err := errors.Join(os.RemoveAll(n.dir), os.MkdirAll(n.dir, 0o700)); err != nil {
			return err
		}
		n.port = first + i
		voters = append(voters, fmt.Sprintf("%d@%s", n.id, n.controller()))
	}
	for _, n := range c.nodes {
		n.voters = strings.Join(voters, ",")
		if err := n.launch(); err != nil {
			return err
		}
	}
	return c.all((*cordwood).ready) // none is before most of them run
}

func (c *cordwoods) kill(node int32) error { return c.nodes[node-1].kill() }

func (c *cordwoods) restart(node int32) error {
	n := c.nodes[node-1]
	if err := n.launch(); err != nil {
		return err
	}
	return n.ready()
}

func (c *cordwoods) wipe() error { return c.all((*cordwood).wipe) }

// all does something with every node at the same time.
func (c *cordwoods) all(f func(*cordwood) error) error {
	errs := make([]error, len(c.nodes))
	var wait sync.WaitGroup
	for i, n := range c.nodes {
		wait.Go(func() { errs[i] = f(n) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (c *cordwoods) leaders() leaders {
	var out leaders
	for _, n := range c.nodes {
		out = append(out, n.addr())
	}
	return out
}

func (c *cordwoods) pids() []int {
	var out []int
	for _, n := range c.nodes {
		out = append(out, n.pid())
	}
	return out
}

// kafkas are three nodes of Apache Kafka, with their script's defaults: 1 GB of heap each.
type kafkas struct {
	kafka
	nodes []int // process ids
}

func newKafkas(b *bench) *kafkas { return &kafkas{kafka: kafka{script: b.kafka}} }

func (k *kafkas) pids() []int { return k.nodes }

func (k *kafkas) start() error {
	first, err := freePorts(clusterSize)
	if err != nil {
		return err
	}
	k.port = first
	if err := k.call("start", "-n", strconv.Itoa(clusterSize), "-p", strconv.Itoa(first)); err != nil {
		return err
	}
	out, err := exec.Command(k.script, "pids").Output()
	if err != nil {
		return err
	}
	k.nodes = nil
	for _, s := range strings.Split(strings.TrimSpace(string(out)), ",") {
		pid, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("the script's process ids: %q", out)
		}
		k.nodes = append(k.nodes, pid)
	}
	if len(k.nodes) != clusterSize {
		return fmt.Errorf("the script started %d nodes", len(k.nodes))
	}
	return nil
}

func (k *kafkas) kill(node int32) error    { return k.call("node", fmt.Sprint(node), "kill") }
func (k *kafkas) restart(node int32) error { return k.call("node", fmt.Sprint(node), "start") }

func (k *kafkas) wipe() error {
	if k.nodes == nil {
		return nil
	}
	k.nodes = nil
	return k.call("stop")
}

func (k *kafkas) leaders() leaders {
	var out leaders
	for i := range clusterSize {
		out = append(out, loopback(k.port+i))
	}
	return out
}
