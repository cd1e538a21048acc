package check

import (
	"slices"
	"time"
)

// client is where a process stands: indexes by key.
type client struct {
	read, sent map[int]int
	subscribed bool
	seen       map[int]bool // values read while subscribed
}

// checkProcesses follows each process through its operations, in the order in which it invoked them: C7 to C13, C15, C16.
func (c *checker) checkProcesses() {
	known := c.knownSince()
	clients := map[int]*client{}
	for i := range c.h {
		op := &c.h[i]
		p := clients[op.Process]
		if p == nil {
			p = &client{read: map[int]int{}, sent: map[int]int{}, seen: map[int]bool{}}
			clients[op.Process] = p
		}
		switch op.Do {
		case Assign, Subscribe:
			p.read = map[int]int{} // it may go anywhere
			p.subscribed = op.Do == Subscribe
		case Crash:
			p.read, p.sent = map[int]int{}, map[int]int{} // what the old client sent may still arrive
		case Poll, Txn, Send:
			c.follow(i, p)
			if op.Do == Poll && op.Outcome == OK {
				c.measureLag(op, p, known)
			}
		}
	}
}

// follow compares the steps of one operation with each other and with what its process did before.
func (c *checker) follow(i int, p *client) {
	op := &c.h[i]
	var read, sent []int // keys met in this operation
	for j, n := range c.recordsOf(i) {
		v := &c.values[n]
		switch reads := op.reads(&op.Steps[j]); {
		case v.first == absent:
		case reads && op.Outcome == OK:
			c.followRead(i, p, v, slices.Contains(read, v.key))
			read = include(read, v.key)
			p.read[v.key] = v.first
			if p.subscribed {
				if p.seen[n] {
					c.Repeats++
				}
				p.seen[n] = true
			}
		case !reads && c.committed[i]:
			c.followSend(i, p, v, slices.Contains(sent, v.key))
			sent = include(sent, v.key)
			p.sent[v.key] = v.first
		}
	}
}

func include(keys []int, k int) []int {
	if slices.Contains(keys, k) {
		return keys
	}
	return append(keys, k)
}

func (c *checker) followRead(i int, p *client, v *value, within bool) {
	op, name := &c.h[i], c.logs[v.key].name
	last, known := p.read[v.key]
	skip, back := PollSkip, NonmonotonicPoll
	if within {
		skip, back = IntPollSkip, IntNonmonotonicPoll
	}
	switch {
	case !known || !within && p.subscribed || slices.Contains(op.Keys, name):
	case v.first > last+1:
		c.found(skip, "process %d, operation %d: %d of %s is read %d places after the last one", op.Process, i, v.value, name, v.first-last)
	case v.first <= last:
		c.found(back, "process %d, operation %d: %d of %s is read %d places before the last one", op.Process, i, v.value, name, last-v.first)
	}
}

func (c *checker) followSend(i int, p *client, v *value, within bool) {
	op, name := &c.h[i], c.logs[v.key].name
	last, known := p.sent[v.key]
	switch {
	case !known:
	case within && v.first <= last:
		c.found(IntNonmonotonicSend, "process %d, operation %d: %d of %s is not after what was sent before it", op.Process, i, v.value, name)
	case within && v.first > last+1:
		c.found(IntSendSkip, "process %d, operation %d: %d of %s is %d places after what was sent before it", op.Process, i, v.value, name, v.first-last)
	case !within && v.first < last:
		c.found(NonmonotonicSend, "process %d, operation %d: %d of %s is before what was sent before it", op.Process, i, v.value, name)
	}
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// knownSince says, by key and index, since when somebody knew that the log had come so far.
func (c *checker) knownSince() [][]time.Duration {
	known := make([][]time.Duration, len(c.logs))
	for k := range c.logs {
		known[k] = slices.Repeat([]time.Duration{never}, len(c.logs[k].order))
	}
	for i := range c.h {
		if c.h[i].Outcome != OK {
			continue
		}
		for _, n := range c.recordsOf(i) {
			if v := &c.values[n]; v.first != absent {
				known[v.key][v.first] = min(known[v.key][v.first], c.h[i].Ended)
			}
		}
	}
	for _, since := range known {
		for i := len(since) - 2; i >= 0; i-- {
			since[i] = min(since[i], since[i+1])
		}
	}
	return known
}

// measureLag finds how long the end that a poll reached was out of date when it began (C16).
func (c *checker) measureLag(op *Op, p *client, known [][]time.Duration) {
	for k, at := range p.read {
		if at+1 >= len(known[k]) {
			continue
		}
		if lag := op.Began - known[k][at+1]; lag > c.Lag {
			c.Lag, c.LagKey = lag, c.logs[k].name
		}
	}
}
