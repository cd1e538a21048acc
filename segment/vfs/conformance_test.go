package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// eachFS runs a test against every implementation, in an empty directory.
func eachFS(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS(), t.TempDir()) })
	mem := func(t *testing.T) FS {
		m := NewMem()
		must(t, m.MkdirAll("/data", 0o700))
		return m
	}
	t.Run("mem", func(t *testing.T) { test(t, mem(t), "/data") })
	t.Run("fault", func(t *testing.T) {
		test(t, NewFault(mem(t), func(Op) Verdict { return Verdict{} }), "/data")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func open(t *testing.T, fsys FS, name string, flag int) File {
	t.Helper()
	f, err := fsys.Open(name, flag, 0o600)
	must(t, err)
	return f
}

// put writes a whole file without syncing it.
func put(t *testing.T, fsys FS, name, data string) {
	t.Helper()
	f := open(t, fsys, name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	_, err := f.WriteAt([]byte(data), 0)
	must(t, err)
	must(t, f.Close())
}

// syncFile makes a file's data durable.
func syncFile(t *testing.T, fsys FS, name string) {
	t.Helper()
	f := open(t, fsys, name, os.O_RDWR)
	must(t, f.Sync())
	must(t, f.Close())
}

func wantFile(t *testing.T, fsys FS, name, want string) {
	t.Helper()
	got, err := ReadFile(fsys, name, 1<<30)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s holds %.60q (%d bytes), want %.60q (%d bytes)", name, got, len(got), want, len(want))
	}
}

func wantNone(t *testing.T, fsys FS, name string) {
	t.Helper()
	_, err := fsys.Stat(name)
	wantErr(t, err, fs.ErrNotExist)
}

func TestWrittenBytesAreRead(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE|os.O_EXCL)
		defer f.Close()
		n, err := f.Writev([][]byte{[]byte("ab"), nil, []byte("cde"), {}, []byte("f")}, 5000)
		must(t, err)
		if n != 6 {
			t.Fatalf("wrote %d bytes, want 6", n)
		}
		_, err = f.WriteAt([]byte("XY"), 4095)
		must(t, err)
		size, err := f.Size()
		must(t, err)
		if size != 5006 {
			t.Fatalf("size %d, want 5006", size)
		}
		got := make([]byte, 5006)
		_, err = f.ReadAt(got, 0)
		must(t, err)
		want := make([]byte, 5006)
		copy(want[4095:], "XY")
		copy(want[5000:], "abcdef")
		if !bytes.Equal(got, want) {
			t.Fatal("read other bytes than written")
		}
		if n, err := f.ReadAt(got[:10], 5000); n != 6 || err != io.EOF {
			t.Fatalf("read across the end: %d bytes, %v; want 6, EOF", n, err)
		}
		if n, err := f.ReadAt(got[:1], 5006); n != 0 || err != io.EOF {
			t.Fatalf("read at the end: %d bytes, %v; want 0, EOF", n, err)
		}
		if f.Name() != filepath.Join(dir, "f") {
			t.Fatalf("name is %s", f.Name())
		}
	})
}

func TestReadOnceReadsWhatReadAtDoes(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		data := strings.Repeat("0123456789", 50_000)
		put(t, fsys, name, data)
		syncFile(t, fsys, name)
		f := open(t, fsys, name, os.O_RDONLY)
		defer f.Close()
		for range 2 {
			f.Drop(100_000, 200_000) // some of it is cached, some is not
			got := make([]byte, 400_000)
			if n, err := f.ReadOnce(got, 77_777); n != len(got) || err != nil || string(got) != data[77_777:477_777] {
				t.Fatalf("%d bytes, %v, or others than written", n, err)
			}
		}
		if n, err := f.ReadOnce(make([]byte, 10), int64(len(data))-6); n != 6 || err != io.EOF {
			t.Fatalf("read across the end: %d bytes, %v; want 6, EOF", n, err)
		}
	})
}

func TestManyBuffersGoOutInOrder(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE)
		defer f.Close()
		var bufs [][]byte
		var want []byte
		for i := range 3*maxVector + 1 {
			b := bytes.Repeat([]byte{byte(i)}, i%7*100)
			bufs, want = append(bufs, b), append(want, b...)
		}
		n, err := f.Writev(bufs, 3)
		must(t, err)
		got := make([]byte, len(want))
		_, err = f.ReadAt(got, 3)
		must(t, err)
		if n != len(want) || !bytes.Equal(got, want) {
			t.Fatalf("wrote %d of %d bytes, or others", n, len(want))
		}
	})
}

func TestTruncateCutsAndLengthensWithZeros(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, strings.Repeat("x", 9000))
		f := open(t, fsys, name, os.O_RDWR)
		defer f.Close()
		must(t, f.Truncate(4100))
		must(t, f.Truncate(9000))
		wantFile(t, fsys, name, strings.Repeat("x", 4100)+strings.Repeat("\x00", 4900))
		must(t, f.Truncate(0))
		wantFile(t, fsys, name, "")
	})
}

func TestHintsAndPreallocationChangeNothing(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, "abc")
		f := open(t, fsys, name, os.O_RDWR)
		defer f.Close()
		must(t, f.Preallocate(0, 1<<20))
		f.Writeback(0, 3)
		f.Advise(0, 3)
		f.Drop(0, 3)
		must(t, f.Sync())
		must(t, f.Datasync())
		wantFile(t, fsys, name, "abc")
	})
}

func TestOpenObeysFlags(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		for _, c := range []struct {
			name string
			flag int
			want error
		}{
			{name, os.O_RDONLY, fs.ErrNotExist},
			{filepath.Join(dir, "none", "f"), os.O_RDWR | os.O_CREATE, fs.ErrNotExist},
			{name, os.O_RDWR | os.O_CREATE | os.O_APPEND, syscall.EINVAL},
			{name, os.O_RDWR | os.O_CREATE | os.O_EXCL, nil},
			{name, os.O_RDWR | os.O_CREATE | os.O_EXCL, fs.ErrExist},
			{name, os.O_RDWR | os.O_CREATE, nil},
			{filepath.Join(name, "f"), os.O_RDONLY, syscall.ENOTDIR},
			{dir, os.O_RDONLY, ErrUnsafe},
			{dir, os.O_RDWR, syscall.EISDIR},
		} {
			f, err := fsys.Open(c.name, c.flag, 0o600)
			if !errors.Is(err, c.want) {
				t.Fatalf("open %s with %#x: error %v, want %v", c.name, c.flag, err, c.want)
			}
			if err == nil {
				must(t, f.Close())
			}
		}
		r, w := open(t, fsys, name, os.O_RDONLY), open(t, fsys, name, os.O_WRONLY)
		_, err := r.WriteAt([]byte("x"), 0)
		wantErr(t, err, syscall.EBADF)
		_, err = w.ReadAt(make([]byte, 1), 0)
		wantErr(t, err, syscall.EBADF)
		must(t, r.Close())
		must(t, w.Close())
	})
}

func TestClosedFileRefusesEverything(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		f := open(t, fsys, filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE)
		must(t, f.Close())
		_, readErr := f.ReadAt(make([]byte, 1), 0)
		_, writeErr := f.WriteAt([]byte("x"), 0)
		_, vectorErr := f.Writev([][]byte{[]byte("x")}, 0)
		_, sizeErr := f.Size()
		for _, err := range []error{readErr, writeErr, vectorErr, sizeErr, f.Truncate(0), f.Sync(), f.Datasync(),
			f.Preallocate(0, 1), f.Close()} {
			wantErr(t, err, os.ErrClosed)
		}
	})
}

func TestPermissionsAreCapped(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		sub := filepath.Join(dir, "a")
		must(t, fsys.MkdirAll(sub, 0o777))
		f, err := fsys.Open(filepath.Join(sub, "f"), os.O_RDWR|os.O_CREATE, 0o666)
		must(t, err)
		must(t, f.Close())
		for name, want := range map[string]fs.FileMode{sub: fs.ModeDir | 0o700, filepath.Join(sub, "f"): 0o600} {
			info, err := fsys.Stat(name)
			must(t, err)
			if info.Mode() != want {
				t.Fatalf("%s has mode %v, want %v", name, info.Mode(), want)
			}
		}
	})
}

func TestNamesAreCreatedListedRenamedAndRemoved(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
		must(t, MkdirAllSync(fsys, at("a", "b")))
		must(t, MkdirAllSync(fsys, at("a", "b")))
		for _, base := range []string{"z", "y", "x"} {
			put(t, fsys, at("a", base), base)
		}
		must(t, fsys.Rename(at("a", "z"), at("a", "y")))
		must(t, fsys.Rename(at("a", "b"), at("c")))
		must(t, fsys.Rename(at("a", "x"), at("c", "x")))
		must(t, fsys.Rename(at("c", "x"), at("c", "x")))
		wantFile(t, fsys, at("a", "y"), "z")
		wantFile(t, fsys, at("c", "x"), "x")
		entries, err := fsys.ReadDir(dir)
		must(t, err)
		if len(entries) != 2 || entries[0].Name() != "a" || !entries[1].IsDir() {
			t.Fatalf("listed %v, want a/ and c/", entries)
		}
		wantErr(t, fsys.Remove(at("c")), syscall.ENOTEMPTY)
		wantErr(t, fsys.Remove(at("none")), fs.ErrNotExist)
		must(t, fsys.Remove(at("c", "x")))
		must(t, fsys.Remove(at("c")))
		must(t, fsys.RemoveAll(at("a")))
		must(t, fsys.RemoveAll(at("a")))
		wantNone(t, fsys, at("a"))
		must(t, fsys.SyncDir(dir))
	})
}

func TestImpossibleNamesAreRefused(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		at := func(base string) string { return filepath.Join(dir, base) }
		put(t, fsys, at("f"), "")
		must(t, fsys.MkdirAll(at("d/e"), 0o700))
		must(t, fsys.MkdirAll(at("empty"), 0o700))
		for _, c := range []struct {
			what string
			err  error
			want error
		}{
			{"rename what is not there", fsys.Rename(at("none"), at("g")), fs.ErrNotExist},
			{"rename into no directory", fsys.Rename(at("f"), at("none/g")), fs.ErrNotExist},
			{"rename a file over a directory", fsys.Rename(at("f"), at("empty")), syscall.EEXIST},
			{"rename a directory over a file", fsys.Rename(at("d"), at("f")), syscall.ENOTDIR},
			{"rename a directory over a full one", fsys.Rename(at("empty"), at("d")), syscall.EEXIST},
			{"rename a directory into itself", fsys.Rename(at("d"), at("d/e/g")), syscall.EINVAL},
			{"rename a directory over an empty one", fsys.Rename(at("d"), at("empty")), syscall.EEXIST},
			{"make a directory over a file", fsys.MkdirAll(at("f"), 0o700), syscall.ENOTDIR},
			{"make a directory below a file", fsys.MkdirAll(at("f/g"), 0o700), syscall.ENOTDIR},
			{"sync a file as a directory", fsys.SyncDir(at("f")), syscall.ENOTDIR},
			{"sync no directory", fsys.SyncDir(at("none")), fs.ErrNotExist},
		} {
			if !errors.Is(c.err, c.want) {
				t.Errorf("%s: error %v, want %v", c.what, c.err, c.want)
			}
		}
		_, err := fsys.ReadDir(at("f"))
		wantErr(t, err, syscall.ENOTDIR)
		_, err = fsys.ReadDir(at("none"))
		wantErr(t, err, fs.ErrNotExist)
	})
}

func TestRemovedFileStaysReadableWhileOpen(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, "old")
		f := open(t, fsys, name, os.O_RDONLY)
		defer f.Close()
		must(t, fsys.Remove(name))
		put(t, fsys, name, "new")
		got := make([]byte, 3)
		_, err := f.ReadAt(got, 0)
		must(t, err)
		if string(got) != "old" {
			t.Fatalf("read %q through the old handle", got)
		}
	})
}

func TestWriteFileAtomicReplaces(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		for _, data := range []string{"a long first version", "short", ""} {
			must(t, WriteFileAtomic(fsys, name, []byte(data)))
			wantFile(t, fsys, name, data)
			wantNone(t, fsys, name+".tmp")
		}
		if err := WriteFileAtomic(fsys, filepath.Join(dir, "none", "f"), nil); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("got %v", err)
		}
	})
}

func TestReadFileRefusesAboveItsLimit(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		put(t, fsys, name, "12345")
		_, err := ReadFile(fsys, name, 5)
		must(t, err)
		_, err = ReadFile(fsys, name, 4)
		wantErr(t, err, ErrTooLarge)
	})
}

func TestDiskHasSpace(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		free, total, err := fsys.Space(dir)
		must(t, err)
		if free == 0 || total < free {
			t.Fatalf("%d bytes of %d are free", free, total)
		}
		_, _, err = fsys.Space(filepath.Join(dir, "none"))
		wantErr(t, err, unix.ENOENT)
	})
}

func TestSecondLockNamesTheHolder(t *testing.T) {
	eachFS(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, ".lock")
		first, err := fsys.Lock(name)
		must(t, err)
		_, err = fsys.Lock(name)
		var held *LockedError
		if !errors.As(err, &held) || held.PID != os.Getpid() {
			t.Fatalf("second lock: %v, want process %d named", err, os.Getpid())
		}
		must(t, first.Close())
		again, err := fsys.Lock(name)
		must(t, err)
		must(t, again.Close())
		other, err := fsys.Lock(filepath.Join(dir, "other"))
		must(t, err)
		must(t, other.Close())
	})
}
