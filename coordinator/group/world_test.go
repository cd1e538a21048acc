package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/coordinator/machine"
)

// world runs a machine as the shell does: entries are replayed at once, answers are counted, deadlines fire in order.
// After every step the invariants are checked.
type world struct {
	t       testing.TB
	m       *Machine
	cfg     Config
	now     time.Time
	log     []machine.Entry
	token   uint64
	waiting map[uint64]bool // parked tokens
	replies map[uint64]any  // late answers that nobody has fetched yet
	events  []Event
}

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, cfg Config) *world {
	if cfg.Rand == nil {
		cfg.Rand = rand.NewChaCha8([32]byte{1})
	}
	w := &world{t: t, cfg: cfg, now: epoch, waiting: map[uint64]bool{}, replies: map[uint64]any{}}
	w.load(nil)
	return w
}

// load replaces the machine by one made from entries: what a failover does. Parked requests are lost.
func (w *world) load(entries []machine.Entry) {
	w.t.Helper()
	w.m = New(w.cfg)
	w.log = slices.Clone(entries)
	clear(w.waiting)
	for _, e := range entries {
		if err := w.m.Replay(e); err != nil {
			w.t.Logf("skipped: %v", err)
		}
	}
	w.settle(w.m.Loaded(w.now), 0)
}

// do runs one request. The reply is nil when it is parked.
func (w *world) do(op func(m *Machine, token uint64) machine.Result) (token uint64, reply any) {
	w.t.Helper()
	w.token++
	token = w.token
	r := op(w.m, token)
	if r.Reply == nil {
		w.waiting[token] = true
	}
	w.settle(r, token)
	if late, ok := w.replies[token]; ok {
		delete(w.replies, token)
		return token, late
	}
	return token, r.Reply
}

func (w *world) settle(r machine.Result, token uint64) {
	w.t.Helper()
	for _, e := range r.Entries {
		if err := w.m.Replay(e); err != nil {
			w.t.Fatalf("own entry is not understood: %v", err)
		}
		w.log = append(w.log, e)
	}
	for _, a := range r.Answers {
		if !w.waiting[a.Token] {
			w.t.Fatalf("M3: answer to token %d, which does not wait", a.Token)
		}
		delete(w.waiting, a.Token)
		w.replies[a.Token] = a.Reply
	}
	for _, e := range r.Effects {
		w.events = append(w.events, e.(Event))
	}
	if err := w.m.Check(); err != nil {
		w.t.Fatalf("after token %d: %v", token, err)
	}
	if len(w.waiting) != w.parked() {
		w.t.Fatalf("M3: %d requests wait, %d are parked", len(w.waiting), w.parked())
	}
}

func (w *world) parked() (n int) {
	for _, g := range w.m.groups {
		for _, p := range g.members {
			if p.join.on {
				n++
			}
			if p.sync.on {
				n++
			}
		}
	}
	return n
}

// pass lets time go by and fires the deadlines on the way.
func (w *world) pass(d time.Duration, fired func()) {
	w.t.Helper()
	end := w.now.Add(d)
	for {
		at, ok := w.m.NextDeadline()
		if !ok || at.After(end) {
			break
		}
		w.now = at
		w.settle(w.m.Expire(w.now), 0)
		if next, ok := w.m.NextDeadline(); ok && !next.After(w.now) {
			w.t.Fatalf("M5: after Expire(%v) the next deadline is %v", w.now, next)
		}
		if fired != nil {
			fired()
		}
	}
	w.now = end
}

// sameHard compares hard states; a map that became empty is as good as none.
var sameHard = []cmp.Option{
	cmp.AllowUnexported(hardGroup{}, metadata{}, savedMember{}, offset{}),
	cmpopts.EquateEmpty(),
}

// hard is the hard state, for comparison.
func hard(m *Machine) map[string]hardGroup {
	all := map[string]hardGroup{}
	for id, g := range m.groups {
		if g.hard.exists() {
			all[id] = g.hard
		}
	}
	return all
}

// compacted keeps the last entry of every key, tombstones included.
func compacted(log []machine.Entry) []machine.Entry {
	last := map[string]int{}
	for i, e := range log {
		last[string(e.Key)] = i
	}
	var kept []machine.Entry
	for i, e := range log {
		if last[string(e.Key)] == i {
			kept = append(kept, e)
		}
	}
	return kept
}

// sameAfterReload checks M2, with the whole log and with a compacted one.
func (w *world) sameAfterReload() {
	w.t.Helper()
	for name, log := range map[string][]machine.Entry{"whole": w.log, "compacted": compacted(w.log)} {
		m := New(w.cfg)
		for _, e := range log {
			if err := m.Replay(e); err != nil {
				w.t.Fatal(err)
			}
		}
		if d := cmp.Diff(hard(w.m), hard(m), sameHard...); d != "" {
			w.t.Fatalf("M2: the %s log gives another state: %s", name, d)
		}
		m.Loaded(w.now)
		if err := m.Check(); err != nil {
			w.t.Fatalf("after loading the %s log: %v", name, err)
		}
	}
}

func codeName(code int16) string {
	if code == 0 {
		return "ok"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return fmt.Sprint(code)
}

func list(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
