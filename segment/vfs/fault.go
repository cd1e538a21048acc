package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// Kind is a kind of operation.
type Kind uint8

// The kinds, as Fault counts them. Hints (Writeback, Drop, Advise), Name and Close are no operations: they
// cannot fail in a way that a caller sees.
const (
	OpOpen Kind = iota
	OpMkdirAll
	OpRemove
	OpRemoveAll
	OpRename
	OpReadDir
	OpStat
	OpSyncDir
	OpLock
	OpSpace
	OpRead
	OpWrite // WriteAt and Writev
	OpTruncate
	OpSync // Sync and Datasync
	OpPreallocate
	OpSize
	OpSend
)

var kindNames = [...]string{"open", "mkdir", "remove", "removeall", "rename", "readdir", "stat", "syncdir", "lock",
	"space", "read", "write", "truncate", "sync", "preallocate", "size", "send"}

func (k Kind) String() string { return kindNames[k] }

// Op is one operation on its way to the disk.
type Op struct {
	N    int64 // how many operations came before it
	Kind Kind
	Name string // a rename's old name
	Off  int64  // reads, writes, sends, preallocations; a truncation's size
	Len  int64
}

// Verdict is what happens to an operation. The zero value lets it pass.
type Verdict struct {
	// Err fails it, mostly syscall.EIO or ENOSPC. Nothing reaches the disk, but for a write's first Short bytes.
	Err   error
	Short int64
	// Delay and Stuck come first: a slow disk, and one that hangs until the channel is closed.
	Delay time.Duration
	Stuck <-chan struct{}
	// Lie makes Sync, Datasync and SyncDir say nil without doing anything.
	Lie bool
}

// Fault is a file system whose operations fail, hang or lie as told.
type Fault struct {
	inner  FS
	decide func(Op) Verdict
	count  atomic.Int64
}

// NewFault wraps inner. decide is asked for every operation, by many goroutines at once, and must not use the
// Fault itself.
func NewFault(inner FS, decide func(Op) Verdict) *Fault {
	return &Fault{inner: inner, decide: decide}
}

// FailAt fails operation n once, so that a test can try every n below Count of a clean run.
func FailAt(n int64, err error) func(Op) Verdict {
	return func(op Op) Verdict {
		if op.N == n {
			return Verdict{Err: err}
		}
		return Verdict{}
	}
}

// Count is how many operations were asked for.
func (f *Fault) Count() int64 { return f.count.Load() }

// pass counts an operation and makes it wait or fail.
func (f *Fault) pass(op Op) (Verdict, error) {
	op.N = f.count.Add(1) - 1
	v := f.decide(op)
	if v.Delay > 0 {
		time.Sleep(v.Delay)
	}
	if v.Stuck != nil {
		<-v.Stuck
	}
	if v.Err != nil {
		return v, &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: v.Err}
	}
	return v, nil
}

func (f *Fault) Open(name string, flag int, perm os.FileMode) (File, error) {
	if _, err := f.pass(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	file, err := f.inner.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, f: f}, nil
}

func (f *Fault) MkdirAll(name string, perm os.FileMode) error {
	if _, err := f.pass(Op{Kind: OpMkdirAll, Name: name}); err != nil {
		return err
	}
	return f.inner.MkdirAll(name, perm)
}

func (f *Fault) Remove(name string) error {
	if _, err := f.pass(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

func (f *Fault) RemoveAll(name string) error {
	if _, err := f.pass(Op{Kind: OpRemoveAll, Name: name}); err != nil {
		return err
	}
	return f.inner.RemoveAll(name)
}

func (f *Fault) Rename(oldname, newname string) error {
	if _, err := f.pass(Op{Kind: OpRename, Name: oldname}); err != nil {
		return err
	}
	return f.inner.Rename(oldname, newname)
}

func (f *Fault) ReadDir(name string) ([]fs.DirEntry, error) {
	if _, err := f.pass(Op{Kind: OpReadDir, Name: name}); err != nil {
		return nil, err
	}
	return f.inner.ReadDir(name)
}

func (f *Fault) Stat(name string) (fs.FileInfo, error) {
	if _, err := f.pass(Op{Kind: OpStat, Name: name}); err != nil {
		return nil, err
	}
	return f.inner.Stat(name)
}

func (f *Fault) SyncDir(dir string) error {
	v, err := f.pass(Op{Kind: OpSyncDir, Name: dir})
	if err != nil || v.Lie {
		return err
	}
	return f.inner.SyncDir(dir)
}

func (f *Fault) Lock(name string) (io.Closer, error) {
	if _, err := f.pass(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

func (f *Fault) Space(dir string) (free, total uint64, err error) {
	if _, err := f.pass(Op{Kind: OpSpace, Name: dir}); err != nil {
		return 0, 0, err
	}
	return f.inner.Space(dir)
}

// faultFile is an open file of a Fault; hints, Name and Close go straight through.
type faultFile struct {
	File
	f *Fault
}

func (f *faultFile) pass(kind Kind, off, n int64) (Verdict, error) {
	return f.f.pass(Op{Kind: kind, Name: f.Name(), Off: off, Len: n})
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.pass(OpRead, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) ReadOnce(p []byte, off int64) (int, error) {
	if _, err := f.pass(OpRead, off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.ReadOnce(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.write([][]byte{p}, off)
}

func (f *faultFile) Writev(bufs [][]byte, off int64) (int, error) {
	return f.write(bufs, off)
}

func (f *faultFile) write(bufs [][]byte, off int64) (int, error) {
	var total int64
	for _, b := range bufs {
		total += int64(len(b))
	}
	v, failed := f.pass(OpWrite, off, total)
	if failed == nil {
		return f.File.Writev(bufs, off)
	}
	n, err := f.File.Writev(first(bufs, v.Short), off)
	if err != nil {
		failed = err
	}
	return n, failed
}

// first is the first n bytes of bufs.
func first(bufs [][]byte, n int64) [][]byte {
	var head [][]byte
	for _, b := range bufs {
		b = b[:min(int64(len(b)), n)]
		head, n = append(head, b), n-int64(len(b))
	}
	return head
}

func (f *faultFile) Truncate(size int64) error {
	if _, err := f.pass(OpTruncate, size, 0); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *faultFile) Datasync() error { return f.sync(f.File.Datasync) }

func (f *faultFile) sync(do func() error) error {
	v, err := f.pass(OpSync, 0, 0)
	if err != nil || v.Lie {
		return err
	}
	return do()
}

func (f *faultFile) Preallocate(off, n int64) error {
	if _, err := f.pass(OpPreallocate, off, n); err != nil {
		return err
	}
	return f.File.Preallocate(off, n)
}

func (f *faultFile) Size() (int64, error) {
	if _, err := f.pass(OpSize, 0, 0); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	if _, err := f.pass(OpSend, off, n); err != nil {
		return 0, err
	}
	return f.File.SendTo(rc, off, n)
}
