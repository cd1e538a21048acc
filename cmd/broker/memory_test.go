package main

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The clock of a bubble jumps to the next look, so the process has used next to nothing of it: it is at rest.
func TestMemoryOfABurstIsGivenBack(t *testing.T) {
	pool := sync.Pool{}
	for range 16 {
		b := make([]byte, 4<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // the system gives a page only to who writes it
		}
		pool.Put(&b)
	}
	before := heldMemory()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { giveBack(ctx) })
		time.Sleep(memoryLook + time.Second)
		cancel()
		done.Wait()
	})
	runtime.KeepAlive(&pool)
	if after := heldMemory(); after+48<<20 > before {
		t.Errorf("%d MiB before, %d MiB after", before>>20, after>>20)
	}
}
