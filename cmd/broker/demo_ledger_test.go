package main

import "testing"

func TestALedgerTellsWhatIsLost(t *testing.T) {
	type step struct {
		ack            bool
		offset, number int64
	}
	ack, read := func(offset, number int64) step { return step{true, offset, number} }, func(offset, number int64) step { return step{false, offset, number} }
	for name, c := range map[string]struct {
		steps             []step
		acked, read, lost int64
	}{
		"acknowledged, then read":                 {[]step{ack(0, 7), ack(1, 8), read(0, 7), read(1, 8)}, 2, 2, 0},
		"read, then acknowledged":                 {[]step{read(0, 7), ack(0, 7)}, 1, 1, 0},
		"acknowledgements out of order":           {[]step{ack(1, 8), read(0, 7), ack(0, 7), read(1, 8)}, 2, 2, 0},
		"still to be read":                        {[]step{ack(0, 7), ack(1, 8), read(0, 7)}, 2, 1, 0},
		"never acknowledged, and there":           {[]step{read(0, 7), read(1, 8), ack(1, 8)}, 1, 1, 0},
		"read twice":                              {[]step{ack(0, 7), read(0, 7), read(0, 7)}, 1, 1, 0},
		"another record in its place":             {[]step{ack(0, 7), read(0, 9)}, 1, 0, 1},
		"another record in its place, read first": {[]step{read(0, 9), ack(0, 7)}, 1, 0, 1},
		"left out":                               {[]step{ack(0, 7), ack(1, 8), ack(2, 9), read(2, 9)}, 3, 1, 2},
		"acknowledged where the reader has been": {[]step{read(5, 9), ack(3, 7)}, 1, 0, 1},
		"two acknowledged at one offset":         {[]step{ack(0, 7), ack(0, 8), read(0, 8)}, 2, 1, 1},
	} {
		l := newLedger()
		for _, s := range c.steps {
			if s.ack {
				l.acknowledged(4, s.offset, s.number)
			} else {
				l.found(4, s.offset, s.number)
			}
		}
		l.acknowledged(5, 0, 1) // another partition has offsets of its own
		if acked, read, lost := l.counts(); acked != c.acked+1 || read != c.read || lost != c.lost {
			t.Errorf("%s: %d acked, %d read, %d lost", name, acked-1, read, lost)
		}
	}
}
