package forgetfs

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"cordwood/segment/vfs"
)

// node is a file or directory as the kernel knows it. The kernel checks access modes and keeps flock locks; a node has
// no state of its own but the open file, through which a removed file goes on working.
type node struct {
	fs.Inode
	disk *FS
	file vfs.File // nil for a directory
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// name is the path of a directory, or of a name in it.
func (n *node) name(base string) string { return path.Join("/", n.Path(n.Root()), base) }

func (n *node) mem() *vfs.Mem { return n.disk.mem }

// child makes the kernel's view of name, which exists; go-fuse finds the inode again by its number.
func (n *node) child(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, error) {
	info, err := n.mem().Stat(name)
	if err != nil {
		return nil, err
	}
	c := &node{disk: n.disk}
	if !info.IsDir() {
		if c.file, err = n.mem().Open(name, os.O_RDWR, 0); err != nil {
			return nil, err
		}
	}
	fill(&out.Attr, info)
	return n.NewInode(ctx, c, fs.StableAttr{Mode: out.Attr.Mode & syscall.S_IFMT, Ino: out.Attr.Ino}), nil
}

func number(info iofs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

func fill(a *fuse.Attr, info iofs.FileInfo) {
	a.Ino, a.Mode, a.Nlink = number(info), mode(info), 1
	a.SetTimes(nil, ptr(info.ModTime()), ptr(info.ModTime()))
	setSize(a, info.Size())
}

func setSize(a *fuse.Attr, size int64) {
	a.Size, a.Blocks, a.Blksize = uint64(size), uint64(size+511)/512, 4096
}

func mode(info iofs.FileInfo) uint32 {
	if info.IsDir() {
		return syscall.S_IFDIR | uint32(info.Mode().Perm())
	}
	return syscall.S_IFREG | uint32(info.Mode().Perm())
}

func ptr[T any](v T) *T { return &v }

func (n *node) Lookup(ctx context.Context, base string, out *fuse.EntryOut) (inode *fs.Inode, e syscall.Errno) {
	name := n.name(base)
	e = n.disk.run(vfs.Op{Kind: vfs.OpStat, Name: name}, func(vfs.Verdict) (err error) {
		inode, err = n.child(ctx, name, out)
		return err
	})
	return inode, e
}

func (n *node) Readdir(ctx context.Context) (stream fs.DirStream, e syscall.Errno) {
	name := n.name("")
	e = n.disk.run(vfs.Op{Kind: vfs.OpReadDir, Name: name}, func(vfs.Verdict) error {
		entries, err := n.mem().ReadDir(name)
		if err != nil {
			return err
		}
		list := make([]fuse.DirEntry, 0, len(entries))
		for _, d := range entries {
			info, err := d.Info()
			if err != nil {
				return err
			}
			list = append(list, fuse.DirEntry{Name: d.Name(), Mode: mode(info), Ino: number(info)})
		}
		stream = fs.NewListDirStream(list)
		return nil
	})
	return stream, e
}

func (n *node) Create(ctx context.Context, base string, flags, _ uint32, out *fuse.EntryOut) (inode *fs.Inode,
	fh fs.FileHandle, fuseFlags uint32, e syscall.Errno) {
	name := n.name(base)
	e = n.disk.run(vfs.Op{Kind: vfs.OpOpen, Name: name}, func(vfs.Verdict) error {
		flag := os.O_RDWR | os.O_CREATE | int(flags)&(os.O_EXCL|os.O_TRUNC)
		f, err := n.mem().Open(name, flag, 0o600)
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			inode, err = n.child(ctx, name, out)
		}
		return err
	})
	return inode, nil, fuse.FOPEN_KEEP_CACHE, e
}

func (n *node) Mkdir(ctx context.Context, base string, _ uint32, out *fuse.EntryOut) (inode *fs.Inode, e syscall.Errno) {
	name := n.name(base)
	e = n.disk.run(vfs.Op{Kind: vfs.OpMkdirAll, Name: name}, func(vfs.Verdict) error {
		if _, err := n.mem().Stat(name); err == nil {
			return syscall.EEXIST
		}
		err := n.mem().MkdirAll(name, 0o700)
		if err == nil {
			inode, err = n.child(ctx, name, out)
		}
		return err
	})
	return inode, e
}

func (n *node) Unlink(_ context.Context, base string) syscall.Errno { return n.remove(base) }
func (n *node) Rmdir(_ context.Context, base string) syscall.Errno  { return n.remove(base) }

func (n *node) remove(base string) syscall.Errno {
	name := n.name(base)
	return n.disk.run(vfs.Op{Kind: vfs.OpRemove, Name: name}, func(vfs.Verdict) error { return n.mem().Remove(name) })
}

func (n *node) Rename(_ context.Context, base string, parent fs.InodeEmbedder, newbase string, flags uint32) syscall.Errno {
	from, to := n.name(base), path.Join("/", parent.EmbeddedInode().Path(n.Root()), newbase)
	return n.disk.run(vfs.Op{Kind: vfs.OpRename, Name: from}, func(vfs.Verdict) error {
		if flags&^unix.RENAME_NOREPLACE != 0 {
			return syscall.EINVAL
		}
		if _, err := n.mem().Stat(to); err == nil && flags&unix.RENAME_NOREPLACE != 0 {
			return syscall.EEXIST
		}
		return n.mem().Rename(from, to)
	})
}

// Open has nothing to do: every node is open. O_APPEND is the kernel's business, and so are the access modes.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	e := n.disk.run(vfs.Op{Kind: vfs.OpOpen, Name: n.name("")}, func(vfs.Verdict) error {
		if flags&syscall.O_TRUNC != 0 {
			return n.file.Truncate(0)
		}
		return nil
	})
	return nil, fuse.FOPEN_KEEP_CACHE, e
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (r fuse.ReadResult, e syscall.Errno) {
	op := vfs.Op{Kind: vfs.OpRead, Name: n.name(""), Off: off, Len: int64(len(dest))}
	e = n.disk.run(op, func(vfs.Verdict) error {
		count, err := n.file.ReadAt(dest, off)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		r = fuse.ReadResultData(dest[:count])
		return err
	})
	return r, e
}

// Write with a short verdict writes its first bytes and says so, which is how a kernel reports a disk that fills up in
// the middle of a write: the next write gets the error.
func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (written uint32, e syscall.Errno) {
	op := vfs.Op{Kind: vfs.OpWrite, Name: n.name(""), Off: off, Len: int64(len(data))}
	e = n.disk.run(op, func(v vfs.Verdict) error {
		if v.Err != nil {
			data = data[:min(int64(len(data)), v.Short)]
		}
		count, err := n.file.WriteAt(data, off)
		written = uint32(count)
		return err
	})
	return written, e
}

// Fsync also serves fdatasync, and directories.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	name := n.name("")
	if n.file == nil {
		return n.disk.run(vfs.Op{Kind: vfs.OpSyncDir, Name: name}, func(vfs.Verdict) error { return n.mem().SyncDir(name) })
	}
	return n.disk.run(vfs.Op{Kind: vfs.OpSync, Name: name}, func(vfs.Verdict) error { return n.file.Sync() })
}

// Flush is close(2), which makes nothing durable.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	op := vfs.Op{Kind: vfs.OpPreallocate, Name: n.name(""), Off: int64(off), Len: int64(size)}
	return n.disk.run(op, func(vfs.Verdict) error {
		switch mode {
		case unix.FALLOC_FL_KEEP_SIZE:
			return n.file.Preallocate(int64(off), int64(size))
		case 0:
			old, err := n.file.Size()
			if err == nil && int64(off+size) > old {
				err = n.file.Truncate(int64(off + size))
			}
			return err
		}
		return syscall.EOPNOTSUPP
	})
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	name := n.name("")
	return n.disk.run(vfs.Op{Kind: vfs.OpSize, Name: name}, func(vfs.Verdict) error { return n.attributes(name, &out.Attr) })
}

// attributes asks the open file and not its name, which may be gone.
func (n *node) attributes(name string, a *fuse.Attr) error {
	if n.file == nil {
		info, err := n.mem().Stat(name)
		if err == nil {
			fill(a, info)
		}
		return err
	}
	size, err := n.file.Size()
	a.Ino, a.Mode, a.Nlink = n.StableAttr().Ino, syscall.S_IFREG|0o600, 1
	setSize(a, size)
	return err
}

// Setattr obeys a truncation and accepts modes, owners and times without keeping them.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	op := vfs.Op{Kind: vfs.OpStat, Name: n.name("")}
	size, truncate := in.GetSize()
	if truncate {
		op.Kind, op.Off = vfs.OpTruncate, int64(size)
	}
	return n.disk.run(op, func(vfs.Verdict) error {
		if truncate {
			if err := n.file.Truncate(int64(size)); err != nil {
				return err
			}
		}
		return n.attributes(op.Name, &out.Attr)
	})
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return n.disk.run(vfs.Op{Kind: vfs.OpSpace, Name: "/"}, func(vfs.Verdict) error {
		free, total, err := n.mem().Space("/")
		out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
		out.Blocks, out.Bfree, out.Bavail = total/4096, free/4096, free/4096
		return err
	})
}
