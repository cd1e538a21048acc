package segment

import (
	"math"
	"time"
)

// Config is what a topic's configuration says about its log.
type Config struct {
	SegmentBytes    int64         // roll at this size
	SegmentAge      time.Duration // roll when the segment's records span this time (trap 52)
	SegmentJitter   time.Duration // roll up to this much earlier, so that not all logs roll at once
	IndexInterval   int           // bytes between two index entries
	IndexBytes      int           // size at which an index is full, and the segment rolls
	RetentionBytes  int64         // -1: no bound
	RetentionAge    time.Duration // negative: no bound
	DeleteDelay     time.Duration // between a segment's leaving the log and its file's removal
	MaxMessageBytes int
	Preallocate     bool // reserve the whole segment at its creation
	Compact, Delete bool // cleanup.policy
	ProducerExpiry  time.Duration
}

// DefaultConfig is Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:    1 << 30,
		SegmentAge:      7 * 24 * time.Hour,
		IndexInterval:   4096,
		IndexBytes:      10 << 20,
		RetentionBytes:  -1,
		RetentionAge:    7 * 24 * time.Hour,
		DeleteDelay:     time.Minute,
		MaxMessageBytes: 1048588,
		Delete:          true,
		ProducerExpiry:  24 * time.Hour,
	}
}

// maxPosition bounds a segment: positions and relative offsets are int32 in the index files.
const maxPosition = math.MaxInt32
