package isr

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cordwood/metadata"
)

var rewrite = flag.Bool("rewrite", false, "write the golden transcripts again")

// TestScripts runs testdata/*.script. A step is one line; the lines below it, up to an empty one, are what the
// tracker answered and how it stands then. Invariants are checked after each step.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/*.script")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".script"), func(t *testing.T) {
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("transcript differs; now:\n%s", got)
			}
		})
	}
}

// player runs the steps of one script.
type player struct {
	t       *testing.T
	tracker *Tracker
	p       metadata.Partition
	now     time.Time
	last    *Proposal
}

func play(t *testing.T, script string) string {
	pl := &player{t: t, now: time.Unix(1000, 0)}
	var out strings.Builder
	answer := false
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			answer = false
		case answer: // what was answered last time
		case strings.HasPrefix(line, "#"):
			fmt.Fprintf(&out, "%s\n", line)
		default:
			fmt.Fprintf(&out, "%s\n%s\n", line, pl.step(line))
			answer = true
		}
	}
	return out.String()
}

func (pl *player) step(line string) string {
	words := strings.Fields(line)
	a := arguments{pl.t, line, map[string]string{}}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		a.m[k] = v
	}
	state, hw := Committed, int64(0)
	if pl.tracker != nil {
		state, hw = pl.tracker.state, pl.tracker.hw
	}
	said := pl.do(words[0], a)
	if err := pl.tracker.CheckInvariants(); err != nil {
		pl.t.Errorf("after %q: %v", line, err)
	}
	if err := pl.tracker.CheckStep(state, hw); err != nil && words[0] != "new" {
		pl.t.Errorf("after %q: %v", line, err)
	}
	return said + "  " + pl.tracker.String() + "\n"
}

func (pl *player) do(verb string, a arguments) string {
	t := pl.tracker
	switch verb {
	case "new":
		pl.p = metadata.Partition{MinISR: 1}
		pl.change(a)
		pl.tracker = NewTracker(1, pl.p, a.int("end", 0), a.int("hw", 0), pl.now)
		return ""
	case "append":
		return pl.effects(t.Appended(a.int("end", t.end), a.int("durable", t.durable), pl.now), nil)
	case "fetch":
		return pl.effects(t.Fetched(pl.fetch(a), pl.now))
	case "wait":
		d, err := time.ParseDuration(a.m["for"])
		if err != nil {
			pl.t.Fatal(err)
		}
		pl.now = pl.now.Add(d)
		return ""
	case "tick":
		return pl.effects(t.Tick(pl.now), nil)
	case "commit":
		pl.p.PartitionEpoch++
		pl.change(a)
		return pl.effects(t.Committed(pl.p, pl.now), nil)
	case "commit-proposal":
		pl.p.PartitionEpoch++
		pl.p.ISR = nil
		for _, m := range pl.last.ISR {
			pl.p.ISR = append(pl.p.ISR, m.ID)
		}
		return pl.effects(t.Committed(pl.p, pl.now), nil)
	case "reject":
		return pl.effects(t.Rejected(*pl.last, pl.now), nil)
	}
	pl.t.Fatalf("unknown step %q", verb)
	return ""
}

func (pl *player) effects(e Effects, err error) string {
	s := ""
	if err != nil {
		s += fmt.Sprintf("  error: %v\n", err)
	}
	if e.HighWatermark != pl.tracker.hw {
		pl.t.Errorf("effects say %d, the tracker %d", e.HighWatermark, pl.tracker.hw)
	}
	if e.Propose != nil {
		pl.last = e.Propose
		s += fmt.Sprintf("  propose %v in %d/%d\n", e.Propose.ISR, e.Propose.LeaderEpoch, e.Propose.PartitionEpoch)
	}
	return s
}

func (pl *player) change(a arguments) {
	pl.p.Replicas = a.ids("replicas", pl.p.Replicas)
	pl.p.ISR = a.ids("isr", pl.p.ISR)
	pl.p.Leader = 1
	pl.p.MinISR = int32(a.int("min", int64(pl.p.MinISR)))
	pl.p.LeaderEpoch = int32(a.int("epoch", int64(pl.p.LeaderEpoch)))
	pl.p.PartitionEpoch = int32(a.int("pepoch", int64(pl.p.PartitionEpoch)))
	if v, ok := a.m["durable-mode"]; ok {
		pl.p.Durable = v == "true"
	}
}

// fetch takes what the script does not say from the tracker: same epoch everywhere, current broker epoch.
func (pl *player) fetch(a arguments) Fetch {
	t := pl.tracker
	f := Fetch{Replica: metadata.NodeID(a.int("from", 2)), Offset: a.int("offset", 0)}
	f.LeaderEpoch = int32(a.int("epoch", int64(t.p.LeaderEpoch)))
	f.LastEpoch = int32(a.int("last", int64(f.LeaderEpoch)))
	f.EpochOfEnd = int32(a.int("e", int64(f.LastEpoch)))
	f.EndOfEpoch = a.int("e-end", t.end)
	f.Start = a.int("start", 0)
	f.RegisteredEpoch = a.int("registered", 100+int64(f.Replica))
	f.BrokerEpoch = a.int("broker", f.RegisteredEpoch)
	_, f.Durable = a.m["synced"]
	_, f.FencedOrStopping = a.m["fenced"]
	return f
}

type arguments struct {
	t    *testing.T
	line string
	m    map[string]string
}

func (a arguments) int(key string, otherwise int64) int64 {
	v, ok := a.m[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		a.t.Fatalf("%s: %v", a.line, err)
	}
	return n
}

func (a arguments) ids(key string, otherwise []metadata.NodeID) []metadata.NodeID {
	v, ok := a.m[key]
	if !ok {
		return otherwise
	}
	ids := []metadata.NodeID{}
	for _, s := range strings.Split(v, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			a.t.Fatalf("%s: %v", a.line, err)
		}
		ids = append(ids, metadata.NodeID(n))
	}
	return ids
}
