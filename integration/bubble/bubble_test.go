package bubble

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
	"cordwood/segment/vfs"
)

var (
	seeds = flag.Uint64("seeds", 0, "how many seeds are run; 0: a few")
	from  = flag.Uint64("from", 1, "the first of them")
	one   = flag.Uint64("seed", 0, "run this one alone")
)

// play lets clients and faults loose on a cluster and returns what the clients saw, and what did not work.
func play(t *testing.T, s shape, seed uint64, disk func(vfs.FS) vfs.FS) (*check.Report, []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t, s, seed, disk)
	defer c.end()
	c.start()
	admin := c.connect()
	defer admin.Close()
	f := &faults{c: c, rng: rng, adm: kadm.NewClient(admin), sky: make(chan struct{}, 1)}
	if _, err := f.adm.CreateTopic(context.Background(), partitions, -1, nil, topic); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &load{c: c, r: recorder.New(), ctx: ctx}
	l.run(1, seed, l.produce)
	l.run(2, seed, l.produce)
	l.run(3, seed, l.read)
	if clientsWait || s == lone {
		l.run(4, seed, l.consume)
	}
	l.run(5, seed, l.probe)
	f.run(seed)
	c.say("all is mended")
	c.start()
	time.Sleep(time.Second)
	stop()
	l.clients.Wait()
	l.readAll(6)
	c.compare(f.adm)
	return check.Check(l.r.History()), c.broken
}

// each runs a test for every seed, some at a time, each in a bubble of its own.
func each(t *testing.T, few uint64, test func(t *testing.T, seed uint64)) {
	first, count := *from, *seeds
	if count == 0 {
		count = few
	}
	if *one > 0 {
		first, count = *one, 1
	}
	name := t.Name()
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, seed) })
			if t.Failed() {
				t.Logf("again: go test -tags synctests ./integration/bubble -run %s -seed %d -count 20", name, seed)
			}
		})
	}
}

func isCorrect(s shape) func(t *testing.T, seed uint64) {
	return func(t *testing.T, seed uint64) {
		r, broken := play(t, s, seed, nil)
		for _, what := range broken {
			t.Error(what)
		}
		if len(r.Errors()) > 0 || r.Acked == 0 {
			t.Error(r)
		}
		t.Log(r)
	}
}

func TestOneBrokerLosesNothing(t *testing.T) { each(t, 20, isCorrect(lone)) }
func TestThreeNodesLoseNothing(t *testing.T) { each(t, 10, isCorrect(three)) }
func TestFiveNodesLoseNothing(t *testing.T)  { each(t, 3, isCorrect(five)) }
func TestSplitRolesLoseNothing(t *testing.T) { each(t, 3, isCorrect(split)) }

// forgetful is a disk that says to have synced records and has not.
func forgetful(disk vfs.FS) vfs.FS {
	return vfs.NewFault(disk, func(op vfs.Op) vfs.Verdict {
		records := strings.HasPrefix(op.Name, "/data/"+topic+"-") && strings.HasSuffix(op.Name, ".log") || strings.Contains(op.Name, "journal")
		return vfs.Verdict{Lie: op.Kind == vfs.OpSync && records}
	})
}

// What is acknowledged before it is synced must be found out, or the tests above show nothing.
func TestLossesAreSeenWithoutFsync(t *testing.T) {
	for _, s := range []shape{lone, three} {
		lost, runs := 0, 0
		for seed := uint64(1); lost == 0 && seed <= 50; seed++ {
			synctest.Test(t, func(t *testing.T) {
				r, broken := play(t, s, seed, forgetful)
				lost += r.Count(check.LostWrite) + r.Count(check.InconsistentOffsets)
				if len(broken) == 0 {
					lost += r.Count(check.Unseen)
				}
				runs++
			})
		}
		if lost == 0 {
			t.Errorf("%s: %d runs without a loss: the check is blind", s, runs)
		}
		t.Logf("%s: %d losses after %d runs", s, lost, runs)
	}
}
