//go:build process

package powercut

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/check"
	"cordwood/integration/powercut/forgetfs"
	"cordwood/integration/process"
)

var (
	rounds = flag.Int("rounds", 3, "power cuts under load")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the times of the cuts")
)

const topic = "cut"

// machine is a disk that loses power, and the process on it.
type machine struct {
	t       *testing.T
	backing string
	mount   string
	disk    *forgetfs.FS
	node    *process.Node
}

func newMachine(t *testing.T) *machine {
	m := &machine{t: t, backing: t.TempDir(), mount: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(m.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	m.powerOn()
	t.Cleanup(func() { m.node.Kill(); _ = m.disk.Close() })
	return m
}

func (m *machine) dir() string { return filepath.Join(m.mount, "data") }

func (m *machine) powerOn() {
	m.t.Helper()
	disk, err := forgetfs.Mount(m.mount, m.backing)
	if err != nil {
		m.t.Fatal(err)
	}
	m.disk = disk
}

// cut ends the process and the power. A torn cut keeps a random part of what was not synced.
func (m *machine) cut(seed uint64) error {
	m.node.Kill()
	if seed%2 == 0 {
		return m.disk.Cut()
	}
	return m.disk.CutTorn(rand.New(rand.NewPCG(seed, 3)))
}

// rig is machines that lose their power together.
type rig struct {
	t        *testing.T
	machines []*machine
	start    func() // starts every process and waits until all serve
	client   func(opts ...kgo.Opt) *kgo.Client
}

// args let segments roll during a test.
var args = []string{"--override", "log.segment.bytes=1048576"}

func lone(t *testing.T, more ...string) *rig {
	m := newMachine(t)
	m.node = process.New(t, m.dir(), append(more, args...)...)
	m.node.Start()
	m.node.KeepAddress()
	return &rig{t: t, machines: []*machine{m}, start: m.node.Start, client: m.node.Client}
}

func three(t *testing.T, more ...string) *rig {
	c := process.NewCluster(t, 3, append(more, args...)...)
	r := &rig{t: t, start: c.Start, client: func(opts ...kgo.Opt) *kgo.Client {
		return c.Nodes[0].Client(append(opts, kgo.SeedBrokers(c.Addrs()...))...)
	}}
	for _, n := range c.Nodes {
		m := newMachine(t)
		m.node, n.Dir = n, m.dir()
		r.machines = append(r.machines, m)
	}
	c.Start()
	if _, err := kadm.NewClient(r.client()).CreateTopic(process.Context(t, time.Minute), 1, 3, nil, topic); err != nil {
		t.Fatal(err)
	}
	return r
}

// cut takes the power from all machines at once and gives it back.
func (r *rig) cut(rng *rand.Rand) {
	r.t.Helper()
	errs := make([]error, len(r.machines))
	var all sync.WaitGroup
	for i, m := range r.machines {
		seed := rng.Uint64()
		all.Go(func() { errs[i] = m.cut(seed) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
	for _, m := range r.machines {
		m.powerOn()
	}
	r.start()
}

// awaitMore waits until another record is acknowledged.
func (r *rig) awaitMore(l *process.Load) {
	r.t.Helper()
	began, _ := l.Acked()
	for ctx := process.Context(r.t, 30*time.Second); ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if acked, _ := l.Acked(); acked > began {
			return
		}
	}
	r.t.Fatal("nothing is acknowledged for 30 seconds")
}

// run cuts the power under load and says what became of the acknowledged records.
func (r *rig) run(cuts int) *check.Report {
	t := r.t
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 2))
	l := process.NewLoad(topic)
	cl := r.client(process.LoadOptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()
	for i := range cuts {
		if rng.IntN(4) > 0 { // else it may fall into the recovery from the one before
			r.awaitMore(l)
		}
		time.Sleep(time.Duration(100+rng.IntN(300)) * time.Millisecond) // the cut falls somewhere into the load
		acked, _ := l.Acked()
		r.cut(rng)
		t.Logf("cut %d after %d acknowledgements", i+1, acked)
	}
	cancel()
	<-done
	_ = cl.Flush(process.Context(t, time.Minute))
	report := l.Check(t, r.machines[0].node)
	t.Log(report)
	return report
}

func TestAcknowledgedRecordsSurviveLossOfPower(t *testing.T) {
	if r := lone(t).run(*rounds); len(r.Errors()) > 0 || r.Acked == 0 {
		t.Error(r)
	}
}

func TestAcknowledgedRecordsSurviveLossOfPowerOfAllNodes(t *testing.T) {
	if r := three(t).run(*rounds); len(r.Errors()) > 0 || r.Acked == 0 {
		t.Error(r)
	}
}

func TestTheCheckSeesLossesWithoutFlushBeforeAck(t *testing.T) {
	r := lone(t, "--override", "log.flush.before.ack=false").run(3)
	if r.Count(check.LostWrite)+r.Count(check.Unseen) == 0 {
		t.Errorf("%s: a broker that does not flush lost nothing, so the check is blind", r)
	}
}
