package partition

import (
	"math"
	"testing"
	"time"

	"cordwood/metadata"
)

func TestTheNearestRateCounts(t *testing.T) {
	const leader, follower = "leader.replication.throttled.rate", "follower.replication.throttled.rate"
	set := func(broker, key, value string) metadata.Change {
		return metadata.ConfigChanged{Type: metadata.ResourceBroker, Name: broker, Key: key, Value: value}
	}
	for name, c := range map[string]struct {
		static           int64
		dynamic          []metadata.Change
		leader, follower int64
	}{
		"none":                     {math.MaxInt64, nil, math.MaxInt64, math.MaxInt64},
		"nothing passes":           {7, []metadata.Change{set("1", leader, "0"), set("", follower, "0")}, 0, 0},
		"of the file":              {7, nil, 7, 7},
		"of the cluster":           {7, []metadata.Change{set("", leader, "8")}, 8, 7},
		"of the broker":            {7, []metadata.Change{set("", leader, "8"), set("1", leader, "9")}, 9, 7},
		"of another broker":        {7, []metadata.Change{set("2", follower, "9")}, 7, 7},
		"taken back by the broker": {7, []metadata.Change{set("1", follower, "9223372036854775807")}, 7, math.MaxInt64},
	} {
		img, err := metadata.Empty().With(1, c.dynamic)
		if err != nil {
			t.Fatal(err)
		}
		var got throttles
		got.configure(img, &Config{Self: self, LeaderThrottle: c.static, FollowerThrottle: c.static})
		if got.leader.rate.Load() != c.leader || got.follower.rate.Load() != c.follower {
			t.Errorf("%s: %d and %d, not %d and %d", name, got.leader.rate.Load(), got.follower.rate.Load(), c.leader, c.follower)
		}
	}
}

// Who waits for a rate looks again within a second: it may have been raised, or taken away.
func TestARateThatIsRaisedCountsWithinASecond(t *testing.T) {
	now := time.Unix(1000, 0)
	var r throttle
	for _, rate := range []int64{0, 1, 1000} {
		r.rate.Store(rate)
		r.took(1<<20, now)
		if d := r.delay(now); d <= 0 || d > time.Second {
			t.Errorf("%d B/s: the next look is in %s", rate, d)
		}
	}
	r.rate.Store(0)
	if d := r.delay(now.Add(time.Hour)); d <= 0 {
		t.Error("a rate of 0 lets something pass")
	}
	r.rate.Store(1 << 30)
	if d := r.delay(now.Add(time.Hour + time.Second)); d != 0 {
		t.Errorf("the new rate has to wait for %s", d)
	}
	r.rate.Store(noThrottle)
	r.took(1<<40, now)
	if d := r.delay(now); d != 0 {
		t.Errorf("without a rate: %s", d)
	}
}
