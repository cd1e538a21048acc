package partition

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
)

// damaged is three nodes in sync of which one has a flipped bit in its first segment.
func damaged(t *testing.T, of func(c *cluster) metadata.NodeID, tune ...func(*Config)) (*cluster, *node) {
	t.Helper()
	c := newCluster(t, 1, 3, func(cfg *Config) {
		tinySegments(cfg)
		cfg.InitialDelay = 2 * time.Hour // the scrub comes later than what is tested
		for _, f := range tune {
			f(cfg)
		}
	})
	c.create(2, true)
	c.whole()
	c.appendTo(100)
	c.whole()
	n := c.nodes[of(c)]
	if err := n.mem.Corrupt("/data/t-0/00000000000000000000.log", 300, 1); err != nil {
		t.Fatal(err)
	}
	return c, n
}

func leaderOf(c *cluster) metadata.NodeID { return c.record().Leader }

func followerOf(c *cluster) metadata.NodeID { return c.record().Leader%3 + 1 }

// readAt is what a consumer gets at an offset.
func readAt(p *Partition, offset int64) error {
	var out ReadResult
	p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1, Whole: true, FromFollower: true}, &out)
	out.Slice.Release()
	return out.Err
}

// scrubNow has the directory's scrub look at the first segment.
func (n *node) scrubNow() {
	l := n.partition().standing.Load().log
	n.partition().dir().suspects <- suspect{l, 0}
}

func TestDamageIsMendedFromAnotherReplica(t *testing.T) {
	for name, of := range map[string]func(*cluster) metadata.NodeID{"leader": leaderOf, "follower": followerOf} {
		synctest.Test(t, func(t *testing.T) {
			c, n := damaged(t, of)
			n.scrubNow()
			c.until("it is mended", func() bool { return n.replication().Mended == 1 })
			st := n.set.Stats()
			if st.Dirs[0].DamagedRanges != 0 || st.Dirs[0].ScrubFaults != 1 || st.Replication.MendErrors != 0 {
				t.Errorf("%s: %+v", name, st)
			}
			for o := range int64(100) {
				if err := readAt(n.partition(), o); err != nil {
					t.Errorf("%s: offset %d: %v", name, o, err)
				}
			}
			c.same(1, 2)
			c.same(2, 3)
			n.partition().dir().suspects <- suspect{n.partition().standing.Load().log, 0}
			<-time.After(suspectPause)
			if s := n.set.Stats().Dirs[0]; s.ScrubFaults != 1 || s.ScrubMismatches != 0 {
				t.Errorf("%s: the scrub says of what was mended: %+v", name, s)
			}
		})
	}
}

// Until somebody has the range, it answers that it is corrupt, and nothing else does.
func TestDamageThatNobodyCanMendIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := damaged(t, leaderOf)
		for id := range c.nodes {
			if id != n.id {
				c.kill(id)
			}
		}
		n.scrubNow()
		p := n.partition()
		c.until("damage is known", func() bool { return n.set.Stats().Dirs[0].DamagedRanges == 1 })
		l := p.standing.Load().log
		f := l.Faults()[0]
		<-time.After(2 * time.Second)
		for o := range int64(100) {
			err := readAt(p, o)
			if bad := o >= f.From && o < f.To; bad != errors.Is(err, kerr.CorruptMessage) || !bad && err != nil {
				t.Errorf("offset %d, damaged from %d to %d: %v", o, f.From, f.To, err)
			}
		}
		if s := n.replication(); s.Mended != 0 || s.MendErrors == 0 {
			t.Errorf("%+v", s)
		}
		for id := range c.nodes {
			if id != n.id {
				c.restart(id)
			}
		}
		c.until("the others are back, and it is mended", func() bool { return n.replication().Mended == 1 })
		c.whole()
		c.same(1, 2)
		c.same(2, 3)
	})
}

// A source whose bytes change on their way, or that has the damage too, is passed over.
func TestMendingGoesOnToTheNextReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := damaged(t, leaderOf)
		other := c.nodes[followerOf(c)]
		if err := other.mem.Corrupt("/data/t-0/00000000000000000000.log", 300, 1); err != nil {
			t.Fatal(err)
		}
		first := true
		c.damage = func(_ metadata.NodeID, r *Range) {
			if first && len(r.Records) > 70 {
				r.Records[70] ^= 1
				first = false
			}
		}
		other.scrubNow()
		n.scrubNow()
		c.until("both are mended", func() bool { return n.replication().Mended == 1 && other.replication().Mended == 1 })
		if first {
			t.Error("no answer was damaged")
		}
		c.same(1, 2)
		c.same(2, 3)
	})
}

func TestAReadErrorHasTheSegmentLookedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := damaged(t, followerOf)
		p := n.partition()
		p.SendFailed(2, fmt.Errorf("sendfile: %w", errors.New("connection reset by peer")))
		<-time.After(time.Second)
		if s := n.set.Stats().Dirs[0]; s.ScrubFaults != 0 {
			t.Error("a client that went away is taken for a disk that failed")
		}
		p.SendFailed(2, fmt.Errorf("sendfile: %w", syscall.EIO))
		c.until("it is mended", func() bool { return n.replication().Mended == 1 })
		for range 3 { // known to be good again: nothing more is looked at before long
			p.SendFailed(2, syscall.EIO)
		}
		c.same(1, 3)
	})
}

// A leader that is throttled to nothing would keep the mender from every other source and every other log.
func TestAThrottledSourceIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, n := damaged(t, followerOf)
		leader := leaderOf(c)
		c.damage = func(from metadata.NodeID, r *Range) {
			if from == leader {
				r.Delay, r.Records = time.Second, nil
			}
		}
		n.scrubNow()
		c.until("it is mended from the third replica", func() bool { return n.replication().Mended == 1 })
		c.same(1, 2)
		c.same(2, 3)
	})
}
