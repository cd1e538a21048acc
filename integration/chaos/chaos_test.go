//go:build process

package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cordwood/integration/check"
	"cordwood/integration/check/recorder"
	"cordwood/integration/netns"
	"cordwood/integration/process"
)

const nodes = 3

var (
	seed   = flag.Uint64("seed", uint64(time.Now().UnixNano()), "what the schedule is made from")
	rounds = flag.Int("rounds", 10, "faults of the schedule")
)

func TestASeedAlwaysMeansTheSameSchedule(t *testing.T) {
	a, b := schedule(7, 330, nodes, true), schedule(7, 330, nodes, true)
	if !slices.Equal(a, b) || slices.Equal(a, schedule(8, 330, nodes, true)) {
		t.Error("the schedule is not that of the seed")
	}
	var count [kinds]int
	for _, r := range a {
		count[r.kind]++
		if r.meets == r.node || r.other == r.node {
			t.Errorf("a node is its own other: %s", r)
		}
	}
	if count != [kinds]int{kill: 200, pause: 50, isolate: 20, oneWay: 30, killAll: 30} {
		t.Error(count)
	}
	for _, r := range schedule(7, 330, nodes, false) {
		if r.kind == isolate || r.kind == oneWay {
			t.Fatal("a cut where there are no links")
		}
	}
}

// storm is a cluster under a schedule.
type storm struct {
	t   *testing.T
	c   *process.Cluster
	lab *netns.Lab // nil: links are not cut
	adm *kadm.Client
}

func newStorm(t *testing.T) *storm {
	lab, err := netns.New(t, nodes)
	if err != nil {
		t.Log("links are not cut: ", err)
	}
	s := &storm{t: t, lab: lab}
	settings := []string{"--override", "log.segment.bytes=1048576", "--override", "offsets.topic.num.partitions=4"}
	if lab == nil {
		s.c = process.NewCluster(t, nodes, settings...)
	} else {
		s.c = process.NewClusterIn(t, lab, nodes, settings...)
	}
	s.c.Start()
	s.adm = kadm.NewClient(s.c.Client())
	if r, err := s.adm.CreateTopic(process.Context(t, time.Minute), partitions, nodes, nil, topic); err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	s.settle()
	return s
}

func (s *storm) settle() { s.c.AwaitInSync(process.Context(s.t, time.Minute), s.adm, topic) }

// strike does what a round says and makes everything whole again.
func (s *storm) strike(r round) {
	s.t.Helper()
	time.Sleep(r.after)
	s.begin(r)
	time.Sleep(r.lasts / 2)
	if r.meets >= 0 {
		s.c.Nodes[r.meets].Kill()
	}
	time.Sleep(r.lasts / 2)
	s.end(r)
	if r.settled {
		s.settle()
	}
}

func (s *storm) begin(r round) {
	s.t.Helper()
	s.alive()
	node := s.c.Nodes[r.node]
	switch r.kind {
	case kill:
		node.Kill()
	case pause:
		node.Pause()
	case killAll:
		for _, n := range s.c.Nodes {
			n.Kill()
		}
	case isolate:
		s.must(s.lab.Separate(r.node, append(s.lab.Others(r.node), netns.Outside)...))
	case oneWay:
		others := []int{r.other}
		if r.other == allHosts {
			others = s.lab.Others(r.node)
		}
		for _, other := range others {
			if r.inward {
				s.must(s.lab.Cut(other, r.node))
			} else {
				s.must(s.lab.Cut(r.node, other))
			}
		}
	}
}

// alive fails when a node has ended by itself.
func (s *storm) alive() {
	s.t.Helper()
	for i, n := range s.c.Nodes {
		if !n.Running() {
			s.t.Fatalf("node %d has ended by itself\n%s", i+1, n.Log())
		}
	}
}

func (s *storm) end(r round) {
	s.t.Helper()
	if r.kind == pause {
		s.c.Nodes[r.node].Resume()
	}
	if s.lab != nil {
		s.must(s.lab.Heal())
	}
	var starting sync.WaitGroup
	for i, n := range s.c.Nodes {
		killed := r.kind == killAll || r.kind == kill && i == r.node || i == r.meets
		if !killed {
			continue
		}
		starting.Go(func() {
			if err := n.TryStart(time.Minute); err != nil {
				s.t.Errorf("node %d: %v", i+1, err)
			}
		})
	}
	starting.Wait()
	if s.t.Failed() {
		s.c.Log()
		s.t.FailNow()
	}
}

func (s *storm) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestNothingIsLostDoubledOrStaleInAStorm(t *testing.T) {
	t.Logf("seed %d, %d rounds: the same again with -seed %d -rounds %d", *seed, *rounds, *seed, *rounds)
	s := newStorm(t)
	ctx, cancel := context.WithCancel(context.Background())
	found, err := newEvidence(filepath.Join(os.TempDir(), fmt.Sprintf("cordwood-chaos-%d", *seed)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(found.dir)
		}
	})
	l := &load{t: t, addrs: s.c.Addrs(), record: recorder.New(), ctx: ctx, evidence: found}
	t.Cleanup(func() { cancel(); l.clients.Wait() })
	for range 3 {
		l.begun.Add(1)
		l.run(*seed, l.produce)
	}
	l.run(*seed, func(me int, rng *rand.Rand) { l.read(me, rng, false) })
	l.run(*seed, func(me int, rng *rand.Rand) { l.read(me, rng, true) })
	for range 2 {
		l.run(*seed, l.consume)
	}
	l.run(*seed, l.probe)
	l.begun.Wait()
	var count [kinds]int
	met := 0
	for i, r := range schedule(*seed, *rounds, nodes, s.lab != nil) {
		t.Logf("round %d: %s; %d acknowledged", i+1, r, l.acked.Load())
		s.strike(r)
		count[r.kind]++
		if r.meets >= 0 {
			met++
		}
	}
	s.settle()
	time.Sleep(time.Second) // all clients come back
	cancel()
	l.clients.Wait()
	s.c.Nodes[0].ReadAll(l.record, l.started+1, topic, partitions)
	history := l.record.History()
	report := check.Check(history)
	t.Logf("%d kills, %d pauses, %d cuts of all links, %d in one direction, %d kills of all nodes: %s", count[kill]+met, count[pause],
		count[isolate], count[oneWay], count[killAll], report)
	if len(report.Errors()) > 0 || l.failed.Load() > 0 || report.Acked == 0 {
		t.Errorf("seed %d: %d sends failed; %s", *seed, l.failed.Load(), report)
		s.c.Log()
		found.keep(t, s.c.Nodes, history)
	}
}
