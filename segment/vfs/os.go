package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the real file system.
func OS() FS { return osFS{} }

type osFS struct{}

// ErrUnsafe is the answer for a file or directory that somebody else could have put there or can change: not a
// regular file, owned by another user, or writable by everybody (bad input 147).
var ErrUnsafe = errors.New("not safe to use as data")

func (osFS) Open(name string, flag int, perm os.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}
	// O_NONBLOCK: a named pipe in a segment's place must not hang the start. Truncation waits until the file
	// is known to be ours.
	open := flag&^os.O_TRUNC | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := retry(func() (int, error) { return unix.Open(name, open, uint32(perm.Perm()&0o600)) })
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("open %s: a symbolic link: %w", name, ErrUnsafe)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := &osFile{fd: fd, name: name}
	if err := f.check(); err != nil {
		_ = f.Close()
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		if err := f.Truncate(0); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	return f, nil
}

// check refuses what is not a private regular file.
func (f *osFile) check() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: f.name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("open %s: no regular file: %w", f.name, ErrUnsafe)
	}
	return checkOwner(f.name, &st)
}

func checkOwner(name string, st *unix.Stat_t) error {
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("open %s: owned by user %d: %w", name, st.Uid, ErrUnsafe)
	}
	if st.Mode&0o002 != 0 {
		return fmt.Errorf("open %s: writable by everybody: %w", name, ErrUnsafe)
	}
	return nil
}

// MkdirAll accepts an existing directory that the operator reached through a symbolic link in its parents, but
// not a link in the last place (V4).
func (osFS) MkdirAll(name string, perm os.FileMode) error {
	if err := os.MkdirAll(name, perm.Perm()&0o700); err != nil {
		return err
	}
	info, err := os.Lstat(name)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: name, Err: unix.ELOOP}
	}
	return err
}

func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) RemoveAll(name string) error          { return os.RemoveAll(name) }
func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (osFS) Stat(name string) (fs.FileInfo, error) {
	return os.Lstat(name)
}

// openDir opens a directory that is no symbolic link.
func openDir(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

func (osFS) ReadDir(name string) ([]fs.DirEntry, error) {
	d, err := openDir(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

func (osFS) SyncDir(dir string) error {
	d, err := openDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Space(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	_, err = retry(func() (int, error) { return 0, unix.Statfs(dir, &st) })
	if err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize), nil
}

// Lock is the first thing done in a data directory, so it also checks that directory.
func (o osFS) Lock(name string) (io.Closer, error) {
	if err := CheckDir(filepath.Dir(name)); err != nil {
		return nil, err
	}
	file, err := o.Open(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f := file.(*osFile)
	_, err = retry(func() (int, error) { return 0, unix.Flock(f.fd, unix.LOCK_EX|unix.LOCK_NB) })
	switch {
	case err == unix.EWOULDBLOCK:
		err = &LockedError{Name: name, PID: readPID(f)}
	case err != nil:
		err = &fs.PathError{Op: "flock", Path: name, Err: err}
	default:
		err = writePID(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil // closing the file gives the lock back, and so does the death of the process
}

// CheckDir refuses a directory of the real file system that is a symbolic link, belongs to another user or is
// writable by everybody (bad input 147).
func CheckDir(name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("open %s: no directory: %w", name, ErrUnsafe)
	}
	return checkOwner(name, &st)
}
