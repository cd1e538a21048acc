package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// demoNetwork is loopback with switches: a node that is off reaches nobody and is reached by nobody. Of one that is cut off
// others are told that it is unreachable, of one that is killed that it refuses: that proves that its process is gone (R19).
//
// Locks: mu; nothing waits under it.
type demoNetwork struct {
	mu    sync.Mutex
	ports map[string]int          // node by address
	off   map[int]syscall.Errno   // by node: why nobody reaches it
	bound map[string]net.Listener // made before their node is, so that all know each other's address
	wires map[*demoWire]bool      // open connections
}

// demoWire is a connection with the nodes at its ends, as far as they are known; 0: somebody else.
type demoWire struct {
	*net.TCPConn
	n    *demoNetwork
	ends [2]int
}

func (w *demoWire) Close() error {
	w.n.mu.Lock()
	delete(w.n.wires, w)
	w.n.mu.Unlock()
	return w.TCPConn.Close()
}

func newDemoNetwork() *demoNetwork {
	return &demoNetwork{ports: map[string]int{}, off: map[int]syscall.Errno{}, bound: map[string]net.Listener{}, wires: map[*demoWire]bool{}}
}

// bind finds a free address for a node, which keeps it.
func (n *demoNetwork) bind(node int) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports[addr], n.bound[addr] = node, l
	return addr, nil
}

// listen is a node's net.Listen.
func (n *demoNetwork) listen(node int) func(network, addr string) (net.Listener, error) {
	return func(network, addr string) (net.Listener, error) {
		n.mu.Lock()
		l := n.bound[addr]
		delete(n.bound, addr)
		n.mu.Unlock()
		if l == nil {
			var err error
			if l, err = net.Listen(network, addr); err != nil {
				return nil, err
			}
		}
		return &demoListener{l, n, node}, nil
	}
}

type demoListener struct {
	net.Listener
	n    *demoNetwork
	node int
}

func (l *demoListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if w, err := l.n.wire(c, l.node, 0); err == nil {
			return w, nil
		}
	}
}

// dial is a node's net.Dialer; node 0 is the client.
func (n *demoNetwork) dial(node int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.mu.Lock()
		to := n.ports[addr]
		err := n.unreachable(node, to)
		n.mu.Unlock()
		if err != nil {
			return nil, err
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return n.wire(c, node, to)
	}
}

// unreachable says that one of two nodes is off; mu is held.
func (n *demoNetwork) unreachable(nodes ...int) error {
	for _, node := range nodes {
		if why, off := n.off[node]; off {
			return fmt.Errorf("node %d: %w", node, why)
		}
	}
	return nil
}

// wire watches a connection, unless it must not be.
func (n *demoNetwork) wire(c net.Conn, ends ...int) (net.Conn, error) {
	n.mu.Lock()
	err := n.unreachable(ends...)
	w := &demoWire{c.(*net.TCPConn), n, [2]int(ends)}
	if err == nil {
		n.wires[w] = true
	}
	n.mu.Unlock()
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return w, nil
}

// take takes a node off the network: its connections end, and there are no new ones.
func (n *demoNetwork) take(node int, why syscall.Errno) {
	n.mu.Lock()
	n.off[node] = why
	var ending []*demoWire
	for w := range n.wires {
		if w.ends[0] == node || w.ends[1] == node {
			ending = append(ending, w)
		}
	}
	n.mu.Unlock()
	for _, w := range ending {
		_ = w.Close()
	}
}

// join puts it back.
func (n *demoNetwork) join(node int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.off, node)
}

// close gives back addresses that no node took.
func (n *demoNetwork) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.bound {
		_ = l.Close()
	}
}
