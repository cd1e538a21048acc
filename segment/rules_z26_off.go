//go:build !z26

package segment

// retryFsync tries a failed sync again: what rule Z26 forbids.
const retryFsync = false
