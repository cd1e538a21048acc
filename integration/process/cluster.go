//go:build process

package process

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Cluster is several nodes, each broker and controller.
type Cluster struct {
	t     testing.TB
	Nodes []*Node // node i has the id i+1

	controllers []string // addresses of their controller listeners
}

// NewCluster prepares a cluster of n nodes; args are further arguments of serve.
func NewCluster(t testing.TB, n int, args ...string) *Cluster {
	t.Helper()
	c, dir := &Cluster{t: t}, t.TempDir()
	addrs := freeAddrs(t, 2*n)
	var voters []string
	c.controllers = addrs[:n]
	for i := range n {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addrs[i]))
	}
	for i := range n {
		node := New(t, filepath.Join(dir, fmt.Sprint(i+1)), append([]string{
			"--override", fmt.Sprintf("node.id=%d", i+1), "--override", "controller.quorum.voters=" + strings.Join(voters, ","),
			"--override", fmt.Sprintf("listeners=PLAINTEXT://%s,CONTROLLER://%s", addrs[n+i], addrs[i]),
		}, args...)...)
		c.Nodes = append(c.Nodes, node)
	}
	return c
}

// freeAddrs finds loopback addresses nobody listens on. They are given back before they are used: whoever takes one
// meanwhile makes the test fail at its start.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// Start starts every node and waits until all serve: none of them can before most of them are there.
func (c *Cluster) Start() {
	c.t.Helper()
	errs := make([]error, len(c.Nodes))
	var all sync.WaitGroup
	for i, n := range c.Nodes {
		all.Go(func() { errs[i] = n.TryStart(30 * time.Second) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		for i, n := range c.Nodes {
			c.t.Logf("node %d:\n%s", i+1, n.Log())
		}
		c.t.Fatal(err)
	}
}

// Addrs are the addresses for clients.
func (c *Cluster) Addrs() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Addr)
	}
	return out
}
