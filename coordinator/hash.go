package coordinator

import (
	"unicode"
	"unicode/utf16"
)

// PartitionFor is the partition of an internal topic that coordinates a key: Kafka's Utils.abs(key.hashCode()) % count,
// where hashCode goes over UTF-16 units and abs of the smallest int is 0 (trap 43). The count must never change.
func PartitionFor(key string, count int32) int32 {
	if count <= 0 {
		return 0
	}
	var h int32
	for _, r := range key {
		if hi, lo := utf16.EncodeRune(r); hi != unicode.ReplacementChar {
			h = 31*(31*h+hi) + lo
			continue
		}
		h = 31*h + r
	}
	if h = max(h, -h); h < 0 { // the smallest int is its own negative
		h = 0
	}
	return h % count
}
