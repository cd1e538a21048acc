package segment

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"cordwood/segment/vfs"
)

// DefaultOpenFiles bounds the open segment files of a process whose hard limit may be as low as 20,000 descriptors,
// most of which belong to connections.
const DefaultOpenFiles = 1500

// Files is the bounded set of open segment files of a process. A file is opened when somebody first needs it and may be
// closed whenever nobody uses it, so the number of logs is not bounded by the number of descriptors.
type Files struct {
	fs    vfs.FS
	limit int

	mu   sync.Mutex // only memory is touched under it
	open []*handle  // the clock's ring
	hand int
}

// NewFiles bounds the set to limit files. The bound is soft: files in use are never closed.
func NewFiles(fs vfs.FS, limit int) *Files {
	return &Files{fs: fs, limit: max(limit, 1)}
}

// Open is the number of files open now.
func (f *Files) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// errRetired: the file was removed, or its log closed.
var errRetired = errors.New("segment file is retired")

// notOpen in handle.refs.
const notOpen = -1

// handle names one file and counts its users. The zero of refs would mean "open", so handles come from newHandle.
type handle struct {
	files  *Files
	dir    *dirName // the log's
	base   int64
	suffix string

	refs    atomic.Int32 // users; notOpen: there is no descriptor
	used    atomic.Bool  // since the clock's hand came by
	dirty   atomic.Bool  // has bytes that were not synced: closed last, for an error report can die with its descriptor
	retired atomic.Bool
	deleted atomic.Bool // the name has .deleted behind it

	file vfs.File // set and cleared under files.mu while refs is notOpen
	slot int      // in files.open, under files.mu
}

func (f *Files) newHandle(dir *dirName, base int64, suffix string) *handle {
	h := &handle{files: f, dir: dir, base: base, suffix: suffix}
	h.refs.Store(notOpen)
	return h
}

func (h *handle) name() string {
	return h.nameIn(h.dir.get())
}

func (h *handle) nameIn(dir string) string {
	name := fileName(dir, h.base, h.suffix)
	if h.deleted.Load() {
		name += deletedSuffix
	}
	return name
}

// acquire gives the file, open until release. It allocates nothing when the file is open.
func (h *handle) acquire() (vfs.File, error) {
	if f := h.share(); f != nil {
		return f, nil
	}
	return h.openFile(os.O_RDWR)
}

// create makes the file, or empties the one that a crash left under its name.
func (h *handle) create() (vfs.File, error) {
	return h.openFile(os.O_RDWR | os.O_CREATE | os.O_TRUNC)
}

func (h *handle) share() vfs.File {
	for {
		n := h.refs.Load()
		if n < 0 {
			return nil
		}
		if h.refs.CompareAndSwap(n, n+1) {
			if !h.used.Load() {
				h.used.Store(true)
			}
			return h.file
		}
	}
}

func (h *handle) openFile(flag int) (vfs.File, error) {
	for {
		if h.retired.Load() {
			return nil, errRetired
		}
		deleted := h.deleted.Load()
		var file vfs.File
		err := h.dir.find(func(dir string) (err error) {
			file, err = h.files.fs.Open(h.nameIn(dir), flag, 0o600)
			return err
		})
		if errors.Is(err, os.ErrNotExist) && h.deleted.Load() != deleted {
			continue // renamed between the two lines
		}
		if err != nil {
			return nil, err
		}
		if h.files.install(h, file) {
			return file, nil
		}
		_ = file.Close() // another goroutine was faster, or the handle was retired meanwhile
		if f := h.share(); f != nil {
			return f, nil
		}
	}
}

// install makes file the handle's descriptor, with one user. It refuses when the handle has one already.
func (f *Files) install(h *handle, file vfs.File) bool {
	f.mu.Lock()
	if h.refs.Load() != notOpen || h.retired.Load() {
		f.mu.Unlock()
		return false
	}
	h.file = file
	h.used.Store(true)
	h.slot = len(f.open)
	f.open = append(f.open, h)
	h.refs.Store(1)
	victims := f.evict()
	f.mu.Unlock()
	for _, v := range victims {
		_ = v.Close()
	}
	return true
}

// evict takes files that nobody uses out of the set until it is within its bound: unused ones first, then any clean
// one, then dirty ones. Linux tells an unreported write error to the next opener as long as the inode is in memory, so
// even a dirty file may go; it is still the last choice (Z26).
func (f *Files) evict() []vfs.File {
	var victims []vfs.File
	for pass := 0; pass < 3 && len(f.open) > f.limit; pass++ {
		for range len(f.open) {
			if len(f.open) <= f.limit {
				break
			}
			if f.hand >= len(f.open) {
				f.hand = 0
			}
			h := f.open[f.hand]
			if pass == 0 && h.used.Swap(false) || pass < 2 && h.dirty.Load() {
				f.hand++
				continue
			}
			file := f.take(h)
			if file == nil {
				f.hand++
				continue
			}
			victims = append(victims, file)
		}
	}
	return victims
}

// take removes the handle's descriptor from the set if nobody uses it. Under f.mu.
func (f *Files) take(h *handle) vfs.File {
	if !h.refs.CompareAndSwap(0, notOpen) {
		return nil
	}
	file := h.file
	h.file = nil
	last := len(f.open) - 1
	f.open[h.slot] = f.open[last]
	f.open[h.slot].slot = h.slot
	f.open[last] = nil
	f.open = f.open[:last]
	return file
}

// release ends one acquire.
func (h *handle) release() {
	if h.refs.Add(-1) == 0 && h.retired.Load() {
		h.retire()
	}
}

// retire closes the file as soon as its last user is gone; it is never opened again.
func (h *handle) retire() {
	h.retired.Store(true)
	h.files.mu.Lock()
	file := h.files.take(h)
	h.files.mu.Unlock()
	if file != nil {
		_ = file.Close()
	}
}
