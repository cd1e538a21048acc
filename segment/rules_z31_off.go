//go:build !z31

package segment

// truncateToHint cuts the log to the checkpointed high watermark when it is opened: what rule Z31 forbids.
const truncateToHint = false
