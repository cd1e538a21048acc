//go:build process

package forgetfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cordwood/segment/vfs"
)

// disk is a backing directory and where it is mounted.
type disk struct {
	t                   *testing.T
	mountpoint, backing string
	fs                  *FS
}

func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, mountpoint: t.TempDir(), backing: t.TempDir()}
	d.mount()
	t.Cleanup(func() {
		if d.fs != nil {
			must(t, d.fs.Close())
		}
	})
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	var err error
	d.fs, err = Mount(d.mountpoint, d.backing)
	must(d.t, err)
}

// cycle cuts the power and mounts again.
func (d *disk) cycle() {
	d.t.Helper()
	must(d.t, d.fs.Cut())
	d.mount()
}

func (d *disk) at(name string) string { return filepath.Join(d.mountpoint, name) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *disk) open(name string, flag int) vfs.File {
	d.t.Helper()
	f, err := vfs.OS().Open(d.at(name), flag, 0o600)
	must(d.t, err)
	return f
}

func (d *disk) put(name, data string) {
	d.t.Helper()
	f := d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	_, err := f.WriteAt([]byte(data), 0)
	must(d.t, err)
	must(d.t, f.Close())
}

func (d *disk) sync(name string) {
	d.t.Helper()
	f := d.open(name, os.O_RDWR)
	must(d.t, f.Datasync())
	must(d.t, f.Close())
}

func (d *disk) syncDir(name string) {
	d.t.Helper()
	must(d.t, vfs.OS().SyncDir(d.at(name)))
}

// want compares everything that is there: "name=content", sorted.
func (d *disk) want(want ...string) {
	d.t.Helper()
	var got []string
	err := filepath.WalkDir(d.mountpoint, func(path string, e os.DirEntry, err error) error {
		if err != nil || path == d.mountpoint {
			return err
		}
		name := strings.TrimPrefix(path, d.mountpoint+"/")
		if e.IsDir() {
			got = append(got, name+"/")
			return nil
		}
		data, err := os.ReadFile(path)
		got = append(got, name+"="+string(data))
		return err
	})
	must(d.t, err)
	if slices.Sort(got); !slices.Equal(got, want) {
		d.t.Fatalf("found %q, want %q", got, want)
	}
}

func TestUnsyncedWriteIsLostAndSyncedStays(t *testing.T) {
	d := newDisk(t)
	d.put("f", "synced")
	d.sync("f")
	d.syncDir("")
	f := d.open("f", os.O_RDWR)
	_, err := f.WriteAt([]byte("UNSYNCED"), 3)
	must(t, err)
	must(t, f.Close())
	d.want("f=synUNSYNCED")
	d.cycle()
	d.want("f=synced")
}

func TestUnsyncedNamesAreLostAndSyncedStay(t *testing.T) {
	d := newDisk(t)
	must(t, vfs.MkdirAllSync(vfs.OS(), d.at("a/b")))
	for _, name := range []string{"a/old", "a/gone", "a/b/kept"} {
		d.put(name, name)
		d.sync(name)
	}
	d.syncDir("a")
	d.syncDir("a/b")
	must(t, os.Rename(d.at("a/old"), d.at("a/new")))
	must(t, os.Remove(d.at("a/gone")))
	d.put("a/created", "x")
	d.sync("a/created")
	must(t, os.Mkdir(d.at("a/made"), 0o700))
	d.want("a/", "a/b/", "a/b/kept=a/b/kept", "a/created=x", "a/made/", "a/new=a/old")
	d.cycle()
	d.want("a/", "a/b/", "a/b/kept=a/b/kept", "a/gone=a/gone", "a/old=a/old")

	must(t, os.Rename(d.at("a/old"), d.at("a/new")))
	must(t, os.Rename(d.at("a/b"), d.at("a/c")))
	must(t, os.Remove(d.at("a/gone")))
	d.syncDir("a")
	d.cycle()
	d.want("a/", "a/c/", "a/c/kept=a/b/kept", "a/new=a/old")
}

func TestCloseKeepsEverything(t *testing.T) {
	d := newDisk(t)
	d.put("f", "unsynced")
	must(t, d.fs.Close())
	got, err := os.ReadFile(filepath.Join(d.backing, "f"))
	must(t, err)
	if string(got) != "unsynced" {
		t.Fatalf("backing holds %q", got)
	}
	d.mount()
	d.want("f=unsynced")
}

func TestReplaceSurvivesATornPowerCut(t *testing.T) {
	d := newDisk(t)
	for seed := range uint64(10) {
		old, replacement := strings.Repeat("o", 9000), strings.Repeat("n", 12000)
		must(t, vfs.WriteFileAtomic(vfs.OS(), d.at("f"), []byte(old)))
		d.put("g", replacement)
		must(t, os.Rename(d.at("g"), d.at("g2")))
		if seed%2 == 0 {
			must(t, vfs.WriteFileAtomic(vfs.OS(), d.at("f"), []byte(replacement)))
			old = replacement
		}
		must(t, d.fs.CutTorn(rand.New(rand.NewPCG(seed, 0))))
		d.mount()
		got, err := os.ReadFile(d.at("f"))
		must(t, err)
		if string(got) != old {
			t.Fatalf("seed %d: synced file has %d other bytes", seed, len(got))
		}
	}
}

// TestWhatTheBrokerUsesWorks goes through the calls of vfs.OS that the other tests leave out.
func TestWhatTheBrokerUsesWorks(t *testing.T) {
	d := newDisk(t)
	f := d.open("f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i / 1000)
	}
	must(t, f.Preallocate(0, 64<<20))
	n, err := f.Writev([][]byte{data[:100], data[100 : 2<<20], data[2<<20:]}, 0)
	if err != nil || n != len(data) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	f.Writeback(0, int64(n))
	f.Drop(0, int64(n))
	f.Advise(0, int64(n))
	must(t, f.Sync())
	must(t, os.Remove(d.at("f"))) // and goes on
	if size, err := f.Size(); err != nil || size != int64(n) {
		t.Fatalf("size %d, %v", size, err)
	}
	got := make([]byte, n)
	_, err = f.ReadAt(got, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read other bytes, %v", err)
	}
	sendFile(t, f, data)
	must(t, f.Truncate(10))
	if size, err := f.Size(); err != nil || size != 10 {
		t.Fatalf("size %d after truncation, %v", size, err)
	}
	must(t, f.Close())

	lock, err := vfs.OS().Lock(d.at(".lock"))
	must(t, err)
	var held *vfs.LockedError
	if _, err := vfs.OS().Lock(d.at(".lock")); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatalf("second lock: %v", err)
	}
	must(t, lock.Close())
	d.fs.SetFree(1 << 20)
	if free, total, err := vfs.OS().Space(d.mountpoint); err != nil || free != 1<<20 || total != 2<<20 {
		t.Fatalf("free %d of %d, %v", free, total, err)
	}
	a, err := os.OpenFile(d.at("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = a.WriteString("one,")
	must(t, err)
	_, err = a.WriteString("two")
	must(t, err)
	must(t, a.Close())
	must(t, vfs.OS().RemoveAll(d.at(".lock")))
	d.want("log=one,two")
}

func sendFile(t *testing.T, f vfs.File, want []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	received := make(chan []byte)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			received <- nil
			return
		}
		b, _ := io.ReadAll(c)
		_ = c.Close()
		received <- b
	}()
	c, err := l.Accept()
	must(t, err)
	rc, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	_, err = f.SendTo(rc, 0, int64(len(want)))
	must(t, err)
	must(t, c.Close())
	if got := <-received; !bytes.Equal(got, want) {
		t.Fatal("sendfile sent other bytes")
	}
}

func TestFaultsReachTheProcess(t *testing.T) {
	d := newDisk(t)
	d.put("f", "old")
	d.sync("f")
	d.syncDir("")
	var sawWrite atomic.Bool
	d.fs.SetFault(func(op vfs.Op) vfs.Verdict {
		if op.Kind == vfs.OpWrite && op.Name == "/f" && op.Len == 3 {
			sawWrite.Store(true)
		}
		switch op.Kind {
		case vfs.OpWrite:
			return vfs.Verdict{Err: syscall.ENOSPC}
		case vfs.OpSync:
			return vfs.Verdict{Err: syscall.EIO, Delay: time.Millisecond}
		}
		return vfs.Verdict{}
	})
	f := d.open("f", os.O_RDWR)
	if _, err := f.WriteAt([]byte("new"), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	d.fs.SetFault(func(op vfs.Op) vfs.Verdict { return vfs.Verdict{Lie: true} })
	_, err := f.WriteAt([]byte("new"), 0)
	must(t, err)
	must(t, f.Sync())
	d.fs.SetFault(nil)
	must(t, f.Close())
	if !sawWrite.Load() {
		t.Error("the write was not announced")
	}
	d.want("f=new")
	d.cycle()
	d.want("f=old")
}

func TestCorruptionIsReadAfterTheNextMount(t *testing.T) {
	d := newDisk(t)
	must(t, vfs.WriteFileAtomic(vfs.OS(), d.at("f"), []byte("abc")))
	must(t, d.fs.Corrupt(d.at("f"), 1, 1))
	d.cycle()
	d.want("f=acc")
}

// TestAcknowledgedMeansSyncedAcrossKill runs this test again as a process that appends numbers and says each one
// aloud. What it said must be there after kill and power cut if it synced, and must not if it did not: else the file
// system forgets nothing and proves nothing.
func TestAcknowledgedMeansSyncedAcrossKill(t *testing.T) {
	if name := os.Getenv("FORGETFS_WRITE"); name != "" {
		appendNumbers(name, os.Getenv("FORGETFS_SYNC") != "")
	}
	for _, c := range []struct {
		name     string
		sync     bool
		cutFirst bool
	}{
		{"synced, killed, cut", true, false},
		{"synced, cut, killed", true, true},
		{"not synced, killed, cut", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t)
			d.put("f", "")
			d.syncDir("")
			writer := exec.Command(os.Args[0], "-test.run=^TestAcknowledgedMeansSyncedAcrossKill$")
			writer.Env = append(os.Environ(), "FORGETFS_WRITE="+d.at("f"))
			if c.sync {
				writer.Env = append(writer.Env, "FORGETFS_SYNC=1")
			}
			out, err := writer.StdoutPipe()
			must(t, err)
			must(t, writer.Start())
			lines, said := bufio.NewScanner(out), 0
			for said < 50 && lines.Scan() {
				said, err = strconv.Atoi(lines.Text())
				must(t, err)
			}
			if c.cutFirst {
				must(t, d.fs.Cut())
			}
			must(t, writer.Process.Kill())
			for lines.Scan() { // said before it died
				said, err = strconv.Atoi(lines.Text())
				must(t, err)
			}
			_ = writer.Wait()
			if !c.cutFirst {
				must(t, d.fs.Cut())
			}
			d.mount()
			data, err := os.ReadFile(d.at("f"))
			must(t, err)
			kept := len(strings.Fields(string(data)))
			if c.sync && kept < said {
				t.Errorf("%d numbers said, %d kept", said, kept)
			}
			if !c.sync && kept > 0 {
				t.Errorf("%d unsynced numbers kept", kept)
			}
			if said < 50 {
				t.Errorf("only %d numbers said", said)
			}
		})
	}
}

func appendNumbers(name string, sync bool) {
	f, err := vfs.OS().Open(name, os.O_RDWR, 0)
	var end int64
	for i := 1; err == nil; i++ {
		var n int
		n, err = f.WriteAt([]byte(strconv.Itoa(i)+"\n"), end)
		end += int64(n)
		if err == nil && sync {
			err = f.Datasync()
		}
		if err == nil {
			_, err = fmt.Println(i)
		}
	}
	os.Exit(1)
}

func TestProcessesDoNotInheritTheMount(t *testing.T) {
	newDisk(t)
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	must(t, err)
	if strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("a child process has\n%s", out)
	}
}
