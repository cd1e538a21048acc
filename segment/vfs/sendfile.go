package vfs

import (
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// sender pushes a part of a file into a socket. It is pooled together with its bound method, so that a send
// allocates nothing.
type sender struct {
	push func(fd uintptr) bool // s.step, bound once
	in   int                   // descriptor of the file
	off  int64
	left int64
	err  error
}

var sendfiles = sync.Pool{New: func() any {
	s := new(sender)
	s.push = s.step
	return s
}}

// maxSend keeps a single system call short enough for a fair share of the disk and below the kernel's own cap.
const maxSend = 4 << 20

// step is called by the RawConn until it returns true; false means "wait until the socket takes more".
func (s *sender) step(out uintptr) bool {
	for s.left > 0 {
		// The explicit offset leaves the shared file position alone, so any number of readers may send.
		n, err := unix.Sendfile(int(out), s.in, &s.off, int(min(s.left, maxSend)))
		if n > 0 {
			s.left -= int64(n)
		}
		switch {
		case err == unix.EAGAIN:
			return false
		case err == unix.EINTR:
		case err != nil:
			s.err = err
			return true
		case n == 0:
			s.err = io.ErrUnexpectedEOF
			return true
		}
	}
	return true
}

func (f *osFile) SendTo(rc syscall.RawConn, off, n int64) (int64, error) {
	if !f.begin() {
		return 0, f.fail("sendfile", os.ErrClosed)
	}
	defer f.end()
	s := sendfiles.Get().(*sender)
	s.in, s.off, s.left, s.err = f.fd, off, n, nil
	err := rc.Write(s.push)
	if err == nil {
		err = s.err
	}
	sent := n - s.left
	sendfiles.Put(s)
	if err != nil {
		return sent, f.fail("sendfile", err)
	}
	return sent, nil
}
