package broker

import "testing"

// Every kind of node can say how it stands: a broker has no controller, and a controller no partitions.
func TestEveryKindOfNodeTellsItsState(t *testing.T) {
	s := startSplit(t, 1)
	for _, n := range []*node{s.controller, s.brokers[0]} {
		if fields := n.b.State(); len(fields) == 0 {
			t.Error("nothing told")
		}
	}
}
