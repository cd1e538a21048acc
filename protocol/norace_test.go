//go:build !race

package protocol

const buildFactor = 1
