package bubble

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/integration/memnet"
)

// faults is what the seed does to a cluster, one thing after another, while the network has troubles of its own.
type faults struct {
	c   *cluster
	rng *rand.Rand
	adm *kadm.Client
	sky chan struct{} // holds a token while links are cut, or while nobody may cut them
}

// upTo is a random time.
func upTo(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}

// run cuts the power of one node, of as many as min.insync.replicas says, and of all, in any order, with other things
// before and between.
func (f *faults) run(seed uint64) {
	under, calm := context.WithCancel(context.Background())
	weather := &faults{c: f.c, rng: rand.New(rand.NewPCG(seed, 2)), sky: f.sky}
	var troubled sync.WaitGroup
	troubled.Go(func() { weather.trouble(under) })
	defer troubled.Wait()
	defer calm()
	script := []func(){func() { f.powerCut(1) }, func() { f.powerCut(2) }, func() { f.powerCut(len(f.c.nodes)) }}
	others := []func(){f.kill, f.restart, f.move, f.move, f.c.start}
	for range f.rng.IntN(4) {
		script = append(script, others[f.rng.IntN(len(others))])
	}
	f.rng.Shuffle(len(script), func(i, j int) { script[i], script[j] = script[j], script[i] })
	for _, act := range script {
		time.Sleep(upTo(f.rng, time.Second))
		act()
	}
}

// powerCut takes the power from k nodes at once, at a sync of one of them. Some come back soon.
func (f *faults) powerCut(k int) {
	victims := f.c.some(f.rng, k)
	how, silent := tornCut, f.rng.IntN(2) == 0
	if f.rng.IntN(3) == 0 {
		how = cleanCut
	}
	if k == len(f.c.nodes) {
		f.c.start()
		time.Sleep(upTo(f.rng, time.Second))
	}
	f.c.say("power cut of %d: %v", k, names(victims))
	shut := f.c.trap.set(victims, 1+f.rng.IntN(60), func() {
		for _, n := range victims {
			n.crash(f.rng, how, silent)
		}
	})
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-shut:
	case <-timer.C:
		f.c.trap.spring()
	}
	f.c.say("power is cut")
	f.reboot(victims)
}

// reboot starts most of the nodes again after a while, each at its own time.
func (f *faults) reboot(victims []*node) {
	most := time.Second
	if f.rng.IntN(4) == 0 {
		most = 6 * time.Second // longer than a session
	}
	time.Sleep(upTo(f.rng, most))
	for _, n := range victims {
		if f.rng.IntN(5) > 0 {
			n.boot()
			time.Sleep(upTo(f.rng, 200*time.Millisecond))
		}
	}
}

// kill ends processes as kill -9 does.
func (f *faults) kill() {
	victims := f.c.some(f.rng, 1+f.rng.IntN(len(f.c.nodes)))
	f.c.say("kill %v", names(victims))
	for _, n := range victims {
		n.crash(f.rng, killed, false)
	}
	f.reboot(victims)
}

// calm keeps links from being cut until it is called off. A leader whose leadership is moved on request and that is cut off
// at that moment goes on answering reads until its lease is over: R18 does not cover it yet.
func (f *faults) calm() (over func()) {
	f.sky <- struct{}{}
	return func() { <-f.sky }
}

// restart stops a node cleanly and starts it again.
func (f *faults) restart() {
	n := f.c.some(f.rng, 1)[0]
	f.c.say("restart %v", n.id)
	n.end()
	time.Sleep(upTo(f.rng, 500*time.Millisecond))
	n.boot()
}

// move gives a partition another order of replicas and asks for the election of the preferred one. It may fail.
func (f *faults) move() {
	defer f.calm()()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var order []int32
	for _, i := range f.rng.Perm(len(f.c.nodes)) {
		if n := f.c.nodes[i]; n.role != 'c' && len(order) < 3 {
			order = append(order, int32(n.id))
		}
	}
	p := f.rng.Int32N(partitions)
	f.c.say("move %d to %v", p, order)
	var assign kadm.AlterPartitionAssignmentsReq
	assign.Assign(topic, p, order)
	_, _ = f.adm.AlterPartitionAssignments(ctx, assign)
	_, _ = f.adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{topic: {p: {}}})
}

// trouble cuts and slows links until ctx ends, and mends everything.
func (f *faults) trouble(ctx context.Context) {
	usual := f.links()
	f.c.net.SetLinks(usual)
	if f.rng.IntN(3) == 0 {
		return // a good network
	}
	for wait(ctx, upTo(f.rng, 4*time.Second)) {
		f.sky <- struct{}{}
		f.cloud(ctx, usual)
		<-f.sky
	}
}

// cloud is one trouble.
func (f *faults) cloud(ctx context.Context, usual memnet.Link) {
	a, b := f.pair()
	most := time.Second
	if f.rng.IntN(3) == 0 {
		most = 5 * time.Second // longer than a session
	}
	switch f.rng.IntN(7) {
	case 0:
		f.c.say("reset %v %v", a, b)
		f.c.net.Reset(a, b)
		return
	case 1:
		f.c.say("slow %v %v", a, b)
		slow := memnet.Link{Latency: upTo(f.rng, 300*time.Millisecond), Jitter: 50 * time.Millisecond, Segment: usual.Segment, Bandwidth: 20_000}
		f.c.net.SetLink(a, b, slow)
		f.c.net.SetLink(b, a, slow)
		defer f.c.net.SetLink(a, b, usual)
		defer f.c.net.SetLink(b, a, usual)
	case 2:
		n := f.c.some(f.rng, 1)[0]
		in, out := f.rng.IntN(3) > 0, f.rng.IntN(3) > 0
		f.c.say("isolate %d, in %v, out %v", n.id, in, out)
		f.isolate(n, in, out)
	case 3:
		n := f.c.some(f.rng, 1)[0]
		f.c.say("isolate %d, from the clients last", n.id)
		f.fade(ctx, n)
	case 4:
		f.c.say("cut %v %v", a, b)
		f.c.net.Cut(a, b)
	default:
		f.c.say("cut %v to %v", a, b)
		f.c.net.CutOneWay(a, b)
	}
	wait(ctx, upTo(f.rng, most))
	f.c.say("heal")
	f.heal()
}

// links is the network of a seed when nothing is wrong with it.
func (f *faults) links() memnet.Link {
	return memnet.Link{Latency: upTo(f.rng, 2*time.Millisecond), Jitter: 1 + upTo(f.rng, 3*time.Millisecond), Segment: 1 + f.rng.IntN(3000)}
}

// hosts are all machines.
func (f *faults) hosts() []*memnet.Host {
	out := []*memnet.Host{f.c.client}
	for _, n := range f.c.nodes {
		out = append(out, n.host)
	}
	return out
}

func (f *faults) pair() (a, b *memnet.Host) {
	hosts := f.hosts()
	p := f.rng.Perm(len(hosts))
	return hosts[p[0]], hosts[p[1]]
}

// isolate cuts a node off from all others.
func (f *faults) isolate(n *node, in, out bool) {
	for _, h := range f.hosts() {
		if h != n.host && in {
			f.c.net.CutOneWay(h, n.host)
		}
		if h != n.host && out {
			f.c.net.CutOneWay(n.host, h)
		}
	}
}

// fade cuts a node off from the other nodes, and a little later from the clients: meanwhile it takes what it cannot commit.
func (f *faults) fade(ctx context.Context, n *node) {
	for _, other := range f.c.nodes {
		if other != n {
			f.c.net.Cut(n.host, other.host)
		}
	}
	wait(ctx, upTo(f.rng, 200*time.Millisecond))
	f.c.net.Cut(n.host, f.c.client)
}

func (f *faults) heal() {
	hosts := f.hosts()
	for i, a := range hosts {
		for _, b := range hosts[i+1:] {
			f.c.net.Heal(a, b)
		}
	}
}

// wait waits, and says whether ctx goes on.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func names(nodes []*node) (out []int) {
	for _, n := range nodes {
		out = append(out, n.id)
	}
	return out
}
