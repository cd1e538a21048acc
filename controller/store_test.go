package controller

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordwood/segment/vfs"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

func newStore(t testing.TB, fs vfs.FS) *store {
	t.Helper()
	s, err := tryStore(fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryStore(fs vfs.FS) (*store, error) {
	if err := vfs.MkdirAllSync(fs, "/raft"); err != nil {
		return nil, err
	}
	cfg := config(fs, "/raft")
	cfg.SegmentBytes = 4000
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return openStore(&cfg, newGuard(time.Minute), holdReserve(fs, "/raft", zap.NewNop()))
}

func entry(index, term uint64, data string) *raft.Log {
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: []byte(data), AppendedAt: time.UnixMilli(1_700_000_000_000 + int64(index))}
}

func write(t testing.TB, s *store, logs ...*raft.Log) {
	t.Helper()
	if err := s.StoreLogs(logs); err != nil {
		t.Fatal(err)
	}
}

func contents(t testing.TB, s *store) []raft.Log {
	t.Helper()
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	var out []raft.Log
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d of %d to %d: %v", i, first, last, err)
		}
		out = append(out, l)
	}
	return out
}

func TestEntriesComeBackAsTheyWere(t *testing.T) {
	mem := vfs.NewMem()
	s := newStore(t, mem)
	want := []*raft.Log{entry(1, 1, "one"), entry(2, 1, ""), entry(3, 1<<40, "three"), {Index: 4, Term: 1 << 40, Type: raft.LogConfiguration, Data: []byte("c"), Extensions: []byte("x"), AppendedAt: time.UnixMilli(5)}}
	write(t, s, want[0])
	write(t, s, want[1:]...)
	for range 2 {
		for i, got := range contents(t, s) {
			if got.Index != want[i].Index || got.Term != want[i].Term || got.Type != want[i].Type || !bytes.Equal(got.Data, want[i].Data) ||
				!bytes.Equal(got.Extensions, want[i].Extensions) || !got.AppendedAt.Equal(want[i].AppendedAt) {
				t.Fatalf("%+v\nwant %+v", got, *want[i])
			}
		}
		var l raft.Log
		if err := s.GetLog(5, &l); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatal(err)
		}
		if err := s.GetLog(0, &l); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s = newStore(t, mem)
	}
}

// model is a log as raft sees it.
type model struct {
	first uint64 // of entries
	terms []uint64
}

func TestRandomOperationsAndPowerCuts(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 9))
		mem := vfs.NewMem()
		s := newStore(t, mem)
		m := model{first: 1}
		for range 40 {
			switch n := rng.IntN(10); {
			case n < 6:
				var logs []*raft.Log
				for range 1 + rng.IntN(4) {
					index, term := m.first+uint64(len(m.terms)), uint64(1+rng.IntN(3))
					logs = append(logs, entry(index, term, strings.Repeat("x", rng.IntN(3000))))
					m.terms = append(m.terms, term)
				}
				write(t, s, logs...)
			case n == 6 && len(m.terms) > 0: // a diverging tail
				keep := rng.IntN(len(m.terms) + 1)
				if err := s.DeleteRange(m.first+uint64(keep), m.first+uint64(len(m.terms))-1); err != nil {
					t.Fatal(err)
				}
				if m.terms = m.terms[:keep]; keep == 0 {
					m.first, _ = nextIndex(s)
				}
			case n == 7 && len(m.terms) > 1: // behind a snapshot
				drop := 1 + rng.IntN(len(m.terms)-1)
				first, _ := s.FirstIndex()
				if err := s.DeleteRange(first, m.first+uint64(drop)-1); err != nil {
					t.Fatal(err)
				}
				m.first, m.terms = m.first+uint64(drop), slices.Clone(m.terms[drop:])
			case n == 8 && len(m.terms) > 0: // a snapshot that reaches further than the log
				last := m.first + uint64(len(m.terms)) - 1
				first, _ := s.FirstIndex()
				if err := s.DeleteRange(first, last); err != nil {
					t.Fatal(err)
				}
				m.first, m.terms = last+1+uint64(rng.IntN(100)), nil
				write(t, s, entry(m.first, 1, "x"))
				m.terms = []uint64{1}
			case n == 9:
				mem = mem.CrashClone(rng)
				s = newStore(t, mem)
			}
			checkModel(t, seed, s, m)
		}
	}
}

func nextIndex(s *store) (uint64, error) { return uint64(s.log.End()), nil }

// checkModel allows more entries at the start: what a snapshot made superfluous may come
// back after a restart.
func checkModel(t *testing.T, seed uint64, s *store, m model) {
	t.Helper()
	got := contents(t, s)
	if len(m.terms) == 0 {
		if last, _ := s.LastIndex(); last >= m.first {
			t.Fatalf("seed %d: %d entries where none is due", seed, len(got))
		}
		return
	}
	got = slices.DeleteFunc(got, func(l raft.Log) bool { return l.Index < m.first })
	var terms []uint64
	for _, l := range got {
		terms = append(terms, l.Term)
	}
	if !slices.Equal(terms, m.terms) || got[0].Index != m.first {
		t.Fatalf("seed %d: %v\nwant %v from %d", seed, terms, m.terms, m.first)
	}
}

// logFile is the newest file of the log.
func logFile(t testing.TB, mem *vfs.Mem) string {
	t.Helper()
	entries, err := mem.ReadDir(path.Join("/raft", logDir))
	if err != nil {
		t.Fatal(err)
	}
	name := ""
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".log") {
			name = path.Join("/raft", logDir, e.Name())
		}
	}
	return name
}

// A flipped bit is either in the last write, which a crash may have torn and nobody was
// told of, or it stops the node: it never goes on without an entry it had (C4, Z27).
func TestDamageInTheLogStopsTheNode(t *testing.T) {
	mem := vfs.NewMem()
	s := newStore(t, mem)
	for i := range uint64(6) {
		write(t, s, entry(2*i+1, 1, "some data"), entry(2*i+2, 1, "more data"))
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	name := logFile(t, mem)
	raw, err := vfs.ReadFile(mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	refused, torn := 0, 0
	for at := range raw {
		clone := mem.KillClone()
		if err := clone.Corrupt(name, int64(at), 0x10); err != nil {
			t.Fatal(err)
		}
		s, err := tryStore(clone)
		if err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatalf("byte %d: %v", at, err)
			}
			refused++
			continue
		}
		last, _ := s.LastIndex()
		if last < 10 {
			t.Fatalf("byte %d: the log ends at %d of 12 and nobody noticed", at, last)
		}
		if last < 12 {
			torn++
		}
		_ = s.close()
	}
	if refused < len(raw)*8/10 || torn == 0 {
		t.Fatalf("of %d flipped bits %d were refused, %d cut", len(raw), refused, torn)
	}
}

func TestATornLastWriteIsCutOff(t *testing.T) {
	mem := vfs.NewMem()
	s := newStore(t, mem)
	write(t, s, entry(1, 1, "one"))
	name := logFile(t, mem)
	before, _ := vfs.ReadFile(mem, name, 1<<20)
	write(t, s, entry(2, 1, "two"), entry(3, 1, "three"), entry(4, 1, "four"))
	after, _ := vfs.ReadFile(mem, name, 1<<20)
	for size := len(before); size <= len(after); size++ {
		clone := mem.KillClone()
		f, err := clone.Open(name, syscall.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		got := contents(t, newStore(t, clone))
		if len(got) < 1 || len(got) > 4 || (size == len(after)) != (len(got) == 4) {
			t.Fatalf("%d bytes: %d entries", size, len(got))
		}
	}
}

func TestNothingIsWrittenAfterAFailedFsync(t *testing.T) {
	syncs, failed := 0, false
	fault := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
		if op.Kind != vfs.OpSync || !strings.HasSuffix(op.Name, ".log") {
			return vfs.Verdict{}
		}
		if syncs++; syncs == 2 {
			failed = true
			return vfs.Verdict{Err: syscall.EIO}
		}
		return vfs.Verdict{}
	})
	s := newStore(t, fault)
	write(t, s, entry(1, 1, "one"))
	if err := s.StoreLog(entry(2, 1, "two")); !errors.Is(err, syscall.EIO) || !failed {
		t.Fatal(err)
	}
	before := fault.Count()
	for range 3 {
		if err := s.StoreLog(entry(2, 1, "two")); !errors.Is(err, ErrDiskFailed) {
			t.Fatal(err)
		}
		if err := s.DeleteRange(1, 1); !errors.Is(err, ErrDiskFailed) {
			t.Fatal(err)
		}
	}
	if fault.Count() != before {
		t.Fatal("the disk was asked again (Z26)")
	}
}

func TestAFullDiskTakesTheReserveAndGoesOn(t *testing.T) {
	full, freed := false, false
	fault := vfs.NewFault(vfs.NewMem(), func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpRemove && strings.HasSuffix(op.Name, reserveFile) {
			freed = true
		}
		if full && !freed && op.Kind == vfs.OpWrite {
			return vfs.Verdict{Err: syscall.ENOSPC, Short: 7}
		}
		return vfs.Verdict{}
	})
	s := newStore(t, fault)
	write(t, s, entry(1, 1, "one"))
	full = true
	write(t, s, entry(2, 1, "two"))
	if !freed || len(contents(t, s)) != 2 {
		t.Fatal("the reserve was not given up")
	}
	freed = false
	if err := s.StoreLog(entry(3, 1, "three")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func TestVotesAreDurableBeforeTheyLeave(t *testing.T) {
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(1, 1))
	if err := vfs.MkdirAllSync(mem, "/raft"); err != nil {
		t.Fatal(err)
	}
	open := func(fs vfs.FS) *stable {
		s, err := openStable(fs, "/raft", newGuard(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(mem)
	for term := range uint64(20) {
		who := fmt.Sprint("node", term/3) // the same several times: then only the term differs
		for _, err := range []error{s.SetUint64([]byte(keyTerm), term), s.SetUint64([]byte(keyVoteTerm), term), s.Set([]byte(keyVoteCand), []byte(who))} {
			if err != nil {
				t.Fatal(err)
			}
		}
		after := open(mem.CrashClone(rng))
		current, _ := after.GetUint64([]byte(keyTerm))
		voted, _ := after.GetUint64([]byte(keyVoteTerm))
		kept, _ := after.Get([]byte(keyVoteCand))
		if current != term || voted != term || string(kept) != who {
			t.Fatalf("term %d: %d %d %s", term, current, voted, kept)
		}
	}
	// A term that comes from a heartbeat meanwhile must not take half of a vote to the disk.
	_ = s.SetUint64([]byte(keyVoteTerm), 99)
	_ = s.SetUint64([]byte(keyTerm), 99)
	if voted, _ := open(mem.CrashClone(rng)).GetUint64([]byte(keyVoteTerm)); voted != 19 {
		t.Fatal("a vote without a candidate: ", voted)
	}
	if v, err := s.GetUint64([]byte(keyVoteCand)); err == nil {
		t.Fatal("a name was read as a number: ", v)
	}
}

func TestADamagedVoteIsNotAVote(t *testing.T) {
	good := encodeVote(map[string][]byte{keyTerm: {0, 0, 0, 0, 0, 0, 0, 7}, "a": {}})
	back, err := decodeVote(good)
	if err != nil || !reflect.DeepEqual(back, map[string][]byte{keyTerm: {0, 0, 0, 0, 0, 0, 0, 7}, "a": {}}) {
		t.Fatal(back, err)
	}
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 4
		if _, err := decodeVote(bad); err == nil {
			t.Fatalf("byte %d", at)
		}
		if _, err := decodeVote(good[:at]); err == nil {
			t.Fatalf("cut at %d", at)
		}
	}
}

func FuzzVote(f *testing.F) {
	f.Add(encodeVote(map[string][]byte{"a": {1}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if values, err := decodeVote(raw); err == nil {
			if _, err := decodeVote(encodeVote(values)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzNewestWrite(f *testing.F) {
	batches, err := encodeLogs([]*raft.Log{entry(1, 1, "a"), entry(2, 1, "b"), {Index: 3, Extensions: []byte("x")}})
	if err != nil {
		f.Fatal(err)
	}
	var raw []byte
	for _, b := range batches {
		raw = append(raw, b...)
	}
	f.Add(raw)
	f.Add(raw[10:])
	f.Fuzz(func(t *testing.T, raw []byte) {
		if start, found := newestWrite(raw, 1); found && start < 1 {
			t.Fatal(start)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	mem := vfs.NewMem()
	s := &snapshots{fs: mem, dir: "/", guard: newGuard(time.Minute), log: zap.NewNop()}
	writeSnapshot(f, s, 3, "image")
	raw, err := vfs.ReadFile(mem, s.path(snapshotName(3, 1)), 1<<20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if meta, image, err := decodeSnapshot(raw); err == nil && meta.Size != int64(len(image)) {
			t.Fatal(meta)
		}
	})
}

func writeSnapshot(t testing.TB, s *snapshots, index uint64, image string) {
	t.Helper()
	sink, err := s.Create(raft.SnapshotVersionMax, index, 1, raft.Configuration{Servers: []raft.Server{{ID: "1", Address: "1"}}}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write([]byte(image)); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsAreWholeOrNotThere(t *testing.T) {
	mem := vfs.NewMem()
	rng := rand.New(rand.NewPCG(3, 3))
	var clones []*vfs.Mem
	mem.OnSync = func(vfs.SyncPoint) { clones = append(clones, mem.CrashClone(rng)) }
	s := &snapshots{fs: mem, dir: "/", guard: newGuard(time.Minute), log: zap.NewNop()}
	for i := range uint64(5) {
		writeSnapshot(t, s, 10*i, fmt.Sprint("image ", i))
	}
	clones = append(clones, mem)
	for n, clone := range clones {
		c := &snapshots{fs: clone, dir: "/", guard: s.guard, log: zap.NewNop()}
		if err := c.sweep(); err != nil {
			t.Fatal(err)
		}
		list, err := c.List()
		if err != nil || len(list) > snapshotsKept+2 { // a removal becomes durable with the next snapshot
			t.Fatal(list, err)
		}
		names, _ := c.names()
		if len(names) != len(list) {
			t.Fatalf("crash %d: a damaged snapshot among %v", n, names)
		}
		for i, meta := range list {
			_, r, err := c.Open(meta.ID)
			if err != nil {
				t.Fatal(err)
			}
			image, _ := io.ReadAll(r)
			if string(image) != fmt.Sprint("image ", meta.Index/10) || (i > 0 && list[i-1].Index <= meta.Index) {
				t.Fatalf("crash %d: %s of %d", n, image, meta.Index)
			}
		}
	}
	if list, _ := s.List(); len(list) != snapshotsKept || list[0].Index != 40 || list[0].Configuration.Servers[0].ID != "1" {
		t.Fatal(list)
	}
}
