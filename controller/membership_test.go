package controller

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (m *member) joins() *member {
	m.cfg.Voters = nil
	return m
}

func (q *quorum) add(m *member) error {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return q.active().node.AddVoter(within, m.id, m.cfg.DirID)
}

func (q *quorum) remove(id metadata.NodeID, dir metadata.DirID) error {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return q.active().node.RemoveVoter(within, id, dir)
}

func code(err error) int16 {
	if r := decide.Refused(err); r != nil {
		return r.Code.Code
	}
	return 0
}

func (q *quorum) voters() (ids []metadata.NodeID) {
	q.t.Helper()
	d, err := q.active().node.DescribeQuorum(ctx)
	if err != nil {
		q.t.Fatal(err)
	}
	for _, v := range d.Voters {
		ids = append(ids, v.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestALoneNodeGrowsToAQuorumOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(4, 4))
		q := newQuorum(t, 3)
		defer q.stop()
		q.members[0].cfg.Voters = []metadata.NodeID{0}
		q.members[0].start()
		taken := q.some(100) // more than the others could get entry by entry
		if err := q.members[0].node.raft.Load().Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		for _, m := range q.members[1:] {
			m.joins().start()
		}
		time.Sleep(10 * time.Second)
		if h := q.members[1].node.Hello(); h.Stage != Empty {
			t.Fatalf("not asked to, but: %+v", h)
		}
		for _, m := range q.members[1:] {
			if err := q.add(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.add(q.members[1]); code(err) != kerr.DuplicateVoter.Code {
			t.Fatal(err)
		}
		if got := q.voters(); !slices.Equal(got, []metadata.NodeID{0, 1, 2}) {
			t.Fatal(got)
		}
		q.members[0].kill(rng)
		taken = append(taken, q.some(5)...)
		q.members[0].start()
		q.members[2].kill(rng)
		q.members[2].start()
		taken = append(taken, q.some(5)...)
		unique(t, taken)
		q.agree(slices.Max(taken))
	})
}

func TestAVoterThatLostItsDiskIsRemovedAndAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(5, 5))
		q := newQuorum(t, 3).start()
		defer q.stop()
		taken := q.some(10)
		lost := q.others(q.active())[0]
		old := lost.cfg.DirID
		lost.kill(rng)
		lost.wipe()
		lost.start()
		taken = append(taken, q.some(10)...)
		if err := q.add(lost); code(err) != kerr.DuplicateVoter.Code {
			t.Fatal("added while another disk is recorded: ", err)
		}
		if err := q.remove(lost.id, lost.cfg.DirID); code(err) != kerr.VoterNotFound.Code {
			t.Fatal("removed by another disk: ", err)
		}
		if err := q.remove(lost.id, old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if lost.node.Hello().Stage != Empty || len(q.voters()) != 2 {
			t.Fatal("it takes part")
		}
		if err := q.add(lost); err != nil {
			t.Fatal(err)
		}
		other := q.others(lost)[0]
		other.kill(rng) // now it counts
		taken = append(taken, q.some(10)...)
		other.start()
		unique(t, taken)
		q.agree(slices.Max(taken))
	})
}

func TestALeaderCanBeRemovedAndAddedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3).start()
		defer q.stop()
		taken := q.some(5)
		old := q.active()
		if err := q.remove(old.id, old.cfg.DirID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if next := q.active(); next == old || slices.Contains(q.voters(), old.id) {
			t.Fatal("it still leads")
		}
		taken = append(taken, q.some(5)...)
		if err := q.remove(old.id, old.cfg.DirID); code(err) != kerr.VoterNotFound.Code {
			t.Fatal(err)
		}
		if err := q.add(old); err != nil {
			t.Fatal(err)
		}
		taken = append(taken, q.some(5)...)
		unique(t, taken)
		q.agree(slices.Max(taken))
	})
}

func TestTheLastVoterStays(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	if err := n.RemoveVoter(ctx, 1, metadata.DirID{1, 1}); code(err) != kerr.InvalidRequest.Code {
		t.Fatal(err)
	}
}

func TestAQuorumOfWhoeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3)
		defer q.stop()
		for _, m := range q.members {
			m.cfg.Voters, m.cfg.Expect = nil, 3
		}
		q.members[2].start()
		q.members[1].start()
		time.Sleep(10 * time.Second)
		if h := q.members[1].node.Hello(); h.Stage != Empty {
			t.Fatalf("%+v", h)
		}
		q.members[0].start()
		q.some(3)
		if got := q.voters(); len(got) != 3 {
			t.Fatal(got)
		}
	})
}

func TestTheQuorumIsDescribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(6, 6))
		q := newQuorum(t, 3).start()
		defer q.stop()
		leads := q.active()
		leads.node.join(7, 1)
		q.some(3)
		away := q.others(leads)[0]
		away.kill(rng)
		cut := time.Now()
		time.Sleep(10 * time.Second)
		d, err := leads.node.DescribeQuorum(ctx)
		if err != nil || d.Leader != leads.id || len(d.Voters) != 3 {
			t.Fatalf("%+v %v", d, err)
		}
		for _, v := range d.Voters {
			if v.Dir != q.members[v.ID].cfg.DirID {
				t.Errorf("%+v", v)
			}
			if late := v.LastFetch.Before(cut.Add(time.Second)); late != (v.ID == away.id) {
				t.Errorf("%+v", v)
			}
			if v.ID != away.id && v.LastIndex != leads.node.raft.Load().LastIndex() {
				t.Errorf("%+v", v)
			}
		}
		if _, err := q.others(leads)[1].node.DescribeQuorum(ctx); code(err) != kerr.NotController.Code {
			t.Fatal(err)
		}
		for _, m := range q.others(leads)[1:] {
			if m.node.Leader() != leads.id {
				t.Error("a follower does not know who leads: ", m.node.Leader())
			}
		}
	})
}
