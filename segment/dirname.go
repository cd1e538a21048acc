package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
)

// dirName is where a log's directory is. Rename changes it under readers, who may be about to open a file by its name.
type dirName struct{ p atomic.Pointer[paths] }

// paths is the directory's name and, while it is being renamed, the one it may still have.
type paths struct{ now, former string }

func (d *dirName) set(now, former string) { d.p.Store(&paths{now, former}) }

func (d *dirName) get() string { return d.p.Load().now }

// find opens a file by the name that its directory has at this moment.
func (d *dirName) find(open func(dir string) error) error {
	for again := 0; ; again++ {
		p := d.p.Load()
		err := open(p.now)
		if errors.Is(err, fs.ErrNotExist) && p.former != "" {
			err = open(p.former)
		}
		if !errors.Is(err, fs.ErrNotExist) || d.p.Load() == p && (p.former == "" || again > 1) {
			return err // a rename happens once: between two looks at one name it has happened
		}
	}
}

// Rename gives the log's directory another name, in the same parent, durably. Readers do not notice. Nobody may write
// meanwhile; it waits for the disk. An error leaves the log offline, under one of the two names.
func (l *Log) Rename(to string) error {
	l.syncing <- struct{}{}
	defer l.release()
	if _, err := l.syncLocked(true); err != nil { // names of files that wait for a sync hold the directory's
		return err
	}
	from := l.Dir()
	if filepath.Dir(from) != filepath.Dir(to) {
		return fmt.Errorf("rename of %s to %s: not the same directory", from, to)
	}
	l.dir.set(to, from)
	if err := l.fs.Rename(from, to); err != nil {
		l.dir.set(from, "")
		return l.fail(err)
	}
	l.dir.set(to, "")
	if err := l.syncDir(filepath.Dir(to)); err != nil {
		return l.fail(err)
	}
	return nil
}
