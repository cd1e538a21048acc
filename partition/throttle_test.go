package partition

import (
	"math"
	"testing"

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
		"none":                     {0, nil, 0, 0},
		"of the file":              {7, nil, 7, 7},
		"of the cluster":           {7, []metadata.Change{set("", leader, "8")}, 8, 7},
		"of the broker":            {7, []metadata.Change{set("", leader, "8"), set("1", leader, "9")}, 9, 7},
		"of another broker":        {7, []metadata.Change{set("2", follower, "9")}, 7, 7},
		"taken back by the broker": {7, []metadata.Change{set("1", follower, "9223372036854775807")}, 7, 0},
		"unlimited in the file":    {math.MaxInt64, nil, 0, 0},
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
