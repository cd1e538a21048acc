package vfs

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSymbolicLinksAreRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(base string) string { return filepath.Join(dir, base) }
	must(t, os.WriteFile(at("f"), []byte("secret"), 0o600))
	must(t, os.Mkdir(at("d"), 0o700))
	must(t, os.Symlink(at("f"), at("file-link")))
	must(t, os.Symlink(at("d"), at("dir-link")))
	must(t, os.Symlink(at("new"), at("dangling")))
	fsys := OS()
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"open", func() error { _, err := fsys.Open(at("file-link"), os.O_RDONLY, 0); return err }},
		{"open to truncate", func() error { _, err := fsys.Open(at("file-link"), os.O_RDWR|os.O_TRUNC, 0); return err }},
		{"create through", func() error { _, err := fsys.Open(at("dangling"), os.O_RDWR|os.O_CREATE, 0o600); return err }},
		{"list", func() error { _, err := fsys.ReadDir(at("dir-link")); return err }},
		{"sync", func() error { return fsys.SyncDir(at("dir-link")) }},
		{"make", func() error { return fsys.MkdirAll(at("dir-link"), 0o700) }},
		{"lock", func() error { _, err := fsys.Lock(at("file-link")); return err }},
		{"lock in", func() error { _, err := fsys.Lock(at("dir-link/.lock")); return err }},
		{"check", func() error { return CheckDir(at("dir-link")) }},
	} {
		err := c.do()
		if err == nil || strings.Contains("open to truncate, create through", c.what) && !errors.Is(err, ErrUnsafe) {
			t.Errorf("%s a symbolic link: %v", c.what, err)
		}
	}
	info, err := fsys.Stat(at("file-link"))
	must(t, err)
	if info.Mode()&os.ModeSymlink == 0 {
		t.Error("Stat followed a symbolic link")
	}
	wantFile(t, fsys, at("f"), "secret")
	wantNone(t, fsys, at("new"))
}

func TestWhatOthersCanChangeIsRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(base string) string { return filepath.Join(dir, base) }
	must(t, os.WriteFile(at("open"), []byte("x"), 0o600))
	must(t, os.Chmod(at("open"), 0o666))
	must(t, syscall.Mkfifo(at("pipe"), 0o600))
	must(t, os.Mkdir(at("d"), 0o700))
	must(t, os.Chmod(at("d"), 0o777))
	for _, name := range []string{at("open"), at("pipe")} {
		_, err := OS().Open(name, os.O_RDONLY, 0) // a pipe must not hang either
		wantErr(t, err, ErrUnsafe)
	}
	_, err := OS().Lock(at("d/.lock"))
	wantErr(t, err, ErrUnsafe)
	must(t, os.Chmod(at("d"), 0o750))
	must(t, CheckDir(at("d")))
	wantErr(t, CheckDir(at("none")), os.ErrNotExist)
	wantErr(t, CheckDir(at("open")), ErrUnsafe)
}

func TestForeignOwnerIsRefused(t *testing.T) {
	st := unix.Stat_t{Mode: unix.S_IFREG | 0o600}
	for _, c := range []struct {
		uid  uint32
		want error
	}{{0, nil}, {uint32(os.Geteuid()), nil}, {uint32(os.Geteuid()) + 1, ErrUnsafe}} {
		st.Uid = c.uid
		wantErr(t, checkOwner("f", &st), c.want)
	}
}

// TestSecondProcessIsToldTheFirst runs this test again as the process that holds the lock.
func TestSecondProcessIsToldTheFirst(t *testing.T) {
	if name := os.Getenv("VFS_TEST_LOCK"); name != "" {
		holdLock(name)
	}
	name := filepath.Join(t.TempDir(), ".lock")
	holder := exec.Command(os.Args[0], "-test.run=^TestSecondProcessIsToldTheFirst$")
	holder.Env = append(os.Environ(), "VFS_TEST_LOCK="+name)
	stdin, err := holder.StdinPipe()
	must(t, err)
	stdout, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "locked" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	_, err = OS().Lock(name)
	var held *LockedError
	if !errors.As(err, &held) || held.PID != holder.Process.Pid {
		t.Errorf("got %v, want process %d named", err, holder.Process.Pid)
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	_ = stdin.Close()
	lock, err := OS().Lock(name)
	must(t, err) // a dead holder holds nothing
	must(t, lock.Close())
}

func holdLock(name string) {
	if _, err := OS().Lock(name); err != nil {
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString("locked\n")
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

func TestLockFileWithoutProcessIDIsStillALock(t *testing.T) {
	name := filepath.Join(t.TempDir(), ".lock")
	first, err := OS().Lock(name)
	must(t, err)
	must(t, os.WriteFile(name, []byte("not a number"), 0o600))
	_, err = OS().Lock(name)
	var held *LockedError
	if !errors.As(err, &held) || held.PID != 0 || !strings.Contains(err.Error(), "another process") {
		t.Fatalf("got %v", err)
	}
	must(t, first.Close())
}

// TestCloseDuringReadsHitsNoOtherFile closes a file that readers use while its descriptor number is taken again:
// each read sees the file's bytes or os.ErrClosed.
func TestCloseDuringReadsHitsNoOtherFile(t *testing.T) {
	dir := t.TempDir()
	put(t, OS(), filepath.Join(dir, "a"), "aaaa")
	put(t, OS(), filepath.Join(dir, "b"), "bbbb")
	for range 200 {
		f := open(t, OS(), filepath.Join(dir, "a"), os.O_RDONLY)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				var buf [4]byte
				for {
					_, err := f.ReadAt(buf[:], 0)
					if errors.Is(err, os.ErrClosed) {
						return
					}
					if err != nil || string(buf[:]) != "aaaa" {
						t.Errorf("read %q, %v", buf, err)
						return
					}
				}
			})
		}
		must(t, f.Close())
		g := open(t, OS(), filepath.Join(dir, "b"), os.O_RDONLY)
		readers.Wait()
		must(t, g.Close())
	}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	f := open(t, OS(), filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE)
	defer f.Close()
	bufs := make([][]byte, 40)
	for i := range bufs {
		bufs[i] = make([]byte, 512)
	}
	buf := make([]byte, 512)
	for what, do := range map[string]func(){
		"writev":    func() { _, _ = f.Writev(bufs, 0) },
		"read":      func() { _, _ = f.ReadAt(buf, 0) },
		"size":      func() { _, _ = f.Size() },
		"datasync":  func() { _ = f.Datasync() },
		"writeback": func() { f.Writeback(0, 4096) },
	} {
		if n := testing.AllocsPerRun(20, do); n > 0 {
			t.Errorf("%s allocates %v times", what, n)
		}
	}
}
