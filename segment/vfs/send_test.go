package vfs

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// socketPair is a TCP connection with small buffers, so that sends have to wait.
func socketPair(t *testing.T) (out *net.TCPConn, in net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	in, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	c, err := l.Accept()
	must(t, err)
	out = c.(*net.TCPConn)
	must(t, out.SetWriteBuffer(256<<10))
	t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	return out, in
}

func rawConn(t *testing.T, c *net.TCPConn) syscall.RawConn {
	t.Helper()
	rc, err := c.SyscallConn()
	must(t, err)
	return rc
}

func TestSendToWaitsForASlowReader(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		data := make([]byte, 6<<20)
		for i := range data {
			data[i] = byte(i * 7 / 3)
		}
		name := filepath.Join(dir, "f")
		put(t, fsys, name, string(data))
		f := open(t, fsys, name, os.O_RDONLY)
		defer f.Close()
		out, in := socketPair(t)
		got := make(chan []byte)
		go func() {
			b, _ := io.ReadAll(in)
			got <- b
		}()
		sent, err := f.SendTo(rawConn(t, out), 1000, int64(len(data)-2000))
		must(t, err)
		must(t, out.CloseWrite())
		if b := <-got; sent != int64(len(data)-2000) || !bytes.Equal(b, data[1000:len(data)-1000]) {
			t.Fatalf("sent %d, received %d bytes, or other bytes", sent, len(b))
		}
	})
}

func TestSendToStopsAtTheEndOfTheFile(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, "abc")
		f := open(t, fsys, name, os.O_RDONLY)
		defer f.Close()
		out, _ := socketPair(t)
		sent, err := f.SendTo(rawConn(t, out), 1, 5)
		if sent != 2 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("sent %d, %v; want 2, unexpected EOF", sent, err)
		}
	})
}

func TestSendToEndsWithItsConnection(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, string(make([]byte, 32<<20)))
		f := open(t, fsys, name, os.O_RDONLY)
		defer f.Close()
		out, in := socketPair(t)
		rc := rawConn(t, out)
		done := make(chan error)
		go func() {
			_, err := f.SendTo(rc, 0, 32<<20)
			done <- err
		}()
		_, err := io.ReadFull(in, make([]byte, 1<<10))
		must(t, err)
		must(t, out.Close())
		if err := <-done; err == nil {
			t.Fatal("a closed connection took everything")
		}
	})
}

func TestSendToDoesNotAllocate(t *testing.T) {
	f := open(t, OS(), filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE)
	defer f.Close()
	_, err := f.WriteAt(make([]byte, 4096), 0)
	must(t, err)
	out, in := socketPair(t)
	go func() { _, _ = io.Copy(io.Discard, in) }()
	rc := rawConn(t, out)
	if n := testing.AllocsPerRun(50, func() { _, _ = f.SendTo(rc, 0, 4096) }); n >= 1 {
		t.Errorf("SendTo allocates %v times", n)
	}
	must(t, out.Close())
}
