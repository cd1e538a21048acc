package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestChecksumDependsOnEveryRecordAndNotOnTheirOrder(t *testing.T) {
	type kv struct{ key, value []byte }
	var records []kv
	for i := range 1000 {
		records = append(records, kv{[]byte(fmt.Sprint(i % 7)), []byte(fmt.Sprint("value ", i))})
	}
	sum := func(list []kv) uint64 {
		var d digest
		for _, r := range list {
			d.add(r.key, r.value)
		}
		return d.sum
	}
	want := sum(records)
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	if sum(records) != want {
		t.Error("another order gives another checksum")
	}
	first := records[0]
	for name, changed := range map[string]kv{
		"a lost record":           {},
		"another value":           {first.key, []byte("other")},
		"another key":             {[]byte("other"), first.value},
		"key and value exchanged": {first.value, first.key},
		"a doubled record":        records[1],
		"a byte moved over":       {append(append([]byte{}, first.key...), first.value[0]), first.value[1:]},
	} {
		records[0] = changed
		if list := records; name == "a lost record" && sum(list[1:]) == want || name != "a lost record" && sum(list) == want {
			t.Errorf("%s is not noticed", name)
		}
	}
	records[0] = first
	if sum(append(records, first, first)) == want {
		t.Error("a record that came three times is not noticed")
	}
}

func TestSummary(t *testing.T) {
	d := digest{records: 10, bytes: 2_000_000, sum: 0xabc}
	if got, want := d.summary(2*time.Second).String(), "10 records, 2000000 bytes, checksum 0000000000000abc, 5 records/s, 1.0 MB/s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if s := (&digest{}).summary(0); s.RecordsRate != 0 {
		t.Errorf("no time at all: %+v", s)
	}
}
