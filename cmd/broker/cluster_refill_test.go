package main

import (
	"strings"
	"testing"
)

func TestWhichReplicaCanBeMadeAnew(t *testing.T) {
	lagging := func(change ...func(v *clusterView)) *clusterView {
		v := world(change...)
		if p := &v.partitions[0]; len(p.isr) == 3 {
			p.isr = []int32{1, 2}
		}
		return v
	}
	for _, c := range []struct {
		name string
		v    *clusterView
		p    partitionID
		id   int32
		why  string
	}{
		{"one that is not in sync", lagging(), partitionID{"t", 0}, 3, ""},
		{"none there", lagging(), partitionID{"t", 9}, 3, "there is no partition t-9"},
		{"none of its", lagging(), partitionID{"t", 0}, 7, "broker 7 has no replica of t-0; those are on 1,2,3"},
		{"one in sync", lagging(), partitionID{"t", 0}, 2, "is in sync"},
		{"nothing to copy from", lagging(func(v *clusterView) { v.partitions[0].leader, v.partitions[0].isr = -1, nil }), partitionID{"t", 0}, 3, "nobody leads t-0"},
		{"one that moves", lagging(func(v *clusterView) { v.partitions[0].adding = []int32{3} }), partitionID{"t", 0}, 3, "are being moved"},
		{"one that is down", lagging(stopped(3)), partitionID{"t", 0}, 3, "broker 3 is down"},
		{"too few without it", lagging(func(v *clusterView) { v.partitions[0].isr = []int32{1} }), partitionID{"t", 0}, 3, "t-0 has 1 in sync (1), fewer than min.insync.replicas"},
	} {
		r := refill{p: c.p, id: c.id}
		err := r.refuses(c.v)
		if (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAPartitionIsNamedAsItIsPrinted(t *testing.T) {
	for text, want := range map[string]partitionID{"orders-3": {"orders", 3}, "a-b-0": {"a-b", 0}, "orders--1": {"orders-", 1}} {
		if got, err := parsePartition(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "orders", "-3", "orders-", "orders-x", "orders-99999999999"} {
		if got, err := parsePartition(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
