package vfs

import (
	"io"
	"io/fs"
	"math"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// osFile is a descriptor of a regular file. It does without os.File because pwritev, sendfile and the hints
// would need a closure, and so an allocation, per call there.
type osFile struct {
	fd   int
	name string
	// uses counts the calls under way; Close adds closed once, and whoever then ends the last call gives the
	// descriptor back. So no call can hit a descriptor that already belongs to another file.
	uses atomic.Int64
	once atomic.Bool // ReadOnce was called
}

const closed = math.MinInt64

func (f *osFile) begin() bool {
	for {
		uses := f.uses.Load()
		if uses < 0 {
			return false
		}
		if f.uses.CompareAndSwap(uses, uses+1) {
			return true
		}
	}
}

func (f *osFile) end() {
	if f.uses.Add(-1) == closed {
		_ = unix.Close(f.fd)
	}
}

func (f *osFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Close() error {
	for {
		uses := f.uses.Load()
		if uses < 0 {
			return f.fail("close", os.ErrClosed)
		}
		if !f.uses.CompareAndSwap(uses, uses+closed) {
			continue
		}
		if uses == 0 {
			if err := unix.Close(f.fd); err != nil {
				return f.fail("close", err)
			}
		}
		return nil
	}
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	if !f.begin() {
		return 0, f.fail("read", os.ErrClosed)
	}
	defer f.end()
	done := f.readCached(p, off)
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, f.fail("read", err)
		case n == 0:
			return done, io.EOF
		default:
			done += n
		}
	}
	return done, nil
}

// onceStep is how much ReadOnce brings in at once, and so what it may drop although somebody had part of it cached.
const onceStep = 128 << 10

func (f *osFile) ReadOnce(p []byte, off int64) (int, error) {
	if !f.once.Swap(true) {
		f.advise(0, 0, unix.FADV_RANDOM) // readahead would look like what others have cached
	}
	for done := 0; done < len(p); {
		if !f.begin() {
			return done, f.fail("read", os.ErrClosed)
		}
		n := f.readCached(p[done:min(len(p), done+maxCached)], off+int64(done))
		f.end()
		if done += n; n > 0 {
			continue
		}
		at := off + int64(done)
		step := int(onceStep - at%onceStep) // up to a page's end: only whole pages are dropped
		n, err := f.ReadAt(p[done:min(len(p), done+step)], at)
		if n > 0 {
			f.Drop(at, int64(n))
		}
		if done += n; err != nil {
			return done, err
		}
	}
	return len(p), nil
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	if !f.begin() {
		return 0, f.fail("write", os.ErrClosed)
	}
	defer f.end()
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, f.fail("write", err)
		case n == 0:
			return done, f.fail("write", io.ErrShortWrite)
		default:
			done += n
		}
	}
	return done, nil
}

func (f *osFile) Writev(bufs [][]byte, off int64) (int, error) {
	if !f.begin() {
		return 0, f.fail("write", os.ErrClosed)
	}
	defer f.end()
	total, done := 0, 0
	for _, b := range bufs {
		total += len(b)
	}
	skip := 0 // bytes of bufs[0] already written
	for done < total {
		n, err := pwritev(f.fd, bufs, skip, off+int64(done))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return done, f.fail("write", err)
		case n == 0:
			return done, f.fail("write", io.ErrShortWrite)
		}
		done += n
		bufs, skip = advance(bufs, skip+n)
	}
	return done, nil
}

// advance drops the buffers that n bytes cover and returns what is covered of the next one.
func advance(bufs [][]byte, n int) ([][]byte, int) {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	return bufs, n
}

// simple runs a call without a result.
func (f *osFile) simple(op string, call func(fd int) error) error {
	if !f.begin() {
		return f.fail(op, os.ErrClosed)
	}
	defer f.end()
	for {
		err := call(f.fd)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return f.fail(op, err)
		}
		return nil
	}
}

func (f *osFile) Truncate(size int64) error {
	return f.simple("truncate", func(fd int) error { return unix.Ftruncate(fd, size) })
}

func (f *osFile) Sync() error     { return f.simple("fsync", unix.Fsync) }
func (f *osFile) Datasync() error { return f.simple("fdatasync", unix.Fdatasync) }

func (f *osFile) Preallocate(off, n int64) error {
	return f.simple("fallocate", func(fd int) error {
		err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, n)
		if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
			return nil
		}
		return err
	})
}

// Writeback must not wait for pages (SYNC_FILE_RANGE_WAIT_*): that would also take a write-back error away from
// the next fsync (V3).
func (f *osFile) Writeback(off, n int64) {
	_ = f.simple("sync_file_range", func(fd int) error {
		return unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}

func (f *osFile) Drop(off, n int64)   { f.advise(off, n, unix.FADV_DONTNEED) }
func (f *osFile) Advise(off, n int64) { f.advise(off, n, unix.FADV_WILLNEED) }

func (f *osFile) advise(off, n int64, advice int) {
	_ = f.simple("fadvise", func(fd int) error { return unix.Fadvise(fd, off, n, advice) })
}

func (f *osFile) Size() (int64, error) {
	if !f.begin() {
		return 0, f.fail("stat", os.ErrClosed)
	}
	defer f.end()
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.fail("stat", err)
	}
	return st.Size, nil
}
