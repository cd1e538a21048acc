//go:build process

package powercut

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cordwood/integration/check"
	"cordwood/integration/powercut/forgetfs"
	"cordwood/integration/process"
)

var (
	rounds = flag.Int("rounds", 3, "power cuts under load")
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the times of the cuts")
)

// machine is a broker on a disk that loses power.
type machine struct {
	t       *testing.T
	backing string
	mount   string
	disk    *forgetfs.FS
	node    *process.Node
}

func newMachine(t *testing.T, args ...string) *machine {
	m := &machine{t: t, backing: t.TempDir(), mount: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(m.mount, 0o700); err != nil {
		t.Fatal(err)
	}
	m.powerOn()
	t.Cleanup(func() { m.node.Kill(); _ = m.disk.Close() })
	m.node = process.New(t, filepath.Join(m.mount, "data"), append(args, "--override", "log.segment.bytes=1048576")...)
	m.node.Start()
	m.node.KeepAddress()
	return m
}

func (m *machine) powerOn() {
	m.t.Helper()
	disk, err := forgetfs.Mount(m.mount, m.backing)
	if err != nil {
		m.t.Fatal(err)
	}
	m.disk = disk
}

// cut ends the process and the power, and starts both again. A torn cut keeps a random part of what was not synced.
func (m *machine) cut(rng *rand.Rand) {
	m.t.Helper()
	m.node.Kill()
	var err error
	if rng.IntN(2) == 0 {
		err = m.disk.Cut()
	} else {
		err = m.disk.CutTorn(rng)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.powerOn()
	m.node.Start()
}

// run cuts the power under load and says what became of the acknowledged records.
func run(t *testing.T, cuts int, args ...string) *check.Report {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 2))
	m := newMachine(t, args...)
	l := process.NewLoad("cut")
	cl := m.node.Client(process.LoadOptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()
	for i := range cuts {
		time.Sleep(time.Duration(100+rng.IntN(300)) * time.Millisecond) // the cut falls somewhere into the load
		acked, _ := l.Acked()
		m.cut(rng)
		t.Logf("cut %d after %d acknowledgements", i+1, acked)
	}
	cancel()
	<-done
	_ = cl.Flush(process.Context(t, time.Minute))
	r := l.Check(t, m.node)
	t.Log(r)
	return r
}

func TestAcknowledgedRecordsSurviveLossOfPower(t *testing.T) {
	if r := run(t, *rounds); len(r.Errors()) > 0 || r.Acked == 0 {
		t.Error(r)
	}
}

func TestTheCheckSeesLossesWithoutFlushBeforeAck(t *testing.T) {
	r := run(t, 3, "--override", "log.flush.before.ack=false")
	if r.Count(check.LostWrite)+r.Count(check.Unseen) == 0 {
		t.Errorf("%s: a broker that does not flush lost nothing, so the check is blind", r)
	}
}
