package vfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Mem is a file system in memory that can lose power: CrashClone is what a power cut leaves, KillClone what a
// kill -9 leaves. The Mem itself goes on, so goroutines of the old process that still run write into the void.
// Relative names start at the root, and there are no symbolic links and no users.
type Mem struct {
	// OnSync, set before use, is told of every sync just before and just after it takes effect. Nothing is
	// locked during the call, so it may take clones.
	OnSync func(SyncPoint)

	mu      sync.Mutex
	root    *inode
	pending []nameOp        // changes of names that no SyncDir has covered, oldest first
	locks   map[string]bool // lock files held, by cleaned name
	numbers uint64          // the last inode number given
	free    uint64          // what Space answers
}

// SyncPoint is a moment at which more becomes durable.
type SyncPoint struct {
	Name string // of the file or directory
	Dir  bool
	Done bool // false: about to happen
}

// inode is a file or a directory; live is what a process sees, durable what survives.
type inode struct {
	number  uint64 // never used twice; clones keep it
	mode    fs.FileMode
	changed time.Time
	names   struct{ live, durable map[string]*inode } // directory
	data    contents                                  // file
}

// NewMem returns an empty Mem.
func NewMem() *Mem {
	m := &Mem{locks: map[string]bool{}, free: 1 << 40}
	m.root = m.newDir(0o700)
	return m
}

func (m *Mem) newInode(mode fs.FileMode) *inode {
	m.numbers++
	return &inode{number: m.numbers, mode: mode, changed: time.Now()}
}

func (m *Mem) newDir(perm fs.FileMode) *inode {
	d := m.newInode(fs.ModeDir | perm&0o700)
	d.names.live, d.names.durable = map[string]*inode{}, map[string]*inode{}
	return d
}

// SetFree sets what Space answers from now on; the disk is twice as large.
func (m *Mem) SetFree(bytes uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = bytes
}

// Corrupt flips bits of a byte of a file, in what is read and in what is durable, as a failing disk does.
func (m *Mem) Corrupt(name string, off int64, bits byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("corrupt", name)
	if err == nil && !n.data.corrupt(off, bits) {
		err = &fs.PathError{Op: "corrupt", Path: name, Err: unix.EINVAL}
	}
	return err
}

func (m *Mem) hook(p SyncPoint) {
	if m.OnSync != nil {
		m.OnSync(p)
	}
}

func clean(name string) string { return path.Clean("/" + name) }

// lookup finds an inode. mu is held.
func (m *Mem) lookup(op, name string) (*inode, error) {
	n := m.root
	for part := range strings.SplitSeq(clean(name), "/") {
		if part == "" {
			continue
		}
		if !n.mode.IsDir() {
			return nil, &fs.PathError{Op: op, Path: name, Err: unix.ENOTDIR}
		}
		child := n.names.live[part]
		if child == nil {
			return nil, &fs.PathError{Op: op, Path: name, Err: unix.ENOENT}
		}
		n = child
	}
	return n, nil
}

// parent finds the directory that holds, or would hold, name. mu is held.
func (m *Mem) parent(op, name string) (*inode, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: unix.EINVAL}
	}
	d, err := m.lookup(op, dir)
	if err != nil {
		return nil, "", err
	}
	if !d.mode.IsDir() {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: unix.ENOTDIR}
	}
	return d, base, nil
}

// change makes a change of names visible and remembers it until it is durable. mu is held.
func (m *Mem) change(op nameOp) {
	op.apply(func(d *inode) map[string]*inode { return d.names.live })
	m.pending = append(m.pending, op)
}

func (m *Mem) Open(name string, flag int, perm os.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) (File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	if flag&os.O_APPEND != 0 {
		return fail(unix.EINVAL)
	}
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.names.live[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return fail(unix.ENOENT)
	case n == nil:
		n = m.newInode(perm.Perm() & 0o600)
		m.change(nameOp{to: dir, newname: base, node: n})
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return fail(unix.EEXIST)
	case n.mode.IsDir() && flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0:
		return fail(unix.EISDIR)
	case n.mode.IsDir():
		return fail(ErrUnsafe)
	case flag&os.O_TRUNC != 0:
		n.data.truncate(0)
		n.changed = time.Now()
	}
	return &memFile{m: m, node: n, name: name, access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)}, nil
}

func (m *Mem) MkdirAll(name string, perm os.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.root
	for part := range strings.SplitSeq(clean(name), "/") {
		if part == "" {
			continue
		}
		child := d.names.live[part]
		if child == nil {
			child = m.newDir(perm)
			m.change(nameOp{to: d, newname: part, node: child})
		}
		if !child.mode.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
		d = child
	}
	return nil
}

func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.names.live[base]
	switch {
	case n == nil:
		return &fs.PathError{Op: "remove", Path: name, Err: unix.ENOENT}
	case len(n.names.live) > 0:
		return &fs.PathError{Op: "remove", Path: name, Err: unix.ENOTEMPTY}
	}
	m.change(nameOp{from: dir, oldname: base, node: n})
	return nil
}

func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil || dir.names.live[base] == nil {
		return nil // not there, as package os has it
	}
	m.removeTree(dir, base)
	return nil
}

// removeTree removes one name after another, deepest first, as a real RemoveAll does: a power cut may leave any
// part of it. mu is held.
func (m *Mem) removeTree(dir *inode, base string) {
	n := dir.names.live[base]
	for _, child := range slices.Sorted(maps.Keys(n.names.live)) {
		m.removeTree(n, child)
	}
	m.change(nameOp{from: dir, oldname: base, node: n})
}

func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fail := func(err error) error { return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err} }
	from, oldbase, err := m.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, newbase, err := m.parent("rename", newname)
	if err != nil {
		return err
	}
	n, old := from.names.live[oldbase], to.names.live[newbase]
	switch {
	case n == nil:
		return fail(unix.ENOENT)
	case n == old:
		return nil
	case n.mode.IsDir() && strings.HasPrefix(clean(newname), clean(oldname)+"/"):
		return fail(unix.EINVAL)
	case old != nil && old.mode.IsDir():
		return fail(unix.EEXIST) // as os.Rename, which never replaces a directory
	case old != nil && n.mode.IsDir():
		return fail(unix.ENOTDIR)
	}
	m.change(nameOp{from: from, oldname: oldbase, to: to, newname: newbase, node: n})
	return nil
}

func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if !d.mode.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
	}
	entries := make([]fs.DirEntry, 0, len(d.names.live))
	for _, base := range slices.Sorted(maps.Keys(d.names.live)) {
		entries = append(entries, fs.FileInfoToDirEntry(newInfo(base, d.names.live[base])))
	}
	return entries, nil
}

func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("lstat", name)
	if err != nil {
		return nil, err
	}
	return newInfo(path.Base(clean(name)), n), nil
}

func (m *Mem) SyncDir(dir string) error {
	m.hook(SyncPoint{Name: dir, Dir: true})
	if err := m.syncDir(dir); err != nil {
		return err
	}
	m.hook(SyncPoint{Name: dir, Dir: true, Done: true})
	return nil
}

func (m *Mem) syncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, err := m.lookup("open", dir)
	if err != nil {
		return err
	}
	if !d.mode.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	m.settle(d)
	return nil
}

func (m *Mem) Space(dir string) (free, total uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err = m.lookup("statfs", dir)
	return m.free, 2 * m.free, err
}

func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &memLock{f: f.(*memFile), name: clean(name)}
	m.mu.Lock()
	held := m.locks[l.name]
	m.locks[l.name] = true
	m.mu.Unlock()
	if held {
		return nil, &LockedError{Name: name, PID: readPID(f)}
	}
	if err := writePID(f, os.Getpid()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// memLock is a held lock file.
type memLock struct {
	f    *memFile
	name string
}

func (l *memLock) Close() error {
	if err := l.f.Close(); err != nil {
		return err
	}
	l.f.m.mu.Lock()
	defer l.f.m.mu.Unlock()
	delete(l.f.m.locks, l.name)
	return nil
}

// memInfo is fs.FileInfo as of the moment it was asked for.
type memInfo struct {
	name    string
	number  uint64
	size    int64
	mode    fs.FileMode
	changed time.Time
}

func newInfo(name string, n *inode) memInfo {
	return memInfo{name: name, number: n.number, size: n.data.live.size, mode: n.mode, changed: n.changed}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.changed }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }

// Sys tells the inode number, which stays with a file through renames.
func (i memInfo) Sys() any { return &syscall.Stat_t{Ino: i.number} }
