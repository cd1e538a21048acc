//go:build process

package process

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	kills = flag.Int("kills", 5, "how often the broker is killed under load")
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "seed of the times of the kills")
)

func TestNoAcknowledgedRecordIsLostOrDoubledByKills(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 1))
	n := New(t, t.TempDir(), "--override", "log.segment.bytes=1048576")
	n.Start()
	n.KeepAddress()
	l := NewLoad("killed")
	cl := n.Client(LoadOptions()...)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()
	for i := range *kills {
		time.Sleep(time.Duration(100+rng.IntN(400)) * time.Millisecond) // the kill falls somewhere into the load
		before, _ := l.Acked()
		n.Kill()
		began := time.Now()
		n.Start()
		t.Logf("kill %d after %d acknowledgements: serving again after %s", i+1, before, time.Since(began).Round(time.Millisecond))
	}
	cancel()
	<-done
	if err := cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	r := l.Check(t, n)
	t.Log(r)
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked == 0 {
		t.Errorf("%s; %d failed", r, failed)
	}
}
