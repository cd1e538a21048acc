package partition

import (
	"testing"
	"time"

	"cordwood/segment/vfs"
)

func TestTimeInWhichTheProcessWasStoppedIsNotTheDisks(t *testing.T) {
	w := newWorld(t, vfs.NewMem())
	d, limit := w.set.dirs[0], int64(w.set.cfg.DiskStall)
	awake := wakefulness{most: limit / 2}
	now := int64(0)
	offline := func(after int64) bool {
		now += after
		w.set.watchOnce(now, awake.since(now))
		return d.isFailed()
	}
	d.probeSince.Store(1)
	if offline(limit/4) || offline(int64(30*time.Second)) { // SIGSTOP
		t.Fatal("offline after a stop of the process")
	}
	for range 4 {
		if offline(limit / 4) {
			t.Fatal("offline too early")
		}
	}
	if !offline(limit / 4) {
		t.Fatal("a probe is outstanding for longer than the limit, and the directory is not offline")
	}
}
