package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/producer"
)

// TestFaults plays appends on whoever believes to be the leader, against kills, power cuts and cut links in any order, and
// checks what replication promises after each step: I2 to I5 and I10 to I12, of controller and replicas together. In the
// end all is mended, and nothing that was acknowledged is gone.
func TestFaults(t *testing.T) {
	seeds, steps := uint64(160), 150
	if testing.Short() {
		seeds, steps = 6, 80
	}
	acked, streamed, misled, moved := 0, 0, 0, 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			f := newFaults(t, seed)
			for range steps {
				op := f.step()
				synctest.Wait()
				if err := f.check(); err != nil {
					t.Fatalf("seed %d, after %s: %v\n%s", seed, op, err, f.c)
				}
			}
			f.heal()
			if err := f.check(); err != nil {
				t.Fatalf("seed %d, at the end: %v\n%s", seed, err, f.c)
			}
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			acked += len(f.acked)
			misled += f.misled
			for _, n := range f.c.nodes {
				streamed += int(n.set.Stats().Replication.StreamBytes)
				moved += int(n.set.Stats().Replication.Moved)
			}
		})
	}
	if acked < int(seeds)*steps/4 {
		t.Errorf("only %d records were acknowledged", acked)
	}
	if streamed == 0 && !testing.Short() {
		t.Error("no replica caught up by sealed segments")
	}
	if misled == 0 && !testing.Short() {
		t.Error("no client came to a leader that was succeeded: nothing shows why its word must not leave")
	}
	if moved == 0 && !testing.Short() {
		t.Error("no replica moved to another directory")
	}
}

// faults is the model: what clients were told.
type faults struct {
	t       *testing.T
	c       *cluster
	r       *rand.Rand
	durable bool

	n       int
	clients [3]client
	misled  int // sendings refused by who was succeeded
	waiting []promise
	acked   map[int64]entry
	seen    map[int64]entry // by consumers
	high    int64           // the highest high watermark that any replica had
	applied int64           // the highest that a leader had who had committed its log
	lives   map[*node]int64 // high watermark of each life
}

// promise is an append with acks=all that is not answered yet.
type promise struct {
	n      *node
	p      *Partition
	a      *Append
	values []string
	sent   *sending // nil: without a sequence
}

// client is an idempotent producer: it has up to five batches under way and sends them again, from the first, until each is
// acknowledged.
type client struct {
	id      int64
	next    int32
	pending []*sending
	known   bool       // one was acknowledged; before that any sequence would be taken (trap 20)
	sent    []*sending // all of them: what was sent may arrive again at any time
}

// sending is a batch of a client.
type sending struct {
	sequence int32
	values   []string
	acked    bool
}

// entry is one record and the epoch it was appended in.
type entry struct {
	epoch int32
	value string
}

func newFaults(t *testing.T, seed uint64) *faults {
	tiny := func(c *Config) {
		if seed%4 < 2 {
			c.Dirs = []string{"/data", "/more"}
		}
		if seed%2 > 0 { // replicas that come back take sealed segments
			c.Defaults = metadata.DefaultTopicConfig()
			c.Defaults.SegmentBytes, c.FetchBytes, c.StreamBytes = 1000, 100, 500
		}
	}
	f := &faults{t: t, c: newCluster(t, seed, 3, tiny), r: rand.New(rand.NewPCG(seed, 11)), durable: seed%3 > 0,
		acked: map[int64]entry{}, seen: map[int64]entry{}, lives: map[*node]int64{}}
	f.c.create(2, f.durable)
	return f
}

func (f *faults) step() string {
	id := metadata.NodeID(f.r.IntN(len(f.c.nodes)) + 1)
	n := f.c.nodes[id]
	switch k := f.r.IntN(100); {
	case k < 33:
		return f.produce()
	case k < 58:
		return f.sequenced()
	case k < 80:
		d := time.Duration(f.r.Int64N(int64(50 * time.Millisecond)))
		if f.r.IntN(5) == 0 {
			d = time.Duration(f.r.Int64N(int64(5 * time.Second)))
		}
		<-time.After(d)
		return "waiting"
	case k < 83 && !n.dead && f.mayKill():
		f.c.kill(id)
		return fmt.Sprintf("kill of %d", id)
	case k < 86 && !n.dead && f.durable:
		var some *rand.Rand
		if f.r.IntN(2) == 0 {
			some = f.r
		}
		f.c.crash(id, some)
		return fmt.Sprintf("power cut of %d", id)
	case k < 92 && n.dead:
		f.c.restart(id)
		return fmt.Sprintf("restart of %d", id)
	case k < 95:
		return f.cut(id)
	case k < 98 && !n.dead && len(n.set.dirs) > 1 && n.partition() != nil:
		to := n.set.dirs[f.r.IntN(2)].path
		if err := n.set.Move(context.Background(), n.partition().Topic(), 0, to); err != nil {
			return fmt.Sprintf("move of %d refused: %v", id, err)
		}
		return fmt.Sprintf("move of %d to %s", id, to)
	}
	f.mend()
	return "mending of links"
}

// mayKill: in page-cache mode what promises hold is one unclean failure at a time; after more, an operator decides (R11).
func (f *faults) mayKill() bool {
	if f.durable {
		return true
	}
	for _, n := range f.c.nodes {
		if n.dead {
			return false
		}
	}
	return len(f.c.record().ISR) == len(f.c.nodes)
}

// cut cuts a way to a node, or all ways to it, or only the controller's.
func (f *faults) cut(id metadata.NodeID) string {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	to := metadata.NodeID(f.r.IntN(len(f.c.nodes) + 1))
	f.c.cut[[2]metadata.NodeID{id, to}] = true
	if f.r.IntN(3) == 0 {
		for o := range metadata.NodeID(len(f.c.nodes) + 1) {
			f.c.cut[[2]metadata.NodeID{id, o}], f.c.cut[[2]metadata.NodeID{o, id}] = true, true
		}
		return fmt.Sprintf("isolation of %d", id)
	}
	return fmt.Sprintf("cut from %d to %d", id, to)
}

func (f *faults) mend() {
	f.c.mu.Lock()
	clear(f.c.cut)
	f.c.mu.Unlock()
}

// believer is somebody who believes to lead, perhaps wrongly; nil: there is nobody.
func (f *faults) believer() *node {
	for _, i := range f.r.Perm(len(f.c.nodes)) {
		n := f.c.nodes[metadata.NodeID(i+1)]
		if n.dead || n.partition() == nil {
			continue
		}
		if role, _ := n.partition().Role(); role == Leader {
			return n
		}
	}
	return nil
}

// values are what the next batch holds.
func (f *faults) values() (values []string) {
	f.n++
	for range 1 + f.r.IntN(3) {
		values = append(values, fmt.Sprintf("%d", f.n))
	}
	return values
}

// produce appends without a sequence.
func (f *faults) produce() string {
	n := f.believer()
	if n == nil {
		return "nothing: nobody leads"
	}
	w := promise{n: n, p: n.partition(), values: f.values()}
	acks := int16(-1)
	if f.r.IntN(5) == 0 {
		acks = 1
	}
	w.a = produce(w.p, acks, batch(len(w.values), w.values[0]))
	if w.a.Err == nil && acks == -1 {
		f.waiting = append(f.waiting, w)
	}
	return fmt.Sprintf("append of %d to %d", f.n, n.id)
}

// sequenced has a client send something new, what is under way again, or something old whose time has come at last.
func (f *faults) sequenced() string {
	n := f.believer()
	if n == nil {
		return "nothing: nobody leads"
	}
	k := f.r.IntN(len(f.clients))
	c := &f.clients[k]
	c.id = int64(k + 1)
	for len(c.pending) > 0 && c.pending[0].acked {
		c.pending, c.known = c.pending[1:], true
	}
	switch how := f.r.IntN(10); {
	case how == 0 && len(c.sent) > 0:
		s := c.sent[len(c.sent)-1-f.r.IntN(min(len(c.sent), 12))]
		f.send(n, c, s)
		return fmt.Sprintf("late arrival of %d/%d at %d", c.id, s.sequence, n.id)
	case how < 6 && len(c.pending) < 5 && (len(c.pending) == 0 || c.known):
		s := &sending{sequence: c.next, values: f.values()}
		c.next += int32(len(s.values))
		c.sent, c.pending = append(c.sent, s), append(c.pending, s)
		f.send(n, c, s)
		return fmt.Sprintf("%d/%d to %d", c.id, s.sequence, n.id)
	}
	for _, s := range c.pending[:f.r.IntN(len(c.pending)+1)] {
		f.send(n, c, s)
	}
	return fmt.Sprintf("%d again to %d", c.id, n.id)
}

// send sends a batch to who believes to lead. Whoever does lead never refuses the first one that is under way: everything
// before it is committed, and nothing behind it can have come without it. Who was succeeded does, and then a client begins
// a new epoch and doubles what is under way: such an answer must not leave (R18, the broker's lease).
func (f *faults) send(n *node, c *client, s *sending) {
	w := promise{n: n, p: n.partition(), values: s.values, sent: s}
	w.a = produce(w.p, -1, produced(&record.Producer{ID: c.id, Sequence: s.sequence}, len(s.values), s.values[0]))
	m := f.c.record()
	leads := m.Leader == n.id && m.LeaderEpoch == w.a.Epoch
	first := len(c.pending) > 0 && c.pending[0] == s
	switch {
	case w.a.Err == nil:
		f.waiting = append(f.waiting, w)
	case !first || !errors.Is(w.a.Err, kerr.OutOfOrderSequenceNumber):
	case leads:
		f.t.Errorf("the leader, %d, refuses %d/%d, the first that is under way: %v", n.id, c.id, s.sequence, w.a.Err)
	default:
		f.misled++
	}
}

// settleAcks takes what was acknowledged since.
func (f *faults) settleAcks() {
	f.waiting = slices.DeleteFunc(f.waiting, func(w promise) bool {
		if w.n.dead {
			return true // nobody knows
		}
		done, err := w.p.Acked(w.a.Last, w.a.Epoch)
		if done && err == nil {
			for i, v := range w.values {
				at := w.a.Base + int64(i)
				f.acked[at] = entry{w.p.standing.Load().log.EpochAt(at), v} // of a duplicate the original's
			}
			if w.sent != nil {
				w.sent.acked = true
			}
		}
		return done
	})
}

// heal mends everything and waits until all replicas are in sync again.
func (f *faults) heal() {
	f.mend()
	for _, id := range slices.Sorted(maps.Keys(f.c.nodes)) {
		f.c.restart(id)
	}
	f.c.until("somebody leads", func() bool { return f.c.leader() != nil })
	f.c.whole()
}

// replica is one running replica as it is at the check.
type replica struct {
	n       *node
	d       Description
	entries []entry // from d.Start on
	batches []record.Batch
}

func (r *replica) at(offset int64) entry { return r.entries[offset-r.d.Start] }

func (f *faults) check() error {
	f.settleAcks()
	var all []*replica
	for _, id := range slices.Sorted(maps.Keys(f.c.nodes)) {
		n := f.c.nodes[id]
		if n.dead || n.partition() == nil {
			continue
		}
		r := &replica{n: n, d: n.partition().Describe()}
		if err := r.load(); err != nil {
			return fmt.Errorf("node %d: %w", id, err)
		}
		if err := f.checkOne(r); err != nil {
			return fmt.Errorf("node %d: %w", id, err)
		}
		all = append(all, r)
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if err := matching(a, b); err != nil {
				return fmt.Errorf("nodes %d and %d: %w", a.n.id, b.n.id, err)
			}
		}
	}
	return f.checkCandidates(all)
}

// load reads the replica's whole log.
func (r *replica) load() error {
	log := r.n.partition().standing.Load().log
	if log == nil {
		return nil
	}
	for offset := r.d.Start; offset < r.d.End; {
		slice, err := log.View().Slice(offset, r.d.End, 1<<20, true)
		if err != nil {
			return err
		}
		buf := make([]byte, slice.Len())
		_, err = slice.ReadAt(buf, 0)
		slice.Release()
		if err != nil || len(buf) == 0 {
			return fmt.Errorf("reading at %d: %d bytes, %w", offset, len(buf), err)
		}
		from := offset
		var values []string
		for rest := buf; len(rest) > 0; {
			var b record.Batch
			if b, rest, err = record.Next(rest); err != nil {
				return err
			}
			r.batches = append(r.batches, b)
		}
		offset, values = collect(r.n.c.t, buf, from, nil)
		for i, v := range values {
			r.entries = append(r.entries, entry{log.EpochAt(from + int64(i)), v})
		}
	}
	if epochs := log.EpochEntries(); len(epochs) > 0 && r.d.End > r.d.Start {
		if epochs[0].Start != r.d.Start || epochs[len(epochs)-1].Start > r.d.End {
			return fmt.Errorf("I10: epochs %v in a log from %d to %d", epochs, r.d.Start, r.d.End)
		}
	}
	if e := log.LastEpoch(); e > r.d.LeaderEpoch && r.d.LeaderEpoch >= 0 {
		return fmt.Errorf("I12: the log has epoch %d, the replica knows %d", e, r.d.LeaderEpoch)
	}
	return nil
}

func (f *faults) checkOne(r *replica) error {
	d := &r.d
	switch {
	case d.LastStable > d.HighWatermark, d.HighWatermark > d.End, d.Start > d.HighWatermark:
		return fmt.Errorf("I10: %+v", *d)
	case d.HighWatermark < f.lives[r.n]:
		return fmt.Errorf("I11: the high watermark went back from %d to %d", f.lives[r.n], d.HighWatermark)
	case d.Role == Offline:
		return errors.New("the replica was stopped")
	}
	if err := r.checkProducers(); err != nil {
		return err
	}
	f.lives[r.n] = d.HighWatermark
	f.high = max(f.high, d.HighWatermark)
	for o := d.Start; o < d.HighWatermark; o++ {
		if was, ok := f.seen[o]; ok && was != r.at(o) {
			return fmt.Errorf("I5: offset %d was %v and is %v", o, was, r.at(o))
		}
		f.seen[o] = r.at(o)
	}
	p := r.n.partition()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracker != nil {
		return p.tracker.CheckInvariants()
	}
	return nil
}

// checkProducers is Z22: what the replica knows of producers is what its log says, and nothing is there twice.
func (r *replica) checkProducers() error {
	want := producer.New()
	first := map[[2]int64]int64{}
	for _, b := range r.batches {
		if !b.HasProducer() {
			continue
		}
		want.Append(b, 0)
		key := [2]int64{b.ProducerID(), int64(b.BaseSequence())}
		if at, twice := first[key]; twice {
			return fmt.Errorf("R15: sequence %d of producer %d is there twice, at %d and %d", key[1], key[0], at, b.BaseOffset())
		}
		first[key] = b.BaseOffset()
	}
	p := r.n.partition()
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.standing.Load().log
	if log == nil || p.gate != nil || log.End() != r.d.End {
		return nil
	}
	if got := log.Producers(); !bytes.Equal(got.Encode(r.d.End), want.Encode(r.d.End)) {
		return fmt.Errorf("Z22: producers are %+v, the log says %+v", got.Producers(), want.Producers())
	}
	return nil
}

// matching is I4.
func matching(a, b *replica) error {
	same := min(a.d.HighWatermark, b.d.HighWatermark)
	for o := max(a.d.Start, b.d.Start); o < min(a.d.End, b.d.End); o++ {
		if a.at(o).epoch == b.at(o).epoch {
			same = max(same, o+1)
		}
	}
	for o := max(a.d.Start, b.d.Start); o < same; o++ {
		if a.at(o) != b.at(o) {
			return fmt.Errorf("I4: offset %d is %v and %v, and equal up to %d is promised", o, a.at(o), b.at(o), same)
		}
	}
	return nil
}

// checkCandidates is I2, I3 and the applied high watermark of I11.
func (f *faults) checkCandidates(all []*replica) error {
	m := f.c.record()
	for _, r := range all {
		if (slices.Contains(m.ISR, r.n.id) || slices.Contains(m.ELR, r.n.id)) && r.d.End < f.high {
			return fmt.Errorf("I2: node %d may lead and ends at %d, committed is up to %d", r.n.id, r.d.End, f.high)
		}
		if r.n.id != m.Leader || r.d.Role != Leader || r.d.LeaderEpoch != m.LeaderEpoch {
			continue
		}
		for o, want := range f.acked {
			if o >= r.d.End || r.at(o) != want {
				return fmt.Errorf("I3: leader %d lacks offset %d, acknowledged as %v", r.n.id, o, want)
			}
		}
		if r.n.partition().Applied() {
			if r.d.HighWatermark < f.applied {
				return fmt.Errorf("I11: the applied high watermark went back from %d to %d", f.applied, r.d.HighWatermark)
			}
			f.applied = r.d.HighWatermark
		}
	}
	return nil
}

// TestManyPartitionsShareOneSession: partitions that come, go and change leader keep session and fetchers together.
func TestManyPartitionsShareOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 5, 2)
		c.create(1, true)
		c.whole()
		for i := range byte(20) {
			c.mu.Lock()
			p := metadata.Partition{Replicas: []metadata.NodeID{1, 2}, ISR: []metadata.NodeID{1, 2}, Leader: metadata.NodeID(i%2 + 1), MinISR: 2, Durable: true}
			c.commit([]metadata.Change{metadata.TopicCreated{ID: topicID(10 + i), Name: name("t%d", i)},
				metadata.PartitionCreated{Topic: topicID(10 + i), Partition: p}})
			c.mu.Unlock()
		}
		c.until("all are hosted", func() bool {
			return c.nodes[1].set.Stats().Partitions == 21 && c.nodes[2].set.Stats().Partitions == 21
		})
		for i := range byte(20) {
			p := c.nodes[metadata.NodeID(i%2+1)].set.ByID(topicID(10+i), 0)
			a := produce(p, -1, batch(1, "a"))
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := errors.Join(wait(p, a), ctx.Err())
			cancel()
			if err != nil {
				t.Fatalf("topic %d: %v", i, err)
			}
		}
		c.mu.Lock()
		for i := range byte(10) {
			c.commit([]metadata.Change{metadata.TopicDeleted{ID: topicID(10 + i)}})
		}
		c.mu.Unlock()
		c.until("half of them are gone", func() bool { return c.nodes[1].set.Stats().Partitions == 11 })
		for _, n := range c.nodes {
			if s := n.set.Stats(); s.Fetchers != 1 || s.Replication.FetchErrors > 0 {
				t.Errorf("node %d: %+v", n.id, s)
			}
		}
	})
}
