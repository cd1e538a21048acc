package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// memFile is an open file of a Mem. It goes on working after its name is removed, as with a real one.
type memFile struct {
	m      *Mem
	node   *inode
	name   string
	access int // os.O_RDONLY, os.O_WRONLY or os.O_RDWR
	closed atomic.Bool
}

// with runs do under the lock, unless the file is closed or not open for this.
func (f *memFile) with(op string, refused int, do func() error) error {
	if f.closed.Load() {
		return &fs.PathError{Op: op, Path: f.name, Err: os.ErrClosed}
	}
	if f.access == refused {
		return &fs.PathError{Op: op, Path: f.name, Err: unix.EBADF}
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return do()
}

const anyAccess = -1

func (f *memFile) Name() string { return f.name }

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.name, Err: os.ErrClosed}
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.with("read", os.O_WRONLY, func() error {
		if off < 0 {
			return &fs.PathError{Op: "read", Path: f.name, Err: unix.EINVAL}
		}
		if n = f.node.data.live.read(p, off); n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) { return f.Writev([][]byte{p}, off) }

func (f *memFile) Writev(bufs [][]byte, off int64) (n int, err error) {
	err = f.with("write", os.O_RDONLY, func() error {
		if off < 0 {
			return &fs.PathError{Op: "write", Path: f.name, Err: unix.EINVAL}
		}
		for _, b := range bufs {
			f.node.data.write(b, off+int64(n))
			n += len(b)
		}
		f.node.changed = time.Now()
		return nil
	})
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	return f.with("truncate", os.O_RDONLY, func() error {
		if size < 0 {
			return &fs.PathError{Op: "truncate", Path: f.name, Err: unix.EINVAL}
		}
		f.node.data.truncate(size)
		f.node.changed = time.Now()
		return nil
	})
}

func (f *memFile) Sync() error {
	f.m.hook(SyncPoint{Name: f.name})
	err := f.with("fsync", anyAccess, func() error {
		f.node.data.sync()
		return nil
	})
	if err == nil {
		f.m.hook(SyncPoint{Name: f.name, Done: true})
	}
	return err
}

func (f *memFile) Datasync() error { return f.Sync() }

func (f *memFile) Preallocate(off, n int64) error {
	return f.with("fallocate", os.O_RDONLY, func() error {
		if off < 0 || n <= 0 {
			return &fs.PathError{Op: "fallocate", Path: f.name, Err: unix.EINVAL}
		}
		return nil
	})
}

func (f *memFile) ReadOnce(p []byte, off int64) (int, error) { return f.ReadAt(p, off) }

func (f *memFile) Writeback(off, n int64) {}
func (f *memFile) Drop(off, n int64)      {}
func (f *memFile) Advise(off, n int64)    {}

func (f *memFile) Size() (size int64, err error) {
	err = f.with("stat", anyAccess, func() error {
		size = f.node.data.live.size
		return nil
	})
	return size, err
}

func (f *memFile) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	sent, err := copyTo(rc, f, off, n)
	if err != nil {
		err = &fs.PathError{Op: "sendfile", Path: f.name, Err: err}
	}
	return sent, err
}
