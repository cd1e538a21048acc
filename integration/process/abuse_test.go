//go:build process

package process

import (
	"bytes"
	"flag"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/abuse"
)

var (
	times = flag.Int("times", 100, "how often each bad input is played (make abuse: 1000)")
	p99   = flag.Bool("p99", false, "measure what bad inputs do to the latency of others")

	abuseSections = flag.String("sections", "ABCDEHIJ", "which sections of the bad inputs are played")
)

// fortress is a node with the limits that the cases know.
func fortress(t *testing.T, args ...string) (*Node, *abuse.Ground) {
	t.Helper()
	n := New(t, t.TempDir(), append([]string{
		"--override", "socket.request.max.bytes=8388608", "--override", "fetch.max.bytes=1048576",
		"--override", "offsets.topic.num.partitions=5", "--override", "cordwood.pprof.enable=true",
	}, args...)...)
	n.Start()
	g := &abuse.Ground{Addr: n.Addr, Internal: n.Internal, MaxFrame: 8 << 20, MaxFetch: 1 << 20}
	if err := g.Prepare(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	return n, g
}

// A thousand times each, in one process: it stays alive, stores what it stored, and holds no more than before.
func TestBadInputsWithoutEndLeaveNothing(t *testing.T) {
	n, g := fortress(t)
	digest, err := g.Digest()
	if err != nil {
		t.Fatal(err)
	}
	var other *Node // whom nobody abuses
	if *p99 {
		other, _ = fortress(t)
	}
	start := n.Rest()
	t.Logf("at first: %s", start)
	for _, section := range *abuseSections {
		began := time.Now()
		if err := g.PlayAll(string(section), *times, 8, 0); err != nil {
			t.Errorf("section %c: %v", section, err)
		}
		flat(t, n, start, "section "+string(section)+" in "+time.Since(began).Round(time.Second).String())
		if other != nil {
			asFast(t, n, other, "after section "+string(section))
		}
	}
	if after, err := g.Digest(); err != nil || after != digest {
		t.Errorf("the stored records are not what they were: %v", err)
	}
	if got := n.Metric(`cordwood_connections_closed_total{reason="panic"}`); got != 0 {
		t.Errorf("%v panics\n%s", got, n.Log())
	}
	for reason, least := range map[string]int{"bad_length": 10, "refused": 50, "frame_timeout": 2, "write_timeout": 1} {
		if got := n.Metric(`cordwood_connections_closed_total{reason="` + reason + `"}`); got < float64(least**times) {
			t.Errorf("%v connections closed for %s are counted, at least %d were", got, reason, least**times)
		}
	}
	if lines, raw := n.logLines(t); lines > 2000 || raw != "" {
		t.Errorf("%d lines in the log; %q is not escaped", lines, raw)
	}
	if code := n.Stop(); code != 0 {
		t.Errorf("exit code %d\n%s", code, n.Log())
	}
}

var unprintable = regexp.MustCompile(`.*[\x00-\x09\x0b-\x1f\x7f].*`)

// logLines counts the lines of the log and finds one that holds what a terminal would obey.
func (n *Node) logLines(t *testing.T) (lines int, raw string) {
	t.Helper()
	b := n.WholeLog()
	for _, c := range b {
		if c == '\n' {
			lines++
		}
	}
	return lines, string(unprintable.Find(b))
}

// asFast compares n's answers with those of another broker, by turns, for machines are never the same for long.
func asFast(t *testing.T, n, other *Node, when string) {
	t.Helper()
	var own, others []time.Duration
	for range 5 {
		others = append(others, latencies(t, other, 2*time.Second)...)
		own = append(own, latencies(t, n, 2*time.Second)...)
	}
	slices.Sort(own)
	slices.Sort(others)
	t.Logf("%s: p50 %s, p99 %s; of a broker nobody abused %s, %s", when, part(own, 50), part(own, 99), part(others, 50), part(others, 99))
	if part(own, 99) > 2*part(others, 99) {
		t.Errorf("%s: p99 is %s, %s of a broker nobody abused", when, part(own, 99), part(others, 99))
	}
}

// While bad inputs come, others are served as fast as before; what an honest client in a hurry costs them is told beside
// (ADR 7). Both players are processes of the lowest priority, as if they
// were on another machine, and have one connection.
func TestOthersAreServedWhileBadInputsCome(t *testing.T) {
	if !*p99 {
		return // measured on a quiet machine only: make abuse
	}
	n, _ := fortress(t)
	play := filepath.Join(t.TempDir(), "play")
	if out, err := exec.Command("go", "build", "-o", play, "../abuse/play").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	latencies(t, n, time.Second) // the topic exists
	for _, section := range *abuseSections {
		good, bad := player(t, n, play, 'O'), player(t, n, play, section)
		var alone, beside, abused []time.Duration
		for range 5 { // by turns, for machines are never the same for long
			alone = append(alone, latencies(t, n, 2*time.Second)...)
			beside = append(beside, while(t, n, good)...)
			abused = append(abused, while(t, n, bad)...)
		}
		for _, p := range []*exec.Cmd{good, bad} {
			mustDo(t, p.Process.Signal(syscall.SIGCONT))
			if err := p.Wait(); err != nil {
				t.Errorf("section %c: %v: %s", section, err, p.Stderr)
			}
		}
		slices.Sort(alone)
		slices.Sort(beside)
		slices.Sort(abused)
		t.Logf("section %c: p50 %s, p99 %s; beside good requests p50 %s, p99 %s; alone p50 %s, p99 %s", section, part(abused, 50), part(abused, 99),
			part(beside, 50), part(beside, 99), part(alone, 50), part(alone, 99))
		if part(abused, 99) > 2*part(alone, 99) {
			t.Errorf("section %c: p99 of others is %s, %s without", section, part(abused, 99), part(alone, 99))
		}
	}
}

// player plays a section for half a minute and is stopped until while lets it go on.
func player(t *testing.T, n *Node, play string, section rune) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("chrt", "--idle", "0", play, "-addr", n.Addr, "-internal", n.Internal, "-max-frame", "8388608", "-max-fetch", "1048576",
		"-workers", "1", "-sections", string(section), "-for", "40s")
	cmd.Stderr = new(bytes.Buffer)
	mustDo(t, cmd.Start())
	time.Sleep(time.Second) // its topics are prepared
	mustDo(t, cmd.Process.Signal(syscall.SIGSTOP))
	return cmd
}

// while measures what others get while the player plays.
func while(t *testing.T, n *Node, player *exec.Cmd) []time.Duration {
	t.Helper()
	mustDo(t, player.Process.Signal(syscall.SIGCONT))
	took := latencies(t, n, 2*time.Second)
	mustDo(t, player.Process.Signal(syscall.SIGSTOP))
	return took
}

// part is a percentile of sorted times.
func part(sorted []time.Duration, percent int) time.Duration { return sorted[len(sorted)*percent/100] }

// latencies produces record by record, a hundred a second, acknowledged by all replicas, and measures the answers.
func latencies(t *testing.T, n *Node, length time.Duration) []time.Duration {
	t.Helper()
	cl := n.Client(kgo.DefaultProduceTopic("others"), kgo.ProducerLinger(0))
	defer cl.Close()
	send := func() time.Duration {
		began := time.Now()
		if err := cl.ProduceSync(Context(t, time.Minute), kgo.StringRecord("other")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	send() // connected
	var took []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); <-tick.C {
		took = append(took, send())
	}
	return took
}
