package bubble

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"cordwood/broker"
	"cordwood/integration/memnet"
	"cordwood/protocol"
	"cordwood/segment/vfs"
)

const (
	brokerIP, clientIP = "10.0.0.1", "10.0.0.2"
	address            = brokerIP + ":9092"
)

// node is a broker on a disk and a network in memory.
type node struct {
	t      *testing.T
	net    *memnet.Network
	host   *memnet.Host
	client *memnet.Host
	disk   *vfs.Mem
	change func(*broker.Config)

	stop context.CancelFunc
	done chan error
}

func newNode(t *testing.T, seed uint64, change func(*broker.Config)) *node {
	n := &node{t: t, net: memnet.New(seed), disk: vfs.NewMem(), change: change}
	n.host, n.client = n.net.Host(brokerIP), n.net.Host(clientIP)
	return n
}

// start starts the broker and waits until it serves.
func (n *node) start() {
	n.t.Helper()
	c := broker.Defaults()
	c.LogDirs = []string{"/data"}
	c.Listeners = []broker.ListenerConfig{
		{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: address, Kind: protocol.Client},
		{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal},
	}
	c.HTTPAddr = ""
	c.Offsets.Partitions = 1
	c.Group.InitialRebalanceDelay = 0
	c.FS, c.Listen, c.Dial, c.Log = n.disk, n.host.Listen, n.host.Dial, zap.NewNop()
	ready := make(chan struct{})
	c.Ready = func(broker.Addrs) { close(ready) }
	if n.change != nil {
		n.change(&c)
	}
	b, err := broker.Open(c)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop, n.done = stop, make(chan error, 1)
	go func() { n.done <- b.Run(ctx) }()
	select {
	case <-ready:
	case err := <-n.done:
		n.t.Fatalf("the broker ended at its start: %v", err)
	case <-time.After(time.Minute):
		n.t.Fatal("the broker is not ready after a minute")
	}
}

// end stops the broker cleanly.
func (n *node) end() {
	n.t.Helper()
	n.stop()
	if err := <-n.done; err != nil {
		n.t.Errorf("the broker's end: %v", err)
	}
}

// crash ends the broker at this moment: nothing that it does from now on is seen by a client or kept by the disk. The
// disk keeps all that was written (a kill), or what was synced and a random part of the rest (a power cut).
func (n *node) crash(rng *rand.Rand) {
	power := rng.IntN(3) > 0
	if power && rng.IntN(2) == 0 {
		n.host.PowerOff()
	} else {
		n.host.Kill()
	}
	left := n.disk
	switch {
	case !power:
		n.disk = left.KillClone()
	case rng.IntN(2) == 0:
		n.disk = left.CrashClone(rng)
	default:
		n.disk = left.CrashClone(nil)
	}
	n.stop()
	<-n.done // what the old process says about its end does not count
}

// dial is a client's way to the broker. Clients are impatient, as real ones are.
func (n *node) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return n.client.Dial(ctx, network, addr)
}

// connect makes a client.
func (n *node) connect(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(address), kgo.Dialer(n.dial), kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.RequestTimeoutOverhead(time.Second), // half-open connections are given up
	}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	return cl
}
