package main

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// consume reads a partition again and again from its start with fetches of at most maxBytes, and throws the records
// away in the kernel. All batches of the partition have the same size.
func consume(addr, topic string, maxBytes int32, volume int64, limit time.Duration) (read int64, fetches int, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	d := discarder{raw: raw, scratch: make([]byte, 1<<20)}
	head := make([]byte, fetchHead(topic)+batchHeader)
	fixed := fetchHead(topic)
	offset, first := int64(0), int64(-1)
	for end := time.Now().Add(limit); read < volume && time.Now().Before(end); fetches++ {
		if _, err := c.Write(fetchRequest(topic, 0, offset, maxBytes)); err != nil {
			return read, fetches, err
		}
		if _, err := io.ReadFull(c, head[:fixed]); err != nil {
			return read, fetches, err
		}
		if code := int16(be.Uint16(head[fetchCode(topic):])); code != 0 {
			return read, fetches, fmt.Errorf("error code %d to a fetch at offset %d", code, offset)
		}
		n := int(int32(be.Uint32(head[fixed-4:])))
		if got := int(be.Uint32(head)) + 4; got != fixed+max(n, 0) {
			return read, fetches, fmt.Errorf("an answer of %d bytes to Fetch, want %d", got, fixed+n)
		}
		if n <= 0 { // the end: begin again
			if offset = first; first < 0 {
				return read, fetches, fmt.Errorf("nothing to consume")
			}
			continue
		}
		if _, err := io.ReadFull(c, head[fixed:]); err != nil {
			return read, fetches, err
		}
		batch := head[fixed:]
		base, size := int64(be.Uint64(batch)), int(be.Uint32(batch[8:]))+12
		if first < 0 {
			first = base
		}
		offset = base + int64(batchRecords(batch))*int64(max(1, n/size))
		if err := d.discard(n - batchHeader); err != nil {
			return read, fetches, err
		}
		read += int64(n)
	}
	return read, fetches, nil
}

// discarder takes bytes off a socket without copying them to user space.
type discarder struct {
	raw     syscall.RawConn
	scratch []byte
}

func (d *discarder) discard(n int) error {
	for n > 0 {
		var got uintptr
		var failed error
		err := d.raw.Read(func(fd uintptr) bool {
			m, _, e := syscall.Syscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&d.scratch[0])),
				uintptr(min(n, len(d.scratch))), unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0)
			switch {
			case e == syscall.EAGAIN:
				return false
			case e != 0:
				failed = e
			case m == 0:
				failed = io.ErrUnexpectedEOF
			}
			got = m
			return true
		})
		if err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		n -= int(got)
	}
	return nil
}
