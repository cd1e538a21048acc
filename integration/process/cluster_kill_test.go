//go:build process

package process

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// Any node may be killed or stopped at any time, as long as the others are in sync again before the next one.
func TestNoAcknowledgedRecordIsLostOrDoubledByKillsInACluster(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 3))
	c := NewCluster(t, 3, "--override", "log.segment.bytes=1048576")
	c.Start()
	adm := kadm.NewClient(c.Client())
	if r, err := adm.CreateTopic(Context(t, time.Minute), 1, 3, nil, "killed"); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	l := NewLoad("killed")
	cl := c.Client(LoadOptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()
	for i := range *kills {
		time.Sleep(time.Duration(100+rng.IntN(400)) * time.Millisecond) // the kill falls somewhere into the load
		victim := c.Nodes[rng.IntN(len(c.Nodes))]
		before, _ := l.Acked()
		if kind := rng.IntN(3); kind == 0 {
			if code := victim.Stop(); code != 0 {
				t.Errorf("exit code %d\n%s", code, victim.Log())
			}
		} else {
			victim.Kill()
		}
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		victim.Start()
		c.AwaitInSync(Context(t, time.Minute), adm, "killed")
		t.Logf("round %d: node at %s was gone after %d acknowledgements", i+1, victim.Addr, before)
	}
	cancel()
	<-done
	if err := cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := l.Check(t, c.Nodes[0])
	t.Log(r)
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
}
