package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/segment/vfs"
)

// tinySegments makes logs of many segments out of few records.
func tinySegments(c *Config) {
	c.Defaults = metadata.DefaultTopicConfig()
	c.Defaults.SegmentBytes, c.FetchBytes, c.StreamBytes, c.StreamSync = 2000, 150, 700, 2000
}

// lagging is three nodes of which the third was away while records were appended.
func lagging(t *testing.T, records int, tune ...func(*Config)) *cluster {
	t.Helper()
	c := newCluster(t, 1, 3, func(cfg *Config) {
		tinySegments(cfg)
		for _, f := range tune {
			f(cfg)
		}
	})
	c.create(2, true)
	c.whole()
	c.kill(3)
	c.until("it is out of sync", func() bool { return len(c.record().ISR) == 2 })
	c.appendTo(records)
	return c
}

// appendTo has the leader acknowledge so many records.
func (c *cluster) appendTo(records int) {
	c.t.Helper()
	p := c.leader()
	var last *Append
	for i := range records {
		last = produce(p, -1, batch(1, number(i)))
	}
	if err := wait(p, last); err != nil {
		c.t.Fatal(err)
	}
}

// same fails unless both nodes have the same bytes.
func (c *cluster) same(a, b metadata.NodeID) {
	c.t.Helper()
	x, y := c.bytes(a), c.bytes(b)
	if !bytes.Equal(x, y) {
		c.t.Errorf("the logs of %d and %d differ: %d and %d bytes\n%s", a, b, len(x), len(y), c)
	}
}

func (c *cluster) bytes(id metadata.NodeID) (all []byte) {
	c.t.Helper()
	l := c.nodes[id].partition().standing.Load().log
	for at := l.Start(); at < l.End(); {
		s, err := l.View().Slice(at, l.End(), 1<<20, true)
		if err != nil || s.Len() == 0 {
			c.t.Fatal(at, err)
		}
		b := make([]byte, s.Len())
		_, err = s.ReadAt(b, 0)
		at = s.End()
		s.Release()
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

func (n *node) replication() ReplicationStats { return n.set.Stats().Replication }

func TestAReplicaThatIsFarBehindTakesSealedSegmentsAndThenFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lagging(t, 300)
		c.restart(3)
		c.whole()
		n := c.nodes[3]
		size := n.partition().Describe().Size
		if s := n.replication(); s.StreamBytes < size-3000 || s.StreamBytes > size || s.Streams != 0 || s.Damaged != 0 {
			t.Errorf("%+v of a log of %d bytes", s, size)
		}
		if n.ranges > int(size/500)+2 || n.fetches > 60 {
			t.Errorf("%d ranges and %d fetches for %d bytes", n.ranges, n.fetches, size)
		}
		c.same(1, 3)
		c.appendTo(1) // in sync, by fetches
		if n.replication().StreamBytes > size {
			t.Error("a replica in sync takes segments")
		}
	})
}

func TestACrashInTheMiddleOfAStreamCostsWhatWasNotSynced(t *testing.T) {
	for _, leader := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := lagging(t, 300)
			c.restart(3)
			c.until("some is there", func() bool { return c.nodes[3].replication().StreamBytes > 9000 })
			down := metadata.NodeID(3)
			if leader {
				down = c.record().Leader
			}
			c.crash(down, nil)
			had := c.nodes[3].partition().End()
			c.restart(down)
			if start := c.nodes[3].set.Lookup([]byte("t"), 0); !leader && start != nil && start.End() == 0 {
				t.Errorf("nothing is left of %d records", had)
			}
			c.whole()
			size := c.nodes[3].partition().Describe().Size
			if got := c.nodes[3].replication().StreamBytes; !leader && (got == 0 || got > size-9000+2*2000) {
				t.Errorf("%d bytes of %d were taken again after 9000 had been", got, size)
			}
			c.same(1, 3)
			c.same(2, 3)
		})
	}
}

// What changes on its way is not appended, whichever byte it is, and the replica goes on with fetches.
func TestADamagedRangeIsNeverAppended(t *testing.T) {
	for _, at := range []int{0, 7, 8, 11, 12, 15, 16, 17, 21, 40, 61, -1, -2} {
		synctest.Test(t, func(t *testing.T) {
			c := lagging(t, 120)
			c.damage = func(_ metadata.NodeID, r *Range) {
				switch {
				case len(r.Records) == 0:
				case at == -1:
					r.Records = r.Records[:len(r.Records)-1]
				case at == -2:
					r.Sum++
				default:
					r.Records[at] ^= 1
				}
			}
			c.restart(3)
			c.whole()
			s := c.nodes[3].replication()
			if s.Damaged == 0 || s.StreamBytes != 0 {
				t.Errorf("byte %d: %+v", at, s)
			}
			c.same(1, 3)
		})
	}
}

func TestALeaderThatDoesNotKnowStreamsIsFetchedFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lagging(t, 120)
		c.tune = func(cfg *Config) {
			tinySegments(cfg)
			cfg.Link = older{cfg.Link}
		}
		c.restart(3)
		c.whole()
		if s := c.nodes[3].replication(); s.StreamBytes != 0 || s.Streams != 0 {
			t.Errorf("%+v", s)
		}
		c.same(1, 3)
	})
}

// older is the way to brokers that lack ranges.
type older struct{ Link }

func (older) ReadRange(context.Context, metadata.NodeID, *RangeRequest) (*Range, error) {
	return nil, fmt.Errorf("version 1: %w", ErrNotServed)
}

func TestRetentionDuringAStreamMovesTheReplicaToTheNewStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := lagging(t, 300)
		c.restart(3)
		c.until("some is there", func() bool { return c.nodes[3].replication().StreamBytes > 3000 })
		p := c.leader()
		if _, err := p.DeleteRecords(250); err != nil {
			t.Fatal(err)
		}
		c.until("it has forgotten", func() bool { return c.nodes[3].partition().Start() == 250 })
		c.whole()
		c.same(1, 3)
	})
}

func TestThrottlesHoldForStreams(t *testing.T) {
	for _, of := range []string{"leader", "follower"} {
		synctest.Test(t, func(t *testing.T) {
			c := lagging(t, 300, func(cfg *Config) {
				cfg.Defaults.LeaderThrottled, cfg.Defaults.FollowerThrottled = []string{"0:3"}, []string{"0:3"}
				cfg.LeaderThrottle, cfg.FollowerThrottle = noThrottle, noThrottle
				if of == "leader" {
					cfg.LeaderThrottle = 2000
				} else {
					cfg.FollowerThrottle = 2000
				}
			})
			c.restart(3)
			began := time.Now()
			c.whole()
			size := c.nodes[3].partition().Describe().Size
			took, least := time.Since(began), time.Duration(size/2000-2)*time.Second
			if took < least || took > 2*least+5*time.Second || c.nodes[3].replication().StreamBytes < size/2 {
				t.Errorf("%s: %d bytes at 2000/s took %s, %+v", of, size, took, c.nodes[3].replication())
			}
		})
	}
}

// rangeOf asks p for a range as the other broker.
func rangeOf(p *Partition, brokerEpoch int64, r RangeRequest) (out RangeResult) {
	r.MaxBytes = 1 << 20
	p.ReadRange(RangeRead{Replica: other, BrokerEpoch: brokerEpoch, RangeRequest: r}, &out)
	return out
}

func TestOnlySealedSegmentsOfTheLeaderAndEpochAreStreamed(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), func(c *Config) { tinySegments(c); c.Log = nil })
	w.register(self)
	epoch := w.register(other)
	w.topic(topicID(1), "t", 1, twoReplicas(self))
	p := w.get("t", 0)
	for range 100 {
		produce(p, 1, batch(1, "value"))
	}
	log := p.standing.Load().log
	sealed := log.View().SealedEnd()
	if sealed == 0 || sealed == log.End() {
		t.Fatalf("sealed up to %d of %d", sealed, log.End())
	}
	read := int64(0)
	for last := int32(-1); read < sealed; last = 0 {
		out := rangeOf(p, epoch, RangeRequest{Offset: read, LastEpoch: last, Until: -1})
		if out.Err != nil || out.Slice.Len() == 0 {
			t.Fatalf("at %d of %d: %+v", read, sealed, out)
		}
		read = out.Slice.End()
		out.Slice.Release()
	}
	if read != sealed {
		t.Errorf("read to %d, sealed is up to %d", read, sealed)
	}
	if out := rangeOf(p, epoch, RangeRequest{Offset: sealed, LastEpoch: 0, Until: -1}); out.Err != nil || out.Slice.Len() > 0 {
		t.Errorf("of the active segment: %+v", out)
	}
	w.elect(other) // epoch 1 is another's history
	w.elect(self)
	for _, x := range []struct {
		what  string
		epoch int64
		r     RangeRequest
		want  error
	}{
		{"an epoch that is over", epoch, RangeRequest{LeaderEpoch: 0, LastEpoch: -1, Until: -1}, kerr.FencedLeaderEpoch},
		{"an epoch to come", epoch, RangeRequest{LeaderEpoch: 3, LastEpoch: -1, Until: -1}, kerr.UnknownLeaderEpoch},
		{"an earlier life", epoch - 1, RangeRequest{LeaderEpoch: 2, LastEpoch: -1, Until: -1}, kerr.StaleBrokerEpoch},
		{"no broker epoch", -1, RangeRequest{LeaderEpoch: 2, LastEpoch: -1, Until: -1}, kerr.StaleBrokerEpoch},
		{"another history", epoch, RangeRequest{LeaderEpoch: 2, Offset: 99, LastEpoch: 1, Until: -1}, kerr.OffsetOutOfRange},
		{"an offset that is not there", epoch, RangeRequest{LeaderEpoch: 2, Offset: 1000, LastEpoch: 0, Until: -1}, kerr.OffsetOutOfRange},
		{"to mend, what is not committed", epoch, RangeRequest{LeaderEpoch: 2, Until: 10}, kerr.OffsetNotAvailable},
		{"to mend, in an epoch that is over", epoch, RangeRequest{Until: 0}, kerr.FencedLeaderEpoch},
	} {
		if out := rangeOf(p, x.epoch, x.r); !errors.Is(out.Err, x.want) || out.Slice.Len() > 0 {
			t.Errorf("%s: %v, want %v", x.what, out.Err, x.want)
		}
	}
	w.elect(other)
	if out := rangeOf(p, epoch, RangeRequest{LeaderEpoch: 3, LastEpoch: -1, Until: -1}); !errors.Is(out.Err, kerr.NotLeaderForPartition) {
		t.Errorf("of a follower: %v", out.Err)
	}
}
