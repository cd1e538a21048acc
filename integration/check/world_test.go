package check

import (
	"math/rand/v2"
	"slices"
	"time"
)

// world is a correct log under load: processes whose operations overlap and take effect, all at once, somewhere between
// invocation and completion; or, if nobody knows what became of them, perhaps later or never.
type world struct {
	rng     *rand.Rand
	logs    [][]record // by key
	next    int64      // offset of the next record, with holes now and then
	value   int64
	group   []int64 // committed offsets by key
	h       History
	place   int
	workers []worker
	late    []func() // effects of operations that nobody waits for any more
}

type record struct{ offset, value int64 }

// worker is a process: where it reads, and what it has under way.
type worker struct {
	at     []int // by key: its place in the log; absent: not assigned
	op     int   // under way, or nobody
	effect func()
	fresh  bool // it must throw its client away first
}

func keyName(k int) Key { return KeyOf("t", int32(k)) }

// play makes a history of at least so many operations, and reads everything at its end.
func play(rng *rand.Rand, processes, keys, ops int) History {
	w := &world{rng: rng, logs: make([][]record, keys), group: slices.Repeat([]int64{Unknown}, keys)}
	w.h = make(History, 0, ops+100)
	for range processes {
		w.workers = append(w.workers, worker{at: slices.Repeat([]int{absent}, keys), op: nobody})
	}
	for len(w.h) < ops {
		if len(w.late) > 0 && rng.IntN(10) == 0 {
			w.late[0]()
			w.late = w.late[1:]
		}
		w.step(rng.IntN(processes))
	}
	for p := range w.workers {
		for w.workers[p].op != nobody {
			w.step(p)
		}
	}
	w.readAll(processes)
	return w.h
}

// readAll is the last reader's work.
func (w *world) readAll(process int) {
	for k, log := range w.logs {
		i := w.invoke(Op{Process: process, Do: Assign, Keys: []Key{keyName(k)}})
		w.complete(i, OK)
		for from := 0; from < len(log); from += 50 {
			i := w.invoke(Op{Process: process, Do: Poll})
			w.h[i].Steps = readSteps(k, log[from:min(from+50, len(log))])
			w.complete(i, OK)
		}
	}
}

func readSteps(k int, records []record) (steps []Step) {
	for _, r := range records {
		steps = append(steps, Step{Key: keyName(k), Read: true, Value: r.value, Offset: r.offset})
	}
	return steps
}

func (w *world) now() (int, time.Duration) {
	w.place++
	return w.place, time.Duration(w.place) * time.Millisecond
}

func (w *world) invoke(op Op) int {
	op.Outcome, op.Completed = Info, Never
	op.Invoked, op.Began = w.now()
	w.h = append(w.h, op)
	return len(w.h) - 1
}

func (w *world) complete(i int, o Outcome) {
	w.h[i].Outcome = o
	w.h[i].Completed, w.h[i].Ended = w.now()
}

// step takes process p on by one moment: invocation, effect, or completion.
func (w *world) step(p int) {
	k := &w.workers[p]
	switch {
	case k.op == nobody:
		w.begin(p)
	case k.effect == nil:
		w.complete(k.op, OK)
		k.op = nobody
	case w.rng.IntN(20) == 0 && w.h[k.op].Do != Poll:
		w.lose(k)
	default:
		k.effect()
		k.effect = nil
	}
}

// lose ends an operation that did not get its answer.
func (w *world) lose(k *worker) {
	effect, i := k.effect, k.op
	k.op, k.effect, k.fresh = nobody, nil, true
	if w.rng.IntN(3) == 0 {
		w.complete(i, Fail)
		return
	}
	w.complete(i, Info)
	steps := slices.Clone(w.h[i].Steps)
	happens := func() { // the history must not learn what came of it
		effect()
		w.h[i].Steps = steps
	}
	switch w.rng.IntN(3) {
	case 0:
		happens()
	case 1:
		w.late = append(w.late, happens)
	}
}

// begin invokes an operation of a random kind.
func (w *world) begin(p int) {
	k := &w.workers[p]
	key := w.rng.IntN(len(w.logs))
	op := Op{Process: p}
	var effect func(i int)
	switch n := w.rng.IntN(100); {
	case k.fresh || n < 1:
		op.Do = Crash
		k.fresh, k.at = false, slices.Repeat([]int{absent}, len(k.at))
	case n < 45:
		op.Do, op.Steps = Send, w.newRecords()
		effect = func(i int) { w.append(w.h[i].Steps) }
	case n < 50:
		op.Do, op.Steps = Txn, w.newRecords()
		effect = func(i int) {
			var read []Step
			if k.op == i { // else the client that would read is gone
				read = w.poll(k)
			}
			w.append(w.h[i].Steps)
			w.h[i].Steps = append(read, w.h[i].Steps...)
		}
	case n < 85:
		op.Do = Poll
		effect = func(i int) { w.h[i].Steps = w.poll(k) }
	case n < 90:
		op.Do, op.Keys = Assign, []Key{keyName(key)}
		k.at = slices.Repeat([]int{absent}, len(k.at))
		k.at[key] = w.rng.IntN(len(w.logs[key]) + 1)
	case n < 94:
		op.Do = End
		effect = func(i int) { w.h[i].Steps = []Step{{Key: keyName(key), Offset: w.end(key)}} }
	case n < 97:
		op.Do, op.Group, op.Steps = Commit, "g", []Step{{Key: keyName(key), Offset: w.next}}
		effect = func(i int) { w.group[key] = w.h[i].Steps[0].Offset }
	default:
		op.Do, op.Group = Committed, "g"
		effect = func(i int) { w.h[i].Steps = []Step{{Key: keyName(key), Offset: w.group[key]}} }
	}
	i := w.invoke(op)
	k.op = i
	if effect != nil {
		k.effect = func() { effect(i) }
	}
}

func (w *world) newRecords() (steps []Step) {
	for range 1 + w.rng.IntN(2) {
		w.value++
		steps = append(steps, Step{Key: keyName(w.rng.IntN(len(w.logs))), Value: w.value, Offset: Unknown})
	}
	return steps
}

func (w *world) append(steps []Step) {
	for i := range steps {
		key := w.keyIndex(steps[i].Key)
		if w.next++; w.rng.IntN(8) == 0 {
			w.next++ // a hole
		}
		steps[i].Offset = w.next
		w.logs[key] = append(w.logs[key], record{w.next, steps[i].Value})
	}
}

func (w *world) keyIndex(k Key) int {
	for i := range w.logs {
		if keyName(i) == k {
			return i
		}
	}
	return absent
}

func (w *world) end(key int) int64 {
	if log := w.logs[key]; len(log) > 0 {
		return log[len(log)-1].offset + 1
	}
	return 0
}

func (w *world) poll(k *worker) (steps []Step) {
	for key, at := range k.at {
		if at == absent {
			continue
		}
		to := min(at+w.rng.IntN(6), len(w.logs[key]))
		steps = append(steps, readSteps(key, w.logs[key][at:to])...)
		k.at[key] = to
	}
	return steps
}
