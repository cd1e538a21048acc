package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// FS is a file system. Names are paths as package os takes them.
type FS interface {
	// Open opens or (os.O_CREATE) makes a regular file. The read and write calls of File take offsets, so
	// os.O_APPEND is refused.
	Open(name string, flag int, perm os.FileMode) (File, error)
	// MkdirAll makes a directory and its missing parents. Their names are not durable yet: see MkdirAllSync.
	MkdirAll(name string, perm os.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	Rename(oldname, newname string) error
	// ReadDir lists a directory sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat does not follow a symbolic link.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes what was created, renamed and removed in dir durable (V2).
	SyncDir(dir string) error
	// Lock takes the lock file name for this process, or fails with a *LockedError. It makes the file if
	// need be and leaves it behind when closed.
	Lock(name string) (io.Closer, error)
	// Space is the number of bytes that can still be written below dir, and the size of the disk that holds it.
	Space(dir string) (free, total uint64, err error)
}

// File is an open regular file. All calls but Close may run at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	// ReadOnce is ReadAt for bytes that will not be read again soon: what was not in the page cache before is not
	// there afterwards. It takes readahead from the file, so use a File opened for it alone.
	ReadOnce(p []byte, off int64) (int, error)
	// Writev writes bufs one after another at off, with as few system calls as possible. It returns fewer
	// bytes than given only with an error.
	Writev(bufs [][]byte, off int64) (int, error)
	Truncate(size int64) error
	// Sync is fsync, Datasync fdatasync: data and size, not the times. Both obey V3.
	Sync() error
	Datasync() error
	// Preallocate reserves room on disk for [off, off+n) without changing the file's size. A disk that
	// cannot do it is no error, a full disk is.
	Preallocate(off, n int64) error
	// Writeback hints that the dirty pages of [off, off+n) may go to disk now. It makes nothing durable.
	Writeback(off, n int64)
	// Drop hints that the pages of [off, off+n) will not be read again soon; Advise that they will.
	Drop(off, n int64)
	Advise(off, n int64)
	Size() (int64, error)
	// Name is the name given to Open.
	Name() string
	Close() error
	// SendTo sends n bytes from off to a socket, by sendfile where there is one. It waits while the socket's
	// buffer is full and returns fewer than n bytes only with an error; io.ErrUnexpectedEOF says that the
	// file is shorter.
	SendTo(rc syscall.RawConn, off, n int64) (int64, error)
}

// LockedError says that another holder has the lock.
type LockedError struct {
	Name string
	PID  int // 0 when the lock file does not say
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by process %d", e.Name, e.PID)
}

// WriteFileAtomic replaces the file name with data: after a crash at any point there is either the old file or
// the new one, whole, and once it has returned nil the new one (Z34). The data goes through name.tmp, so two
// writers of one name must take turns.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	err := WriteFileSync(fsys, tmp, data)
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		// A leftover is harmless: the next writer truncates it.
		_ = fsys.Remove(tmp)
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("replace %s: %w", name, err)
	}
	return nil
}

// WriteFileSync writes a file and syncs it, but not its name.
func WriteFileSync(fsys FS, name string, data []byte) error {
	f, err := fsys.Open(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ErrTooLarge is ReadFile's answer for a file above the limit.
var ErrTooLarge = errors.New("file is larger than its kind can be")

// ReadFile reads a whole file of at most limit bytes. Small files (checkpoints, snapshots) are read with it, so
// that a huge one in their place costs an error and no memory.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%s has %d bytes, limit %d: %w", name, size, limit, ErrTooLarge)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if errors.Is(err, io.EOF) {
		err = nil // cut short meanwhile, or exactly at its end
	}
	return data[:n], err
}

// MkdirAllSync makes dir and its missing parents and makes their names durable (V2).
func MkdirAllSync(fsys FS, dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		_, err := fsys.Stat(d)
		if err == nil || filepath.Dir(d) == d {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		missing = append(missing, d)
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range missing {
		if err := fsys.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}
