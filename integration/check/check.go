package check

import (
	"cmp"
	"slices"
)

// Check looks for breaches of all rules. Rules in allowed are reported, and no errors.
func Check(h History, allowed ...Rule) *Report {
	c := &checker{h: h, Report: Report{allowed: allowed}, keyOf: map[Key]int{}, valueOf: map[keyed]int{}}
	c.readSteps()
	c.findCommitted()
	c.orderLogs()
	c.checkValues()
	c.checkProcesses()
	c.checkRealtime()
	c.checkEnds()
	c.checkGroups()
	c.checkCycles()
	return &c.Report
}

// checker holds what the rules share. Keys and values are numbered as they come.
type checker struct {
	Report
	h         History
	keyOf     map[Key]int
	logs      []keyLog // by key
	valueOf   map[keyed]int
	values    []value
	first     []int  // by operation: where its records begin in records
	records   []int  // number of the value of each record, in the order of operations and steps
	committed []bool // by operation: ok, or info and one of its values was read
}

// keyed is a value of a key.
type keyed struct {
	key   int
	value int64
}

// value is what became of one value.
type value struct {
	keyed
	writer      int // the operation that sent it, or nobody
	reader      int // an operation that read it, the one that ended first; or nobody
	first, last int // indexes in the version order, or absent
}

const (
	nobody = -1
	absent = -1
)

// keyLog is the log of a key.
type keyLog struct {
	name    Key
	entries []entry // ordered, no two alike
	order   []int   // index -> value
}

type entry struct {
	offset int64
	value  int
}

func (c *checker) key(k Key) int {
	n, ok := c.keyOf[k]
	if !ok {
		n = len(c.logs)
		c.keyOf[k] = n
		c.logs = append(c.logs, keyLog{name: k})
	}
	return n
}

// carries says that the steps of an operation are records.
func (op *Op) carries() bool { return op.Do == Send || op.Do == Poll || op.Do == Txn }

// reads says that a step of op is a record read.
func (op *Op) reads(s *Step) bool { return op.Do == Poll || op.Do == Txn && s.Read }

// records of operation i, one for each step.
func (c *checker) recordsOf(i int) []int { return c.records[c.first[i]:c.first[i+1]] }

// readSteps numbers keys and values and notes who sent and read them.
func (c *checker) readSteps() {
	c.first = make([]int, len(c.h)+1)
	for i := range c.h {
		op := &c.h[i]
		c.first[i] = len(c.records)
		if !op.carries() {
			continue
		}
		for j := range op.Steps {
			c.records = append(c.records, c.readStep(i, op, &op.Steps[j]))
		}
	}
	c.first[len(c.h)] = len(c.records)
}

func (c *checker) readStep(i int, op *Op, s *Step) int {
	k := keyed{c.key(s.Key), s.Value}
	n, ok := c.valueOf[k]
	if !ok {
		n = len(c.values)
		c.valueOf[k] = n
		c.values = append(c.values, value{keyed: k, writer: nobody, reader: nobody, first: absent, last: absent})
	}
	v := &c.values[n]
	switch {
	case op.reads(s):
		if v.reader == nobody {
			c.Read++
		}
		if v.reader == nobody || op.Completed < c.h[v.reader].Completed {
			v.reader = i
		}
	case v.writer != nobody:
		c.found(RepeatedSend, "%d is sent to %s by operations %d and %d", s.Value, s.Key, v.writer, i)
	default:
		v.writer = i
		if op.Outcome == OK {
			c.Acked++
		}
	}
	return n
}

// findCommitted finds the operations that must have committed.
func (c *checker) findCommitted() {
	c.committed = make([]bool, len(c.h))
	for i := range c.h {
		c.committed[i] = c.h[i].Outcome == OK
	}
	for _, v := range c.values {
		if v.reader != nobody && v.writer != nobody && c.h[v.writer].Outcome == Info {
			c.committed[v.writer] = true
		}
	}
}

// orderLogs builds each key's log and version order (C1, C2).
func (c *checker) orderLogs() {
	for i := range c.h {
		op := &c.h[i]
		for j, n := range c.recordsOf(i) {
			if s := &op.Steps[j]; s.Offset != Unknown && (c.committed[i] || op.reads(s)) {
				l := &c.logs[c.values[n].key]
				l.entries = append(l.entries, entry{s.Offset, n})
			}
		}
	}
	for k := range c.logs {
		c.orderLog(&c.logs[k])
	}
}

func (c *checker) orderLog(l *keyLog) {
	slices.SortFunc(l.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.value, b.value))
	})
	l.entries = slices.Compact(l.entries)
	for i, e := range l.entries {
		v := &c.values[e.value]
		if i > 0 && l.entries[i-1].offset == e.offset {
			c.found(InconsistentOffsets, "%s has %d and %d at offset %d", l.name, c.values[l.entries[i-1].value].value, v.value, e.offset)
		} else {
			l.order = append(l.order, e.value)
		}
		v.last = len(l.order) - 1
		if v.first == absent {
			v.first = v.last
		} else {
			c.found(Duplicate, "%s has %d twice, the second time at offset %d", l.name, v.value, e.offset)
		}
	}
}

// checkValues holds the rules about single values: C3 to C6, X1.
func (c *checker) checkValues() {
	bound := make([]int, len(c.logs))
	for i := range bound {
		bound[i] = absent
	}
	for _, v := range c.values {
		if v.reader != nobody {
			bound[v.key] = max(bound[v.key], v.first)
		}
	}
	for _, v := range c.values {
		name := c.logs[v.key].name
		switch {
		case v.writer == nobody:
			c.found(UnwrittenRead, "%d of %s was sent by nobody", v.value, name)
		case v.reader != nobody:
			if c.h[v.reader].Completed < c.h[v.writer].Invoked {
				c.found(UnwrittenRead, "%d of %s was read by operation %d and sent later, by %d", v.value, name, v.reader, v.writer)
			}
		case c.committed[v.writer] && v.last != absent && v.last <= bound[v.key]:
			c.found(LostWrite, "%d of %s, sent by operation %d, was read by nobody", v.value, name, v.writer)
		case c.h[v.writer].Outcome == OK:
			c.found(Unseen, "%d of %s, sent by operation %d, was never read", v.value, name, v.writer)
		}
	}
	for i := range c.h {
		op := &c.h[i]
		for j, n := range c.recordsOf(i) {
			writer := c.values[n].writer
			if !op.reads(&op.Steps[j]) || writer == nobody {
				continue
			}
			if writer == i {
				c.found(PrecommittedRead, "operation %d read %d of %s, which it sent itself", i, op.Steps[j].Value, op.Steps[j].Key)
			}
			if op.Outcome == OK && c.h[writer].Outcome == Fail {
				c.found(AbortedRead, "operation %d read %d of %s, but its sender, %d, failed", i, op.Steps[j].Value, op.Steps[j].Key, writer)
			}
		}
	}
}
