//go:build !z22

package segment

// forgetProducers drops the producer state when a log is opened: what rule Z22 forbids.
const forgetProducers = false
