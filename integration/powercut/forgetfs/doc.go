// Package forgetfs is a mounted file system that forgets every byte not fsynced when the power goes, so that the
// shipped binary itself can be tested for what it promises: kill -9 proves nothing about fsync, for the page cache
// survives it.
//
//	broker process ── write, fsync, rename ... ──> kernel ──/dev/fuse──> node ──> vfs.Mem
//	                                                                               │ Cut: CrashClone
//	backing directory <── what is durable ─────────────────────────────────────────┘ Close: everything
//	        └── next Mount
//
// How it is used:
//
//	disk, err := forgetfs.Mount(mountpoint, backing) // as root, with /dev/fuse
//	... start the broker with its log.dirs below mountpoint, write to it ...
//	... kill it with SIGKILL, and wait for it ...
//	err = disk.Cut()                                 // the power goes
//	disk, err = forgetfs.Mount(mountpoint, backing)  // and comes back
//
// Cut may come before the kill: from that moment on every call of the process fails with EIO and changes nothing,
// as when the power supply of the disks fails first. It is the sharper test, for the process cannot finish what it
// is doing.
//
// Invariants
//
//	F1  The rules of durability are those of segment/vfs: V1 for bytes, V2 for names.
//	F2  The kernel keeps no dirty pages (no write-back cache): what a system call has written is in the Mem when it
//	    returns, and nowhere else.
//	F3  A sync that was answered before Cut is durable; one that was not answered may be, or not.
//	F4  Between two mounts the backing directory is an ordinary tree with all that survived. While mounted it is not
//	    looked at, and all of the file system is in memory: use it for megabytes, not for gigabytes.
//
// Goroutines: go-fuse's own, which serve the mount and end before Cut or Close return. Locks: gate is held shared by
// every operation while it is carried out, and exclusively by Cut at the moment of the power cut (F3). An operation
// that a fault delays waits before it takes the gate.
//
// Not here: symbolic and hard links, owners, times, modes other than 0600 and 0700, mmap of dirty pages.
package forgetfs
