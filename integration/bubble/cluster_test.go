package bubble

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"cordwood/integration/memnet"
	"cordwood/segment/vfs"
)

var logs = flag.Bool("logs", false, "show what the brokers log")

// shape is the nodes of a cluster, a letter for each: x broker and controller, b broker, c controller.
type shape string

const (
	lone  shape = "x"
	three shape = "xxx"
	five  shape = "xxxbb"
	split shape = "cccbbb"
)

// brokers is how many nodes hold partitions.
func (s shape) brokers() (n int) {
	for _, role := range s {
		if role != 'c' {
			n++
		}
	}
	return n
}

// cluster is brokers and controllers on disks and a network in memory, and the clients' machine.
type cluster struct {
	t      *testing.T
	shape  shape
	net    *memnet.Network
	nodes  []*node // node i has the id i+1
	client *memnet.Host
	dialer *memnet.Process     // of all clients
	disk   func(vfs.FS) vfs.FS // what brokers have for a disk; nil: the Mem itself
	log    *zap.Logger

	lives sync.WaitGroup // processes that have not ended, those without power too
	trap  trap

	mu     sync.Mutex
	broken []string // what does not work that must (U2, U3, U4)
}

func newCluster(t *testing.T, s shape, seed uint64, disk func(vfs.FS) vfs.FS) *cluster {
	c := &cluster{t: t, shape: s, net: memnet.New(seed), disk: disk, log: zap.NewNop()}
	if *logs {
		conf := zap.NewDevelopmentEncoderConfig()
		conf.EncodeTime = zapcore.TimeEncoderOfLayout("04:05.000000")
		c.log = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(conf), zapcore.AddSync(t.Output()), zap.DebugLevel))
	}
	for i, role := range s {
		c.nodes = append(c.nodes, newNode(c, i+1, role))
	}
	c.client = c.net.Host("10.0.1.1")
	c.dialer = c.client.Start()
	return c
}

// fails notes what does not work.
func (c *cluster) fails(format string, args ...any) {
	c.say(format, args...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

// start starts every node that does not run and waits until all serve.
func (c *cluster) start() {
	for _, n := range c.nodes {
		if n.life == nil {
			n.boot()
		}
	}
	for _, n := range c.nodes {
		n.awaitReady()
	}
}

// end stops every node cleanly.
func (c *cluster) end() {
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(n.end)
	}
	all.Wait()
	c.lives.Wait()
}

// some chooses k nodes.
func (c *cluster) some(rng *rand.Rand, k int) []*node {
	var out []*node
	for _, i := range rng.Perm(len(c.nodes))[:min(k, len(c.nodes))] {
		out = append(out, c.nodes[i])
	}
	return out
}

// dial is a client's way to a broker. Clients are impatient, as real ones are.
func (c *cluster) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return c.dialer.Dial(ctx, network, addr)
}

// connect makes a client.
func (c *cluster) connect(opts ...kgo.Opt) *kgo.Client {
	var seeds []string
	for _, n := range c.nodes {
		if n.role != 'c' {
			seeds = append(seeds, n.address(clientPort))
		}
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.Dialer(c.dial), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RequestTimeoutOverhead(time.Second), // half-open connections are given up
		kgo.ProduceRequestTimeout(time.Second),
	}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return cl
}

func (c *cluster) say(format string, args ...any) {
	if *logs {
		c.log.Info("======== " + fmt.Sprintf(format, args...))
	}
}
