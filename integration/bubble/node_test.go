package bubble

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"cordwood/broker"
	"cordwood/integration/memnet"
	"cordwood/metadata"
	"cordwood/protocol"
	"cordwood/segment/vfs"
)

const clientPort, internalPort = 9092, 9093

// node is a machine: a host with a disk, on which one process runs after another.
type node struct {
	c    *cluster
	id   int
	role rune // as in shape
	host *memnet.Host
	disk *vfs.Mem
	life *life // nil: it does not run
}

// life is a process. A crash ends what it can reach and keep, not its goroutines: they end some time later.
type life struct {
	stop    context.CancelFunc
	ready   chan struct{}
	done    chan struct{}
	err     error       // read after done
	crashed atomic.Bool // what it says from now on does not count
}

func newNode(c *cluster, id int, role rune) *node {
	return &node{c: c, id: id, role: role, host: c.net.Host(fmt.Sprintf("10.0.0.%d", id)), disk: vfs.NewMem()}
}

func (n *node) address(port int) string { return fmt.Sprintf("10.0.0.%d:%d", n.id, port) }

func (n *node) config() broker.Config {
	c := broker.Defaults()
	c.NodeID, c.LogDirs, c.HTTPAddr = metadata.NodeID(n.id), []string{"/data"}, ""
	outside := broker.ListenerConfig{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: n.address(clientPort), Kind: protocol.Client}
	inside := broker.ListenerConfig{Name: "CONTROLLER", Protocol: "PLAINTEXT", Addr: n.address(internalPort), Kind: protocol.Internal}
	switch n.role {
	case 'x':
		c.Listeners = []broker.ListenerConfig{outside, inside}
	case 'b':
		c.Roles, c.Listeners = []string{"broker"}, []broker.ListenerConfig{outside}
	case 'c':
		c.Roles, c.Listeners = []string{"controller"}, []broker.ListenerConfig{inside}
	}
	if len(n.c.nodes) > 1 {
		for _, other := range n.c.nodes {
			if other.role != 'b' {
				c.Voters = append(c.Voters, broker.Voter{ID: metadata.NodeID(other.id), Addr: other.address(internalPort)})
			}
		}
	}
	c.Offsets.Partitions = 1
	c.Group.InitialRebalanceDelay = 0
	return c
}

// boot starts a process. It may crash on the way.
func (n *node) boot() {
	n.c.say("boot %d", n.id)
	l := &life{ready: make(chan struct{}), done: make(chan struct{})}
	n.life = l
	n.host.PowerOn()
	process := n.host.Start()
	n.disk.OnSync = func(vfs.SyncPoint) { n.c.trap.step(n) }
	c := n.config()
	c.FS, c.Listen, c.Dial = n.disk, process.Listen, process.Dial
	if n.c.disk != nil {
		c.FS = n.c.disk(n.disk)
	}
	c.Log = n.c.log.With(zap.Int("node", n.id))
	c.Ready = func(broker.Addrs) { close(l.ready) }
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	b, err := broker.Open(c)
	if err != nil {
		stop()
		close(l.done)
		if !l.crashed.Load() {
			n.c.fails("node %d does not start: %v", n.id, err)
		}
		return
	}
	n.c.lives.Go(func() {
		defer close(l.done)
		l.err = b.Run(ctx)
		if ctx.Err() == nil && !l.crashed.Load() {
			n.c.fails("node %d ended by itself: %v", n.id, l.err)
		}
	})
}

// awaitReady waits until the node serves, which is bounded (U2).
func (n *node) awaitReady() {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-n.life.ready:
	case <-n.life.done:
	case <-t.C:
		n.c.fails("node %d does not serve after %s", n.id, patience)
	}
}

// end stops the node cleanly, if it runs.
func (n *node) end() {
	l := n.life
	if l == nil {
		return
	}
	l.stop()
	<-l.done
	if l.err != nil {
		n.c.fails("the end of node %d: %v", n.id, l.err)
	}
	n.life = nil
}

// powers is how a crash treats what was written and not synced.
type powers int

const (
	killed   powers = iota // nothing is lost
	tornCut                // a random part is lost
	cleanCut               // all of it is lost
)

// crash ends the process at this moment: nothing that it does from now on is seen by anybody or kept by the disk.
// silent: the machine loses its power, so that its connections do not end.
func (n *node) crash(rng *rand.Rand, how powers, silent bool) {
	l := n.life
	if l == nil {
		return
	}
	l.crashed.Store(true)
	if silent {
		n.host.PowerOff()
	} else {
		n.host.Kill()
	}
	switch how {
	case killed:
		n.disk = n.disk.KillClone()
	case tornCut:
		n.disk = n.disk.CrashClone(rng)
	case cleanCut:
		n.disk = n.disk.CrashClone(nil)
	}
	l.stop()
	n.life = nil
}

// trap cuts the power of some nodes at a sync of one of them: in the middle of it or right after it.
type trap struct {
	mu      sync.Mutex
	left    int // syncs of the victims until it shuts; 0: it is not set
	victims []*node
	shut    func()
	done    chan struct{}
}

// set arms the trap. The channel is closed when it has shut.
func (t *trap) set(victims []*node, syncs int, shut func()) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.left, t.victims, t.shut, t.done = syncs, victims, shut, make(chan struct{})
	return t.done
}

// step is told of every sync.
func (t *trap) step(at *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == 0 {
		return
	}
	for _, n := range t.victims {
		if n == at {
			if t.left--; t.left == 0 {
				t.shut()
				close(t.done)
			}
			return
		}
	}
}

// spring shuts it now, if it has not shut.
func (t *trap) spring() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left > 0 {
		t.left = 0
		t.shut()
		close(t.done)
	}
}
