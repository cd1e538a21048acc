package bubble

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/broker"
	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
	"cordwood/integration/memnet"
)

var (
	seeds = flag.Uint64("seeds", 40, "how many seeds are run")
	from  = flag.Uint64("from", 1, "the first of them")
)

// play lets clients and faults loose on a broker and returns what the clients saw.
func play(t *testing.T, seed uint64, change func(*broker.Config)) *check.Report {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := newNode(t, seed, change)
	n.net.SetLinks(memnet.Link{Latency: time.Duration(rng.IntN(2000)) * time.Microsecond,
		Jitter: time.Duration(rng.IntN(3000)) * time.Microsecond, Segment: 1 + rng.IntN(3000)})
	n.start()
	setup := n.connect()
	if _, err := kadm.NewClient(setup).CreateTopic(context.Background(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	setup.Close()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{n: n, r: recorder.New(), ctx: ctx}
	l.run(1, seed, l.produce)
	l.run(2, seed, l.produce)
	l.run(3, seed, l.read)
	l.run(4, seed, l.consume)
	l.run(5, seed, l.probe)
	for range 1 + rng.IntN(3) {
		time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
		n.fault(rng)
	}
	time.Sleep(time.Second)
	stop()
	l.clients.Wait()
	l.readAll(6)
	n.end()
	return check.Check(l.r.History())
}

// fault does one thing to the broker or to its network, and mends it.
func (n *node) fault(rng *rand.Rand) {
	switch rng.IntN(5) {
	case 0:
		n.net.Reset(n.host, n.client)
	case 1:
		if rng.IntN(2) == 0 {
			n.net.CutOneWay(n.host, n.client)
		} else {
			n.net.Cut(n.host, n.client)
		}
		time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Second))))
		n.net.Heal(n.host, n.client)
	default:
		n.crash(rng)
		time.Sleep(time.Duration(rng.Int64N(int64(time.Second))))
		n.host.PowerOn()
		n.start()
	}
}

func TestClientsSeeACorrectLogThroughCrashesAndCuts(t *testing.T) {
	for seed := *from; seed < *from+*seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := play(t, seed, nil)
				if len(r.Errors()) > 0 || r.Acked == 0 {
					t.Error(r)
				}
			})
		})
	}
}

// A broker that acknowledges before it syncs must be found out, or the test above shows nothing.
func TestLossesAreSeenWithoutFlushBeforeAck(t *testing.T) {
	lost, runs := 0, 0
	for seed := uint64(1); lost == 0 && seed <= 20; seed++ {
		synctest.Test(t, func(t *testing.T) {
			r := play(t, seed, func(c *broker.Config) { c.Topic.FlushBeforeAck = false })
			lost += r.Count(check.LostWrite) + r.Count(check.Unseen) + r.Count(check.InconsistentOffsets)
			runs++
		})
	}
	if lost == 0 {
		t.Errorf("%d runs without a loss: the check is blind", runs)
	}
	t.Logf("%d losses after %d runs", lost, runs)
}
