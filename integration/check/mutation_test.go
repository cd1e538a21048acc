package check

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
)

var histories = flag.Int("histories", 300, "random histories to check, and to corrupt")

// corruption changes one thing of a correct history and says whether Check must notice (true), must not (false), or may.
type corruption struct {
	name string
	do   func(*corruptor) (flagged, decided bool)
}

// corruptor holds a copy of a correct history, and where its records can be seen.
type corruptor struct {
	h   History
	rng *rand.Rand
}

var corruptions = []corruption{
	{"a record read is dropped", (*corruptor).drop},
	{"a record read is doubled", (*corruptor).double},
	{"two records read change places", (*corruptor).swap},
	{"a record read moves to another offset", (*corruptor).move},
	{"an acknowledgement names another offset", (*corruptor).misplace},
	{"a send that happened is said to have failed", (*corruptor).deny},
	{"a send that did not happen is acknowledged", (*corruptor).claim},
	{"an acknowledgement is forgotten", (*corruptor).forget},
	{"an end goes back to the start", (*corruptor).rewind},
	{"a committed offset is invented", (*corruptor).invent},
}

func TestACorrectHistoryHasNoErrors(t *testing.T) {
	for seed := range uint64(*histories) {
		h := play(rand.New(rand.NewPCG(seed, 1)), 1+int(seed%7), 1+int(seed%3), 300)
		if r := Check(h); len(r.Errors()) > 0 {
			t.Fatalf("seed %d: %s", seed, r)
		}
	}
}

func TestEverySingleCorruptionIsNoticed(t *testing.T) {
	tried := map[string]int{}
	for seed := range uint64(*histories) {
		rng := rand.New(rand.NewPCG(seed, 2))
		h := play(rng, 2+int(seed%6), 1+int(seed%3), 200)
		for _, c := range corruptions {
			m := &corruptor{h: slices.Clone(h), rng: rng}
			for i := range m.h {
				m.h[i].Steps = slices.Clone(h[i].Steps)
			}
			flagged, decided := c.do(m)
			if !decided {
				continue
			}
			tried[c.name]++
			if r := Check(m.h); flagged != (len(r.Errors()) > 0) {
				t.Fatalf("seed %d, %s: to be noticed: %t; %s", seed, c.name, flagged, r)
			}
		}
	}
	for _, c := range corruptions {
		if tried[c.name] < *histories/4 {
			t.Errorf("%s was tried %d times only", c.name, tried[c.name])
		}
	}
}

// pick is a random operation that fits; nobody if there is none.
func (m *corruptor) pick(fits func(op *Op) bool) int {
	var all []int
	for i := range m.h {
		if fits(&m.h[i]) {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return nobody
	}
	return all[m.rng.IntN(len(all))]
}

func aPoll(op *Op) bool { return op.Do == Poll && len(op.Steps) > 0 }

// pollStep is a random record read.
func (m *corruptor) pollStep() (op, step int) {
	i := m.pick(aPoll)
	return i, m.rng.IntN(len(m.h[i].Steps))
}

// sightings counts where a record can be seen with its offset: acknowledgements and reads.
func (m *corruptor) sightings(s Step) (acks, reads int) {
	for i := range m.h {
		op := &m.h[i]
		for j := range op.Steps {
			switch o := &op.Steps[j]; {
			case !op.carries() || o.Key != s.Key || o.Value != s.Value || o.Offset == Unknown:
			case op.reads(o):
				reads++
			case op.Outcome == OK:
				acks++
			}
		}
	}
	return acks, reads
}

// amid says that the process read a record of the same key before this one and one after it, without an assignment between.
func (m *corruptor) amid(i, j int) bool {
	key := m.h[i].Steps[j].Key
	reads := func(op *Op, from, to int) bool {
		return op.Outcome == OK && slices.ContainsFunc(op.Steps[from:to], func(s Step) bool { return s.Key == key && op.reads(&s) })
	}
	look := func(by, from, to int) bool {
		if reads(&m.h[i], from, to) {
			return true
		}
		for n := i + by; n >= 0 && n < len(m.h); n += by {
			if op := &m.h[n]; op.Process == m.h[i].Process {
				if op.Do == Assign || op.Do == Crash {
					return false
				}
				if op.carries() && reads(op, 0, len(op.Steps)) {
					return true
				}
			}
		}
		return false
	}
	return look(-1, 0, j) && look(1, j+1, len(m.h[i].Steps))
}

func (m *corruptor) drop() (bool, bool) {
	i, j := m.pollStep()
	acks, reads := m.sightings(m.h[i].Steps[j])
	flagged := acks > 0
	if reads > 1 {
		flagged = m.amid(i, j)
	}
	m.h[i].Steps = slices.Delete(m.h[i].Steps, j, j+1)
	return flagged, true
}

func (m *corruptor) double() (bool, bool) {
	i, j := m.pollStep()
	m.h[i].Steps = slices.Insert(m.h[i].Steps, j, m.h[i].Steps[j])
	return true, true
}

func (m *corruptor) swap() (bool, bool) {
	i, j := m.pollStep()
	s := m.h[i].Steps
	if j+1 == len(s) || s[j].Key != s[j+1].Key {
		return false, false
	}
	a, b := m.elsewhere(s[j]), m.elsewhere(s[j+1])
	s[j].Value, s[j+1].Value = s[j+1].Value, s[j].Value
	return true, a || b
}

// elsewhere says that a record that was read can be seen at a second place.
func (m *corruptor) elsewhere(s Step) bool {
	acks, reads := m.sightings(s)
	return acks+reads > 1
}

func (m *corruptor) move() (bool, bool) {
	i, j := m.pollStep()
	decided := m.elsewhere(m.h[i].Steps[j])
	m.h[i].Steps[j].Offset += 1 + m.rng.Int64N(5)
	return true, decided
}

func (m *corruptor) misplace() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == Send && op.Outcome == OK })
	m.h[i].Steps[0].Offset++
	return true, true // the last reader has read it where it is
}

func (m *corruptor) deny() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == Send && op.Outcome == OK })
	m.h[i].Outcome = Fail
	return true, true
}

func (m *corruptor) claim() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == Send && op.Outcome == Fail })
	if i == nobody {
		return false, false
	}
	m.h[i].Outcome = OK
	return true, true
}

func (m *corruptor) forget() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == Send && op.Outcome == OK })
	m.h[i].Outcome = Info
	return false, true
}

func (m *corruptor) rewind() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == End && op.Outcome == OK && op.Steps[0].Offset > 0 })
	if i == nobody {
		return false, false
	}
	s := &m.h[i].Steps[0]
	s.Offset = 0
	return true, slices.ContainsFunc(m.h, func(op Op) bool { // somebody knew better
		return op.before(&m.h[i]) && op.Do == Send && op.Steps[0].Key == s.Key
	})
}

func (m *corruptor) invent() (bool, bool) {
	i := m.pick(func(op *Op) bool { return op.Do == Committed && op.Outcome == OK })
	if i == nobody {
		return false, false
	}
	m.h[i].Steps[0].Offset = 1 << 40
	return true, true
}

func BenchmarkAMillionOperations(b *testing.B) {
	h := play(rand.New(rand.NewPCG(1, 3)), 20, 8, 1_000_000)
	for b.Loop() {
		if r := Check(h); len(r.Errors()) > 0 {
			b.Fatal(r)
		}
	}
}
