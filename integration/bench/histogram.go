package main

import (
	"math/bits"
	"time"
)

// histogram counts durations with an error below one percent: 128 steps per power of two of nanoseconds.
type histogram struct {
	counts [64 * 128]int64
	total  int64
}

func slotOf(d time.Duration) int {
	v := uint64(max(d, 1))
	if v < 256 {
		return int(v)
	}
	shift := bits.Len64(v) - 8
	return shift<<7 + int(v>>shift)
}

// valueOf is the smallest duration of a slot.
func valueOf(slot int) time.Duration {
	if slot < 256 {
		return time.Duration(slot)
	}
	shift := slot>>7 - 1
	return time.Duration(slot-shift<<7) << shift
}

func (h *histogram) add(d time.Duration) {
	h.counts[slotOf(d)]++
	h.total++
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile is the smallest duration that a share q of all does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank, seen := int64(q*float64(h.total)), int64(0)
	for i, n := range h.counts {
		if seen += n; seen > rank {
			return valueOf(i)
		}
	}
	return 0
}
