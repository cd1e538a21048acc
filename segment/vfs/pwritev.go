package vfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVector is how many buffers one pwritev takes: a full read buffer of 16 KiB requests, and still on the stack
// (unix.Pwritev allocates above 8).
const maxVector = 64

// pwritev writes bufs, without the first skip bytes of the first one, at off. It may write less.
func pwritev(fd int, bufs [][]byte, skip int, off int64) (int, error) {
	var vector [maxVector]unix.Iovec
	count := 0
	for _, b := range bufs {
		b, skip = b[skip:], 0
		if len(b) == 0 {
			continue
		}
		vector[count].Base = unsafe.SliceData(b)
		vector[count].SetLen(len(b))
		count++
		if count == maxVector {
			break
		}
	}
	// The kernel takes the offset as two halves; on 64-bit machines the first holds all of it.
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, uintptr(fd), uintptr(unsafe.Pointer(&vector[0])),
		uintptr(count), uintptr(off), uintptr(uint64(off)>>32), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
