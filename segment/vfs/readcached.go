package vfs

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxCached bounds a read without the scheduler's notice: about 10 us of copying.
const maxCached = 128 << 10

// readCached reads what the page cache holds of a short range and returns how much that was; the caller reads the rest.
// The call does not wait for the disk (RWF_NOWAIT), so it is made without telling Go's scheduler: a call it knows of
// wakes the runtime's monitor thread and costs several times the read itself.
func (f *osFile) readCached(p []byte, off int64) int {
	if len(p) == 0 || len(p) > maxCached || off < 0 {
		return 0
	}
	v := unix.Iovec{Base: &p[0]}
	v.SetLen(len(p))
	n, _, errno := syscall.RawSyscall6(unix.SYS_PREADV2, uintptr(f.fd), uintptr(unsafe.Pointer(&v)), 1,
		uintptr(off), 0, unix.RWF_NOWAIT)
	if errno != 0 {
		return 0 // not cached, or a file system that cannot tell
	}
	return int(n)
}
