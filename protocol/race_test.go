//go:build race

package protocol

// The race detector's build makes append(a, make(T, n)...) in kmsg, which is one
// allocation otherwise, two.
const buildFactor = 2
