package segment

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// model is what a log has to be: a list of batches, and what was promised about them.
type model struct {
	batches    []record.Batch
	start, end int64
	durable    int64 // promised
}

func (m *model) clone() *model {
	c := *m
	c.batches = slices.Clone(m.batches)
	return &c
}

// from is the batches that reach to offset or behind.
func from(batches []record.Batch, offset int64) []record.Batch {
	i := slices.IndexFunc(batches, func(b record.Batch) bool { return b.NextOffset() > offset })
	if i < 0 {
		return nil
	}
	return batches[i:]
}

func (m *model) truncate(to int64) {
	i := slices.IndexFunc(m.batches, func(b record.Batch) bool { return b.NextOffset() > to })
	if i >= 0 {
		m.end = min(to, m.batches[i].BaseOffset())
		m.start = min(m.start, m.end)
		m.batches = m.batches[:i]
	}
	m.durable = min(m.durable, m.end)
}

// machine drives a log and its model with the same random operations, and pulls the plug at sync points.
type machine struct {
	t    *testing.T
	rng  *rand.Rand
	seed uint64

	mem         *vfs.Mem
	log         *Log
	journal     *Journal
	checkpoints *Checkpoints
	config      Config

	model   *model
	before  *model // at the start of the operation under way
	epoch   int32
	clones  []crash
	trims   bool            // the log start moves
	highest int64           // that the log start ever was: producers below it may be forgotten for good
	used    map[int64]int16 // the highest epoch of each producer
	history []string
	cuts    int
}

// crash is a disk as a power cut left it, with what the log may be then.
type crash struct {
	mem           *vfs.Mem
	before, after *model
	at            string
}

func (x *machine) options() Options {
	o := options(x.mem)
	o.Config, o.Checkpoints, o.Journal = x.config, x.checkpoints, x.journal
	return o
}

func (x *machine) start(clean *CleanLog) {
	var err error
	x.checkpoints, err = OpenCheckpoints(x.mem, dataDir, nil)
	must(x.t, err)
	x.journal, err = OpenJournal(x.mem, dataDir, 20_000, nil)
	must(x.t, err)
	o := x.options()
	o.Clean = clean
	x.log, err = Open(o)
	must(x.t, err)
	_, err = x.journal.Replay(x.log)
	must(x.t, err)
	if clean == nil {
		_, err = x.log.Sync()
		must(x.t, err)
	}
	must(x.t, x.journal.Reset())
	x.mem.OnSync = func(p vfs.SyncPoint) {
		if x.rng.IntN(6) == 0 {
			x.clones = append(x.clones, crash{mem: x.mem.CrashClone(x.rng), before: x.before, at: fmt.Sprintf("%+v", p)})
		}
	}
}

// restart opens the log again on another disk image, and takes from the log what it kept of what was not promised.
func (x *machine) restart(mem *vfs.Mem, clean *CleanLog) {
	x.mem = mem
	x.start(clean)
	x.adopt()
}

func (x *machine) adopt() {
	x.model.batches = slices.Clip(contents(x.t, x.log, 5000))
	x.model.start, x.model.end, x.model.durable = x.log.Start(), x.log.End(), x.log.Durable()
	x.epoch = max(x.epoch, x.log.LastEpoch())
}

// producers is how many there are; every third one has transactions.
const producers = 6

// next is a batch that may follow. A producer goes on where the log has it, also when a truncation took what it wrote.
func (x *machine) next() record.Batch {
	n, size := 1+x.rng.IntN(4), x.rng.IntN(120)
	end := x.model.end
	o := record.BuilderOptions{}
	if kind := x.rng.IntN(8); kind < 4 {
		id := int64(x.rng.IntN(producers))
		last, open := x.model.newest(id)
		o.Producer = &record.Producer{ID: id}
		if last != nil {
			o.Producer.Epoch, o.Producer.Sequence = last.ProducerEpoch(), last.LastSequence()+1
		}
		if x.rng.IntN(10) == 0 && !open || last == nil && x.trims {
			o.Producer.Epoch, o.Producer.Sequence = x.used[id]+1, 0
		}
		x.used[id] = max(x.used[id], o.Producer.Epoch)
		o.Transactional = id%3 == 0
	} else if id := int64(3 * x.rng.IntN(producers/3)); kind == 4 {
		if last, open := x.model.newest(id); open {
			b := record.BuildControl(record.Control{Type: record.ControlType(x.rng.IntN(2))}, id, last.ProducerEpoch(), clock.UnixMilli())
			b.Stamp(end, x.epoch)
			return b
		}
	}
	return stamped(x.t, end, x.epoch, o, n, size)
}

// newest is a producer's last batch of records, and whether its transaction is open.
func (m *model) newest(id int64) (last record.Batch, open bool) {
	for _, b := range slices.Backward(m.batches) {
		switch {
		case b.ProducerID() != id:
		case b.Control():
			for _, b := range slices.Backward(m.batches) {
				if b.ProducerID() == id && !b.Control() {
					return b, false
				}
			}
			return nil, false
		default:
			return b, b.Transactional()
		}
	}
	return nil, false
}

// operate does one random operation on both.
func (x *machine) operate() string {
	x.before = x.model.clone()
	m, l := x.model, x.log
	n := x.rng.IntN(100)
	if !x.trims && n >= 78 && n < 83 {
		n = 0
	}
	switch {
	case n < 50:
		var batches []record.Batch
		for range 1 + x.rng.IntN(4) {
			b := x.next()
			batches = append(batches, b)
			m.batches, m.end = append(m.batches, b), b.NextOffset()
		}
		must(x.t, l.Append(batches, x.epoch))
		return fmt.Sprintf("append %d", len(batches))
	case n < 62:
		end, err := l.Sync()
		must(x.t, err)
		if end != m.end {
			x.t.Fatalf("synced to %d of %d", end, m.end)
		}
		m.durable = end
		return "sync"
	case n < 72:
		return x.commit()
	case n < 75:
		to := m.start + x.rng.Int64N(m.end-m.start+1)
		must(x.t, l.Truncate(to))
		m.truncate(to)
		return fmt.Sprintf("truncate %d", to)
	case n < 78:
		x.epoch++
		must(x.t, l.BeginEpoch(x.epoch))
		return fmt.Sprintf("epoch %d", x.epoch)
	case n < 81:
		to := m.start + x.rng.Int64N(m.end-m.start+1)
		must(x.t, l.Trim(to))
		m.start, m.batches = to, from(m.batches, to)
		return fmt.Sprintf("trim %d", to)
	case n < 83:
		_, err := l.Retain(clock, m.end)
		must(x.t, err)
		m.start, m.batches = l.Start(), from(m.batches, l.Start())
		return fmt.Sprintf("retain %d", m.start)
	case n < 85:
		must(x.t, l.Seal())
		return "seal"
	case n < 87:
		must(x.t, l.Purge(clock.Add(time.Duration(x.rng.IntN(100))*time.Second)))
		return "purge"
	case n < 96:
		return x.operateSeldom(n)
	}
	return x.read()
}

// operateSeldom does the operations that end something.
func (x *machine) operateSeldom(n int) string {
	m, l := x.model, x.log
	switch {
	case n < 91:
		must(x.t, x.checkpoints.Write(func(yield func(*Log) bool) { yield(l) }))
		return "checkpoint"
	case n < 92:
		to := m.end + int64(x.rng.IntN(3))*100
		must(x.t, l.Reset(to))
		*m = model{start: to, end: to, durable: to}
		return fmt.Sprintf("reset %d", to)
	case n < 94:
		must(x.t, l.Close(true))
		c := l.Manifest()
		m.durable = m.end
		must(x.t, x.journal.Reset())
		must(x.t, x.journal.Close())
		must(x.t, x.checkpoints.Write(func(func(*Log) bool) {}))
		x.start(&c)
		return "clean restart"
	default:
		must(x.t, l.Close(false))
		x.mem.OnSync = nil
		old := m.clone()
		x.restart(x.mem.KillClone(), nil)
		if x.model.end != old.end {
			x.t.Fatalf("kill -9 took records: end %d, was %d", x.model.end, old.end)
		}
		sameBatches(x.t, from(x.model.batches, old.start), old.batches)
		return "kill"
	}
}

// commit is a round of the journal, or the checkpoint that it asks for.
func (x *machine) commit() string {
	e, _, ok, err := x.log.Unsynced(nil, 10_000)
	must(x.t, err)
	if !ok {
		return "not for the journal"
	}
	err = x.journal.Append(x.log, e)
	if err == ErrJournalFull {
		_, err = x.log.Sync()
		must(x.t, err)
		must(x.t, x.journal.Reset())
		x.model.durable = x.model.end
		return "journal reset"
	}
	must(x.t, err)
	must(x.t, x.journal.Commit())
	x.log.MarkDurable(e)
	x.model.durable = max(x.model.durable, e.End)
	return "journal commit"
}

func (x *machine) read() string {
	m := x.model
	if m.start == m.end {
		return "nothing to read"
	}
	at := m.start + x.rng.Int64N(m.end-m.start)
	limit := at + x.rng.Int64N(m.end-at+1)
	most := x.rng.IntN(2000)
	s, err := x.log.View().Slice(at, limit, most, x.rng.IntN(2) == 0)
	must(x.t, err)
	defer s.Release()
	raw := make([]byte, s.Len())
	_, err = s.ReadAt(raw, 0)
	must(x.t, err)
	want := from(m.batches, at)
	for len(raw) > 0 {
		b, rest, err := record.Next(raw)
		must(x.t, err)
		sameBatches(x.t, []record.Batch{b}, want[:1])
		if b.NextOffset() > limit {
			x.t.Fatalf("batch to %d above limit %d", b.NextOffset(), limit)
		}
		raw, want = rest, want[1:]
	}
	return fmt.Sprintf("read %d to %d", at, limit)
}

// check compares the log with the model.
func (x *machine) check(op string) {
	l, m := x.log, x.model
	if l.Start() != m.start || l.End() != m.end || l.Durable() < m.durable || l.RecoveryPoint() > l.Durable() || l.Durable() > l.End() {
		x.t.Fatalf("%s: log [%d, %d) durable %d synced %d, model [%d, %d) durable %d", op,
			l.Start(), l.End(), l.Durable(), l.RecoveryPoint(), m.start, m.end, m.durable)
	}
	x.highest = max(x.highest, m.start)
	x.checkProducers(l, from(m.batches, x.highest), x.highest == 0, op)
}

// checkProducers is Z22: of every producer the log's last five batches are known, and no others; what was truncated is new
// again. all says that these are all batches since the log began; else the state may know of more.
func (x *machine) checkProducers(l *Log, batches []record.Batch, all bool, op string) {
	x.t.Helper()
	of := map[int64][]record.Batch{}
	for _, b := range batches {
		id := b.ProducerID()
		if id < 0 || b.Control() {
			continue
		}
		if n := len(of[id]); n > 0 && of[id][n-1].ProducerEpoch() != b.ProducerEpoch() {
			of[id] = nil
		}
		of[id] = append(of[id], b)
	}
	for id, its := range of {
		for i, b := range its {
			dup, err := l.Producers().Check(b, 0)
			switch {
			case i < len(its)-5:
				if dup != nil || err == nil {
					x.t.Fatalf("%s: seed %d, producer %d: batch at %d is not among the last five: %+v, %v", op, x.seed, id, b.BaseOffset(), dup, err)
				}
			case dup == nil || dup.BaseOffset != b.BaseOffset() || dup.LastOffset != b.LastOffset():
				x.t.Fatalf("%s: seed %d, producer %d: batch at %d, %d of %d, is taken for %+v, %v", op, x.seed, id, b.BaseOffset(), i, len(its), dup, err)
			}
		}
	}
	for id := range int64(producers) {
		if !all || slices.ContainsFunc(batches, func(b record.Batch) bool { return b.ProducerID() == id }) {
			continue
		}
		b := stamped(x.t, 0, 0, record.BuilderOptions{Producer: &record.Producer{ID: id, Sequence: 1000}}, 1, 0)
		if dup, err := l.Producers().Check(b, 0); dup != nil || err != nil {
			x.t.Fatalf("%s: seed %d, producer %d is not in the log and known: %+v, %v", op, x.seed, id, dup, err)
		}
	}
}

func (x *machine) deepCheck() {
	sameBatches(x.t, contents(x.t, x.log, 700), x.model.batches)
	checkIndexes(x.t, x.log)
	checkEpochs(x.t, x.log)
	x.before = x.model.clone()
	if faults, mismatches, _ := scrub(x.t, x.log); len(faults) > 0 || mismatches > 0 {
		x.t.Fatalf("scrub found %+v and %d mismatches", faults, mismatches)
	}
}

// checkEpochs is I10, and that the cache tells each batch's epoch.
func checkEpochs(t testing.TB, l *Log) {
	t.Helper()
	cache := l.EpochEntries()
	if len(cache) > 0 && (cache[0].Start < l.Start() || cache[len(cache)-1].Start > l.End()) {
		t.Fatalf("epochs %v in [%d, %d)", cache, l.Start(), l.End())
	}
	for _, b := range contents(t, l, 1<<20) {
		at := max(b.BaseOffset(), l.Start())
		if got := l.EpochAt(at); got != b.LeaderEpoch() {
			t.Fatalf("epoch at %d is %d, the batch has %d; cache %v", at, got, b.LeaderEpoch(), cache)
		}
	}
}

// survives opens a disk image after a power cut, twice, and compares.
func (x *machine) survives(c crash, op string) {
	t := x.t
	live := x.mem
	defer func() { x.mem = live }()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("seed %d, power cut in %q at %s: %s\n%s", x.seed, op, c.at, fmt.Sprintf(format, args...),
			strings.Join(x.history[max(0, len(x.history)-25):], "\n"))
	}
	var digests [2]string
	for i := range digests {
		x.mem = c.mem
		checkpoints, err := OpenCheckpoints(c.mem, dataDir, nil)
		must(t, err)
		journal, err := OpenJournal(c.mem, dataDir, 20_000, nil)
		must(t, err)
		o := options(c.mem)
		o.Config, o.Checkpoints, o.Journal = x.config, checkpoints, journal
		l, err := Open(o)
		if err != nil {
			fail("open: %v", err)
		}
		if n, err := journal.Replay(l); err != nil {
			fail("replay: %d, %v", n, err)
		}
		if f := l.Recovery().Faults; len(f) > 0 {
			fail("faults %+v", f)
		}
		x.compare(l, c, fail)
		digests[i] = digest(t, l)
		if x.trims {
			// A snapshot does not have the producers that were gone when the start lay higher than now.
			digests[i], _, _ = strings.Cut(digests[i], " producers")
		}
		if i == 0 {
			_, err = l.Sync()
			must(t, err)
			must(t, checkpoints.Write(func(yield func(*Log) bool) { yield(l) }))
			must(t, journal.Reset())
		}
		must(t, l.Close(false))
	}
	if digests[0] != digests[1] {
		fail("opened twice:\n%s\n%s", digests[0], digests[1])
	}
}

// compare: the log is a run of batches that was there before or after the operation, with everything promised before.
func (x *machine) compare(l *Log, c crash, fail func(string, ...any)) {
	got, err := readAllBatches(l, l.Start(), l.End(), 1<<20)
	if err != nil {
		fail("%v", err)
	}
	known := func(b record.Batch, m *model) bool {
		i, ok := slices.BinarySearchFunc(m.batches, b.BaseOffset(), func(b record.Batch, at int64) int { return int(b.BaseOffset() - at) })
		return ok && string(m.batches[i]) == string(b)
	}
	for _, b := range got {
		if !known(b, c.before) && !known(b, c.after) && !x.trimmed(b, l, c) {
			fail("batch %d of epoch %d was never there", b.BaseOffset(), b.LeaderEpoch())
		}
	}
	promised := min(c.before.durable, c.after.durable)
	if len(c.after.batches) == 0 {
		promised = 0 // a reset
	}
	if l.End() < promised {
		fail("end %d, promised %d", l.End(), promised)
	}
	if l.Start() > max(c.after.start, c.before.start) {
		fail("start %d, should be at most %d", l.Start(), c.after.start)
	}
	if testing.Verbose() {
		x.t.Logf("%+v start %d end %d epochs %v before %v after %v", l.Recovery(), l.Start(), l.End(), l.EpochEntries(), c.before.start, c.after.start)
	}
	checkIndexes(x.t, l)
	checkEpochs(x.t, l)
	start := max(x.highest, c.after.start)
	x.checkProducers(l, from(got, start), start == 0, "power cut at "+c.at)
	if x.t.Failed() {
		fail("see above")
	}
}

// trimmed: a log start that was not checkpointed may move back; what was below it is not in the model any more.
func (x *machine) trimmed(b record.Batch, _ *Log, c crash) bool {
	return b.NextOffset() <= max(c.before.start, c.after.start) || len(c.before.batches) > 0 && b.BaseOffset() < c.before.batches[0].BaseOffset() ||
		len(c.after.batches) > 0 && b.BaseOffset() < c.after.batches[0].BaseOffset()
}

func TestRandomOperationsAndPowerCuts(t *testing.T) {
	seeds, steps := uint64(envInt("CORDWOOD_SEEDS", 40)), 150
	if testing.Short() {
		seeds = 10
	}
	cuts := 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			cuts += runMachine(t, seed, steps)
		})
	}
	t.Logf("%d power cuts", cuts)
}

// envInt lets a nightly run try more seeds.
func envInt(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

func runMachine(t *testing.T, seed uint64, steps int) int {
	x := &machine{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 7)), mem: newMem(t), model: &model{},
		config: smallConfig(), used: map[int64]int16{}}
	x.config.SegmentBytes = int64(300 + x.rng.IntN(3000))
	x.config.IndexInterval = 1 + x.rng.IntN(400)
	x.config.RetentionBytes = int64(2000 + x.rng.IntN(8000))
	x.trims = seed%2 == 1
	x.before = x.model.clone()
	x.start(nil)
	for i := range steps {
		op := x.operate()
		x.history = append(x.history, fmt.Sprintf("%s [%d,%d) durable %d", op, x.model.start, x.model.end, x.model.durable))
		x.check(op)
		for _, c := range x.clones {
			c.after = x.model.clone()
			x.cuts++
			x.survives(c, op)
		}
		x.clones = x.clones[:0]
		if i%20 == 19 {
			x.deepCheck()
		}
		if x.rng.IntN(25) == 0 { // live on after the cut
			x.mem.OnSync = nil
			c := crash{mem: x.mem.CrashClone(x.rng), before: x.model.clone(), after: x.model.clone(), at: "between operations"}
			x.survives(crash{mem: c.mem.KillClone(), before: c.before, after: c.after, at: c.at}, op)
			must(t, x.log.Close(false))
			x.restart(c.mem, nil)
		}
	}
	x.deepCheck()
	x.mem.OnSync = nil
	must(t, x.log.Close(false))
	return x.cuts
}
