package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"
)

const (
	memoryLook  = 20 * time.Second // between two looks at what the process did
	memorySlack = 8 << 20          // allocated bytes that are not worth a collection
	// quietShare: a process that uses less than one part in so many of a processor is at rest.
	quietShare = 5
)

// giveBack returns memory to the system when a burst of work is over, until ctx ends. Left alone, the runtime keeps what the
// burst needed, up to three times the live heap, and pooled buffers until the second collection, which takes minutes to come
// in a process at rest. It costs a collection at the end of a burst, and nothing at rest.
func giveBack(ctx context.Context) {
	ticker := time.NewTicker(memoryLook)
	defer ticker.Stop()
	used, done := processorTime(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before := used
		used = processorTime()
		if used-before > memoryLook/quietShare || allocated() < done+memorySlack {
			continue
		}
		debug.FreeOSMemory() // what pools hold survives the first collection
		debug.FreeOSMemory()
		done = allocated()
	}
}

// allocated is what the process has ever allocated, in bytes.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// processorTime is what the process has used so far.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0 // cannot fail with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
