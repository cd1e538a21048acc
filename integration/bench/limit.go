package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the kernel alone needs for the same bytes, measured in a process of its own: the bench runs itself again with
// limitCommand as first argument. "receive" takes blocks from a socket, checksums them and writes them to a fresh file;
// "send" sends a file with sendfile. No protocol, no parsing, no lock: nothing that moves these bytes can need less.

const limitCommand = "physical-limit"

// limitResult is what the other process prints when its connection ends.
type limitResult struct {
	Bytes int64
	CPU   time.Duration
	Wall  time.Duration
}

// limitMain is the other process.
func limitMain(args []string) error {
	f := flag.NewFlagSet(limitCommand, flag.ExitOnError)
	mode := f.String("mode", "receive", "receive or send")
	size := f.Int("size", 64<<10, "bytes per system call")
	path := f.String("file", "", "file to write or send")
	volume := f.Int64("bytes", 1e9, "bytes to send")
	_ = f.Parse(args) // ExitOnError
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	var r limitResult
	began, cpu := time.Now(), ownCPU()
	if *mode == "receive" {
		r.Bytes, err = receiveAll(c, *path, *size)
	} else {
		r.Bytes, err = sendAll(c, *path, *size, *volume)
	}
	r.Wall, r.CPU = time.Since(began), ownCPU()-cpu
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

func receiveAll(c *net.TCPConn, path string, size int) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer f.Close()
	buf := make([]byte, size)
	total, sum := int64(0), uint32(0)
	for {
		n, err := io.ReadFull(c, buf)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		sum ^= crc32.Checksum(buf[:n], castagnoli)
		if _, err := f.WriteAt(buf[:n], total); err != nil {
			return total, err
		}
		total += int64(n)
	}
}

func sendAll(c *net.TCPConn, path string, size int, volume int64) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for off := int64(0); total < volume; {
		if off+int64(size) > st.Size() {
			off = 0
		}
		left := size
		var failed error
		err := raw.Write(func(fd uintptr) bool {
			for left > 0 {
				n, err := unix.Sendfile(int(fd), int(f.Fd()), &off, left)
				if err == unix.EAGAIN {
					return false
				}
				if err != nil || n == 0 {
					failed = errors.Join(err, io.ErrUnexpectedEOF)
					return true
				}
				left -= n
			}
			return true
		})
		if err = errors.Join(err, failed); err != nil {
			return total, err
		}
		total += int64(size)
	}
	return total, c.CloseWrite()
}

// limitOf runs the other process and moves volume bytes through it.
func (b *bench) limitOf(mode string, size int, volume int64) (limitResult, error) {
	var r limitResult
	path := filepath.Join(b.dir, "limit.dat")
	if mode == "send" {
		if err := os.WriteFile(path, make([]byte, 256<<20), 0o600); err != nil {
			return r, err
		}
		defer os.Remove(path)
	}
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(self, limitCommand, "-mode", mode, "-size", fmt.Sprint(size), "-file", path, "-bytes", fmt.Sprint(volume))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	lines := bufio.NewReader(out)
	addr, err := lines.ReadString('\n')
	if err == nil {
		err = feedLimit(strings.TrimSpace(addr), mode, size, volume)
	}
	if err == nil {
		err = json.NewDecoder(lines).Decode(&r)
	}
	if err != nil {
		_ = cmd.Process.Kill() // it may wait for us
	}
	return r, errors.Join(err, cmd.Wait())
}

// feedLimit is the other end of the connection.
func feedLimit(addr, mode string, size int, volume int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	if mode == "receive" {
		block := newBatch(size, size/2)
		block = append(block, make([]byte, size)...)[:size]
		for sent := int64(0); sent < volume; sent += int64(size) {
			if _, err := c.Write(block); err != nil {
				return err
			}
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1)) // until it has written everything
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	d := discarder{raw: raw, scratch: make([]byte, 1<<20)}
	for {
		if err := d.discard(1 << 20); errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// syncLatency appends n blocks to a file, each with fdatasync.
func (b *bench) syncLatency(size, n int) (*histogram, error) {
	path := filepath.Join(b.dir, "sync.dat")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	defer f.Close()
	block := newBatch(size, size/2)
	h := &histogram{}
	for i := range n {
		began := time.Now()
		if _, err := f.WriteAt(block, int64(i)*int64(len(block))); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return nil, err
		}
		h.add(time.Since(began))
	}
	return h, nil
}
