package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The clock of a bubble jumps from look to look, so the process has used next to nothing of it: it is at rest.
func looks(t *testing.T, do func()) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { giveBack(ctx) })
		time.Sleep(time.Second)
		do()
		cancel()
		done.Wait()
	})
}

func TestMemoryOfABurstIsGivenBack(t *testing.T) {
	pool := sync.Pool{}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // no collection before the look takes anything out of the pool
	for range 16 {
		b := touched(4 << 20)
		pool.Put(&b)
	}
	before := heldMemory()
	looks(t, func() { time.Sleep(memoryLook) })
	runtime.KeepAlive(&pool)
	if after := heldMemory(); after+48<<20 > before {
		t.Errorf("%d MiB before, %d MiB after", before>>20, after>>20)
	}
}

// What is in use at one look is given back at a later one, although the process holds no more than before.
func TestMemoryThatWasInUseIsGivenBackLater(t *testing.T) {
	used := touched(64 << 20)
	before := heldMemory()
	looks(t, func() {
		time.Sleep(memoryLook)
		runtime.KeepAlive(used)
		used = nil
		runtime.GC()
		used = touched(16 << 20) // of what the process has
		used = nil
		time.Sleep(memoryLook)
	})
	if after := heldMemory(); after+48<<20 > before {
		t.Errorf("%d MiB before, %d MiB after", before>>20, after>>20)
	}
}

// touched is memory that the process really has: the system gives a page only to who writes it.
func touched(size int) []byte {
	b := make([]byte, size)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

// heldMemory is what the runtime has from the system, in bytes.
func heldMemory() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
