package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// directory is a data directory with a journal and some logs.
type directory struct {
	t    *testing.T
	mem  *vfs.Mem
	j    *Journal
	logs []*Log
}

func newDirectory(t *testing.T, m *vfs.Mem, logs int) *directory {
	t.Helper()
	return newDirectoryOn(t, m, m, logs)
}

// newDirectoryOn opens it through a file system that is m, or stands before it.
func newDirectoryOn(t *testing.T, m *vfs.Mem, disk vfs.FS, logs int) *directory {
	t.Helper()
	d := &directory{t: t, mem: m}
	var err error
	d.j, err = OpenJournal(disk, dataDir, 1<<20, nil)
	must(t, err)
	for i := range logs {
		o := options(disk)
		o.Dir, o.Journal = filepath.Join(dataDir, fmt.Sprintf("t-%d", i)), d.j
		d.logs = append(d.logs, open(t, o))
	}
	return d
}

// named makes the logs known on disk, so that the journal may have them.
func (d *directory) named() {
	d.t.Helper()
	for _, l := range d.logs {
		_, err := l.Sync()
		must(d.t, err)
	}
	must(d.t, d.j.Reset())
}

func (d *directory) commit(logs ...*Log) {
	d.t.Helper()
	var entries []Entry
	for _, l := range logs {
		e, _, ok, err := l.Unsynced(nil, 1<<20)
		must(d.t, err)
		if !ok {
			d.t.Fatalf("%s is not for the journal", l.Name())
		}
		must(d.t, d.j.Append(l, e))
		entries = append(entries, e)
	}
	must(d.t, d.j.Commit())
	for i, l := range logs {
		l.MarkDurable(entries[i])
	}
}

// crash opens what a power cut leaves, and replays.
func (d *directory) crash() *directory {
	d.t.Helper()
	again := newDirectory(d.t, d.mem.CrashClone(nil), len(d.logs))
	for _, l := range again.logs {
		_, err := again.j.Replay(l)
		must(d.t, err)
	}
	return again
}

func TestJournalBringsBackWhatFilesLost(t *testing.T) {
	d := newDirectory(t, newMem(t), 20)
	d.named()
	want := make(map[string][]record.Batch)
	for range 5 {
		for _, l := range d.logs {
			want[l.Name()] = append(want[l.Name()], fill(t, l, 5, 0)...)
		}
		d.commit(d.logs...)
	}
	for _, l := range d.crash().logs {
		sameBatches(t, contents(t, l, 1000), want[l.Name()])
		if l.Recovery().Replayed != 25 {
			t.Fatalf("%d batches were replayed", l.Recovery().Replayed)
		}
	}
}

func TestJournalIsVoidAfterTruncationAndDeletion(t *testing.T) {
	d := newDirectory(t, newMem(t), 3)
	d.named()
	for _, l := range d.logs {
		fill(t, l, 10, 0)
	}
	// Gathered before the truncation, written behind it: what the flusher holds in its hands.
	stale, _, ok, err := d.logs[0].Unsynced(nil, 1<<20)
	must(t, err)
	if !ok {
		t.Fatal("not for the journal")
	}
	d.commit(d.logs...)
	must(t, d.logs[0].Truncate(9))
	kept := contents(t, d.logs[0], 1000)
	must(t, d.j.Append(d.logs[0], stale))
	must(t, d.j.Commit())
	d.logs[0].MarkDurable(stale)
	if d.logs[0].Durable() > 9 {
		t.Fatalf("a truncated entry counts: durable %d", d.logs[0].Durable())
	}
	kept = append(kept, fill(t, d.logs[0], 2, 5)...)
	d.commit(d.logs[0])
	_, err = d.logs[1].Delete()
	must(t, err)
	must(t, d.logs[2].Reset(500))

	again := d.crash()
	sameBatches(t, contents(t, again.logs[0], 1000), kept)
	if l := again.logs[1]; l.End() != 0 {
		t.Fatalf("a deleted log came back: end %d", l.End())
	}
	if l := again.logs[2]; l.Start() != l.End() {
		t.Fatalf("a log that was reset came back: [%d, %d)", l.Start(), l.End())
	}
}

// An entry that was gathered before the truncation, of a log that the journal's generation does not know yet: nothing in
// the file voids it.
func TestEntryOlderThanATruncationIsNotJournaled(t *testing.T) {
	d := newDirectory(t, newMem(t), 2)
	d.named()
	var stale []Entry
	for _, l := range d.logs {
		fill(t, l, 10, 0)
		e, _, ok, err := l.Unsynced(nil, 1<<20)
		must(t, err)
		if !ok {
			t.Fatal("not for the journal")
		}
		stale = append(stale, e)
	}
	must(t, d.logs[0].Truncate(4))
	kept := contents(t, d.logs[0], 1000)
	_, err := d.logs[1].Stray()
	must(t, err)
	for i, l := range d.logs {
		must(t, d.j.Append(l, stale[i]))
	}
	must(t, d.j.Commit())
	again := d.crash()
	sameBatches(t, contents(t, again.logs[0], 1000), kept)
	if l := again.logs[1]; l.End() != 0 {
		t.Fatalf("a log that was given up came back: end %d", l.End())
	}
}

// On a full disk a topic can be deleted although the journal has no room to void its entries.
func TestFullDiskDoesNotKeepADeletedLog(t *testing.T) {
	mem := newMem(t)
	full := false
	disk := vfs.NewFault(mem, func(op vfs.Op) vfs.Verdict {
		if full && op.Kind == vfs.OpWrite {
			return vfs.Verdict{Err: syscall.ENOSPC}
		}
		return vfs.Verdict{}
	})
	d := newDirectoryOn(t, mem, disk, 2)
	d.named()
	for _, l := range d.logs {
		fill(t, l, 10, 0)
	}
	d.commit(d.logs...)
	full = true
	if _, err := d.logs[0].Delete(); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := d.logs[1].Stray(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a log that may come back is given up without its void: %v", err)
	}
}

// A truncation or a deletion that meets the journal while it starts over: what is committed behind it counts.
func TestVoidDuringAResetDoesNotEndTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := newMem(t)
		slow := false
		disk := vfs.NewFault(mem, func(op vfs.Op) vfs.Verdict {
			if slow && op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, journalFile) {
				return vfs.Verdict{Delay: 10 * time.Millisecond}
			}
			return vfs.Verdict{}
		})
		d := newDirectoryOn(t, mem, disk, 2)
		d.named()
		for _, l := range d.logs {
			fill(t, l, 5, 0)
		}
		d.commit(d.logs...)
		for _, l := range d.logs {
			_, err := l.Sync()
			must(t, err)
		}
		slow = true
		reset := make(chan error)
		go func() { reset <- d.j.Reset() }()
		time.Sleep(time.Millisecond) // it is in the sync
		_, err := d.logs[0].Delete()
		must(t, errors.Join(err, <-reset))
		slow = false
		fill(t, d.logs[1], 5, 0)
		d.commit(d.logs[1])
		want := contents(t, d.logs[1], 1000)
		sameBatches(t, contents(t, d.crash().logs[1], 1000), want)
	})
}

func TestJournalWantsSyncBeforeReset(t *testing.T) {
	d := newDirectory(t, newMem(t), 2)
	d.named()
	fill(t, d.logs[0], 1, 0)
	d.commit(d.logs[0])
	if err := d.j.Reset(); err == nil {
		t.Fatal("reset although a log is not synced")
	}
	if logs := d.j.Logs(); len(logs) != 1 || logs[0] != d.logs[0] {
		t.Fatalf("logs %v", logs)
	}
	_, err := d.logs[0].Sync()
	must(t, err)
	must(t, d.j.Reset())
	if d.j.Size() != 0 {
		t.Fatalf("size %d after a reset", d.j.Size())
	}
	// The new generation is shorter than the old one: what is left of that behind it counts for nothing.
	want := append(contents(t, d.logs[0], 1000), fill(t, d.logs[0], 1, 0)...)
	d.commit(d.logs[0])
	again := d.crash()
	sameBatches(t, contents(t, again.logs[0], 1000), want)
}

func TestJournalIsBounded(t *testing.T) {
	m := newMem(t)
	j, err := OpenJournal(m, dataDir, 2000, nil)
	must(t, err)
	o := options(m)
	o.Journal = j
	l := open(t, o)
	_, err = l.Sync()
	must(t, err)
	for range 30 {
		fill(t, l, 1, 0)
		e, _, _, err := l.Unsynced(nil, 1<<20)
		must(t, err)
		if err := j.Append(l, e); errors.Is(err, ErrJournalFull) {
			_, err = l.Sync()
			must(t, err)
			must(t, j.Reset())
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		must(t, j.Commit())
		l.MarkDurable(e)
		if j.Size() > journalBegin { // the smallest bound
			t.Fatalf("size %d", j.Size())
		}
	}
	must(t, l.Close(true))
	must(t, j.Reset())
	must(t, j.Close())
	if exists, _ := Exists(m, filepath.Join(dataDir, journalFile)); exists {
		t.Fatal("a clean stop leaves the journal behind")
	}
}

func TestNamelessLogsAreNotForTheJournal(t *testing.T) {
	d := newDirectory(t, newMem(t), 1)
	fill(t, d.logs[0], 1, 0)
	if _, _, ok, err := d.logs[0].Unsynced(nil, 1<<20); ok || err != nil {
		t.Fatalf("its directory may be gone after a crash: %v %v", ok, err)
	}
	d.named()
	fill(t, d.logs[0], 10, 0)
	if _, _, ok, err := d.logs[0].Unsynced(nil, 100); ok || err != nil {
		t.Fatalf("more than the caller wanted: %v %v", ok, err)
	}
}

func TestDamagedJournalEndsAtTheDamage(t *testing.T) {
	d := newDirectory(t, newMem(t), 1)
	d.named()
	l := d.logs[0]
	var sizes []int64
	for range 4 {
		fill(t, l, 1, 0)
		d.commit(l)
		sizes = append(sizes, d.j.Size())
	}
	for at := int64(journalBegin); at < journalBegin+sizes[3]; at += 37 {
		image := d.mem.CrashClone(nil)
		must(t, image.Corrupt(filepath.Join(dataDir, journalFile), at, 0x10))
		again := newDirectory(t, image, 1)
		n, err := again.j.Replay(again.logs[0])
		must(t, err)
		want := 0
		for want < 4 && journalBegin+sizes[want] <= at {
			want++
		}
		if n != want {
			t.Fatalf("damage at %d: %d batches came back, want %d", at, n, want)
		}
	}
}
