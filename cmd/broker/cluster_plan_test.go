package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// brokers gives a world brokers with racks, "a" for broker 1 and so on; "" for none.
func brokersIn(v *clusterView, racks ...string) {
	v.brokers = nil
	for i, r := range racks {
		v.brokers = append(v.brokers, clusterBroker{id: int32(i + 1), live: true, rack: r, dirs: []logDir{{path: "d", free: 1000, total: 2000}}})
	}
}

func movesText(moves []replicaMove) string {
	var out []string
	for _, m := range moves {
		out = append(out, fmt.Sprintf("%s %s>%s", m.partitionID, joinIDs(m.from), joinIDs(m.to)))
	}
	return strings.Join(out, " ")
}

func errorsText(errs []error) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}

func TestWhereTheReplicasOfALeavingBrokerGo(t *testing.T) {
	for _, c := range []struct {
		name   string
		racks  []string
		change func(v *clusterView)
		gone   []int32
		moves  string
		err    string
	}{
		{"in its place, to who has least", []string{"", "", "", ""}, nil, []int32{3}, "t-0 1,2,3>1,2,4 t-1 2,3,1>2,4,1 t-2 3,1,2>4,1,2", ""},
		{"evenly", []string{"", "", "", "", ""}, func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 3, 1), part("t", 1, 1, 3, 2), part("t", 2, 1, 3, 1)}
		}, []int32{3}, "t-0 3,1>4,1 t-1 3,2>5,2 t-2 3,1>2,1", ""},
		{"to another rack", []string{"a", "b", "c", "a", "c"}, func(v *clusterView) { v.partitions = v.partitions[:1] }, []int32{3}, "t-0 1,2,3>1,2,5", ""},
		{"to the same rack, rather than nowhere", []string{"a", "b", "c", "a"}, func(v *clusterView) { v.partitions = v.partitions[:1] }, []int32{3}, "t-0 1,2,3>1,2,4", ""},
		{"nobody is left", []string{"", "", ""}, nil, []int32{3}, "", "t-0: 2 brokers may have replicas of it, and each has one; add a broker, or ask for fewer replicas (cluster reassign --topics t --replicas N)"},
		{"who is left is down", []string{"", "", "", ""}, func(v *clusterView) { v.brokers[3].live = false }, []int32{3}, "", "t-0: 2 brokers may have"},
		{"who is left leaves too", []string{"", "", "", ""}, func(v *clusterView) { v.brokers[3].leaves = true }, []int32{3}, "", "t-0: 2 brokers may have"},
		{"no room", []string{"", "", "", ""}, func(v *clusterView) { v.brokers[3].dirs[0].free = 99 }, []int32{3}, "", "t-0: no broker has room for its 100 B; the most free space is 99 B"},
		{"room for two", []string{"", "", "", ""}, func(v *clusterView) { v.brokers[3].dirs[0].free = 250 }, []int32{3}, "", "t-2: no broker has room for its 100 B; the most free space is 50 B"},
		{"nobody knows the room", []string{"", "", "", ""}, func(v *clusterView) { v.brokers[3].dirs[0].free = -1 }, []int32{3}, "t-0 1,2,3>1,2,4 t-1 2,3,1>2,4,1 t-2 3,1,2>4,1,2", ""},
		{"two leave", []string{"", "", "", "", ""}, func(v *clusterView) { v.partitions = v.partitions[:1] }, []int32{2, 3}, "t-0 1,2,3>1,4,5", ""},
		{"on its way already", []string{"", "", "", ""}, func(v *clusterView) {
			v.partitions = v.partitions[:1]
			p := &v.partitions[0]
			p.replicas, p.adding, p.removing = []int32{1, 2, 4, 3}, []int32{4}, []int32{3}
		}, []int32{3}, "", ""},
		{"on its way to a broker that is gone", []string{"", "", "", "", ""}, func(v *clusterView) {
			v.partitions = v.partitions[:1]
			v.brokers[3].live = false
			p := &v.partitions[0]
			p.replicas, p.adding, p.removing = []int32{1, 2, 4, 3}, []int32{4}, []int32{3}
		}, []int32{3}, "t-0 1,2,4>1,2,5", ""},
		{"nothing there", []string{"", "", "", ""}, nil, []int32{4}, "", ""},
	} {
		v := world()
		brokersIn(v, c.racks...)
		if c.change != nil {
			c.change(v)
		}
		moves, failed := evacuate(v, c.gone)
		if got := errorsText(failed); !strings.HasPrefix(got, c.err) || got == "" != (c.err == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.err)
		}
		if got := movesText(moves); c.err == "" && got != c.moves {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.moves)
		}
	}
}

func TestTopicsAreSpreadWithFewMoves(t *testing.T) {
	for _, c := range []struct {
		name   string
		racks  []string
		change func(v *clusterView)
		to     []int32
		factor int
		moves  string
		err    string
	}{
		{"even already", []string{"", "", ""}, nil, []int32{1, 2, 3}, 0, "", ""},
		{"a new broker gets its share", []string{"", "", "", ""}, nil, []int32{1, 2, 3, 4}, 0, "t-0 1,2,3>2,4,3 t-1 2,3,1>4,3,1", ""},
		{"fewer replicas", []string{"", "", ""}, nil, []int32{1, 2, 3}, 2, "t-0 1,2,3>1,2 t-1 2,3,1>2,3 t-2 3,1,2>3,1", ""},
		{"fewer replicas on fewer brokers", []string{"", "", ""}, nil, []int32{1, 2}, 2, "t-0 1,2,3>1,2 t-1 2,3,1>2,1 t-2 3,1,2>1,2", ""},
		{"who lags goes first", []string{"", "", ""}, func(v *clusterView) {
			v.partitions = v.partitions[:1]
			v.partitions[0].isr = []int32{2, 3}
		}, []int32{1, 2, 3}, 2, "t-0 1,2,3>2,3", ""},
		{"more replicas", []string{"", "", ""}, func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 1), part("t", 1, 1, 1), part("t", 2, 1, 1)}
		}, []int32{1, 2, 3}, 3, "t-0 1>2,1,3 t-1 1>3,2,1 t-2 1>1,2,3", ""},
		{"leaders are spread by the order alone", []string{"", ""}, func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 1, 2), part("t", 1, 1, 1, 2), part("t", 2, 1, 1, 2), part("t", 3, 1, 1, 2)}
		}, []int32{1, 2}, 0, "t-0 1,2>2,1 t-1 1,2>2,1", ""},
		{"too many replicas", []string{"", "", ""}, nil, []int32{1, 2}, 0, "", "t-0: 2 brokers may have replicas of it"},
		{"another topic is not touched", []string{"", "", ""}, func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 1), part("u", 0, 1, 1)}
		}, []int32{2}, 0, "t-0 1>2", ""},
	} {
		v := world()
		brokersIn(v, c.racks...)
		if c.change != nil {
			c.change(v)
		}
		moves, failed := spread(v, []string{"t"}, c.to, c.factor)
		if got := errorsText(failed); !strings.HasPrefix(got, c.err) || got == "" != (c.err == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.err)
		}
		if got := movesText(moves); got != c.moves {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.moves)
		}
	}
}

// Whatever a cluster looks like, a plan is one that the controller accepts, and evens out what it says it evens out.
func TestPlansOfRandomClustersAreSound(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		v := &clusterView{}
		n := 1 + rng.IntN(6)
		racks := make([]string, n)
		for i := range racks {
			racks[i] = string(rune('a' + rng.IntN(3)))
		}
		brokersIn(v, racks...)
		for i := range v.brokers {
			v.brokers[i].dirs[0].free = -1
		}
		for i := range int32(rng.IntN(20)) {
			var replicas []int32
			for _, at := range rng.Perm(n)[:1+rng.IntN(n)] {
				replicas = append(replicas, int32(at+1))
			}
			v.partitions = append(v.partitions, part("t", i, 1, replicas...))
		}
		gone := int32(1 + rng.IntN(n))
		moves, failed := evacuate(v, []int32{gone})
		sound(t, v, moves)
		for _, m := range moves {
			if len(failed) == 0 && (len(m.to) != len(m.from) || slices.Contains(m.to, gone)) {
				t.Errorf("broker %d leaves: %s", gone, movesText([]replicaMove{m}))
			}
		}
		factor := 1 + rng.IntN(n)
		all := v.brokerIDs()
		moves, failed = spread(v, []string{"t"}, all, factor)
		if len(failed) > 0 {
			t.Errorf("%v", failed)
		}
		sound(t, v, moves)
		leads := map[int32]int{}
		for i := range v.partitions {
			to := v.partitions[i].replicas
			for _, m := range moves {
				if m.partitionID == v.partitions[i].partitionID {
					to = m.to
				}
			}
			if len(to) != factor {
				t.Errorf("%s has %d replicas, want %d", v.partitions[i], len(to), factor)
			}
			leads[to[0]]++
		}
		if factor == n && n > 0 { // everybody has everything: then nothing stands in the way of an even order
			most, least := 0, len(v.partitions)
			for _, id := range all {
				most, least = max(most, leads[id]), min(least, leads[id])
			}
			if most-least > 1 {
				t.Errorf("leaders %v", leads)
			}
		}
	}
}

func sound(t *testing.T, v *clusterView, moves []replicaMove) {
	t.Helper()
	for _, m := range moves {
		sorted := slices.Clone(m.to)
		slices.Sort(sorted)
		if len(m.to) == 0 || len(slices.Compact(sorted)) != len(m.to) || v.knows(m.to) != nil {
			t.Errorf("%s", movesText([]replicaMove{m}))
		}
	}
}

func TestAPlanOfAFileIsCheckedWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plan.json")
	for text, want := range map[string]string{
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[3,2,1],"log_dirs":["any","any","any"]},{"topic":"t","partition":1,"replicas":[2,3,1]}]}`: "t-0 1,2,3>3,2,1",
		`{"version":1,"partitions":[{"topic":"u","partition":0,"replicas":[1]},{"topic":"t","partition":9,"replicas":[1]}]}`:                                        "u-0: there is no such partition\nt-9: there is no such partition",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[1]}]}`:                                        "t-0: it is named twice",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[]}]}`:                                                                                    "t-0: it has no replicas",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,1]}]}`:                                                                                 "t-0: broker 1 is named twice",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[7]}]}`:                                                                                   "t-0: there is no broker 7; there are: 1,2,3,4",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[4]}]}`:                                                                                   "t-0: broker 4 is down",
		`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1],"log_dirs":["/d"]}]}`:                                                                 "t-0: log_dirs: only",
		`{"version":2,"partitions":[]}`: "plan.json: want {",
		`replicas`:                      "want the format of kafka-reassign-partitions",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		v := world(func(v *clusterView) { v.brokers = append(v.brokers, clusterBroker{id: 4}) })
		f, err := readPlanFile(file)
		got := fmt.Sprint(err)
		if err == nil {
			moves, failed := f.moves(v)
			if got = movesText(moves); len(failed) > 0 {
				got = errorsText(failed)
			}
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", text, got, want)
		}
	}
}
