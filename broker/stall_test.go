package broker

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cordwood/segment/vfs"
)

// hanging is the disk of a directory that can be made to hang: what is written to it does not come back before the end.
type hanging struct {
	hung    atomic.Bool
	release chan struct{}
}

func hangingDisk(dir string) (*hanging, vfs.FS) {
	h := &hanging{release: make(chan struct{})}
	return h, vfs.NewFault(vfs.OS(), func(op vfs.Op) vfs.Verdict {
		if writes := op.Kind == vfs.OpWrite || op.Kind == vfs.OpSync; writes && h.hung.Load() && strings.HasPrefix(op.Name, dir) {
			return vfs.Verdict{Stuck: h.release}
		}
		return vfs.Verdict{}
	})
}

// Z38: nobody writes, so only the probe meets the disk. The broker goes on with the other one.
func TestLeadersMoveFromAnIdleDiskThatHangs(t *testing.T) {
	s := startSplit(t, 1)
	second := t.TempDir()
	disk, fs := hangingDisk(second)
	n := startNode(t, t.TempDir(), func(c *Config) {
		c.HTTPAddr, c.HeartbeatInterval, c.SessionTimeout, c.DiskStall = "", 100*time.Millisecond, time.Second, time.Second
		c.NodeID, c.Roles, c.BootstrapServers = 2, []string{"broker"}, []string{s.controller.b.Addrs().Internal}
		c.Listeners = c.Listeners[:1]
		c.LogDirs, c.FS = append(c.LogDirs, second, t.TempDir()), fs // three: leaders and directories take turns
	})
	s.brokers = append(s.brokers, n)
	s.create(t, "t", 8)
	led := func() (good, bad int) {
		for _, p := range s.brokers[0].b.image().Topic("t").Partitions {
			switch {
			case p.Leader == 2 && p.Dir(2) == n.b.dirs[1].id:
				bad++
			case p.Leader == 2:
				good++
			}
		}
		return good, bad
	}
	eventually(t, func() bool { good, bad := led(); return good > 0 && bad > 0 })
	before, _ := led()
	disk.hung.Store(true)
	eventually(t, func() bool { _, bad := led(); return bad == 0 })
	if after, _ := led(); after != before {
		t.Errorf("of %d leaderships on the disk that works %d are left", before, after)
	}
	if s.brokers[0].b.image().Broker(2).Fenced {
		t.Error("the broker is fenced")
	}
	close(disk.release)
	n.stop()
	n.stop = nil
	if err := <-n.done; err == nil {
		t.Error("a clean stop with a directory that is offline")
	}
}

// What hangs in the kernel cannot be waited for: the process must end, or its supervisor waits for ever.
func TestAProcessWhoseOnlyDiskHangsEnds(t *testing.T) {
	dir := t.TempDir()
	disk, fs := hangingDisk(dir)
	n := startNode(t, dir, func(c *Config) { c.SessionTimeout, c.DiskStall, c.FS = time.Second, 300*time.Millisecond, fs })
	disk.hung.Store(true)
	select {
	case err := <-n.done:
		if !errors.Is(err, ErrDisk) {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it did not end")
	}
	close(disk.release)
	n.stop()
	n.stop = nil
}
