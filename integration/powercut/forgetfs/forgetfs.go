package forgetfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"cordwood/segment/vfs"
)

// FS is a mounted file system.
type FS struct {
	mountpoint, backing string
	mem                 *vfs.Mem
	server              *fuse.Server
	fault               atomic.Pointer[func(vfs.Op) vfs.Verdict]
	count               atomic.Int64

	gate sync.RWMutex
	dead bool // guarded by gate: the power is gone
}

// maxWrite is the largest request of the kernel.
const maxWrite = 1 << 20

// cacheTime lets the kernel keep names and sizes: nothing changes but through it.
const cacheTime = time.Hour

// Mount mounts at mountpoint what the directory backing holds, all of it durable. Both directories must exist.
func Mount(mountpoint, backing string) (*FS, error) {
	mem, err := load(backing)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", backing, err)
	}
	if _, err := os.Stat(mountpoint); errors.Is(err, unix.ENOTCONN) {
		_ = unix.Unmount(mountpoint, unix.MNT_DETACH) // left behind by a process that died
	}
	f := &FS{mountpoint: mountpoint, backing: backing, mem: mem}
	timeout := cacheTime
	f.server, err = fs.Mount(mountpoint, &node{disk: f}, &fs.Options{
		EntryTimeout:    &timeout,
		AttrTimeout:     &timeout,
		RootStableAttr:  &fs.StableAttr{Ino: fuse.FUSE_ROOT_ID},
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			Name: "forgetfs", FsName: backing, MaxWrite: maxWrite, DisableXAttrs: true, DirectMountStrict: true,
			Logger: log.New(io.Discard, "", 0), // answers that a dead process no longer reads
		},
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	closeOnExec("/dev/fuse")
	return f, nil
}

// closeOnExec keeps the descriptors of a device from child processes: a broker that inherited the mount would keep it
// alive.
func closeOnExec(device string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		var fd int
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if n, _ := fmt.Sscan(e.Name(), &fd); err == nil && n == 1 && target == device {
			unix.CloseOnExec(fd)
		}
	}
}

// SetFault lets decide rule over every operation from now on, as a vfs.Fault would: errors, short writes, delays,
// hanging and lying syncs. nil ends it. Names begin at the mount's root, without the mountpoint.
func (f *FS) SetFault(decide func(vfs.Op) vfs.Verdict) {
	if decide == nil {
		f.fault.Store(nil)
		return
	}
	f.fault.Store(&decide)
}

// SetFree sets how many bytes statfs reports as free.
func (f *FS) SetFree(bytes uint64) { f.mem.SetFree(bytes) }

// Corrupt flips bits of a durable byte, as a failing disk does. The kernel may still have the page as it was: do it
// to what was not read lately, or before a Cut.
func (f *FS) Corrupt(name string, offset int64, bits byte) error {
	return f.mem.Corrupt(strings.TrimPrefix(name, f.mountpoint), offset, bits)
}

// Cut is a power cut: everything that was not synced is gone, processes get errors from now on, and the file system
// is unmounted.
func (f *FS) Cut() error { return f.cut(nil) }

// CutTorn is a power cut as a real disk suffers it: of what was not synced, rng keeps some blocks and some names.
func (f *FS) CutTorn(rng *rand.Rand) error { return f.cut(rng) }

func (f *FS) cut(rng *rand.Rand) error {
	f.gate.Lock()
	f.dead = true
	left := f.mem.CrashClone(rng)
	f.gate.Unlock()
	return f.leave(left)
}

// Close unmounts and keeps everything, as an orderly shutdown of the machine does.
func (f *FS) Close() error {
	f.gate.Lock()
	f.dead = true
	left := f.mem.KillClone()
	f.gate.Unlock()
	return f.leave(left)
}

// leave unmounts, even under the hands of a running process, and writes what is left to the backing directory.
func (f *FS) leave(left *vfs.Mem) error {
	err := unix.Unmount(f.mountpoint, unix.MNT_FORCE|unix.MNT_DETACH)
	if err != nil {
		return fmt.Errorf("unmount %s: %w", f.mountpoint, err)
	}
	f.server.Wait()
	if err := save(left, f.backing); err != nil {
		return fmt.Errorf("write %s: %w", f.backing, err)
	}
	return nil
}

// run carries out one operation, unless a fault or the power cut says otherwise.
func (f *FS) run(op vfs.Op, do func(v vfs.Verdict) error) syscall.Errno {
	v := f.verdict(op)
	if v.Delay > 0 {
		time.Sleep(v.Delay)
	}
	if v.Stuck != nil {
		<-v.Stuck
	}
	f.gate.RLock()
	defer f.gate.RUnlock()
	switch {
	case f.dead:
		return syscall.EIO
	case v.Err != nil && (v.Short == 0 || op.Kind != vfs.OpWrite):
		return errno(v.Err)
	case v.Lie && (op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir):
		return 0
	}
	return errno(do(v))
}

func (f *FS) verdict(op vfs.Op) vfs.Verdict {
	op.N = f.count.Add(1) - 1
	if decide := f.fault.Load(); decide != nil {
		return (*decide)(op)
	}
	return vfs.Verdict{}
}

func errno(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	}
	return syscall.EIO
}

// load reads a tree into a Mem and makes it durable there.
func load(backing string) (*vfs.Mem, error) {
	mem := vfs.NewMem()
	err := filepath.WalkDir(backing, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(path, backing), "/")
		if d.IsDir() {
			return vfs.MkdirAllSync(mem, name)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return vfs.WriteFileAtomic(mem, name, data)
	})
	return mem, err
}

// save makes the directory backing hold what mem holds.
func save(mem *vfs.Mem, backing string) error {
	old, err := os.ReadDir(backing)
	if err != nil {
		return err
	}
	for _, e := range old {
		if err := os.RemoveAll(filepath.Join(backing, e.Name())); err != nil {
			return err
		}
	}
	return saveDir(mem, "/", backing)
}

func saveDir(mem *vfs.Mem, dir, backing string) error {
	entries, err := mem.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join(backing, e.Name())
		if e.IsDir() {
			if err = os.Mkdir(to, 0o700); err == nil {
				err = saveDir(mem, from, to)
			}
		} else {
			var data []byte
			if data, err = vfs.ReadFile(mem, from, 1<<62); err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
