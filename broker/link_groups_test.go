package broker

import (
	"testing"
	"time"
)

func TestANewGroupAlwaysWaitsAMomentForFurtherMembers(t *testing.T) {
	for configured, want := range map[time.Duration]time.Duration{
		0: initialDelayMin, time.Millisecond: initialDelayMin, time.Second: time.Second, 3 * time.Second: 3 * time.Second,
	} {
		if got := initialDelay(configured); got != want {
			t.Errorf("%v configured: %v, not %v", configured, got, want)
		}
	}
}
