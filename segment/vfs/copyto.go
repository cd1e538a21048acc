package vfs

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// copier is sender for a file without a descriptor.
type copier struct {
	push func(fd uintptr) bool // c.step, bound once
	file io.ReaderAt
	buf  [64 << 10]byte
	off  int64
	left int64
	err  error
}

var copiers = sync.Pool{New: func() any {
	c := new(copier)
	c.push = c.step
	return c
}}

// copyTo is SendTo for a file without a descriptor.
func copyTo(rc syscall.RawConn, f io.ReaderAt, off, n int64) (int64, error) {
	c := copiers.Get().(*copier)
	c.file, c.off, c.left, c.err = f, off, n, nil
	err := rc.Write(c.push)
	if err == nil {
		err = c.err
	}
	sent := n - c.left
	c.file = nil
	copiers.Put(c)
	return sent, err
}

// step reads a chunk again after the socket was full: simpler than keeping the rest, and as rare.
func (c *copier) step(out uintptr) bool {
	for c.left > 0 {
		n, err := c.file.ReadAt(c.buf[:min(c.left, int64(len(c.buf)))], c.off)
		if n == 0 {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			c.err = err
			return true
		}
		n, err = unix.Write(int(out), c.buf[:n])
		if n > 0 {
			c.off, c.left = c.off+int64(n), c.left-int64(n)
		}
		switch {
		case err == unix.EAGAIN:
			return false
		case err != nil && err != unix.EINTR:
			c.err = err
			return true
		}
	}
	return true
}
