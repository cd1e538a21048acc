package vfs

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// seeds is how many power cuts a random test tries.
const seeds = 300

func generator(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

// newMem has the durable directory /d.
func newMem(t *testing.T) *Mem {
	t.Helper()
	m := NewMem()
	must(t, MkdirAllSync(m, "/d"))
	return m
}

// dump is every file of /d with its content, and every directory.
func dump(t *testing.T, m *Mem) string {
	t.Helper()
	var out strings.Builder
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := m.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			name := dir + "/" + e.Name()
			if e.IsDir() {
				fmt.Fprintf(&out, "%s/ ", name)
				walk(name)
				continue
			}
			data, err := ReadFile(m, name, 1<<30)
			must(t, err)
			fmt.Fprintf(&out, "%s=%s ", name, data)
		}
	}
	walk("/d")
	return strings.TrimSpace(out.String())
}

// synced is scripts and what the strictest power cut leaves of them.
var synced = []struct {
	name string
	do   func(t *testing.T, m *Mem)
	want string
}{
	{"nothing synced", func(t *testing.T, m *Mem) {
		put(t, m, "/d/f", "x")
	}, ""},
	{"file synced, its name not", func(t *testing.T, m *Mem) {
		put(t, m, "/d/f", "x")
		syncFile(t, m, "/d/f")
	}, ""},
	{"name synced, file not", func(t *testing.T, m *Mem) {
		put(t, m, "/d/f", "x")
		must(t, m.SyncDir("/d"))
	}, "/d/f="},
	{"both synced", func(t *testing.T, m *Mem) {
		put(t, m, "/d/f", "x")
		syncFile(t, m, "/d/f")
		must(t, m.SyncDir("/d"))
	}, "/d/f=x"},
	{"rename not synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("x")))
		must(t, m.Rename("/d/f", "/d/g"))
	}, "/d/f=x"},
	{"rename synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("x")))
		must(t, m.Rename("/d/f", "/d/g"))
		must(t, m.SyncDir("/d"))
	}, "/d/g=x"},
	{"removal not synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("x")))
		must(t, m.Remove("/d/f"))
	}, "/d/f=x"},
	{"removal synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("x")))
		must(t, m.Remove("/d/f"))
		must(t, m.SyncDir("/d"))
	}, ""},
	{"truncation not synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("xyz")))
		f := open(t, m, "/d/f", os.O_RDWR)
		must(t, f.Truncate(1))
	}, "/d/f=xyz"},
	{"truncation synced", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("xyz")))
		f := open(t, m, "/d/f", os.O_RDWR)
		must(t, f.Truncate(1))
		must(t, f.Datasync())
	}, "/d/f=x"},
	{"cut and written again", func(t *testing.T, m *Mem) {
		must(t, WriteFileAtomic(m, "/d/f", []byte("xyz")))
		put(t, m, "/d/f", "ab")
		syncFile(t, m, "/d/f")
		put(t, m, "/d/f", "c")
	}, "/d/f=ab"},
	{"move between directories synced on one side", func(t *testing.T, m *Mem) {
		must(t, MkdirAllSync(m, "/d/a"))
		must(t, MkdirAllSync(m, "/d/b"))
		must(t, WriteFileAtomic(m, "/d/a/f", []byte("x")))
		put(t, m, "/d/b/g", "")
		must(t, m.Rename("/d/a/f", "/d/b/f"))
		must(t, m.SyncDir("/d/a"))
	}, "/d/a/ /d/b/ /d/b/f=x /d/b/g="},
	{"directory renamed, parent not synced", func(t *testing.T, m *Mem) {
		must(t, MkdirAllSync(m, "/d/a"))
		must(t, WriteFileAtomic(m, "/d/a/f", []byte("x")))
		must(t, m.Rename("/d/a", "/d/b"))
		must(t, WriteFileAtomic(m, "/d/b/g", []byte("y")))
	}, "/d/a/ /d/a/f=x /d/a/g=y"},
	{"tree removed and synced at the top", func(t *testing.T, m *Mem) {
		must(t, MkdirAllSync(m, "/d/a/b"))
		must(t, WriteFileAtomic(m, "/d/a/b/f", []byte("x")))
		must(t, m.RemoveAll("/d/a"))
		must(t, m.SyncDir("/d"))
	}, ""},
	{"directory made by MkdirAll only", func(t *testing.T, m *Mem) {
		must(t, m.MkdirAll("/d/a", 0o700))
		must(t, WriteFileAtomic(m, "/d/a/f", []byte("x")))
	}, ""},
}

// TestPowerCutKeepsWhatWasSynced runs the scripts, with kills and second power cuts as well.
func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	for _, c := range synced {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			c.do(t, m)
			before := dump(t, m)
			crashed := m.CrashClone(nil)
			if got := dump(t, crashed); got != c.want {
				t.Errorf("power cut left %q, want %q", got, c.want)
			}
			if got := dump(t, m.KillClone()); got != before {
				t.Errorf("kill left %q, want %q", got, before)
			}
			if got := dump(t, m.KillClone().CrashClone(nil)); got != c.want {
				t.Errorf("kill, then power cut left %q, want %q", got, c.want)
			}
			if got := dump(t, crashed.CrashClone(generator(1))); got != c.want {
				t.Errorf("second power cut left %q, want %q", got, c.want)
			}
		})
	}
}

// TestPowerCutMixesOldAndNew writes at random over a synced file and checks every sector and the size of what
// many power cuts leave.
func TestPowerCutMixesOldAndNew(t *testing.T) {
	seen := map[string]bool{}
	for seed := range seeds {
		rng := generator(seed)
		m := newMem(t)
		old := bytes.Repeat([]byte("o"), rng.IntN(5*pageSize))
		must(t, WriteFileAtomic(m, "/d/f", old))
		f := open(t, m, "/d/f", os.O_RDWR)
		for range rng.IntN(6) {
			at := rng.Int64N(6 * pageSize)
			_, err := f.WriteAt(bytes.Repeat([]byte("n"), 1+rng.IntN(2*pageSize)), at)
			must(t, err)
		}
		if rng.IntN(3) == 0 {
			must(t, f.Truncate(rng.Int64N(6*pageSize)))
		}
		live, err := ReadFile(m, "/d/f", 1<<30)
		must(t, err)
		left, err := ReadFile(m.CrashClone(rng), "/d/f", 1<<30)
		must(t, err)
		if len(left) < min(len(old), len(live)) || len(left) > max(len(old), len(live)) {
			t.Fatalf("seed %d: size %d from %d and %d", seed, len(left), len(old), len(live))
		}
		for at := 0; at < len(left); at += sectorSize {
			end := min(at+sectorSize, len(left))
			isOld := bytes.Equal(left[at:end], padded(old, at, end))
			isNew := bytes.Equal(left[at:end], padded(live, at, end))
			if !isOld && !isNew {
				t.Fatalf("seed %d: sector at %d is neither old nor new", seed, at)
			}
			if isOld != isNew {
				seen[fmt.Sprintf("sector old=%v", isOld)] = true
			}
		}
		seen[fmt.Sprintf("all old=%v", bytes.Equal(left, old))] = true
		seen[fmt.Sprintf("all new=%v", bytes.Equal(left, live))] = true
		seen[fmt.Sprintf("size between=%v", len(left) != len(old) && len(left) != len(live))] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d power cuts showed only %v", seeds, seen)
	}
}

// padded is b[from:to] with zeros behind the end of b.
func padded(b []byte, from, to int) []byte {
	out := make([]byte, to-from)
	if from < len(b) {
		copy(out, b[from:])
	}
	return out
}

func TestPowerCutChoosesAmongNames(t *testing.T) {
	seen := map[string]bool{}
	for seed := range seeds {
		m := newMem(t)
		must(t, WriteFileAtomic(m, "/d/a", []byte("1")))
		must(t, WriteFileAtomic(m, "/d/b", []byte("2")))
		must(t, m.Rename("/d/a", "/d/b"))
		f := open(t, m, "/d/c", os.O_CREATE|os.O_RDWR)
		must(t, f.Close())
		seen[dump(t, m.CrashClone(generator(seed)))] = true
	}
	want := []string{"/d/a=1 /d/b=2", "/d/a=1 /d/b=2 /d/c=", "/d/b=1", "/d/b=1 /d/c="}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("no power cut left %q", w)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("power cuts left %v, want only %q", seen, want)
	}
}

func TestSeedRepeatsAPowerCut(t *testing.T) {
	m := newMem(t)
	for i := range 20 {
		name := fmt.Sprintf("/d/%d", i)
		put(t, m, name, strings.Repeat("x", i*1000))
		if i%3 == 0 {
			syncFile(t, m, name)
		}
	}
	for seed := range 20 {
		one := dump(t, m.CrashClone(generator(seed)))
		if again := dump(t, m.CrashClone(generator(seed))); one != again {
			t.Fatalf("seed %d left two different disks", seed)
		}
	}
}

func TestClonesAreIndependent(t *testing.T) {
	for name, clone := range map[string]func(*Mem) *Mem{
		"crash": func(m *Mem) *Mem { return m.CrashClone(nil) },
		"kill":  (*Mem).KillClone,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMem(t)
			must(t, WriteFileAtomic(m, "/d/f", []byte("first")))
			c := clone(m)
			put(t, m, "/d/f", "in the original")
			wantFile(t, c, "/d/f", "first")
			put(t, c, "/d/f", "in the clone")
			must(t, c.Remove("/d/f"))
			syncFile(t, m, "/d/f")
			wantFile(t, m, "/d/f", "in the original")
			wantFile(t, m.CrashClone(nil), "/d/f", "in the original")
		})
	}
}

func TestCrashFreesLocks(t *testing.T) {
	m := newMem(t)
	_, err := m.Lock("/d/.lock")
	must(t, err)
	for _, c := range []*Mem{m.CrashClone(nil), m.KillClone()} {
		lock, err := c.Lock("/d/.lock")
		must(t, err)
		must(t, lock.Close())
	}
	if _, err := m.Lock("/d/.lock"); err == nil {
		t.Error("the original lost its lock")
	}
}

// TestReplaceSurvivesAPowerCutAtEverySync takes power cuts before and after every sync of two WriteFileAtomic
// calls (Z34).
func TestReplaceSurvivesAPowerCutAtEverySync(t *testing.T) {
	old, replacement := strings.Repeat("old", 3000), strings.Repeat("new", 4000)
	m := newMem(t)
	must(t, WriteFileAtomic(m, "/d/f", []byte(old)))
	points := 0
	m.OnSync = func(p SyncPoint) {
		points++
		for seed := range 30 {
			got, err := ReadFile(m.CrashClone(generator(seed)), "/d/f", 1<<20)
			must(t, err)
			allowed := []string{old, replacement}
			if p.Dir && p.Done {
				allowed = allowed[1:]
			}
			if !slices.Contains(allowed, string(got)) {
				t.Fatalf("%+v, seed %d: left %d bytes that are neither version", p, seed, len(got))
			}
		}
	}
	must(t, WriteFileAtomic(m, "/d/f", []byte(replacement)))
	if points != 4 {
		t.Errorf("saw %d sync points, want 4", points)
	}
}

func TestCorruptionIsDurable(t *testing.T) {
	m := newMem(t)
	must(t, WriteFileAtomic(m, "/d/f", []byte("abc")))
	must(t, m.Corrupt("/d/f", 1, 0x01))
	wantFile(t, m, "/d/f", "acc")
	wantFile(t, m.CrashClone(nil), "/d/f", "acc")
	if m.Corrupt("/d/f", 3, 1) == nil || m.Corrupt("/d/none", 0, 1) == nil {
		t.Error("corrupted what is not there")
	}
}

// TestRandomHistoryAgainstTheRealDisk does the same random calls on Mem and OS and compares.
func TestRandomHistoryAgainstTheRealDisk(t *testing.T) {
	for seed := range 30 {
		rng := generator(seed)
		m, dir := newMem(t), t.TempDir()
		for step := range 60 {
			a, b := string('a'+rune(rng.IntN(4))), string('a'+rune(rng.IntN(4)))
			at, n, kind := rng.Int64N(3*pageSize), rng.IntN(2*pageSize), rng.IntN(6)
			do := func(fsys FS, root string) error {
				switch kind {
				case 0:
					return fsys.Rename(root+"/"+a, root+"/"+b)
				case 1:
					return fsys.Remove(root + "/" + a)
				}
				f, err := fsys.Open(root+"/"+a, os.O_RDWR|os.O_CREATE, 0o600)
				if err != nil {
					return err
				}
				defer f.Close()
				if kind == 2 {
					return f.Truncate(at)
				}
				_, err = f.WriteAt(bytes.Repeat([]byte{byte(step)}, n), at)
				return err
			}
			inMem, onDisk := do(m, "/d"), do(OS(), dir)
			if (inMem == nil) != (onDisk == nil) {
				t.Fatalf("seed %d, step %d: %v in memory, %v on disk", seed, step, inMem, onDisk)
			}
		}
		entries, err := OS().ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			want, err := ReadFile(OS(), dir+"/"+e.Name(), 1<<30)
			must(t, err)
			wantFile(t, m, "/d/"+e.Name(), string(want))
		}
		inMem, err := m.ReadDir("/d")
		must(t, err)
		if len(inMem) != len(entries) {
			t.Fatalf("seed %d: %d names in memory, %d on disk", seed, len(inMem), len(entries))
		}
	}
}
