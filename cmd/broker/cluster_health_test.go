package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is a healthy cluster of three brokers, each a controller, and one topic with three partitions.
func world(change ...func(v *clusterView)) *clusterView {
	v := &clusterView{id: "c", quorum: quorumView{leader: 1, epoch: 4}}
	for id := int32(1); id <= 3; id++ {
		v.brokers = append(v.brokers, clusterBroker{id: id, live: true, dirs: []logDir{{path: "d", free: 1000, total: 2000}}})
		v.quorum.voters = append(v.quorum.voters, quorumMember{id: id, known: true})
	}
	for i, replicas := range [][]int32{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}} {
		v.partitions = append(v.partitions, part("t", int32(i), 2, replicas...))
	}
	for _, c := range change {
		c(v)
	}
	return v
}

// part is a partition whose replicas are all in sync and hold 100 bytes.
func part(topic string, index int32, minISR int, replicas ...int32) clusterPartition {
	p := clusterPartition{
		partitionID: partitionID{topic, index}, leader: replicas[0], replicas: replicas, isr: slices.Clone(replicas), minISR: minISR, sizes: map[int32]int64{},
	}
	for _, id := range replicas {
		p.sizes[id] = 100
	}
	return p
}

// stopped takes brokers out of service, as the controller does.
func stopped(ids ...int32) func(v *clusterView) {
	return func(v *clusterView) {
		for i := range v.brokers {
			if slices.Contains(ids, v.brokers[i].id) {
				v.brokers[i].live, v.brokers[i].dirs = false, nil
			}
		}
		for i := range v.partitions {
			p := &v.partitions[i]
			p.offline = common(p.replicas, ids)
			left := less(p.isr, ids)
			if len(left) == 0 {
				p.leader = -1
				continue
			}
			if p.isr = left; slices.Contains(ids, p.leader) {
				p.leader = left[0]
			}
		}
	}
}

// silenced takes controllers away.
func silenced(ids ...int32) func(v *clusterView) {
	return func(v *clusterView) {
		for i := range v.quorum.voters {
			if slices.Contains(ids, v.quorum.voters[i].id) {
				v.quorum.voters[i].silent = time.Minute
			}
		}
	}
}

func TestWhatIsWrongWithAClusterIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		v      *clusterView
		state  string
		wanted []string // severity kind where: what .. next
	}{
		{"nothing", world(), healthy, nil},
		{"a broker is gone", world(stopped(3)), degraded, []string{
			"degraded broker-down broker 3: registered .. cordwood cluster decommission 3",
			"degraded under-replicated t-0: not in sync: 3 of 1,2,3, offline: 3 .. start broker 3",
		}},
		{"too few in sync", world(stopped(2, 3)), down, []string{
			"down under-min-isr t-0: 1 in sync (1) of 2 .. start brokers 2,3",
			"down under-min-isr t-1: 1 in sync (1) of 2 .. start brokers 2,3",
		}},
		{"everybody is gone", world(stopped(1, 2, 3)), down, []string{"down no-leader t-1: nobody leads it .. start one of brokers 2,3,1"}},
		{"only an unclean leader is there", world(stopped(1, 2), func(v *clusterView) {
			p := &v.partitions[0]
			p.leader, p.isr, p.eligible = -1, nil, []int32{2}
		}), down, []string{"down no-leader t-0: nobody leads it .. start broker 2"}},
		{"nobody who could lead is known", world(func(v *clusterView) {
			p := &v.partitions[0]
			p.leader, p.isr = -1, nil
		}), down, []string{"down no-leader t-0: nobody leads it .. cordwood cluster elect --unclean t"}},
		{"a replica lags", world(func(v *clusterView) { v.partitions[1].isr = []int32{2, 1} }), degraded, []string{
			"degraded under-replicated t-1: not in sync: 3 of 2,3,1 .. wait while broker 3 catches up",
		}},
		{"a replica that is only coming lags", world(func(v *clusterView) {
			v.partitions[0] = part("t", 0, 1, 1, 2)
			v.partitions[0].isr, v.partitions[0].adding = []int32{1}, []int32{2}
		}), healthy, []string{"notice one-replica t: single replica .. --replicas 3"}},
		{"a directory failed", world(func(v *clusterView) { v.brokers[1].dirs[0].err = errors.New("EIO") }), degraded, []string{
			"degraded log-dir-failed broker 2: d is offline: EIO .. replace the disk",
		}},
		{"a broker does not tell of its directories", world(func(v *clusterView) { v.brokers[1].dirs, v.brokers[1].dirsErr = nil, errors.New("late") }), degraded, []string{
			"degraded log-dirs-unknown broker 2: late .. log",
		}},
		{"a controller is silent", world(silenced(2)), degraded, []string{"degraded controller-silent controller 2: does not hear of it .. start node 2"}},
		{"a controller was never heard of", world(func(v *clusterView) { v.quorum.voters[2].known = false }), degraded, []string{"degraded controller-silent controller 3: .. start node 3"}},
		{"no controller answers", world(func(v *clusterView) { v.quorum = quorumView{leader: -1, err: errors.New("late")} }), down, []string{
			"down no-controller controllers: they do not answer: late .. start the controllers",
		}},
		{"a replica has stopped", world(func(v *clusterView) {
			v.partitions[1].isr = []int32{2, 1}
			v.partitions[1].halt(3, "lacks records")
		}), degraded, []string{
			"degraded replica-halted t-1 on broker 3: it stopped: lacks records .. cordwood cluster refill t-1 3 --accept-data-loss",
		}},
		{"a broker is being emptied", world(func(v *clusterView) { v.brokers[1].leaves = true }), healthy, []string{
			"notice decommissioning broker 2: holds 3 replicas .. cordwood cluster decommission 2",
		}},
		{"leaders are elsewhere", world(func(v *clusterView) { v.partitions[1].leader = 1 }), healthy, []string{
			"notice leader-imbalance broker 2: leads 0 of the 1 .. elect --preferred --all",
		}},
		{"a topic has one replica", world(func(v *clusterView) { v.partitions = []clusterPartition{part("t", 0, 1, 1), part("t", 1, 1, 2)} }), healthy, []string{
			"notice one-replica t: single replica .. cordwood cluster reassign --topics t --replicas 3",
		}},
		{"a topic wants all its replicas", world(func(v *clusterView) { v.partitions = []clusterPartition{part("t", 0, 2, 1, 2)} }), healthy, []string{
			"notice no-spare-replica t: 2 of 2 replicas .. reassign --topics t --replicas 3",
		}},
		{"a topic wants all brokers", world(func(v *clusterView) { v.partitions = []clusterPartition{part("t", 0, 3, 1, 2, 3)} }), healthy, []string{
			"notice no-spare-replica t: 3 of 3 replicas .. cordwood topic config t set min.insync.replicas=2",
		}},
	} {
		h := judge(c.v)
		if h.State != c.state {
			t.Errorf("%s: %s, want %s", c.name, h.State, c.state)
		}
		for _, w := range c.wanted {
			if !slices.ContainsFunc(h.Problems, func(p problem) bool { return p.is(w) }) {
				t.Errorf("%s: no %q in %+v", c.name, w, h.Problems)
			}
		}
		if c.wanted == nil && len(h.Problems) > 0 {
			t.Errorf("%s: %+v", c.name, h.Problems)
		}
	}
}

func (p problem) is(want string) bool {
	head, rest, _ := strings.Cut(want, ": ")
	what, next, _ := strings.Cut(rest, ".. ")
	return p.Severity+" "+p.Kind+" "+p.Where == head && strings.Contains(p.Detail, strings.TrimSpace(what)) && strings.Contains(p.Next, next)
}

func TestTheWorstProblemIsFirstAndATableStaysShort(t *testing.T) {
	v := world()
	for i := range int32(50) {
		v.partitions = append(v.partitions, part("u", i, 1, 1, 2, 3))
	}
	stopped(3)(v)
	v.partitions[0].leader = -1
	h := judge(v)
	if h.State != down || h.Problems[0].Kind != "no-leader" {
		t.Errorf("%s, %+v", h.State, h.Problems[0])
	}
	rows := h.tables()[1].rows
	if len(rows) > 2*tableRows || !slices.ContainsFunc(rows, func(r []string) bool { return r[2] == "and 32 more" }) {
		t.Errorf("%d rows: %q", len(rows), rows)
	}
}

func TestWhetherABrokerCanStop(t *testing.T) {
	for _, c := range []struct {
		name   string
		v      *clusterView
		ids    []int32
		wanted []string // where: why .. next; none: it can
	}{
		{"one of three", world(), []int32{2}, nil},
		{"two of three", world(), []int32{2, 3}, []string{
			"t-0: would fall below min.insync.replicas: 1 in sync (1) of 2 .. stop one broker after the other", "controllers: 1 of 3 voters would be left .. add controllers",
		}},
		{"all of them", world(), []int32{1, 2, 3}, []string{"t-0: would lose its leader: nobody else is in sync ..", "controllers: 0 of 3 .. "}},
		{"another one is gone", world(stopped(3), silenced(3)), []int32{2}, []string{
			"t-0: would fall below min.insync.replicas: 1 in sync (1) of 2 .. start broker 3", "controllers: 1 of 3 voters would be left .. start node 3",
		}},
		{"another one is gone, which the quorum does not know yet", world(stopped(3)), []int32{2}, []string{"controllers: 1 of 3 voters would be left .. start node 3"}},
		{"it is gone itself", world(stopped(3), silenced(3)), []int32{3}, nil},
		{"a replica lags, min ISR is kept", world(func(v *clusterView) { v.partitions[1].isr = []int32{2, 1} }), []int32{3}, nil},
		{"a replica lags, min ISR is lost", world(func(v *clusterView) { v.partitions[1].isr = []int32{2, 1} }), []int32{1}, []string{
			"t-1: would fall below min.insync.replicas: 1 in sync (2) of 2 .. wait while broker 3 catches up",
		}},
		{"the last in sync", world(func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 1, 2)}
			v.partitions[0].isr = []int32{1}
		}), []int32{1}, []string{
			"t-0: nobody else is in sync .. wait while broker 2 catches up",
		}},
		{"below min ISR already", world(stopped(2, 3)), []int32{2}, []string{"t-0: below min.insync.replicas already: 1 in sync (1) of 2 .. start broker 3"}},
		{"no leader", world(func(v *clusterView) { v.partitions[0].leader, v.partitions[0].isr = -1, nil }), []int32{2}, []string{"t-0: no leader .. "}},
		{"somebody else's trouble", world(func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 2, 1, 2)}
			v.partitions[0].isr = []int32{1}
		}), []int32{3}, nil},
		{"the only replica", world(func(v *clusterView) { v.partitions = []clusterPartition{part("t", 0, 1, 1)} }), []int32{1}, []string{
			"t-0: only replica .. cordwood cluster reassign --topics t --replicas 3",
		}},
		{"a new copy is being made of the only replica", world(func(v *clusterView) {
			v.partitions = []clusterPartition{part("t", 0, 1, 2, 1)}
			v.partitions[0].adding, v.partitions[0].removing, v.partitions[0].isr, v.partitions[0].leader = []int32{2}, []int32{1}, []int32{1}, 1
		}), []int32{1}, []string{"t-0: only replica .. "}},
		{"no controllers answer", world(func(v *clusterView) { v.quorum.err = errors.New("late") }), []int32{1}, []string{"controllers: do not answer: late .. start the controllers"}},
		{"a broker that is no controller", world(silenced(2), func(v *clusterView) { v.brokers = append(v.brokers, clusterBroker{id: 4, live: true}) }), []int32{4}, nil},
		{"one controller of two", world(func(v *clusterView) { v.quorum.voters = v.quorum.voters[:2] }), []int32{1}, []string{"controllers: 1 of 2 voters would be left .. add controllers"}},
	} {
		got := stopBlockers(c.v, c.ids)
		for _, w := range c.wanted {
			where, rest, _ := strings.Cut(w, ": ")
			why, next, _ := strings.Cut(rest, "..")
			if !slices.ContainsFunc(got, func(b blocker) bool {
				return b.Where == where && strings.Contains(b.Why, strings.TrimSpace(why)) && strings.Contains(b.Next, strings.TrimSpace(next))
			}) {
				t.Errorf("%s: no %q in %+v", c.name, w, got)
			}
		}
		if c.wanted == nil && len(got) > 0 {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestSizesAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int64]string{-1: "?", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB", 1<<63 - 1: "8.0 EiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
