package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// moving is a partition on its way from 1,2 to 1,3, of which broker 3 has copied 40 of 100 bytes.
func moving(change func(v *clusterView, p *clusterPartition)) *clusterView {
	v := world()
	v.partitions = []clusterPartition{part("t", 0, 1, 1, 3, 2)}
	p := &v.partitions[0]
	p.adding, p.removing, p.isr, p.sizes[3] = []int32{3}, []int32{2}, []int32{1, 2}, 40
	if change != nil {
		change(v, p)
	}
	return v
}

func TestWhyAMoveIsStuck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(v *clusterView, p *clusterPartition)
		want   string
	}{
		{"it is not", nil, ""},
		{"nobody leads", func(_ *clusterView, p *clusterPartition) {
			p.leader, p.isr, p.eligible, p.offline = -1, nil, []int32{1}, []int32{1}
		}, "nobody leads it; start broker 1"},
		{"the new broker is down", func(v *clusterView, _ *clusterPartition) { v.brokers[2].live = false }, "broker 3 is down; start it"},
		{"the new broker is unknown", func(v *clusterView, _ *clusterPartition) { v.brokers = v.brokers[:2] }, "broker 3 is down; start it"},
		{"its directory failed", func(_ *clusterView, p *clusterPartition) { p.offline = []int32{3} }, "a directory of broker 3 failed"},
		{"its disk is full", func(v *clusterView, _ *clusterPartition) { v.brokers[2].dirs[0].free = 59 }, "broker 3 has 59 B of space, and 60 B are still to come"},
		{"what stays is not enough", func(v *clusterView, p *clusterPartition) {
			p.minISR, p.isr = 2, []int32{2, 3}
			v.brokers[0].live = false
		}, "without 2 only 3 would be in sync, and min.insync.replicas is 2; start broker 1"},
	} {
		v := moving(c.change)
		if got := whyStuck(v, &v.partitions[0]); !strings.HasPrefix(got, c.want) || got == "" != (c.want == "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAMoveThatStandsStillIsStuckAfterAWhile(t *testing.T) {
	now := time.Unix(1000, 0)
	tr := newTracker([]replicaMove{{partitionID{"t", 0}, []int32{1, 2}, []int32{1, 3}, 100}}, true)
	v := moving(nil)
	look := func(after time.Duration, stuck string) {
		t.Helper()
		now = now.Add(after)
		s := tr.look(v, now)[0]
		if s.State != moveCopying || s.Bytes != 100 || !strings.HasPrefix(s.Stuck, stuck) || s.Stuck == "" != (stuck == "") {
			t.Errorf("%+v", s)
		}
	}
	look(0, "")
	look(stuckAfter-1, "")
	v.partitions[0].sizes[3] = 50
	look(1, "")
	look(stuckAfter, "nothing was copied for 10s; look at the logs of brokers 1,3, or raise --throttle")
	v.partitions[0].isr = []int32{1, 2, 3}
	look(1, "")
	v.partitions[0] = part("t", 0, 1, 1, 3)
	if s := tr.look(v, now)[0]; s.State != moveDone || s.Copied != 100 || s.Stuck != "" {
		t.Errorf("%+v", s)
	}
	v.partitions[0] = part("t", 0, 1, 1, 2)
	if s := tr.look(v, now)[0]; s.State != moveWaiting || s.text() != "t-0  1,2 -> 1,3  waiting" {
		t.Errorf("%+v", s)
	}
	v.partitions = nil
	if s := tr.look(v, now)[0]; s.State != moveGone {
		t.Errorf("%+v", s)
	}
}

func TestAFewMovesAreUnderWayAtOnce(t *testing.T) {
	moves := make([]replicaMove, 5)
	for i := range moves {
		moves[i] = replicaMove{partitionID: partitionID{"t", int32(i)}}
	}
	for _, c := range []struct {
		states []string
		atOnce int
		starts []int32
	}{
		{[]string{moveWaiting, moveWaiting, moveWaiting, moveWaiting, moveWaiting}, 2, []int32{0, 1}},
		{[]string{moveDone, moveCopying, moveWaiting, moveWaiting, moveWaiting}, 2, []int32{2}},
		{[]string{moveDone, moveCopying, moveCopying, moveWaiting, moveWaiting}, 2, nil},
		{[]string{moveDone, moveGone, moveDone, moveCopying, moveWaiting}, 9, []int32{4}},
		{[]string{moveDone, moveGone, moveDone, moveDone, moveDone}, 2, nil},
	} {
		var states []moveState
		for _, s := range c.states {
			states = append(states, moveState{State: s})
		}
		var starts []int32
		for _, m := range nextMoves(states, moves, c.atOnce) {
			starts = append(starts, m.index)
		}
		if !slices.Equal(starts, c.starts) {
			t.Errorf("%v: %v, want %v", c.states, starts, c.starts)
		}
		if done := !slices.Contains(c.states, moveWaiting) && !slices.Contains(c.states, moveCopying); finished(states) != done {
			t.Errorf("%v: finished %v", c.states, !done)
		}
	}
}

func TestWhatIsThrottledForMoves(t *testing.T) {
	got := throttleFor([]replicaMove{
		{partitionID{"t", 0}, []int32{1, 2}, []int32{1, 3}, 100},
		{partitionID{"t", 1}, []int32{2, 1}, []int32{1, 2}, 100}, // only another order
		{partitionID{"u", 4}, []int32{5}, []int32{5, 3}, 100},
	})
	if !slices.Equal(got.brokers, []int32{1, 2, 3, 5}) || strings.Join(got.leaders["t"], ",") != "0:1,0:2" || strings.Join(got.followers["t"], ",") != "0:3" ||
		strings.Join(got.leaders["u"], ",") != "4:5" || strings.Join(got.followers["u"], ",") != "4:3" {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]int64{"1000": 1000, "500K": 500 << 10, "50m": 50 << 20, " 1G ": 1 << 30, "0": 0, "": -1, "-1": -1, "M": -1, "1T": -1, "99999999999G": -1} {
		if n, err := parseRate(text); err == nil && n != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
}

func TestALeavingBrokersMovesUnderWayAreGoneOnWith(t *testing.T) {
	v := world()
	brokersIn(v, "", "", "", "")
	p := &v.partitions[2] // 3,1,2 on its way to 4,1,2
	p.replicas, p.adding, p.removing = []int32{4, 1, 2, 3}, []int32{4}, []int32{3}
	moves, failed := leaving(v, 3)
	if got := movesText(moves); got != "t-0 1,2,3>1,2,4 t-1 2,3,1>2,4,1 t-2 1,2,3>4,1,2" || len(failed) > 0 {
		t.Errorf("%s, %v", got, failed)
	}
	if next := afterwards(v, 3, false); len(next) != 2 || !strings.Contains(next[0], "cordwood cluster decommission 3") || !strings.Contains(next[1], "2 of 3 must run; ") {
		t.Errorf("%q", next)
	}
	if next := afterwards(v, 4, true); len(next) != 0 {
		t.Errorf("%q", next)
	}
	v.quorum.voters = v.quorum.voters[:2]
	if next := afterwards(v, 3, true); len(next) != 1 || !strings.Contains(next[0], "there are 2 controllers, of which 2 must run") {
		t.Errorf("%q", next)
	}
}

func TestAControllerLeavesAQuorumThatCanDoWithoutIt(t *testing.T) {
	for _, c := range []struct {
		name string
		v    *clusterView
		id   int32
		why  string
	}{
		{"all run", world(), 3, ""},
		{"it is the silent one", world(silenced(3)), 3, ""},
		{"another is silent", world(silenced(2)), 3, "without it 2 would be left, of which 1 run: start the others first"},
		{"it is the only one", world(func(v *clusterView) { v.quorum.voters = v.quorum.voters[:1] }), 1, "it is the only one: add another one first (kafka-metadata-quorum add-controller)"},
	} {
		if got := staysController(c.v, c.id); got != c.why {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestWhichLeadersAnElectionIsFor(t *testing.T) {
	v := world()
	v.partitions = append(v.partitions, part("u", 0, 1, 1, 2))
	v.partitions[1].leader, v.partitions[3].leader = 3, -1
	for _, c := range []struct {
		topics  []string
		unclean bool
		want    []electedInfo
	}{
		{nil, false, []electedInfo{{"t", 1, 3, 2}, {"u", 0, -1, 1}}},
		{[]string{"t"}, false, []electedInfo{{"t", 1, 3, 2}}},
		{nil, true, []electedInfo{{"u", 0, -1, -1}}},
		{[]string{"t"}, true, nil},
	} {
		if got := toElect(v, c.topics, c.unclean); !slices.Equal(got, c.want) {
			t.Errorf("%v %v: %v", c.topics, c.unclean, got)
		}
	}
}
